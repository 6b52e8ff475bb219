"""Table: a CSV or TSV file that names photos and their labels."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from keras_to_lambda.train.data import photos
from keras_to_lambda.train.data.dataset import DataError, Dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

# What people call the columns, whatever the case; the first that is there counts.
PATH = ("path", "file", "filename", "image", "id")
LABEL = ("label", "class", "category", "target")
SPLIT = ("split", "set", "subset")
# Beside the table; the first place where a photo is counts.
FOLDERS = ("images", "images_original", "images_compressed", "train")


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what its columns say, "" for what it lacks. line: counted from 1."""

    path: str
    label: str
    split: str
    line: int


def load(path: Path, seed: int) -> Dataset:
    """Read a table with a header, and check that each of its photos can be decoded.

    Args:
        path: UTF-8, its columns parted by commas, semicolons or tabs. One of PATH: the photo,
            relative to the table's folder or to one of FOLDERS in it, the extension optional. One
            of LABEL. One of SPLIT, if there is such: a name of `photos.NAMES`; "" is train. Of
            train, a tenth of each label is set aside for each of validation and test that no row
            has.
        seed: of what is set aside.

    Returns:
        The data; files that are missing, and rows without a label, are among the broken ones.

    Raises:
        DataError: not such a table; a photo with two labels or in two splits; too few photos.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise DataError(f"{path} is not UTF-8 text: save it as CSV in UTF-8")
    rows = read(path.name, text)
    root = path.parent
    finder = Finder(root)
    seen: dict[Path, tuple[photos.Member, int]] = {}
    broken = []
    for row in rows:
        if not row.path or not row.label:
            broken.append(
                (row.path or f"line {row.line}", "no label" if row.path else "no file name")
            )
            continue
        member = photos.Member(finder.find(row.path), row.label, _split(path, row))
        first, line = seen.setdefault(member.path, (member, row.line))
        if first != member:
            raise DataError(
                f"{path}: {row.path} is {_said(first)} in line {line}, but {_said(member)} in line "
                f"{row.line}: keep one of them"
            )
    members = [member for member, _ in seen.values()]
    if len({member.label for member in members}) < 2:
        raise DataError(f"{path} has fewer than two labels: there is nothing to tell apart")
    if all(member.split != "train" for member in members):
        raise DataError(f"{path} has no row whose split is train")
    found = photos.assemble(root, members, seed, head=data)
    return dataclasses.replace(found, broken=(*broken, *found.broken))


def read(name: str, text: str) -> list[Row]:
    """The rows of a table; empty lines left out.

    Args:
        name: the file's, for messages.
        text: the file's.

    Raises:
        DataError: it lacks a column, or is no table.
    """
    header = text.partition("\n")[0]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    try:
        columns = next(lines, [])
        path, label = _column(name, columns, PATH), _column(name, columns, LABEL)
        split = _column(name, columns, SPLIT, needed=False)
        return [
            Row(_cell(cells, path), _cell(cells, label), _cell(cells, split), lines.line_num)
            for cells in lines
            if any(cells)
        ]
    except csv.Error as error:
        raise DataError(f"{name}, line {lines.line_num}: {error}") from error


def _column(name: str, columns: Sequence[str], known: Sequence[str], needed: bool = True) -> int:
    """The position of the first known column; -1 for one that need not be there."""
    plain = [re.sub(r"[\s_-]", "", column).lower() for column in columns]
    for column in known:
        if column in plain:
            return plain.index(column)
    if needed:
        raise DataError(
            f"{name} has no column {', '.join(known[:-1])} or {known[-1]}; its first line has: "
            + (", ".join(columns) or "nothing")
        )
    return -1


def _cell(cells: Sequence[str], column: int) -> str:
    return cells[column].strip() if 0 <= column < len(cells) else ""


def _split(path: Path, row: Row) -> str:
    name = photos.NAMES.get(row.split.lower()) if row.split else "train"
    if name is None:
        raise DataError(
            f"{path}, line {row.line}: the split {row.split!r} is none of {', '.join(photos.NAMES)}"
        )
    return name


def _said(member: photos.Member) -> str:
    return f"{member.label!r} in {member.split}"


class Finder:
    """Finds files by name, with or without their extension, below a folder or its FOLDERS."""

    def __init__(self, root: Path) -> None:
        self._places = [root, *(root / folder for folder in FOLDERS)]
        self._known: dict[Path, dict[str, str]] = {}

    def find(self, name: str) -> Path:
        """The file; if there is none, where it would be."""
        for place in self._places:
            path = Path(os.path.normpath(place / name))
            if (seen := self._listing(path.parent).get(path.name)) is not None:
                return path.with_name(seen)
        return Path(os.path.normpath(self._places[0] / name))

    def _listing(self, folder: Path) -> dict[str, str]:
        """A folder's files by name, and by name without extension: the first of the same."""
        if folder not in self._known:
            try:
                names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
            except OSError:
                names = []
            stems = {name.rpartition(".")[0]: name for name in reversed(names) if "." in name}
            self._known[folder] = stems | {name: name for name in names}
        return self._known[folder]
