"""CSV: what the columns of a CSV or TSV file are, and its rows."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from keras_to_lambda.convert.common.conversion_errors import listed
from keras_to_lambda.train.data.arrays import LEAST
from keras_to_lambda.train.data.dataset import SPLIT_NAMES, DataError

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


class PhotoRow(NamedTuple):
    """A row that names a photo. line: in the file. "" for what it does not have."""

    line: int
    name: str
    label: str
    split: str


class CsvTable:
    """What the columns of a table are, by its first two lines.

    pixels: whether its rows are pictures. lacks: why its rows name no photos with labels, or "".
    """

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = name, text
        header = text.partition("\n")[0]
        self._delimiter = max(",;\t", key=header.count)
        first, second = itertools.islice(itertools.chain(self._lines(), ([], [])), 2)
        self._header = first
        self._path, self._label = self._column(PATH), self._column(LABEL)
        self._split = self._split_column()
        self._classes = self._columns_of_labels(second)
        self._numbers = all(map(_is_number, first))
        self.pixels = len(first) > LEAST and (self._label is not None or self._numbers)
        labelled = self._label is not None or self._classes
        lacked = PATH if self._path is None else () if labelled else LABEL
        self.lacks = lacked and (
            f"{name} has no column {lacked[0]} ({', '.join(lacked[1:])}); its first line has: "
            f"{listed(first, 12) or 'nothing'}"
        )

    def _column(self, known: Sequence[str]) -> int | None:
        names = [re.sub(r"[\s_-]", "", cell).lower() for cell in self._header]
        return next((names.index(each) for each in known if each in names), None)

    def _split_column(self) -> int | None:
        if (column := self._column(SPLIT)) is not None:
            return column
        if (column := self._column(PERHAPS_SPLIT)) is None:
            return None
        rows = itertools.islice(self._lines(), 1, None)
        values = {row[column].lower() for row in rows if column < len(row)}
        return column if values <= {*SPLIT_NAMES, ""} else None

    def _columns_of_labels(self, row: list[str]) -> dict[int, str]:
        """The labels that have a column each, of 0 and 1, by column."""
        own = (self._path, self._split)
        columns = {n: cell for n, cell in enumerate(self._header) if n not in own}
        named = self._path is not None and self._label is None
        return columns if named and _one_hot([row[n] for n in columns if n < len(row)]) else {}

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

    def rows(self) -> Iterator[PhotoRow]:
        """Its rows that name photos.

        Raises:
            DataError: it has none; or the csv module cannot read a line.
        """
        if self.lacks:
            raise DataError(self.lacks)
        for cells in itertools.islice(self._lines(), 1, None):
            name, label, split = (
                "" if n is None or n >= len(cells) else cells[n]
                for n in (self._path, self._label, self._split)
            )
            if self._classes:
                marks = {name: cells[n] for n, name in self._classes.items() if n < len(cells)}
                chosen = [name for name, mark in marks.items() if _is(1, mark)]
                label = chosen[0] if _one_hot([*marks.values()]) else ""
            yield PhotoRow(self._line, name, label, split)

    def arrays(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Pixels and labels: (pictures, pixels) and (pictures,)."""
        head = 0 if self._numbers else 1
        lines = io.StringIO(self._text)
        try:
            rows = np.loadtxt(
                lines, np.float32, delimiter=self._delimiter, skiprows=head, ndmin=2, quotechar='"'
            )
        except ValueError as error:
            raise DataError(f"{self._name}: {error}") from error
        label = self._label or 0
        return np.delete(rows, label, axis=1), rows[:, label]


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"\d+(\.\d*)?", cell) is not None


def _is(digit: int, cell: str) -> bool:
    return re.fullmatch(rf"{digit}(\.0*)?", cell) is not None


def _one_hot(cells: Sequence[str]) -> bool:
    """Whether they are the row of one label among several: a 1, and else 0."""
    zeros, ones = (sum(_is(digit, cell) for cell in cells) for digit in (0, 1))
    return len(cells) > 1 and ones == 1 and zeros == len(cells) - 1
