"""Table: CSV or TSV files that name photos and their labels, or hold labels and pixels."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from keras_to_lambda.class_folders import TABLES, files
from keras_to_lambda.convert.common.conversion_errors import listed
from keras_to_lambda.train.data import arrays, photos
from keras_to_lambda.train.data.csv_table import CsvTable
from keras_to_lambda.train.data.dataset import SPLIT_NAMES, DataError, Dataset, split_named

# Beside the table; the first folder that has the photo counts.
FOLDERS = ("images", "images_original", "images_compressed", "train")
# Names of a folder's table that count before others.
NAMES = ("images", "labels", "data", "metadata", "train")
LOOKED_AT = 1 << 16  # characters of a table that say what it is


def found(root: Path) -> dict[Path, str]:
    """The tables in a folder that may describe its photos, each with its split, "" if unknown."""
    here = _readable(root)
    if not here:  # perhaps one in each split's folder, as Roboflow and Hugging Face have them
        inside = [(_readable(top), name) for top, name in photos.splits(root).items()]
        every = {own[0]: name for own, name in inside if len(own) == 1}
        return every or dict.fromkeys(_tables(root)[:1], "")
    if len(here) == 1:
        return {here[0]: ""}
    named = {path: split_named(path.stem) for path in here}
    splits = [each[0] for each in named.values() if each]
    if "train" in splits and len(set(splits)) == len(here):
        return {path: each[0] for path, each in named.items() if each}
    return dict.fromkeys([path for path in here if path.stem in NAMES] or here, "")


def _tables(root: Path) -> list[Path]:
    """All tables in a folder, but Kaggle's sample_submission.csv, whose labels are made up."""
    every = [p for p in sorted(root.iterdir()) if p.suffix.lower() in TABLES and p.is_file()]
    return [path for path in every if "submission" not in path.stem.lower()]


def _readable(root: Path) -> list[Path]:
    """Those with labels beside photos or pixels: Kaggle's test.csv has none."""
    known = []
    for path in _tables(root):
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            text = file.read(LOOKED_AT)
        with contextlib.suppress(DataError):  # said of the one that is read
            table = CsvTable(path.name, text.rpartition("\n")[0] or text)
            if table.pixels or not table.lacks:
                known.append(path)
    return known


def describes(tables: Mapping[Path, str], root: Path) -> bool:
    """Whether most of the first photos that the tables name are below the folder."""
    (path, split), *_ = tables.items()
    table = CsvTable(path.name, _text(path, path.read_bytes()))
    if table.pixels or table.lacks:
        return False
    find = _finder(root)
    names = [row.name for row, _ in zip(table.rows(), range(20), strict=False)]
    return sum(find(name, split or "train").is_file() for name in names) * 2 > len(names)


def load(tables: Mapping[Path, str], seed: int) -> Dataset:
    """Read tables, and check that each of their photos can be decoded.

    Args:
        tables: UTF-8, columns separated by commas, semicolons or tabs, each with the split of rows
            that have none ("": train). Columns: one of csv_table.PATH, the photo, relative to the
            table's folder or to one of FOLDERS in it, or a name that one file below has, the
            extension optional; one of LABEL, or a column of 0 and 1 for each label; perhaps one of
            SPLIT, with a name of SPLIT_NAMES. Or pixels, with a header (label, pixel0, ...) or
            without one (the label first).
        seed: of the photos that are set aside for a missing split.
    """
    if list(tables.values()).count("") > 1:
        raise DataError(
            f"{next(iter(tables)).parent} has {listed([path.name for path in tables])}: give the "
            "one that has the labels of the photos as DATA"
        )
    head = b""
    parts: arrays.Parts = {}
    seen: dict[Path, photos.PhotoFile] = {}
    broken: list[tuple[str, str]] = []
    root = Path(os.path.commonpath([path.parent for path in tables]))
    for path, split in tables.items():
        data = path.read_bytes()
        head += data
        table = CsvTable(path.name, _text(path, data))
        if table.pixels:
            parts[split or "train"] = table.arrays()
        else:
            broken += _members(table, path, split or "train", seen)
    if parts:
        return arrays.assemble(parts, seed, hashlib.sha256(head).hexdigest())
    labels = {member.label for member in seen.values()}
    shown = " and ".join(map(str, tables))
    if len(labels) < 2:
        raise DataError(f"{shown} has fewer than two labels")
    if all(member.split != "train" for member in seen.values()):
        raise DataError(f"{shown} has no row whose split is train")
    # Numbers are in the order of a network's outputs; names in that of folders.
    numbers = all(label.isdecimal() for label in labels)
    ordered = sorted(labels, key=lambda label: (int(label) if numbers else 0, label))
    made = photos.assemble(root, [*seen.values()], seed, ordered, head)
    return dataclasses.replace(made, broken=(*broken, *made.broken))


def _members(
    table: CsvTable, path: Path, split: str, seen: dict[Path, photos.PhotoFile]
) -> Iterator[tuple[str, str]]:
    """Add the photos of a table to those seen; the rows that are none, with the reason."""
    find = _finder(path.parent)
    for line, name, label, own in table.rows():
        if not name or not label:
            yield name or f"line {line}", "no label" if name else "no file name"
            continue
        if (own := own.lower() or split) not in SPLIT_NAMES:
            raise DataError(
                f"{path}, line {line}: unknown split {own!r}; use {', '.join(SPLIT_NAMES)}"
            )
        named = SPLIT_NAMES[own]
        member = photos.PhotoFile(find(name, named), label, named)
        first = seen.setdefault(member.path, member)
        if first != member:
            raise DataError(
                f"{path}, line {line}: {name} is {member.label!r} in {member.split}, but "
                f"{first.label!r} in {first.split} before: keep one of them"
            )


def _text(path: Path, data: bytes) -> str:
    text = data.decode("utf-8-sig", errors="replace")
    if "\0" in text or "\ufffd" in text:
        raise DataError(f"{path} is not UTF-8 text: save it as CSV in UTF-8")
    return text


def _finder(root: Path) -> Callable[[str, str], Path]:
    """Finds photos by name, with or without their extension, and the split that they are of."""

    @functools.cache
    def listing(folder: Path) -> dict[str, str]:
        """A folder's files by name, and by name without extension: the first of the same."""
        names = sorted(p.name for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []
        return {Path(name).stem: name for name in reversed(names)} | {name: name for name in names}

    @functools.cache
    def below() -> dict[str, list[Path]]:
        """All files by name, and by name without extension."""
        known: dict[str, list[Path]] = {}
        for path in files(root):
            for name in {path.name, path.stem}:
                known.setdefault(name, []).append(path)
        return known

    tops = photos.splits(root)

    def find(name: str, split: str) -> Path:
        """The file; if there is none, where it would be."""
        name = name.replace("\\", "/")
        own = sorted(tops, key=lambda top: tops[top] != split)
        places = (root, *own, *(root / folder for folder in FOLDERS))
        paths = [Path(os.path.normpath(place / name)) for place in places]
        known = (p.with_name(seen) for p in paths if (seen := listing(p.parent).get(p.name)))
        if (path := next(known, None)) is not None:
            return path
        same = below().get(Path(name).name, [])
        return same[0] if len(same) == 1 else root / name.lstrip("/")

    return find
