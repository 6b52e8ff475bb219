"""Crops: mirror, turn, shear, stretch, zoom and shift pictures, in one resampling.

Keras has a layer for each. In a row they blur a small picture four times, and RandomZoom sees its
middle only: docs/training.md has what that cost.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from keras_to_lambda.train.fit.recipe import Augmentation


class RandomCrops:
    """Random crops of pictures.

    Args:
        ranges: flip, rotation, shear, stretch, zoom and shift.
        size: height and width of the crops, pixels.
    """

    def __init__(self, ranges: Augmentation, size: int, seed: int) -> None:
        self._ranges, self._size = ranges, size
        self._seed = keras.random.SeedGenerator(seed)

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """float32 (batch, side, side, channels) -> (batch, size, size, channels), same range.

        What is seen beyond the border is mirrored.
        """
        batch, side = tf.shape(images)[0], int(images.shape[1])
        crops = tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=self._transforms(batch, side),
            output_shape=[self._size, self._size],
            interpolation="BILINEAR",
            fill_mode="REFLECT",
            fill_value=0.0,
        )
        return tf.ensure_shape(crops, (None, self._size, self._size, images.shape[3]))

    def _transforms(self, batch: tf.Tensor, side: int) -> tf.Tensor:
        """Where in the picture each pixel of a crop is: rows of (a0, a1, a2, b0, b1, b2, 0, 0).

        x = a0 x' + a1 y' + a2 and y = b0 x' + b1 y' + b2.
        """
        ranges = self._ranges

        def within(low: float, high: float) -> Any:
            return keras.random.uniform([batch], low, high, seed=self._seed)

        def either_way(highest: float) -> Any:
            return within(-highest, highest)

        def mirror(direction: str) -> Any:
            drawn = tf.sign(either_way(1.0))
            return drawn if direction in ranges.flip.split("_and_") else tf.ones_like(drawn)

        zoom, stretch = within(*ranges.zoom), tf.exp(either_way(ranges.stretch))
        angle, shear = either_way(math.radians(ranges.rotation)), either_way(ranges.shear)
        ends = []
        for seen in (zoom * stretch, zoom / stretch):
            room = tf.maximum(1 - seen, 0) / 2 + ranges.shift
            ends.append((seen * side / self._size, either_way(1.0) * room * side))
        (width, right), (height, down) = ends
        turned_x, turned_y = mirror("horizontal") * width, mirror("vertical") * height
        a = turned_x * tf.cos(angle), turned_y * (shear * tf.cos(angle) - tf.sin(angle))
        b = turned_x * tf.sin(angle), turned_y * (shear * tf.sin(angle) + tf.cos(angle))
        # Around the centres of both.
        half, middle = (self._size - 1) / 2, (side - 1) / 2
        a2 = middle + right - (a[0] + a[1]) * half
        b2 = middle + down - (b[0] + b[1]) * half
        zero = tf.zeros_like(zoom)
        return tf.stack([*a, a2, *b, b2, zero, zero], axis=1)
