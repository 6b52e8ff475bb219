"""Augmentation: pictures -> training crops, a whole batch at a time, inside TensorFlow's graph.

Every random number comes from a seed that the caller passes: the same seed gives the same crops.
Nothing of this is in the saved model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from keras_to_lambda.runtime.image.preprocess import scale
from keras_to_lambda.runtime.model.card import PRESETS
from keras_to_lambda.train.recipe import Augmentation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keras_to_lambda.runtime.model.card import ModelCard

# How much larger than the crops the stored pictures are: at the closest zoom, a crop's pixels are
# then about the picture's, not enlarged ones.
MARGIN = 1.25

ERASED_SIDE = (0.1, 0.45)
MIXUP = 0.4  # both parameters of the beta distribution, https://arxiv.org/abs/1710.09412


def augment(
    images: tf.Tensor,
    labels: tf.Tensor,
    seed: tf.Tensor,
    size: int,
    mix: float,
    ranges: Augmentation = Augmentation(),  # noqa: B008  # frozen
) -> tuple[tf.Tensor, tf.Tensor]:
    """Crop, turn, recolour, erase and blend.

    Args:
        images: uint8, (batch, side, side, channels); side is about MARGIN * size.
        labels: float32, (batch, labels), rows that add up to 1.
        seed: int32, (2,).
        size: height and width of the crops, pixels.
        mix: the share of crops that are blended with another one of the batch.
        ranges: how far crops may be from the pictures.

    Returns:
        Crops, float32, (batch, size, size, channels) in -1..1, and their labels, float32,
        (batch, labels), rows that add up to 1.
    """
    seeds = _seeds(seed)
    crops = geometry(images, next(seeds), size, ranges)
    # Each step has its seed, whether or not the others are taken.
    coloured, erased, blended = next(seeds), next(seeds), next(seeds)
    if ranges.brightness or ranges.contrast or ranges.hue or ranges.saturation != (1.0, 1.0):
        crops = colour(crops, coloured, ranges)
    if ranges.erased:
        crops = erase(crops, erased, ranges.erased)
    return blend(crops, labels, blended, mix) if mix else (crops, labels)


def geometry(
    images: tf.Tensor,
    seed: tf.Tensor,
    size: int,
    ranges: Augmentation = Augmentation(),  # noqa: B008  # frozen
) -> tf.Tensor:
    """Zoom, stretch, rotate, shear, shift and mirror, in one resampling.

    Args and result as `augment`'s; the result is in -1..1, as the preset "mobilenet_v2" scales.
    """
    seeds = _seeds(seed)
    batch = tf.shape(images)[0]
    side = tf.cast(tf.shape(images)[1], tf.float32)

    def uniform(low: float, high: float) -> tf.Tensor:
        return tf.random.stateless_uniform([batch], next(seeds), low, high)

    zoom, stretch = uniform(*ranges.zoom), tf.exp(uniform(-ranges.stretch, ranges.stretch))
    angle, shear = uniform(-ranges.rotation, ranges.rotation), uniform(-ranges.shear, ranges.shear)
    mirror = tf.sign(uniform(-1.0 if ranges.mirror else 0.0, 1.0))
    zoom_x, zoom_y = zoom * stretch, zoom / stretch
    room_x = tf.maximum(1.0 - zoom_x, 0.0) / 2 + ranges.shift
    room_y = tf.maximum(1.0 - zoom_y, 0.0) / 2 + ranges.shift
    shift_x, shift_y = uniform(-1.0, 1.0) * room_x * side, uniform(-1.0, 1.0) * room_y * side
    # For each output pixel, where it is in the input, around the centres of both:
    # x = a0 x' + a1 y' + a2, y = b0 x' + b1 y' + b2.
    scale_x, scale_y = zoom_x * side / size, zoom_y * side / size
    a0 = mirror * scale_x * tf.cos(angle)
    a1 = scale_x * (shear * tf.cos(angle) - tf.sin(angle))
    b0 = mirror * scale_y * tf.sin(angle)
    b1 = scale_y * (shear * tf.sin(angle) + tf.cos(angle))
    half, middle = (size - 1) / 2, (side - 1) / 2
    a2 = middle + shift_x - (a0 + a1) * half
    b2 = middle + shift_y - (b0 + b1) * half
    zero = tf.zeros_like(a0)
    crops = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1),
        output_shape=[size, size],
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )
    return tf.ensure_shape(crops, [None, size, size, images.shape[3]]) / 127.5 - 1.0


def colour(
    crops: tf.Tensor,
    seed: tf.Tensor,
    ranges: Augmentation = Augmentation(),  # noqa: B008  # frozen
) -> tf.Tensor:
    """Hue, saturation, contrast and brightness, as one matrix and one offset a picture.

    Args:
        crops: float32, (batch, height, width, channels), RGB or grey, in -1..1.

    Returns:
        The same shape and range.
    """
    seeds = _seeds(seed)
    shape = [tf.shape(crops)[0], 1, 1]
    angle = ranges.hue * tf.random.stateless_normal(shape, next(seeds))
    saturation = tf.random.stateless_uniform(shape, next(seeds), *ranges.saturation)
    contrast = tf.random.stateless_uniform(
        shape, next(seeds), 1.0 - ranges.contrast, 1.0 + ranges.contrast
    )
    brightness = tf.random.stateless_uniform(
        shape, next(seeds), -ranges.brightness, ranges.brightness
    )
    if crops.shape[3] == 1:
        grey = crops * contrast[..., tf.newaxis] + brightness[..., tf.newaxis]
        return tf.clip_by_value(grey, -1.0, 1.0)
    # Rodrigues' rotation about the grey axis (1, 1, 1): the projection on it stays, the rest, the
    # colour, is turned and scaled.
    grey = tf.fill([3, 3], 1 / 3)
    cross = tf.constant([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], tf.float32) / math.sqrt(3)
    turned = (tf.eye(3) - grey) * tf.cos(angle) + cross * tf.sin(angle)
    matrix = contrast * (grey + saturation * turned)
    height, width = crops.shape[1], crops.shape[2]
    pixels = tf.reshape(crops, [-1, height * width, 3])
    pixels = tf.matmul(pixels, matrix, transpose_b=True) + brightness
    return tf.clip_by_value(tf.reshape(pixels, [-1, height, width, 3]), -1.0, 1.0)


def erase(crops: tf.Tensor, seed: tf.Tensor, share: float = 0.5) -> tf.Tensor:
    """Put a grey box on a share of them (random erasing, https://arxiv.org/abs/1708.04896).

    Args:
        crops: float32, (batch, height, width, channels) in -1..1.

    Returns:
        The same shape and range.
    """
    seeds = _seeds(seed)
    batch, size = tf.shape(crops)[0], crops.shape[1]
    sides = tf.random.stateless_uniform([batch, 2], next(seeds), *ERASED_SIDE)
    chosen = tf.random.stateless_uniform([batch, 1], next(seeds)) < share
    box = _boxes(tf.where(chosen, sides, 0.0), next(seeds), size)
    return crops * (1.0 - box)


def blend(
    crops: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, mix: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blend some crops with another of the batch: half of them mixup, half cutmix.

    Each keeps a share of its own pixels, everywhere (mixup) or outside a box (cutmix,
    https://arxiv.org/abs/1905.04899), and the same share of its label.

    Args and result as `augment`'s, the crops already of their size and in -1..1.
    """
    seeds = _seeds(seed)
    batch, size = tf.shape(crops)[0], crops.shape[1]
    # Beta(a, a) as a ratio of two gamma variates.
    gamma = tf.random.stateless_gamma([2, batch], next(seeds), alpha=MIXUP)
    share = (gamma[0] + 1e-6) / (gamma[0] + gamma[1] + 2e-6)
    sides = tf.sqrt(tf.random.stateless_uniform([batch, 1], next(seeds), 0.0, 0.5))
    box = _boxes(tf.tile(sides, [1, 2]), next(seeds), size)
    lot = tf.random.stateless_uniform([batch], next(seeds))[:, None, None, None]
    # The crop's own share, pixel by pixel: everything, a share of each, or all outside the box.
    own = tf.where(lot < mix / 2, share[:, None, None, None], tf.where(lot < mix, 1.0 - box, 1.0))
    weight = tf.reduce_mean(own, axis=[1, 2])
    # The batch comes shuffled: its reverse is as good a partner as any.
    mixed = own * crops + (1.0 - own) * tf.reverse(crops, [0])
    return mixed, weight * labels + (1.0 - weight) * tf.reverse(labels, [0])


def served(crops: tf.Tensor, card: ModelCard) -> tf.Tensor:
    """Crops in the scaling that the card asks for, as `runtime.image.preprocess.scale` gives it.

    Args:
        crops: float32, (batch, height, width, channels), RGB or grey, in -1..1.

    Returns:
        The same shape, in the range and the order of channels that the network wants.
    """
    # Every preset is a factor and an offset for each channel, which black and white tell; caffe's
    # turn the channels round as well.
    ends = np.zeros((2, 1, card.channels), np.float32)
    ends[1] = 255.0
    black, white = scale(ends, card)[:, 0]
    if PRESETS[card.preprocessing.scaling] == "caffe":
        crops = tf.reverse(crops, [3])
    return (crops + 1.0) * ((white - black) / 2.0) + black


def _boxes(sides: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    """One box a picture, wholly inside it: float32, (batch, size, size, 1), 1 in it and 0 outside.

    sides: float32, (batch, 2): width and height, as shares of the picture's.
    """
    corner = tf.random.stateless_uniform(tf.shape(sides), seed) * (1.0 - sides)
    at = (tf.range(size, dtype=tf.float32)[None, :] + 0.5) / size

    def inside(axis: int) -> tf.Tensor:
        start = corner[:, axis, None]
        return tf.cast((at >= start) & (at < start + sides[:, axis, None]), tf.float32)

    return (inside(1)[:, :, None] * inside(0)[:, None, :])[..., None]


def _seeds(seed: tf.Tensor) -> Iterator[tf.Tensor]:
    """Any number of seeds from one; each random draw gets its own."""
    number = 0
    while True:
        number += 1
        yield tf.random.experimental.stateless_fold_in(seed, number)
