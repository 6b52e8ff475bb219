"""Photos: files of pictures with their labels, split for training, validation and test."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from classifier.decode import decode
from classifier.errors import ClassifierError
from classifier.preprocess import prepare, resize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL import Image

    from classifier.card import ModelCard

SPLITS = ("train", "validation", "test")
HELD_OUT = 0.1  # share of each class for validation, and for test, where the data has no split
MAX_PIXELS = 100_000_000  # of one photo: what a large camera takes, not a decompression bomb


T = TypeVar("T", Path, int)


class DataError(Exception):
    """The photos cannot be trained on; the message says what to do about it."""


class Split(Protocol):
    """Pictures of one split; see Photos, and `idx.Pictures`.

    targets: int32, (pictures,): the position of each one's label among the data's labels.
    """

    targets: npt.NDArray[np.int32]

    def __len__(self) -> int: ...

    def pixels(self, card: ModelCard, side: int) -> npt.NDArray[np.uint8]:
        """As the card resizes them, but to `side`: uint8, (pictures, side, side, channels)."""

    def tensors(self, card: ModelCard) -> npt.NDArray[np.float32]:
        """As the function serves them: float32, (pictures, height, width, channels)."""


@dataclass(frozen=True, slots=True)
class Photos:
    """One split.

    paths: the files, sorted by label, then by name.
    targets: int32, (photos,): the position of each one's label among the data's labels.
    """

    paths: tuple[Path, ...]
    targets: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.paths)

    def pixels(self, card: ModelCard, side: int) -> npt.NDArray[np.uint8]:
        """All pictures as the card resizes them, but to `side`: uint8, (photos, side, side, 3)."""
        square = dataclasses.replace(card, height=side, width=side)
        return _stack(
            self.paths,
            lambda path: resize(read(path, square), square).astype(np.uint8),
        )

    def tensors(self, card: ModelCard) -> npt.NDArray[np.float32]:
        """All pictures as the function serves them: float32, (photos, height, width, 3)."""
        return _stack(self.paths, lambda path: prepare(read(path, card), card))


@dataclass(frozen=True, slots=True)
class Dataset:
    """All splits.

    labels: the class folders' names, sorted; or what `idx` has.
    splits: by name, as in SPLITS.
    broken: files that were left out, each with the reason.
    sha256: of the sorted relative paths and contents of all files, broken ones included.
    """

    labels: tuple[str, ...]
    splits: dict[str, Split]
    broken: tuple[tuple[str, str], ...]
    sha256: str


def load(root: Path, card_for: Callable[[tuple[str, ...]], ModelCard], seed: int) -> Dataset:
    """Find the photos under a folder, and check that each can be decoded.

    Args:
        root: holds train, validation and test, each with a folder for each class; or the class
            folders alone, which are then split by `stratified`.
        card_for: the card for these labels; photos are decoded as it says.
        seed: of the split.

    Raises:
        DataError: no such folder, no two classes, a split or a class without photos.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    given = [name for name in SPLITS if (root / name).is_dir()]
    if given and len(given) < len(SPLITS):
        missing = ", ".join(f"{name}/" for name in SPLITS if name not in given)
        raise DataError(
            f"{root} has {given[0]}/ but lacks {missing}: give all three, or only class folders"
        )
    tops = {name: root / name for name in given} or {"all": root}
    found = {name: _by_label(top) for name, top in tops.items()}
    labels = tuple(sorted(next(iter(found.values()))))
    if len(labels) < 2:
        raise DataError(
            f"{next(iter(tops.values()))} holds {len(labels)} class folders: at least two are "
            "needed, each named for its label and with photos in it"
        )
    for name, classes in found.items():
        if unknown := sorted(set(classes) - set(labels)):
            raise DataError(f"{root / name} has classes that train/ lacks: {', '.join(unknown)}")
    files = [
        (name, labels.index(label), path)
        for name, classes in found.items()
        for label, paths in classes.items()
        for path in paths
    ]
    reasons, digest = _check(root, [path for _, _, path in files], card_for(labels))
    whole = {
        name: [
            (path, target) for split, target, path in files if split == name and not reasons[path]
        ]
        for name in tops
    }
    if not given:
        whole = stratified(whole["all"], seed)
    for target, label in enumerate(labels):
        if not any(seen == target for _, seen in whole["train"]):
            raise DataError(
                f"no photo of {label!r} to train on can be read (without train/, validation/ and "
                "test/, a class needs at least three)"
            )
    for name in SPLITS:
        if not whole[name]:
            raise DataError(f"no photo for {name}: at least one is needed")
    return Dataset(
        labels=labels,
        splits={name: _photos(whole[name]) for name in SPLITS},
        broken=tuple(
            (path.relative_to(root).as_posix(), reason)
            for path, reason in reasons.items()
            if reason
        ),
        sha256=digest,
    )


def stratified(
    photos: Sequence[tuple[T, int]],
    seed: int,
    validation: float = HELD_OUT,
    test: float = HELD_OUT,
) -> dict[str, list[tuple[T, int]]]:
    """Split at random, each class by itself: the same seed gives the same split on any machine.

    Args:
        photos: paths, or whatever else can be sorted, and targets.
        validation, test: their shares of each class; at least one photo of it, if not 0.
    """
    splits: dict[str, list[tuple[T, int]]] = {name: [] for name in SPLITS}
    for target in sorted({target for _, target in photos}):
        members = sorted(path for path, seen in photos if seen == target)
        random.Random(f"{seed}/{target}").shuffle(members)  # noqa: S311  no secret depends on it
        first, second = (
            max(1, round(share * len(members))) if share else 0 for share in (validation, test)
        )
        splits["validation"] += [(path, target) for path in members[:first]]
        splits["test"] += [(path, target) for path in members[first : first + second]]
        splits["train"] += [(path, target) for path in members[first + second :]]
    return splits


def read(path: Path, card: ModelCard) -> Image.Image:
    """Decode one photo as the function does.

    Raises:
        ClassifierError: not an image that is served, or a damaged one.
    """
    return decode(path.read_bytes(), card.preprocessing, card.channels, MAX_PIXELS)


def _by_label(top: Path) -> dict[str, list[Path]]:
    """The files of each class folder, sorted; hidden ones (.DS_Store) left out."""
    classes = {}
    for folder in sorted(top.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            files = sorted(p for p in folder.iterdir() if p.is_file() and p.name[0] != ".")
            if files:
                classes[folder.name] = files
    return classes


def _check(root: Path, paths: list[Path], card: ModelCard) -> tuple[dict[Path, str], str]:
    """Why each file cannot be used ("" if it can), and the hash over all of them."""

    def look(path: Path) -> tuple[bytes, str]:
        data = path.read_bytes()
        try:
            decode(data, card.preprocessing, card.channels, MAX_PIXELS)
        except ClassifierError as error:
            return hashlib.sha256(data).digest(), error.message
        return hashlib.sha256(data).digest(), ""

    ordered = sorted(paths, key=lambda path: path.relative_to(root).as_posix())
    whole = hashlib.sha256()
    reasons = {}
    with ThreadPoolExecutor() as pool:
        for path, (digest, reason) in zip(ordered, pool.map(look, ordered), strict=True):
            whole.update(path.relative_to(root).as_posix().encode() + b"\0" + digest)
            reasons[path] = reason
    return reasons, whole.hexdigest()


def _photos(members: list[tuple[Path, int]]) -> Photos:
    members = sorted(members, key=lambda member: (member[1], member[0]))
    return Photos(
        paths=tuple(path for path, _ in members),
        targets=np.array([target for _, target in members], np.int32),
    )


def _stack(
    paths: Sequence[Path], load_one: Callable[[Path], npt.NDArray[np.generic]]
) -> np.ndarray:
    # Pillow decodes and resizes without the interpreter lock.
    with ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(load_one, paths)))
