"""Photos: files with their labels, in class folders or in a list."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_to_lambda.class_folders import ignored
from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.image.decode import decode
from keras_to_lambda.runtime.model_file.card import Preprocessing
from keras_to_lambda.train.data.dataset import (
    SPLIT_NAMES,
    SPLITS,
    DataError,
    Dataset,
    Split,
    completed,
    prefetch,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from PIL import Image

    from keras_to_lambda.runtime.model_file.card import ModelCard

MAX_PIXELS = 100_000_000  # of one photo: a large camera, not a decompression bomb


@dataclass(frozen=True, slots=True)
class Photos(Split):
    """One split of files.

    paths: sorted by label, then by name.
    """

    paths: tuple[Path, ...]

    def name(self, index: int) -> str:
        return "/".join(self.paths[index].parts[-2:])

    def path(self, index: int) -> Path:
        return self.paths[index]

    def picture(self, index: int, card: ModelCard) -> Image.Image:
        data = self.paths[index].read_bytes()
        return decode(data, card.preprocessing, card.channels, MAX_PIXELS)


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """A file of the data. split: a name of SPLITS; "train" where the data has no split."""

    path: Path
    label: str
    split: str = "train"


def found(root: Path, other: Collection[str] = ()) -> bool:
    """Whether a folder has class folders, or splits with class folders in them.

    Args:
        other: names of folders that are no classes.
    """
    if any(_filled(top) for top in _folders(root) if top.name.lower() in SPLIT_NAMES):
        return True
    return len([folder for folder in _filled(root) if folder.name not in other]) >= 2


def load(root: Path, seed: int) -> Dataset:
    """Find the photos in class folders, at any depth, and check that each can be decoded.

    Args:
        root: holds train, validation and test (or other names of SPLIT_NAMES) with a folder for
            each class, or the class folders alone. An empty class folder is a label, as in Keras'
            flow_from_directory.
        seed: of the photos that are set aside for a missing split.

    Raises:
        DataError: a split is there twice, or without train; fewer than two classes; a class of
            another split that train lacks; a class or a split of which no photo can be read.
    """
    tops: dict[str, Path] = {}
    for folder in _folders(root):
        split = SPLIT_NAMES.get(folder.name.lower())
        if split and _filled(folder) and tops.setdefault(split, folder) != folder:
            raise DataError(
                f"{root} has both {tops[split].name}/ and {folder.name}/: keep one of them"
            )
    tops = tops or {"train": root}
    if "train" not in tops:
        other = next(iter(tops.values())).name
        raise DataError(f"{root} has {other}/ but lacks train/: give both, or only class folders")
    labels = [folder.name for folder in _folders(tops["train"])]
    if len(_filled(tops["train"])) < 2:
        raise DataError(
            f"{tops['train']} has fewer than two class folders with photos; name one folder after "
            "each label"
        )
    for top in tops.values():
        if unknown := sorted({folder.name for folder in _filled(top)} - set(labels)):
            raise DataError(f"{top} has classes that train/ lacks: {', '.join(unknown)}")
    members = [
        PhotoFile(path, folder.name, split)
        for split, top in tops.items()
        for folder in _folders(top)
        for path in _files(folder)
    ]
    return assemble(root, members, seed, labels=labels)


def assemble(
    root: Path,
    members: Sequence[PhotoFile],
    seed: int,
    head: bytes = b"",
    labels: Sequence[str] | None = None,
) -> Dataset:
    """Check that each file can be decoded, and split them.

    Args:
        root: the files' names are relative to it. members: the files, each once.
        head: hashed before the files. labels: sorted; default: those of the members.

    Raises:
        DataError: a split, or a class with files, has no photo that can be read.
    """
    labels = labels or sorted({member.label for member in members})
    reasons, digest = _check(root, [member.path for member in members], head)
    place = {label: number for number, label in enumerate(labels)}
    given: dict[str, list[tuple[Path, int]]] = {name: [] for name in SPLITS}
    for member in members:
        if not reasons[member.path]:
            given[member.split].append((member.path, place[member.label]))
    # A split of the data that cannot be read is not replaced by another one in silence.
    for name in {member.split for member in members} - {"train"}:
        if not given[name]:
            raise DataError(f"no photo for {name} can be read: at least one is needed")
    splits = completed(given, seed)
    empty = set(labels) - {member.label for member in members}
    broken = [(_name(root, path), reason) for path, reason in reasons.items() if reason]
    broken += [(f"{label}/", "class folder without photos; kept as a label") for label in empty]
    return Dataset(
        labels=tuple(labels),
        splits={name: _photos(splits[name]) for name in SPLITS},
        broken=tuple(broken),
        sha256=digest,
    )


def _folders(top: Path) -> list[Path]:
    return sorted(path for path in top.iterdir() if path.is_dir() and not ignored(path.name))


def _filled(top: Path) -> list[Path]:
    """The class folders with files in them."""
    return [folder for folder in _folders(top) if _files(folder)]


def _files(folder: Path) -> list[Path]:
    """All files below a folder, sorted; those of tools left out."""
    return sorted(
        Path(place, name)
        for place, _, names in os.walk(folder)
        if not any(ignored(part) for part in Path(place).relative_to(folder).parts)
        for name in names
        if not ignored(name)
    )


def _check(root: Path, paths: list[Path], head: bytes) -> tuple[dict[Path, str], str]:
    """The reason why each file cannot be used ("" if it can), and the hash over all of them."""

    def look(path: Path) -> tuple[bytes, str]:
        data = b""
        try:
            data = path.read_bytes()
            decode(data, Preprocessing(), 3, MAX_PIXELS)
        except FileNotFoundError:
            return b"", "no such file"
        except (OSError, ClassifierError) as error:
            reason = error.strerror if isinstance(error, OSError) else error.message
            return data and hashlib.sha256(data).digest(), reason or str(error)
        return hashlib.sha256(data).digest(), ""

    ordered = sorted(paths, key=lambda path: _name(root, path))
    whole = hashlib.sha256(head)
    reasons = {}
    for path, (digest, reason) in zip(ordered, prefetch(look, ordered, "photos"), strict=True):
        whole.update(os.fsencode(_name(root, path)) + b"\0" + digest)
        reasons[path] = reason
    return reasons, whole.hexdigest()


def _name(root: Path, path: Path) -> str:
    """Relative to the data's folder: the same on any machine."""
    return Path(os.path.relpath(path, root)).as_posix()


def _photos(members: list[tuple[Path, int]]) -> Photos:
    members = sorted(members, key=lambda member: (member[1], member[0]))
    return Photos(
        targets=np.array([target for _, target in members], np.int32),
        paths=tuple(path.absolute() for path, _ in members),
    )
