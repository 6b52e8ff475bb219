"""Dataset: labelled pictures, split for training, validation and test."""

from __future__ import annotations

import dataclasses
import io
import itertools
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from keras_to_lambda.runtime.errors import UserError
from keras_to_lambda.runtime.image.preprocess import prepare, resize
from keras_to_lambda.runtime.model.card import ModelCard, Preprocessing
from keras_to_lambda.train.data.ahead import ahead

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from PIL import Image

SPLITS = ("train", "validation", "test")
HELD_OUT = 0.1  # share of each class for validation, and for test, where the data has no split


class _Ordered(Protocol):
    def __lt__(self, other: object, /) -> bool: ...


T = TypeVar("T", bound=_Ordered)


class DataError(UserError):
    """The pictures cannot be trained on; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class Split(ABC):
    """Pictures of one split, in a fixed order.

    targets: int32, (pictures,): the position of each one's label among the data's labels.
    """

    targets: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.targets)

    @abstractmethod
    def name(self, index: int) -> str:
        """What a person finds the picture by: a path, or a row of a file."""

    @abstractmethod
    def picture(self, index: int, card: ModelCard) -> Image.Image:
        """The picture at its own size, as the function decodes it: mode RGB, or L for one channel.

        Raises:
            ClassifierError: the file has changed since it was checked.
        """

    def file(self, index: int, card: ModelCard) -> bytes:
        """The picture as a file that the function takes: PNG, if it comes from no file."""
        buffer = io.BytesIO()
        self.picture(index, card).save(buffer, "PNG")
        return buffer.getvalue()

    def path(self, index: int) -> Path | None:
        """The picture's file; None for pictures in arrays."""
        return None

    def square(self, index: int, card: ModelCard, side: int) -> npt.NDArray[np.uint8]:
        """The picture as the card resizes it, but to `side`: uint8, (side, side, channels)."""
        small = dataclasses.replace(card, height=side, width=side)
        return resize(self.picture(index, small), small).astype(np.uint8)

    def each(self, card: ModelCard) -> Iterator[Image.Image]:
        """All pictures in order, decoded by all cores, a few ahead of who asks."""
        return ahead(lambda index: self.picture(index, card), range(len(self)))

    def pixels(self, card: ModelCard, side: int, told: str = "") -> Iterator[npt.NDArray[np.uint8]]:
        """Each as the card resizes it, but to `side`: uint8, (side, side, channels), 0..255.

        told: as for `ahead`.
        """
        return ahead(lambda index: self.square(index, card, side), range(len(self)), told)

    def tensors(self, card: ModelCard, most: int = 64) -> Iterator[npt.NDArray[np.float32]]:
        """All as the function serves them, in batches: float32, (most, height, width, channels).

        The last batch has what is left.
        """
        served = ahead(lambda index: prepare(self.picture(index, card), card), range(len(self)))
        while batch := list(itertools.islice(served, most)):
            yield np.stack(batch)


@dataclass(frozen=True, slots=True)
class Joined(Split):
    """The pictures of several splits, one split after the other."""

    parts: tuple[Split, ...]

    @classmethod
    def of(cls, parts: Iterable[Split]) -> Joined:
        kept = tuple(parts)
        return cls(np.concatenate([part.targets for part in kept]), kept)

    def _found(self, index: int) -> tuple[Split, int]:
        for part in self.parts:
            if index < len(part):
                return part, index
            index -= len(part)
        raise IndexError(index)

    def name(self, index: int) -> str:
        part, index = self._found(index)
        return part.name(index)

    def path(self, index: int) -> Path | None:
        part, index = self._found(index)
        return part.path(index)

    def picture(self, index: int, card: ModelCard) -> Image.Image:
        part, index = self._found(index)
        return part.picture(index, card)

    def file(self, index: int, card: ModelCard) -> bytes:
        part, index = self._found(index)
        return part.file(index, card)


joined = Joined.of
prefetch = ahead


@dataclass(frozen=True, slots=True)
class Dataset:
    """All splits.

    labels: what the pictures show, in the order of the targets.
    splits: by name, as in SPLITS.
    broken: files that were left out, each with the reason.
    sha256: of the names and contents of all files, broken ones included.
    shape: rows, columns and channels of pictures that are all alike; None for photos of any size.
    """

    labels: tuple[str, ...]
    splits: dict[str, Split]
    broken: tuple[tuple[str, str], ...]
    sha256: str
    shape: tuple[int, int, int] | None = None


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


def stratified(
    members: Sequence[tuple[T, int]],
    seed: int,
    validation: float = HELD_OUT,
    test: float = HELD_OUT,
) -> dict[str, list[tuple[T, int]]]:
    """Split at random, each class by itself: the same seed gives the same split on any machine.

    Args:
        members: paths, or whatever else can be sorted, and targets.
        validation, test: their shares of each class; at least one of it, if not 0.
    """
    splits: dict[str, list[tuple[T, int]]] = {name: [] for name in SPLITS}
    for target in sorted({target for _, target in members}):
        own = sorted(path for path, seen in members if seen == target)
        random.Random(f"{seed}/{target}").shuffle(own)  # noqa: S311  no secret depends on it
        first, second = (
            max(1, round(share * len(own))) if share else 0 for share in (validation, test)
        )
        splits["validation"] += [(path, target) for path in own[:first]]
        splits["test"] += [(path, target) for path in own[first : first + second]]
        splits["train"] += [(path, target) for path in own[first + second :]]
    return splits


def completed(
    given: dict[str, list[tuple[T, int]]], seed: int, validation: float, test: float
) -> dict[str, list[tuple[T, int]]]:
    """The three splits from what the data has: what is missing is set aside from train.

    Args:
        given: members by split; "train" at least. What is of no split stands under "train".
        validation, test: shares of each class of train, where they are missing.
    """
    kept = {name: given[name] for name in ("validation", "test") if given.get(name)}
    made = stratified(
        given["train"],
        seed,
        0.0 if "validation" in kept else validation,
        0.0 if "test" in kept else test,
    )
    return {**made, **kept}
