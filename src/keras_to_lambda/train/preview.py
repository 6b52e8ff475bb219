"""Preview: what augmentation makes of training pictures, to be looked at before the training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_to_lambda.train import augment

if TYPE_CHECKING:
    from keras_to_lambda.runtime.model.card import ModelCard
    from keras_to_lambda.train.data.dataset import Dataset
    from keras_to_lambda.train.recipe import Recipe

ROWS, CROPS = 6, 7
SIDE = 128  # of a picture on the sheet, pixels
GAP = 4


def write(recipe: Recipe, card: ModelCard, data: Dataset, path: Path) -> None:
    """Write a sheet, PNG: on the left training pictures as they are served, beside them crops."""
    train = data.splits["train"]
    rows = np.random.default_rng(recipe.seed).permutation(len(train))[:ROWS]
    side = round(augment.MARGIN * recipe.size)
    large, plain = (
        np.stack([train.square(int(row), card, pixels) for row in rows])
        for pixels in (side, recipe.size)
    )
    labels = tf.one_hot(train.targets[rows], len(data.labels))
    columns = [plain]
    for number in range(CROPS):
        crops, _ = augment.augment(
            tf.constant(large), labels, tf.constant([recipe.seed, number]), recipe.size,
            recipe.phases()[0].stages[0].mix, recipe.augmentation,
        )  # fmt: skip
        columns.append(np.rint((crops.numpy() + 1.0) * 127.5).clip(0, 255).astype(np.uint8))
    sheet = Image.new(
        "RGB", (len(columns) * (SIDE + GAP) - GAP, ROWS * (SIDE + GAP) - GAP), "white"
    )
    for x, column in enumerate(columns):
        for y, picture in enumerate(column):
            image = Image.fromarray(picture.squeeze()).convert("RGB").resize((SIDE, SIDE))
            sheet.paste(image, (x * (SIDE + GAP), y * (SIDE + GAP)))
    sheet.save(path)
