"""Table: CSV or TSV files that name photos and their labels, or hold labels and pixels."""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import io
import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from keras_to_lambda.class_folders import files
from keras_to_lambda.convert.common.conversion_errors import listed
from keras_to_lambda.train.data import arrays, photos
from keras_to_lambda.train.data.dataset import SPLIT_NAMES, DataError, Dataset, split_named

ENDINGS = (".csv", ".tsv")
# Names of the columns, in any case; the first that is there counts.
PATH = (
    *("path", "filepath", "filepaths", "imagepath", "imgpath", "file", "filename", "image", "img"),
    *("imagename", "imageid", "id"),
)
LABEL = (
    *("label", "labels", "class", "classname", "category", "target", "classid", "labelid"),
    *("breed", "species", "diagnosis", "dx", "choice"),
)
SPLIT = ("split", "set", "subset")
# Of a column with one of these names all values have to be splits: it may be something else.
PERHAPS_SPLIT = ("dataset", "partition", "phase", "usage")
# Beside the table; the first folder that has the photo counts.
FOLDERS = ("images", "images_original", "images_compressed", "train")
# Names of a folder's table that count before others.
NAMES = ("images", "labels", "data", "metadata", "train")
LOOKED_AT = 1 << 16  # characters of a table that say what it is


class Row(NamedTuple):
    """A row that names a photo. line: in the file. "" for what it does not have."""

    line: int
    name: str
    label: str
    split: str


def found(root: Path) -> dict[Path, str]:
    """The tables in a folder that may describe its photos, each with its split, "" if unknown."""
    here = _readable(root)
    if len(here) < 2:
        # One in each split's folder, as Roboflow and Hugging Face have them.
        inside = {top: _readable(top) for top in photos.splits(root) if not here}
        every = {own[0]: photos.splits(root)[top] for top, own in inside.items() if len(own) == 1}
        return every or dict.fromkeys(here or _tables(root)[:1], "")
    named = {path: split_named(path.stem) for path in here}
    splits = [each[0] for each in named.values() if each]
    if "train" in splits and len(set(splits)) == len(here):
        return {path: each[0] for path, each in named.items() if each}
    return dict.fromkeys([path for path in here if path.stem in NAMES] or here, "")


def _tables(root: Path) -> list[Path]:
    """All tables in a folder, but Kaggle's sample_submission.csv, whose labels are made up."""
    every = [p for p in sorted(root.iterdir()) if p.suffix.lower() in ENDINGS and p.is_file()]
    return [path for path in every if "submission" not in path.stem.lower()]


def _readable(root: Path) -> list[Path]:
    """Those with labels beside photos or pixels: Kaggle's test.csv has none."""
    known = []
    for path in _tables(root):
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            text = file.read(LOOKED_AT)
        table = _Table(path.name, text.rpartition("\n")[0] or text)
        if table.pixels or not table.lacks:
            known.append(path)
    return known


def describes(tables: Mapping[Path, str], root: Path) -> bool:
    """Whether most of the first photos that the tables name are below the folder."""
    (path, split), *_ = tables.items()
    table = _Table(path.name, _text(path, path.read_bytes()))
    if table.pixels or table.lacks:
        return False
    find = _finder(root)
    names = [row.name for row, _ in zip(table.rows(), range(20), strict=False)]
    return sum(find(name, split or "train").is_file() for name in names) * 2 > len(names)


def load(tables: Mapping[Path, str], seed: int) -> Dataset:
    """Read tables, and check that each of their photos can be decoded.

    Args:
        tables: UTF-8, columns separated by commas, semicolons or tabs, each with the split of rows
            that have none ("": train). Columns: one of PATH, the photo, relative to the table's
            folder or to one of FOLDERS in it, or a name that one file below has, the extension
            optional; one of LABEL, or a column of 0 and 1 for each label; perhaps one of SPLIT,
            with a name of SPLIT_NAMES. Or pixels, with a header (label, pixel0, ...) or without one
            (the label first).
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
        table = _Table(path.name, _text(path, data))
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
    made = photos.assemble(root, [*seen.values()], seed, head=head, labels=ordered)
    return dataclasses.replace(made, broken=(*broken, *made.broken))


def _members(
    table: _Table, path: Path, split: str, seen: dict[Path, photos.PhotoFile]
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


class _Table:
    """What the columns of a table are, by its first two lines.

    pixels: whether its rows are pictures. lacks: why its rows name no photos with labels, or "".
    """

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = name, text
        header = text.partition("\n")[0]
        self._delimiter = max(",;\t", key=header.count)
        first, second = itertools.islice(itertools.chain(self._lines(), ([], [])), 2)
        names = {
            re.sub(r"[\s_-]", "", cell).lower(): n for n, cell in reversed([*enumerate(first)])
        }

        def column(known: Sequence[str]) -> int | None:
            return next((names[each] for each in known if each in names), None)

        self._path, self._label = column(PATH), column(LABEL)
        self._split = column(SPLIT)
        if self._split is None and (perhaps := column(PERHAPS_SPLIT)) is not None:
            values = {cells[perhaps].lower() for cells in self._lines() if len(cells) > perhaps}
            self._split = (
                perhaps if values - {first[perhaps].lower()} <= {*SPLIT_NAMES, ""} else None
            )
        numbers = all(map(_is_number, first))
        self.pixels = len(first) > arrays.LEAST and (self._label is not None or numbers)
        self._header = not (self.pixels and numbers)
        own = (self._path, self._split)
        self._classes = {n: cell for n, cell in enumerate(first) if n not in own}
        one_hot = [second[n] for n in self._classes if n < len(second)]
        if self._path is None or self._label is not None or not _one(one_hot):
            self._classes = {}
        self.lacks = ""
        for found, known in ((self._label, LABEL), (self._path, PATH)):
            if found is None and not (known is LABEL and self._classes):
                self.lacks = (
                    f"{name} has no column {known[0]} ({', '.join(known[1:])}); its first line "
                    f"has: {listed(first, 12) or 'nothing'}"
                )

    def _lines(self) -> Iterator[list[str]]:
        """The cells of each line; empty lines left out."""
        lines = csv.reader(io.StringIO(self._text, newline=""), delimiter=self._delimiter)
        try:
            for cells in lines:
                self._line = lines.line_num
                if any(cells):
                    yield [cell.strip() for cell in cells]
        except csv.Error as error:
            raise DataError(f"{self._name}, line {lines.line_num}: {error}") from error

    def rows(self) -> Iterator[Row]:
        """Its rows that name photos."""
        if self.lacks:
            raise DataError(self.lacks)
        for cells in itertools.islice(self._lines(), 1, None):
            name, label, split = (
                "" if n is None or n >= len(cells) else cells[n]
                for n in (self._path, self._label, self._split)
            )
            if self._classes:
                marks = {n: cells[n] for n in self._classes if n < len(cells)}
                chosen = [self._classes[n] for n, mark in marks.items() if _is_one(mark)]
                label = chosen[0] if _one([*marks.values()]) else ""
            yield Row(self._line, name, label, split)

    def arrays(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Pixels and labels: (pictures, pixels) and (pictures,)."""
        lines = io.StringIO(self._text)
        try:
            rows = np.loadtxt(
                lines, np.float32, delimiter=self._delimiter, skiprows=int(self._header), ndmin=2
            )
        except ValueError as error:
            raise DataError(f"{self._name}: {error}") from error
        label = self._label or 0
        return np.delete(rows, label, axis=1), rows[:, label]


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"\d+(\.\d*)?", cell) is not None


def _is_one(cell: str) -> bool:
    return re.fullmatch(r"1(\.0*)?", cell) is not None


def _one(cells: Sequence[str]) -> bool:
    """Whether they are the row of one label among several: a 1, and else 0."""
    zeros = sum(re.fullmatch(r"0(\.0*)?", cell) is not None for cell in cells)
    return len(cells) > 1 and zeros == len(cells) - 1 and any(map(_is_one, cells))


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
