"""Table: a CSV or TSV file that names photos and their labels."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

from keras_to_lambda.train.data import photos
from keras_to_lambda.train.data.dataset import SPLIT_NAMES, DataError, Dataset

# Names of the columns, in any case; the first that is there counts.
PATH = ("path", "file", "filename", "image", "id")
LABEL = ("label", "class", "category", "target")
SPLIT = ("split", "set", "subset")
# Beside the table; the first folder that has the photo counts.
FOLDERS = ("images", "images_original", "images_compressed", "train")


def load(path: Path, seed: int) -> Dataset:
    """Read a table with a header, and check that each of its photos can be decoded.

    Args:
        path: UTF-8, columns separated by commas, semicolons or tabs. One of PATH: the photo,
            relative to the table's folder or to one of FOLDERS in it, the extension optional. One
            of LABEL. Perhaps one of SPLIT, with a name of SPLIT_NAMES; "" is train.
        seed: of the photos that are set aside for a missing split.

    Returns:
        The data; missing files, and rows without a label, are among the broken ones.

    Raises:
        DataError: not such a table; a photo with two labels or in two splits; too few photos.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise DataError(f"{path} is not UTF-8 text: save it as CSV in UTF-8")
    find = _Finder(path.parent)
    seen: dict[Path, tuple[photos.Member, int]] = {}
    broken = []
    for line, name, label, split in _rows(path.name, text):
        if not name or not label:
            broken.append((name or f"line {line}", "no label" if name else "no file name"))
            continue
        if (split := split.lower() or "train") not in SPLIT_NAMES:
            raise DataError(
                f"{path}, line {line}: unknown split {split!r}; use {', '.join(SPLIT_NAMES)}"
            )
        member = photos.Member(find(name), label, SPLIT_NAMES[split])
        first, at = seen.setdefault(member.path, (member, line))
        if first != member:
            raise DataError(
                f"{path}: {name} is {first.label!r} in {first.split} in line {at}, but "
                f"{member.label!r} in {member.split} in line {line}: keep one of them"
            )
    members = [member for member, _ in seen.values()]
    if len({member.label for member in members}) < 2:
        raise DataError(f"{path} has fewer than two labels")
    if all(member.split != "train" for member in members):
        raise DataError(f"{path} has no row whose split is train")
    found = photos.assemble(path.parent, members, seed, head=data)
    return dataclasses.replace(found, broken=(*broken, *found.broken))


def _rows(name: str, text: str) -> list[tuple[int, str, str, str]]:
    """Line number, path, label and split of each row; empty lines left out.

    Raises:
        DataError: it lacks a column, or is no table.
    """
    header = text.partition("\n")[0]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    try:
        columns = next(lines, [])
        path, label = (_column(name, columns, known) for known in (PATH, LABEL))
        split = _column(name, columns, SPLIT, needed=False)
        return [
            (lines.line_num, _cell(cells, path), _cell(cells, label), _cell(cells, split))
            for cells in lines
            if any(cells)
        ]
    except csv.Error as error:
        raise DataError(f"{name}, line {lines.line_num}: {error}") from error


def _column(name: str, columns: Sequence[str], known: Sequence[str], needed: bool = True) -> int:
    """The position of the first known column; -1 for an optional one that is missing."""
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


class _Finder:
    """Finds files by name, with or without their extension, below a folder or its FOLDERS."""

    def __init__(self, root: Path) -> None:
        self._places = [root, *(root / folder for folder in FOLDERS)]
        self._known: dict[Path, dict[str, str]] = {}

    def __call__(self, name: str) -> Path:
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
