"""Dataset: labelled pictures, split for training, validation and test."""

from __future__ import annotations

import io
import itertools
import random
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from keras_to_lambda.runtime.common.errors import UserError
from keras_to_lambda.runtime.image.decode import decode
from keras_to_lambda.runtime.image.preprocess import prepare
from keras_to_lambda.runtime.model_file.card import ModelCard, Preprocessing

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")
SPLITS = ("train", "validation", "test")
HELD_OUT = 0.1  # share of each class for validation, and for test, where the data has no split
AHEAD = 24  # decoded pictures that wait: photos of a phone take 36 MB each
SEED = 1  # of a split, where neither an option nor a card names one
MAX_PIXELS = 100_000_000  # of one photo: a large camera, not a decompression bomb
# Tools' names for the folders, columns and arrays of a split.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "holdout"), "test"),
    # FER2013's.
    "publictest": "validation",
    "privatetest": "test",
}
# Words beside them that mean nothing: Train_Data, test_images, 1_train, trainset.
_PLAIN = ("", "data", "images", "image", "img", "imgs", "photos", "split", "csv")


class DataError(UserError):
    """The pictures or the options cannot be used; the message names the fault and the remedy.

    Any function below train/ that looks at what the user gave may raise it.
    """


@dataclass(frozen=True, slots=True)
class Split:
    """Pictures of one split, in a fixed order.

    targets: int32, (pictures,): the position of each picture's label among the data's labels.
    names: of the pictures, for people. items: files, or uint8 pixels, grey or RGB.
    """

    targets: npt.NDArray[np.int32]
    names: Sequence[str]
    items: Sequence[Path | npt.NDArray[np.uint8]] | npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.targets)

    def picture(self, index: int, card: ModelCard) -> Image.Image:
        """The picture at its own size, as the function decodes it: mode RGB, or L for one channel.

        Raises:
            ClassifierError: the file has changed since it was checked.
        """
        item = self.items[index]
        if isinstance(item, Path):
            return decode(item.read_bytes(), card.preprocessing, card.channels, MAX_PIXELS)
        return Image.fromarray(item).convert("L" if card.channels == 1 else "RGB")

    def path(self, index: int) -> Path | None:
        """The picture's file; None for a picture in an array."""
        item = self.items[index]
        return item if isinstance(item, Path) else None

    def file(self, index: int, card: ModelCard) -> bytes:
        """The picture as a file that the function takes: its own bytes, or PNG."""
        if path := self.path(index):
            return path.read_bytes()
        buffer = io.BytesIO()
        self.picture(index, card).save(buffer, "PNG")
        return buffer.getvalue()

    def tensors(self, card: ModelCard, most: int = 64) -> Iterator[npt.NDArray[np.float32]]:
        """All as the function serves them, in batches: float32, (most, height, width, channels)."""
        served = prefetch(lambda index: prepare(self.picture(index, card), card), range(len(self)))
        while batch := list(itertools.islice(served, most)):
            yield np.stack(batch)


def joined(parts: Iterable[Split]) -> Split:
    """The pictures of several splits, one split after the other."""
    kept = tuple(parts)
    return Split(
        np.concatenate([part.targets for part in kept]),
        [name for part in kept for name in part.names],
        [item for part in kept for item in part.items],
    )


@dataclass(frozen=True, slots=True)
class Dataset:
    """All splits, by the names in SPLITS.

    labels: in the order of the targets. broken: files that were left out, each with the reason.
    sha256: of the names and contents of all files, broken ones included.
    shape: rows, columns and channels of pictures in arrays; None for photos of any size.
    own_test: whether the data has a test split, and none was set aside.
    """

    labels: tuple[str, ...]
    splits: dict[str, Split]
    broken: tuple[tuple[str, str], ...]
    sha256: str
    shape: tuple[int, int, int] | None = None
    own_test: bool = True


def split_named(name: str) -> tuple[str, str] | None:
    """The split that a folder or file is named after, and the other words of its name.

    `seg_test` is ("test", "seg"), Train_Data ("train", ""); None: cat, train_test.
    """
    words = [word.removesuffix("set") for word in re.findall(r"[^\W\d_]+", name.casefold())]
    named = [SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES]
    others = [word for word in words if word not in SPLIT_NAMES and word not in _PLAIN]
    return (named[0], " ".join(others)) if len(named) == 1 else None


def neutral(data: Dataset, side: int = 1) -> ModelCard:
    """A card that decodes pictures upright and leaves their values as they are."""
    return ModelCard(
        name="neutral",
        labels=data.labels,
        height=side,
        width=side,
        channels=data.shape[2] if data.shape else 3,
        preprocessing=Preprocessing(interpolation="pillow:bilinear", scaling="raw", exif="apply"),
    )


def completed(
    given: dict[str, list[tuple[T, int]]], seed: int, test: float = HELD_OUT
) -> dict[str, list[tuple[T, int]]]:
    """The three splits of the members that the data has: a missing one is set aside from train.

    Each class is split at random by itself: the same seed gives the same split on any machine.

    Args:
        given: members (paths or rows, and targets) by split; "train" at least.
        test: share of each class for the test, where it is missing.
    """
    kept = {name: given[name] for name in SPLITS[1:] if given.get(name)}
    wanted = {"validation": HELD_OUT, "test": test}
    shares = [0.0 if name in kept else share for name, share in wanted.items()]
    made: dict[str, list[tuple[T, int]]] = {name: [] for name in SPLITS}
    for target in sorted({target for _, target in given["train"]}):
        own: list[Any] = sorted(path for path, seen in given["train"] if seen == target)
        random.Random(f"{seed}/{target}").shuffle(own)  # noqa: S311  no secret depends on it
        first, second = (max(1, round(share * len(own))) if share else 0 for share in shares)
        made["validation"] += [(path, target) for path in own[:first]]
        made["test"] += [(path, target) for path in own[first : first + second]]
        made["train"] += [(path, target) for path in own[first + second :]]
    return {**made, **kept}


def untrained(labels: Sequence[str], targets: Iterable[int]) -> str:
    """An error message if a label has no picture to train on, else ""."""
    known = set(targets)
    missing = [label for target, label in enumerate(labels) if target not in known]
    if not missing:
        return ""
    return (
        f"no picture to train on: {', '.join(missing[:5])}; each label needs one, or three where "
        "the data has no split"
    )


def prefetch(
    work: Callable[[Item], Result], items: Sequence[Item], title: str = ""
) -> Iterator[Result]:
    """`work` of each item in order, computed in threads before it is needed.

    title: of a progress bar on a terminal, after two seconds; "": none.
    """
    from tqdm import tqdm

    hidden = None if title else True  # None: unless standard error is a terminal
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor()
    try:
        for item in tqdm(items, desc=title, unit="", leave=False, delay=2, disable=hidden):
            waiting.append(pool.submit(work, item))
            if len(waiting) == AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
