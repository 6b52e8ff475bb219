"""Photos: files with their labels, in class folders or in a list."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_to_lambda.class_folders import ClassFolders, files, folders, unwrapped
from keras_to_lambda.convert.common.conversion_errors import listed
from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.image.decode import decode
from keras_to_lambda.runtime.model_file.card import Preprocessing
from keras_to_lambda.train.data.dataset import (
    MAX_PIXELS,
    SPLITS,
    DataError,
    Dataset,
    Split,
    completed,
    prefetch,
    split_named,
)


class PhotoFile(NamedTuple):
    """A file of the data. split: a name of SPLITS; "train" where the data has no split."""

    path: Path
    label: str
    split: str = "train"


def has_classes(root: Path) -> bool:
    """Whether a folder has class folders with files."""
    return sum(map(bool, _classes(root).values())) >= 2


def has_splits(root: Path) -> bool:
    """Whether it has folders for splits, with class folders in them."""
    return any(any(_classes(unwrapped(top)).values()) for top in splits(root))


def load(root: Path, seed: int) -> Dataset:
    """Find the photos in class folders, at any depth, and check that each can be decoded.

    Args:
        root: holds train, validation and test (or other names, see `splits`) with a folder for
            each class, or the class folders alone. An empty class folder is a label, as in Keras'
            flow_from_directory.
        seed: of the photos that are set aside for a missing split.
    """
    tops = splits(root)
    parts = _parts(root, tops)
    if not parts and len(tops) > 1 and all(folder in tops for folder in folders(root)):
        raise DataError(
            f"{root} has {listed([top.name for top in tops])}, without class folders in them: move "
            f"the photos into one folder for each label, or add a table, {root / 'labels.csv'}, "
            "with the columns path and label"
        )
    if parts and (unused := [f for f in folders(root) if f not in tops and files(f)]):
        names = listed([folder.name for folder in unused])
        print(f"{root}: {names} is no split, and not used", file=sys.stderr)
    if not parts:
        parts = {"train": _classes(root)}
        for label in parts["train"]:  # Kaggle's PlantVillage has all of it in it once more
            again = {folder.name for folder in folders(root / label)} & set(parts["train"])
            if len(again) > 1:
                raise DataError(
                    f"{root / label} has folders that are labels beside it: "
                    f"{listed(sorted(again))}; give a folder that has all labels, and nothing else"
                )
    if "train" not in parts:
        others = "/ and ".join(parts)
        raise DataError(f"{root} has {others}/ but lacks train/: give both, or only class folders")
    labels = list(parts["train"])
    if sum(map(bool, parts["train"].values())) < 2:
        raise DataError(
            f"{root} has fewer than two class folders with photos to train on; name one folder "
            "after each label"
        )
    known = ClassFolders(labels)
    members = []
    for name, classes in parts.items():
        place = {label: known.place(label) for label in classes}
        if unknown := [label for label, own in classes.items() if own and place[label] is None]:
            raise DataError(f"{name} has classes that train/ lacks: {', '.join(unknown)}")
        members += [
            PhotoFile(path, labels[place[label] or 0], name)
            for label, own in classes.items()
            for path in own
        ]
    return assemble(root, members, seed, labels)


def _parts(root: Path, tops: dict[Path, str]) -> dict[str, dict[str, list[Path]]]:
    """The class folders of each split; a split without any is reported."""
    parts: dict[str, dict[str, list[Path]]] = {}
    every = {top: _classes(unwrapped(top)) for top in tops}
    known = ClassFolders(
        [label for top, own in every.items() if tops[top] == "train" for label in own]
    )
    unlabelled = []
    for top, name in tops.items():
        own = every[top]
        # Kaggle's test/test/ and test/unknown/ are no classes.
        strange = all(known.place(label) is None for label, its in own.items() if its)
        if not any(own.values()) or ("train" in tops.values() and name != "train" and strange):
            unlabelled.append(top)
        elif parts.setdefault(name, own) is not own:
            raise DataError(f"{root} has {top.name}/ and another {name} split: keep one of them")
    for top in unlabelled:
        if parts and tops[top] not in parts:  # otherwise it is a class
            count = len(files(top))
            what = (
                f"{count} files, none in a folder of a class: they have no labels and are not used"
            )
            print(
                f"{top} has {what if count else 'no files'}; the {tops[top]} split is set aside "
                "from train",
                file=sys.stderr,
            )
    return parts


def assemble(
    root: Path,
    members: Sequence[PhotoFile],
    seed: int,
    labels: Sequence[str],
    head: bytes = b"",
) -> Dataset:
    """Check that each file can be decoded, and split them.

    Args:
        root: the files' names are relative to it. members: the files, each once.
        labels: by target. head: hashed before the files.
    """
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
    made = completed(given, seed)
    return Dataset(
        tuple(labels), {name: _split(made[name]) for name in SPLITS}, tuple(faults), digest,
        own_test=bool(given["test"]),
    )  # fmt: skip


def _split(members: list[tuple[Path, int]]) -> Split:
    members = sorted(members, key=lambda member: (member[1], member[0]))
    paths = [path.absolute() for path, _ in members]
    targets = np.array([target for _, target in members], np.int32)
    return Split(targets, ["/".join(path.parts[-2:]) for path in paths], paths)


def splits(root: Path) -> dict[Path, str]:
    """The folders named after a split: Testing, test_set, or seg_test beside a seg_train."""
    found = {top: named for top in folders(root) if (named := split_named(top.name))}
    others = Counter(other for _, other in found.values())
    return {top: name for top, (name, other) in found.items() if not other or others[other] > 1}


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
