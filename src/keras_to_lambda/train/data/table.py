"""Table: a CSV or TSV file that names photos and their labels."""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from keras_to_lambda.convert.common.conversion_errors import listed
from keras_to_lambda.train.data import arrays, photos
from keras_to_lambda.train.data.dataset import SPLIT_NAMES, DataError, Dataset

# Names of the columns, in any case; the first that is there counts.
PATH = ("path", "filepath", "imagepath", "file", "filename", "image", "imagename", "imageid", "id")
LABEL = ("label", "labels", "class", "classname", "category", "target")
SPLIT = ("split", "set", "subset")
# Beside the table; the first folder that has the photo counts.
FOLDERS = ("images", "images_original", "images_compressed", "train")


def load(path: Path, seed: int) -> Dataset:
    """Read a table with a header, and check that each of its photos can be decoded.

    Args:
        path: UTF-8, columns separated by commas, semicolons or tabs. One of PATH: the photo,
            relative to the table's folder or to one of FOLDERS in it, the extension optional. One
            of LABEL. Perhaps one of SPLIT, with a name of SPLIT_NAMES; "" is train.
            Or pixels, as Kaggle has them: label, pixel0, pixel1 and so on.
        seed: of the photos that are set aside for a missing split.
    """
    data = path.read_bytes()
    text = data.decode("utf-8-sig", errors="replace")
    if "\0" in text or "\ufffd" in text:
        raise DataError(f"{path} is not UTF-8 text: save it as CSV in UTF-8")
    if re.match(r'"?label"?,"?pixel', text, re.IGNORECASE):
        try:
            rows = np.loadtxt(io.StringIO(text), np.int32, delimiter=",", skiprows=1, ndmin=2)
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error
        pixels = {"train": (rows[:, 1:], rows[:, 0])}
        return arrays.assemble(pixels, seed, hashlib.sha256(data).hexdigest())
    find = _finder(path.parent)
    seen: dict[Path, photos.PhotoFile] = {}
    broken = []
    for line, name, label, split in _rows(path.name, text):
        if not name or not label:
            broken.append((name or f"line {line}", "no label" if name else "no file name"))
            continue
        if (split := split.lower() or "train") not in SPLIT_NAMES:
            raise DataError(
                f"{path}, line {line}: unknown split {split!r}; use {', '.join(SPLIT_NAMES)}"
            )
        member = photos.PhotoFile(find(name), label, SPLIT_NAMES[split])
        first = seen.setdefault(member.path, member)
        if first != member:
            raise DataError(
                f"{path}, line {line}: {name} is {member.label!r} in {member.split}, but "
                f"{first.label!r} in {first.split} before: keep one of them"
            )
    if len({member.label for member in seen.values()}) < 2:
        raise DataError(f"{path} has fewer than two labels")
    if all(member.split != "train" for member in seen.values()):
        raise DataError(f"{path} has no row whose split is train")
    found = photos.assemble(path.parent, [*seen.values()], seed, head=data)
    return dataclasses.replace(found, broken=(*broken, *found.broken))


def _rows(name: str, text: str) -> Iterator[tuple[int, str, str, str]]:
    """Line number, path, label and split of each row; empty lines left out."""
    header = text.partition("\n")[0]
    lines = csv.DictReader(
        io.StringIO(text, newline=""), restkey="", delimiter=max(",;\t", key=header.count)
    )
    try:
        columns = {re.sub(r"[\s_-]", "", each).lower(): each for each in lines.fieldnames or ()}
        path, label, split = (
            next((columns[each] for each in known if each in columns), None)
            for known in (PATH, LABEL, SPLIT)
        )
        for column, known in ((path, PATH), (label, LABEL)):
            if column is None:
                raise DataError(
                    f"{name} has no column {', '.join(known[:-1])} or {known[-1]}; its first line "
                    f"has: {listed([*columns.values()], 12) or 'nothing'}"
                )
        for row in lines:
            cells = [(row[each] or "").strip() if each else "" for each in (path, label, split)]
            if any(cells):
                yield lines.line_num, cells[0], cells[1], cells[2]
    except csv.Error as error:
        raise DataError(f"{name}, line {lines.line_num}: {error}") from error


def _finder(root: Path) -> Callable[[str], Path]:
    """Finds files by name, with or without their extension, below a folder or its FOLDERS."""

    @functools.cache
    def listing(folder: Path) -> dict[str, str]:
        """A folder's files by name, and by name without extension: the first of the same."""
        files = sorted(p.name for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []
        return {Path(name).stem: name for name in reversed(files)} | {name: name for name in files}

    def find(name: str) -> Path:
        """The file; if there is none, where it would be."""
        places = (root, *(root / folder for folder in FOLDERS))
        paths = [Path(os.path.normpath(place / name)) for place in places]
        known = (p.with_name(seen) for p in paths if (seen := listing(p.parent).get(p.name)))
        return next(known, paths[0])

    return find
