"""Photos: files of pictures with their labels, in class folders or in a list."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_to_lambda.class_folders import ignored
from keras_to_lambda.runtime.errors import ClassifierError
from keras_to_lambda.runtime.image.decode import decode
from keras_to_lambda.runtime.model.card import Preprocessing
from keras_to_lambda.train.data.ahead import ahead
from keras_to_lambda.train.data.dataset import (
    HELD_OUT,
    SPLITS,
    DataError,
    Dataset,
    Split,
    completed,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from PIL import Image

    from keras_to_lambda.runtime.model.card import ModelCard

MAX_PIXELS = 100_000_000  # of one photo: what a large camera takes, not a decompression bomb
# What people call the folders of a split.
NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True, slots=True)
class Photos(Split):
    """One split of files.

    paths: the files, sorted by label, then by name.
    """

    paths: tuple[Path, ...]

    def name(self, index: int) -> str:
        return "/".join(self.paths[index].parts[-2:])

    def path(self, index: int) -> Path | None:
        return self.paths[index]

    def file(self, index: int, card: ModelCard) -> bytes:
        """The photo's own bytes."""
        return self.paths[index].read_bytes()

    def picture(self, index: int, card: ModelCard) -> Image.Image:
        return decode(self.file(index, card), card.preprocessing, card.channels, MAX_PIXELS)


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the data. split: a name of SPLITS, or "train" where the data names none."""

    path: Path
    label: str
    split: str = "train"


def found(root: Path, other: Collection[str] = ()) -> bool:
    """Whether a folder has class folders, or splits with class folders in them.

    Args:
        root: the folder.
        other: names of folders that are no classes.
    """
    splits = [path for path in root.iterdir() if path.is_dir() and path.name.lower() in NAMES]
    return any(_classes(top) for top in splits) or len(_classes(root) - set(other)) >= 2


def load(root: Path, seed: int) -> Dataset:
    """Find the photos in class folders, and check that each can be decoded.

    Args:
        root: holds train, validation and test (or `val`, `valid`, `dev`, `training`, `testing`),
            each with a folder for each class, or the class folders alone. Of train, a tenth of each
            class is set aside for each of validation and test that is missing.
        seed: of the split.

    Raises:
        DataError: no such folder, no two classes, a split or a class without photos.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    return assemble(root, members(root), seed)


def members(root: Path) -> list[Member]:
    """The files of the class folders; hidden ones (.DS_Store) left out.

    Raises:
        DataError: a split is there twice, or others are there but train is not; two classes are
            not there; a class of another split is not in train.
    """
    tops: dict[str, Path] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if (split := NAMES.get(folder.name.lower())) is None:
            continue
        if split in tops:
            raise DataError(
                f"{root} has both {tops[split].name}/ and {folder.name}/: keep one of them"
            )
        tops[split] = folder
    if tops and "train" not in tops:
        other = next(iter(tops.values())).name
        raise DataError(f"{root} has {other}/ but lacks train/: give both, or only class folders")
    given = {name: _by_label(top) for name, top in (tops or {"train": root}).items()}
    if len(given["train"]) < 2:
        raise DataError(
            f"{tops.get('train', root)} holds {len(given['train'])} class folders: at least two "
            "are needed, each named for its label and with photos in it"
        )
    for name, classes in given.items():
        if not classes:
            raise DataError(
                f"{tops[name]} has no class folders with photos: put some there, or remove it"
            )
        if unknown := sorted(set(classes) - set(given["train"])):
            raise DataError(f"{tops[name]} has classes that train/ lacks: {', '.join(unknown)}")
    return [
        Member(path, label, name)
        for name, classes in given.items()
        for label, paths in classes.items()
        for path in paths
    ]


def assemble(
    root: Path,
    members: Sequence[Member],
    seed: int,
    validation: float = HELD_OUT,
    test: float = HELD_OUT,
    head: bytes = b"",
) -> Dataset:
    """Check that each file can be decoded, and split them.

    Args:
        root: what the files' names are relative to.
        members: the files, each once. Labels are numbered in sorted order.
        seed, validation, test: as for `completed`.
        head: what else the data consists of: goes into its hash before the files.

    Raises:
        DataError: a split or a class has no photo that can be read.
    """
    labels = tuple(sorted({member.label for member in members}))
    reasons, digest = _check(root, [member.path for member in members], head)
    given: dict[str, list[tuple[Path, int]]] = {name: [] for name in SPLITS}
    for member in members:
        if not reasons[member.path]:
            given[member.split].append((member.path, labels.index(member.label)))
    # A split that the data has, and of which nothing can be read, is not quietly made anew.
    for name in {member.split for member in members} - {"train"}:
        if not given[name]:
            raise DataError(f"no photo for {name} can be read: at least one is needed")
    splits = completed(given, seed, validation, test)
    for target, label in enumerate(labels):
        if not any(seen == target for _, seen in splits["train"]):
            raise DataError(
                f"no photo of {label!r} to train on can be read (where train is split, a class "
                "needs at least three of them)"
            )
    return Dataset(
        labels=labels,
        splits={name: _photos(splits[name]) for name in SPLITS},
        broken=tuple((_name(root, path), reason) for path, reason in reasons.items() if reason),
        sha256=digest,
    )


def _classes(top: Path) -> set[str]:
    """The names of the class folders: those with files in them."""
    folders = [path for path in top.iterdir() if path.is_dir() and not ignored(path.name)]
    return {folder.name for folder in folders if next(_files(folder), None)}


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file() and not ignored(path.name))


def _by_label(top: Path) -> dict[str, list[Path]]:
    """The files of each class folder, sorted."""
    return {label: sorted(_files(top / label)) for label in sorted(_classes(top))}


def _check(root: Path, paths: list[Path], head: bytes) -> tuple[dict[Path, str], str]:
    """Why each file cannot be used ("" if it can), and the hash over all of them."""

    def look(path: Path) -> tuple[bytes, str]:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return b"", "no such file"
        except OSError as error:
            return b"", error.strerror or str(error)
        digest = hashlib.sha256(data).digest()
        try:
            decode(data, Preprocessing(), 3, MAX_PIXELS)
        except ClassifierError as error:
            return digest, error.message
        return digest, ""

    ordered = sorted(paths, key=lambda path: _name(root, path))
    whole = hashlib.sha256(head)
    reasons = {}
    for path, (digest, reason) in zip(ordered, ahead(look, ordered, "photos"), strict=True):
        whole.update(os.fsencode(_name(root, path)) + b"\0" + digest)
        reasons[path] = reason
    return reasons, whole.hexdigest()


def _name(root: Path, path: Path) -> str:
    """Relative to the data's folder, also where it leaves it: the same on any machine."""
    return Path(os.path.relpath(path, root)).as_posix()


def _photos(members: list[tuple[Path, int]]) -> Photos:
    members = sorted(members, key=lambda member: (member[1], member[0]))
    return Photos(
        targets=np.array([target for _, target in members], np.int32),
        paths=tuple(path for path, _ in members),
    )
