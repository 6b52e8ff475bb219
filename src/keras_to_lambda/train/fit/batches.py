"""Batches: what a step of `fit` sees, augmented pictures or a frozen network's features."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from keras_to_lambda.runtime.image.preprocess import prepare, scale
from keras_to_lambda.runtime.model_file.card import PRESETS, ModelCard
from keras_to_lambda.train.data.dataset import DataError, Dataset, Split, prefetch
from keras_to_lambda.train.fit.recipe import Recipe

BATCH = 64  # where no recipe decides
RESERVE = 500_000_000  # bytes of the disk that decoded pictures leave to checkpoints and others
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Augmentation = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def square(split: Split, row: int, card: ModelCard) -> Pixels:
    """A picture as the card resizes it: uint8, (height, width, channels)."""
    steps = dataclasses.replace(card.preprocessing, scaling="raw")
    raw = dataclasses.replace(card, preprocessing=steps)
    return np.asarray(prepare(split.picture(row, raw), raw), np.uint8)


def stored(data: Dataset, name: str, card: ModelCard, folder: Path) -> Pixels:
    """All pictures of a split as the card resizes them, decoded once into a file.

    Returns:
        uint8, (pictures, height, width, channels), mapped into memory.
    """
    split = data.splits[name]
    how = data.sha256, members(split), card.height, card.channels
    path = folder / f"{name}-{_key(how)}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shape = (len(split), card.height, card.width, card.channels)
        needed, free = math.prod(shape), shutil.disk_usage(folder).free
        if needed > free - RESERVE:
            raise DataError(
                f"the decoded pictures take {_bytes(needed)}, and {_bytes(RESERVE)} must stay "
                f"free; the disk of {folder} has {_bytes(free)} free: choose a smaller --size, or "
                "another disk with -o"
            )
        draft = path.with_suffix(".part")
        file = np.lib.format.open_memmap(draft, mode="w+", dtype=np.uint8, shape=shape)
        pictures = prefetch(lambda row: square(split, row, card), range(len(split)), name)
        for row, picture in enumerate(pictures):
            file[row] = picture
        file.flush()
        draft.replace(path)
    images: Pixels = np.load(path, mmap_mode="r")
    return images


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def members(split: Split) -> str:
    """A hash over which pictures of the data a split has: the seed decides that."""
    return _key((list(split.names), split.targets.tolist()))


def training(
    images: Pixels, truth: Floats, card: ModelCard, size: int, augment: Augmentation, seed: int
) -> tf.data.Dataset:
    """Batches of augmented pictures, scaled as the card says, and their labels: without end."""
    rows = tf.data.Dataset.range(len(images)).shuffle(len(images), seed).repeat()
    # Two at a time: the processor has other work while the network waits for none.
    return _loaded(rows.batch(size, drop_remainder=True), images, truth, card, augment, parallel=2)


def served(images: Pixels, truth: Floats, card: ModelCard) -> tf.data.Dataset:
    """All pictures once, in order, as they are served, and their labels."""
    return _loaded(tf.data.Dataset.range(len(images)).batch(BATCH), images, truth, card)


def _loaded(
    rows: tf.data.Dataset,
    images: Pixels,
    truth: Floats,
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


def one_hot(data: Dataset, name: str) -> Floats:
    """The labels of a split: float32, (pictures, labels)."""
    return np.eye(len(data.labels), dtype=np.float32)[data.splits[name].targets]


def features(
    data: Dataset,
    recipe: Recipe,
    card: ModelCard,
    base: keras.Model,
    augment: Augmentation,
    folder: Path,
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Features that a frozen network computes once, and labels: for training and validation.

    Args:
        card: of the network's size. base: pictures -> features.
        augment: of the views besides the picture as it is served.
        folder: for files of the features, which several runs may share.
    """
    weights = hashlib.sha256(b"".join(array.tobytes() for array in base.get_weights()))
    key = (
        weights.hexdigest(), data.sha256, recipe.seed, card.height,
        dataclasses.astuple(recipe.augmentation),
    )  # fmt: skip

    def view(name: str, steps: Iterable[tuple[tf.Tensor, tf.Tensor]]) -> tuple[Floats, Floats]:
        path = folder / f"features-{_key((key, name))}.npz"
        if not path.exists():
            print(f"features of the frozen network, {name}: computed once", flush=True)
            pairs = [(base.predict_on_batch(images), labels.numpy()) for images, labels in steps]
            found, truth = map(np.concatenate, zip(*pairs, strict=True))
            draft = path.with_suffix(".part")
            with draft.open("wb") as file:
                np.savez(file, features=found, truth=truth)
            draft.replace(path)
        with np.load(path) as arrays:
            return arrays["features"], arrays["truth"]

    images, truth = stored(data, "train", card, folder), one_hot(data, "train")
    size = min(BATCH, len(images))
    crops = training(images, truth, card, size, augment, recipe.seed).take(len(images) // size)
    views = [view("train", served(images, truth, card))]
    if recipe.views:  # in one file, as each view continues the random numbers of the one before
        steps = itertools.chain.from_iterable([crops] * recipe.views)
        views.append(view(f"{recipe.views} augmented views", steps))
    held_back = served(stored(data, "validation", card, folder), one_hot(data, "validation"), card)
    found, labels = map(np.concatenate, zip(*views, strict=True))
    return (found, labels), view("validation", held_back)


def _key(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
