"""Augmentation: crops, Keras' layers by a recipe's ranges, and a sheet of what they do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_to_lambda.runtime.model_file.card import ModelCard
from keras_to_lambda.train.data.dataset import Dataset
from keras_to_lambda.train.fit.batches import square
from keras_to_lambda.train.fit.crops import RandomCrops
from keras_to_lambda.train.fit.recipe import Augmentation, Phase, Recipe

RANGE = (0, 255)
GREY = 127.5
ROWS, COLUMNS, SIDE = 6, 7, 128  # of the sheet; pixels


def of_colours(ranges: Augmentation, channels: int, seed: int) -> list[keras.Layer]:
    """The layers that change colours and erase parts: float32 in 0..255, some values outside.

    Layers without effect are left out: each costs a pass over the pixels.
    """
    cutout, colours = ranges.cutout, channels == 3
    wanted = [
        (colours and ranges.hue, layers.RandomHue, ((0, ranges.hue), RANGE)),
        (
            colours and ranges.saturation != (0.5, 0.5),
            layers.RandomSaturation, (ranges.saturation, RANGE),
        ),
        (ranges.contrast, layers.RandomContrast, (ranges.contrast, RANGE)),
        (ranges.brightness, layers.RandomBrightness, (ranges.brightness, RANGE)),
        (cutout, layers.RandomErasing, ((cutout, cutout), (0.02, 0.2), GREY, RANGE)),
    ]  # fmt: skip
    return [kind(*given, seed=seed) for used, kind, given in wanted if used]


class Augment:
    """Batches of pictures and one-hot labels -> augmented ones.

    Args:
        recipe: has the ranges.
        phase: has the crops' size, and the share of pictures that are blended with another one,
            half of them by MixUp, half by CutMix.
    """

    def __init__(self, recipe: Recipe, phase: Phase, seed: int) -> None:
        self._crops = RandomCrops(recipe.augmentation, phase.size, seed)
        self._layers = of_colours(recipe.augmentation, recipe.channels, seed)
        self._mix = phase.mix
        # Of one number, CutMix would draw the parameter itself from 0 to it.
        self._blends = [layers.MixUp(0.4, seed=seed), layers.CutMix((1.0, 1.0), seed=seed)]

    def __call__(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """uint8 (batch, side, side, channels), float32 (batch, labels) -> float32 in 0..255."""
        images = self._crops(tf.cast(images, tf.float32))
        for layer in self._layers:
            images = layer(images, training=True)
        images = tf.clip_by_value(images, *map(float, RANGE))
        # The batch is shuffled: its first rows are as good as random ones.
        count = round(self._mix / 2 * int(images.shape[0] or 0))
        if count < 2:
            return images, labels
        parts = []
        for number, blend in enumerate(self._blends):
            rows = slice(number * count, (number + 1) * count)
            parts.append(blend({"images": images[rows], "labels": labels[rows]}, training=True))
        rest = slice(2 * count, None)
        return (
            tf.concat([*(part["images"] for part in parts), images[rest]], axis=0),
            tf.concat([*(part["labels"] for part in parts), labels[rest]], axis=0),
        )


def sheet(recipe: Recipe, card: ModelCard, data: Dataset, path: Path) -> None:
    """Write a PNG: training pictures on the left, augmented ones of each beside it."""
    train, phase = data.splits["train"], recipe.phases()[0]
    side = recipe.stored_size(phase.size)
    card = dataclasses.replace(card, height=side, width=side)
    chosen = np.random.default_rng(recipe.seed).permutation(len(train))[:ROWS]
    rows = np.resize(chosen, ROWS)  # of fewer pictures, some again
    plain = np.stack([square(train, int(row), card) for row in rows])
    labels = tf.one_hot(train.targets[rows], len(data.labels))
    augment = Augment(recipe, phase, recipe.seed)
    shown = [tf.constant(plain, tf.float32)]
    shown += [augment(tf.constant(plain), labels)[0].numpy() for _ in range(COLUMNS - 1)]
    columns = [np.vstack(tf.image.resize(column, (SIDE, SIDE))) for column in shown]
    keras.utils.save_img(path, np.hstack(columns), scale=False)
