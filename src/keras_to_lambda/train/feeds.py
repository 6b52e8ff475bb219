"""Feeds: what a step of training sees. Crops of the pictures, or a frozen network's features.

Which pictures a step sees, and how they are augmented, follows from the seed and the step's number
alone: a run that goes on from step n sees what it would have seen.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

from keras_to_lambda.runtime.image.preprocess import scale
from keras_to_lambda.train import augment, files, pixels
from keras_to_lambda.train.recipe import Stage
from keras_to_lambda.train.run import Run, Stopped

if TYPE_CHECKING:
    import keras

    from keras_to_lambda.runtime.model.card import ModelCard
    from keras_to_lambda.train.data.dataset import Dataset

Floats = npt.NDArray[np.float32]
BATCH = 64  # pictures at a time, where no recipe says
Batches = Iterator[tuple[tf.Tensor, tf.Tensor]]


@lru_cache(maxsize=4)
def order(pictures: int, batch_size: int, seed: int, epoch: int) -> npt.NDArray[np.int32]:
    """Which pictures each step of an epoch sees: int32, (steps, batch_size), all different."""
    rows = np.random.default_rng((seed, epoch)).permutation(pictures).astype(np.int32)
    steps = pictures // batch_size
    return rows[: steps * batch_size].reshape(steps, batch_size)


class Crops:
    """Augmented crops, made while the network is busy with those before."""

    def __init__(self, run: Run, card: ModelCard, stage: Stage) -> None:
        data = run.data
        self._recipe, self._card, self._stage = run.recipe, card, stage
        side = round(augment.MARGIN * stage.size)
        if data.shape is not None:
            # Enlarged pictures on the disk would say no more than small ones.
            side = min(side, max(data.shape[:2]))
        self._targets = data.splits["train"].targets
        self._labels = len(data.labels)
        self._pixels = pixels.stored(data, "train", card, side, run.cache)

    def steps(self, first: int, last: int, batch_size: int) -> Batches:
        """The steps of a run from `first` to before `last`, counted over all epochs.

        Yields:
            Crops, float32, (batch_size, size, size, channels), scaled as the card says, and their
            labels, float32, (batch_size, labels), rows that add up to 1.
        """
        steps = len(self._targets) // batch_size
        shape = (batch_size, *self._pixels.shape[1:])

        def look(number: np.int64) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
            epoch, step = divmod(int(number), steps)
            rows = order(len(self._targets), batch_size, self._recipe.seed, epoch)[step]
            return self._pixels[rows], self._targets[rows]

        def crops(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            images, targets = tf.numpy_function(look, [number], (tf.uint8, tf.int32))
            return self._augmented(
                tf.ensure_shape(images, shape), tf.ensure_shape(targets, shape[:1]), number
            )

        dataset = tf.data.Dataset.range(first, last)
        # Two at a time keep two cores busy while the network waits for none.
        return iter(dataset.map(crops, num_parallel_calls=2).prefetch(2))

    def view(self, number: int, batch_size: int) -> Batches:
        """All pictures once, in their order, augmented: the view of that number, from 1."""

        def crops(at: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            images = tf.numpy_function(lambda r: self._pixels[r], [rows], tf.uint8)
            images = tf.ensure_shape(images, (None, *self._pixels.shape[1:]))
            targets = tf.gather(tf.constant(self._targets), rows)
            # Steps of epochs count up from 0; these from the other end.
            return self._augmented(images, targets, -(at + 1 + number * len(self._targets)))

        rows = tf.data.Dataset.range(len(self._targets)).batch(batch_size)
        return iter(rows.enumerate().map(crops, num_parallel_calls=2).prefetch(2))

    def _augmented(
        self, images: tf.Tensor, targets: tf.Tensor, number: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        crops, truth = augment.augment(
            images,
            tf.one_hot(targets, self._labels),
            tf.stack([self._recipe.seed, tf.cast(number, tf.int32)]),
            self._stage.size,
            self._stage.mix,
            self._recipe.augmentation,
        )
        return augment.served(crops, self._card), truth


class Features:
    """What a frozen network makes of each picture: computed once, then read at every epoch.

    View 0 is the picture as it is served, the others are augmented; an epoch sees one view.
    """

    def __init__(self, run: Run, card: ModelCard, base: keras.Model) -> None:
        self._run, recipe, data = run, run.recipe, run.data
        count, width = len(data.splits["train"]), base.output_shape[-1]
        identity = {
            "weights": _digest(base),
            "data": (data.sha256, pixels.members(data.splits["train"])),
            "seed": recipe.seed,
            "pooling": recipe.head.pooling,
            "mix": recipe.mix,
            "precision": recipe.precision,
            "size": (
                card.height,
                card.channels,
                card.preprocessing.resize,
                card.preprocessing.exif,
            ),
            "augmentation": repr(recipe.augmentation) if recipe.views else "",
        }
        key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
        self._folder = run.cache / f"features-{key}"
        self._folder.mkdir(parents=True, exist_ok=True)
        see = tf.function(lambda x: base(x, training=False), reduce_retracing=True, autograph=False)
        held_back = (len(data.splits["validation"]), width)
        # One batch: features are small.
        self.validation = [
            self._view("validation", held_back, _served(card, data, "validation"), see)[0]
        ]
        views = [self._view("view-0", (count, width), _served(card, data, "train"), see)]
        if recipe.views:
            crops = Crops(run, card, Stage(card.height, 1, recipe.mix))
            views += [
                self._view(f"view-{n}", (count, width), lambda n=n: crops.view(n, BATCH), see)
                for n in range(1, recipe.views + 1)
            ]
        self._views = views

    def steps(self, first: int, last: int, batch_size: int) -> Batches:
        """As `Crops.steps`, with features, float32, (batch_size, width), for crops."""
        count = len(self._run.data.splits["train"])
        steps = count // batch_size
        for number in range(first, last):
            epoch, step = divmod(number, steps)
            rows = order(count, batch_size, self._run.recipe.seed, epoch)[step]
            features, truth = self._views[epoch % len(self._views)]
            yield tf.constant(features[rows]), tf.constant(truth[rows])

    def _view(
        self, name: str, shape: tuple[int, int], batches: Callable[[], Batches], see: tf.Function
    ) -> tuple[Floats, Floats]:
        """Features and labels of all pictures, from the files if they are there.

        Raises:
            Stopped: as asked; what there is of them is kept.
        """
        names = [self._folder / f"{name}-{what}.npy" for what in ("labels", "features")]
        shapes = [(shape[0], len(self._run.data.labels)), shape]
        if not names[1].exists():
            drafts = [path.with_suffix(".part") for path in names]
            mark = self._folder / f"{name}.batches"
            done = int(mark.read_text()) if mark.exists() else 0
            labels, features = (
                np.lib.format.open_memmap(path, "r+" if done else "w+", np.float32, whole)
                for path, whole in zip(drafts, shapes, strict=True)
            )
            told, total, saved = f"features of {name}", -(-shape[0] // BATCH), time.monotonic()
            bar = tqdm(batches(), told, total, unit="", disable=None, leave=False)
            for number, (x, truth) in enumerate(bar):
                if number < done:
                    continue
                rows = slice(number * BATCH, (number + 1) * BATCH)
                features[rows], labels[rows] = see(x), truth
                stopping = self._run.asked_to_stop
                if stopping or time.monotonic() - saved > self._run.save_every:
                    features.flush()
                    labels.flush()
                    files.write_text(mark, str(number + 1))
                    saved = time.monotonic()
                if stopping:
                    raise Stopped
            features.flush()
            labels.flush()
            for draft, path in zip(drafts, names, strict=True):
                draft.replace(path)
            mark.unlink(missing_ok=True)
        labels, features = (np.load(path, mmap_mode="r") for path in names)
        return features, labels


def _served(card: ModelCard, data: Dataset, split: str) -> Callable[[], Batches]:
    """All pictures of a split as the function serves them, with their labels."""
    one = np.eye(len(data.labels), dtype=np.float32)

    def batches() -> Batches:
        start = 0
        for tensors in data.splits[split].tensors(card, BATCH):
            targets = data.splits[split].targets[start : start + len(tensors)]
            start += len(tensors)
            yield tf.constant(tensors), tf.constant(one[targets])

    return batches


class Validation:
    """The validation pictures as the function serves them, decoded once."""

    def __init__(self, run: Run, card: ModelCard) -> None:
        self._card = card
        self._pixels = pixels.stored(run.data, "validation", card, card.height, run.cache)

    def __iter__(self) -> Iterator[Floats]:
        for start in range(0, len(self._pixels), BATCH):
            yield scale(self._pixels[start : start + BATCH].astype(np.float32), self._card)


def _digest(model: keras.Model) -> str:
    whole = hashlib.sha256()
    for weight in model.get_weights():
        whole.update(np.ascontiguousarray(weight))
    return whole.hexdigest()
