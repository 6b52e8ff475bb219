"""Batches: what a step of `fit` sees, augmented pictures or a frozen network's features."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from keras_to_lambda.runtime.image.preprocess import prepare, scale
from keras_to_lambda.runtime.model_file.card import PRESETS
from keras_to_lambda.train.data.dataset import DataError, prefetch

if TYPE_CHECKING:
    import keras

    from keras_to_lambda.runtime.model_file.card import ModelCard
    from keras_to_lambda.train.data.dataset import Dataset, Split
    from keras_to_lambda.train.fit.recipe import Recipe

BATCH = 64  # where no recipe decides
Augmentation = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def square(split: Split, row: int, card: ModelCard) -> npt.NDArray[np.uint8]:
    """A picture as the card resizes it: uint8, (height, width, channels)."""
    raw = dataclasses.replace(
        card, preprocessing=dataclasses.replace(card.preprocessing, scaling="raw")
    )
    return np.asarray(prepare(split.picture(row, raw), raw), np.uint8)


def stored(data: Dataset, name: str, card: ModelCard, folder: Path) -> npt.NDArray[np.uint8]:
    """All pictures of a split as the card resizes them, decoded once into a file.

    Returns:
        uint8, (pictures, height, width, channels), mapped into memory.

    Raises:
        DataError: the disk has no room for it.
    """
    split = data.splits[name]
    steps = card.preprocessing
    how = (data.sha256, members(split), steps.resize, steps.exif, card.height, card.channels)
    path = folder / f"{name}-{_key(how)}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shape = (len(split), card.height, card.width, card.channels)
        free = shutil.disk_usage(folder).free
        if math.prod(shape) > free - 500_000_000:
            raise DataError(
                f"the decoded pictures take {math.prod(shape) / 1e9:.1f} GB, and {folder} has "
                f"{free / 1e9:.1f} GB free: choose a smaller --size, or another disk with -o"
            )
        draft = path.with_suffix(".part")
        file = np.lib.format.open_memmap(draft, mode="w+", dtype=np.uint8, shape=shape)
        pictures = prefetch(lambda row: square(split, row, card), range(len(split)), f"{name}")
        for row, picture in enumerate(pictures):
            file[row] = picture
        file.flush()
        draft.replace(path)
    images: npt.NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return images


def members(split: Split) -> str:
    """A hash over which pictures of the data a split has: the seed decides that."""
    names = [split.name(index) for index in range(len(split))]
    return _key((names, split.targets.tolist()))


def training(
    images: npt.NDArray[np.uint8],
    truth: npt.NDArray[np.float32],
    card: ModelCard,
    batch_size: int,
    augment: Augmentation,
    seed: int,
) -> tf.data.Dataset:
    """Augmented pictures, scaled as the card says, and their labels: shuffled, without end."""
    rows = tf.data.Dataset.range(len(images)).shuffle(len(images), seed).repeat()
    rows = rows.batch(batch_size, drop_remainder=True)
    # Two at a time: the processor has other work while the network waits for none.
    return _loaded(rows, images, truth, card, augment, parallel=2)


def served(
    images: npt.NDArray[np.uint8], truth: npt.NDArray[np.float32], card: ModelCard
) -> tf.data.Dataset:
    """All pictures once, in order, as they are served, and their labels."""
    return _loaded(tf.data.Dataset.range(len(images)).batch(BATCH), images, truth, card)


def _loaded(
    rows: tf.data.Dataset,
    images: npt.NDArray[np.uint8],
    truth: npt.NDArray[np.float32],
    card: ModelCard,
    augment: Augmentation | None = None,
    parallel: int | None = None,
) -> tf.data.Dataset:
    scaled = scaling(card)

    def load(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pictures = tf.numpy_function(lambda chosen: images[chosen], [at], tf.uint8)
        pictures = tf.ensure_shape(pictures, (at.shape[0], *images.shape[1:]))
        labels = tf.gather(truth, at)
        if augment:
            pictures, labels = augment(pictures, labels)
        return scaled(tf.cast(pictures, tf.float32)), labels

    return rows.map(load, num_parallel_calls=parallel).prefetch(2)


def scaling(card: ModelCard) -> Callable[[tf.Tensor], tf.Tensor]:
    """float32 pixels in 0..255 -> as the card's scaling has them.

    Every preset is a factor and an offset for each channel; caffe's turn the channels round too.
    """
    ends = np.zeros((2, 1, card.channels), np.float32)
    ends[1] = 255
    black, white = scale(ends, card)[:, 0]
    turned = PRESETS[str(card.preprocessing.scaling)] == "caffe"

    def scaled(pictures: tf.Tensor) -> tf.Tensor:
        if turned:
            pictures = tf.reverse(pictures, [3])
        return pictures * ((white - black) / np.float32(255)) + black

    return scaled


def one_hot(data: Dataset, name: str, smoothing: float = 0.0) -> npt.NDArray[np.float32]:
    """The labels of a split: float32, (pictures, labels), rows that add up to 1."""
    labels = len(data.labels)
    truth = np.eye(labels, dtype=np.float32)[data.splits[name].targets]
    return truth * np.float32(1 - smoothing) + np.float32(smoothing / labels)


class Features:
    """What a frozen network computes of each picture, once, kept in files.

    Args:
        data, recipe, card: the card's size is the network's.
        base: pictures -> features.
        augment: of the views besides the picture as it is served.
        folder: for the files, which several runs may share.
    """

    def __init__(
        self,
        data: Dataset,
        recipe: Recipe,
        card: ModelCard,
        base: keras.Model,
        augment: Augmentation,
        folder: Path,
    ) -> None:
        weights = hashlib.sha256(b"".join(array.tobytes() for array in base.get_weights()))
        self._key = (
            weights.hexdigest(), data.sha256, recipe.seed, recipe.mix, recipe.resize, card.height,
            dataclasses.astuple(recipe.augmentation),
        )  # fmt: skip
        self._folder, self._base = folder, base
        images = stored(data, "train", card, folder)
        truth = one_hot(data, "train", recipe.label_smoothing)
        size = min(BATCH, len(images))
        crops = training(images, truth, card, size, augment, recipe.seed)
        views = [self._view("train", served(images, truth, card), -(-len(images) // BATCH))]
        views += [
            self._view(f"view {number} of {recipe.views}", crops, len(images) // size)
            for number in range(1, recipe.views + 1)
        ]
        self._train = tuple(np.concatenate(arrays) for arrays in zip(*views, strict=True))
        held_back = stored(data, "validation", card, folder)
        plain = served(held_back, one_hot(data, "validation"), card)
        self.validation = tf.data.Dataset.from_tensors(
            self._view("validation", plain, -(-len(held_back) // BATCH))
        )

    def training(self, batch_size: int, seed: int) -> tf.data.Dataset:
        """Features and labels of all views: shuffled, without end."""
        rows = tf.data.Dataset.from_tensor_slices(self._train)
        rows = rows.shuffle(len(self._train[0]), seed).repeat()
        return rows.batch(batch_size, drop_remainder=True).prefetch(2)

    def _view(
        self, name: str, batches: tf.data.Dataset, steps: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        path = self._folder / f"features-{_key((self._key, name))}.npz"
        if not path.exists():
            print(f"features of the frozen network, {name}: computed once", flush=True)
            features, truth = [], []
            for pictures, labels in batches.take(steps):
                features.append(self._base.predict_on_batch(pictures))
                truth.append(labels.numpy())
            draft = path.with_suffix(".part")
            with draft.open("wb") as file:
                np.savez(file, features=np.concatenate(features), truth=np.concatenate(truth))
            draft.replace(path)
        with np.load(path) as file:
            return file["features"], file["truth"]


def _key(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
