"""Photos: files with their labels, in class folders or in a list."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_to_lambda.class_folders import files, folded, folders, unwrapped
from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.image.decode import decode
from keras_to_lambda.runtime.model_file.card import Preprocessing
from keras_to_lambda.train.data.dataset import (
    MAX_PIXELS,
    SPLIT_NAMES,
    SPLITS,
    DataError,
    Dataset,
    Split,
    completed,
    prefetch,
)


class PhotoFile(NamedTuple):
    """A file of the data. split: a name of SPLITS; "train" where the data has no split."""

    path: Path
    label: str
    split: str = "train"


def found(root: Path, other: Collection[str] = ()) -> bool:
    """Whether a folder has class folders, or splits with class folders in them.

    other: names of folders that are no classes.
    """
    if any(any(_classes(top).values()) for top in _splits(root)):
        return True
    return sum(bool(own) and name not in other for name, own in _classes(root).items()) >= 2


def load(root: Path, seed: int) -> Dataset:
    """Find the photos in class folders, at any depth, and check that each can be decoded.

    Args:
        root: holds train, validation and test (or other names, see _splits) with a folder for
            each class, or the class folders alone. An empty class folder is a label, as in Keras'
            flow_from_directory.
        seed: of the photos that are set aside for a missing split.
    """
    splits: dict[str, dict[str, list[Path]]] = {}
    unlabelled: dict[Path, str] = {}
    for top, name in _splits(root).items():
        own = _classes(unwrapped(top))
        if not any(own.values()):
            unlabelled[top] = name
        elif splits.setdefault(name, own) is not own:
            raise DataError(f"{root} has {top.name}/ and another {name} split: keep one of them")
    for top, name in unlabelled.items():
        if splits and name not in splits:  # otherwise it is a class
            count = len(files(top))
            what = f"{count} files but no class folders: they have no labels and are not used"
            print(
                f"{top} has {what if count else 'no files'}; the {name} split is set aside from "
                "train",
                file=sys.stderr,
            )
    splits = splits or {"train": _classes(root)}
    if "train" not in splits:
        others = "/ and ".join(splits)
        raise DataError(f"{root} has {others}/ but lacks train/: give both, or only class folders")
    labels = list(splits["train"])
    if sum(map(bool, splits["train"].values())) < 2:
        raise DataError(
            f"{root} has fewer than two class folders with photos to train on; name one folder "
            "after each label"
        )
    for name, classes in splits.items():
        if unknown := [label for label, own in classes.items() if own and label not in labels]:
            raise DataError(f"{name} has classes that train/ lacks: {', '.join(unknown)}")
    members = [
        PhotoFile(path, label, name)
        for name, classes in splits.items()
        for label, own in classes.items()
        for path in own
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
    """
    labels = labels or sorted({member.label for member in members})
    broken, digest = _check(root, [member.path for member in members], head)
    place = {label: number for number, label in enumerate(labels)}
    given: dict[str, list[tuple[Path, int]]] = {name: [] for name in SPLITS}
    for path, label, split in members:
        if path not in broken:
            given[split].append((path, place[label]))
    # A split or label of the data that cannot be read is not replaced or kept in silence.
    for kind in ("split", "label"):
        files_of: dict[str, list[Path]] = {}
        for member in members:
            files_of.setdefault(getattr(member, kind), []).append(member.path)
        for name, own in files_of.items():
            if all(path in broken for path in own):
                raise DataError(
                    f"{name}: no picture can be read: {_name(root, own[0])}: {broken[own[0]]}; "
                    f"{len(own)} files in all"
                )
    faults = [(_name(root, path), reason) for path, reason in broken.items()]
    splits = completed(given, seed)
    return Dataset(
        tuple(labels), {name: _split(splits[name]) for name in SPLITS}, tuple(faults), digest,
        own_test=bool(given["test"]),
    )  # fmt: skip


def _split(members: list[tuple[Path, int]]) -> Split:
    members = sorted(members, key=lambda member: (member[1], member[0]))
    paths = [path.absolute() for path, _ in members]
    targets = np.array([target for _, target in members], np.int32)
    return Split(targets, ["/".join(path.parts[-2:]) for path in paths], paths)


def _splits(root: Path) -> dict[Path, str]:
    """The folders named after a split: Testing, test_set, or seg_test beside a seg_train."""
    found = {}
    for top in folders(root):
        start, _, word = folded(top.name).removesuffix(" set").rpartition(" ")
        if word in SPLIT_NAMES:
            found[top] = (start, SPLIT_NAMES[word])
    starts = Counter(start for start, _ in found.values())
    return {top: name for top, (start, name) in found.items() if not start or starts[start] > 1}


def _classes(top: Path) -> dict[str, list[Path]]:
    """The files below each class folder; what is not an image is a fault."""
    return {folder.name: files(folder) for folder in folders(top)}


def _check(root: Path, paths: list[Path], head: bytes) -> tuple[dict[Path, str], str]:
    """The files that cannot be used, each with the reason, and the hash over all files."""

    def look(path: Path) -> tuple[bytes, str]:
        data: bytes = b""
        reason: str | None = None
        try:
            data = path.read_bytes()
            decode(data, Preprocessing(), 3, MAX_PIXELS)
        except FileNotFoundError:
            reason = "no such file"
        except (OSError, ClassifierError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
        return data and hashlib.sha256(data).digest(), reason or ""

    names = {path: _name(root, path) for path in paths}
    ordered = sorted(paths, key=names.__getitem__)
    whole, broken = hashlib.sha256(head), {}
    for path, (digest, reason) in zip(ordered, prefetch(look, ordered, "photos"), strict=True):
        whole.update(os.fsencode(names[path]) + b"\0" + digest)
        if reason:
            broken[path] = reason
    return broken, whole.hexdigest()


def _name(root: Path, path: Path) -> str:
    """Relative to the data's folder: the same on any machine."""
    return Path(os.path.relpath(path, root)).as_posix()
