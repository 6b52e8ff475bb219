"""The labels: one for each output of the model, in the output's order."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from keras_to_lambda.cli import progress
from keras_to_lambda.convert.common.conversion_errors import ConvertError, listed
from keras_to_lambda.runtime.model_file.card import distinct

# A line that begins with its number: "0 cat", "0: cat", "0. cat", "0) cat", "0:cat", "0 - cat"; or
# ends with it: "cat: 0". No numbers of outputs: "0-9 years", "0:30", "class 0".
_NUMBERED = (
    re.compile(r"(?P<number>\d{1,9})(?:\s+(?:[-=|]|->|=>)\s+|[:.)]\s+|\s+)(?P<label>\S.*)"),
    re.compile(r"(?P<number>\d{1,9})\s*[:.)=|]\s*(?P<label>[^\W\d].*)"),
    re.compile(r"(?P<label>[^\W\d].*?)\s*(?:[:=|]|->|=>)\s*(?P<number>\d{1,9})"),
)
_DELIMITERS = ",;\t"
# WordNet's number of a class of ImageNet.
_SYNSET = re.compile(r"n\d{8}")
# What programs write for a missing label.
_NO_LABEL = {"None", "nan", "NaN", "null", "NULL", "undefined", "N/A"}
# A line of Python, JSON, CSV or a label map: never a label.
_MARKUP = re.compile(r"""[\[\]{}].*|.*[{\[]|(["']).*\1,?""")
_REMEDY = "give one label per line, or a JSON list if these are the labels as they should be shown"


def located(path: Path) -> Path:
    """The file that `--labels` means: `imagenet` is Keras' own list, or else ours.

    Ours has the first name of each class, in the order of all networks of keras.applications
    (imagenet_labels.txt of github google-coral/test_data, Apache 2.0).
    """
    if str(path) != "imagenet" or path.exists():
        return path
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    file = home / "models" / "imagenet_class_index.json"
    return file if file.exists() else Path(__file__).with_name("imagenet_labels.txt")


def read(path: Path, *, numbered: bool = False) -> tuple[str, ...]:
    """Read a file of labels; docs/conversion.md lists the forms.

    numbered: each line is `INDEX label`, as in Teachable Machine's labels.txt.
    """
    path = located(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConvertError(f"cannot read the labels {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConvertError(f"{path} is not UTF-8 text; save it as UTF-8") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ConvertError(f"{path} is empty; {_REMEDY}")
    if numbered:
        pairs = _numbers(lines)
        if pairs is None:
            raise ConvertError(f"{path} has no lines `INDEX LABEL`, as Teachable Machine writes it")
        found = _in_order(path, pairs)
    elif path.suffix.lower() == ".json" or text.lstrip().startswith(("[", "{")):
        found = _structured(path, text)
    else:
        found = _from_lines(path, lines)
    for index, label in enumerate(found):
        if not label or any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in label):
            raise ConvertError(
                f"{path}: label {index} is {label!r}; give text without line breaks and control "
                "characters"
            )
    if twice := [label for label, own in zip(distinct(found), found, strict=True) if label != own]:
        progress.note(f"duplicate labels were numbered: {listed(twice)}")
    return found


# Text


def _from_lines(path: Path, lines: list[str]) -> tuple[str, ...]:
    if len(lines) == 1 and any(mark in lines[0] for mark in _DELIMITERS):
        raise ConvertError(f"{path} has one line, {_short(lines[0])}; give one label per line")
    pairs = _table(path, lines) or _numbers(lines)
    if pairs is None:
        found = tuple(lines)
    elif len({label for _, label in pairs}) * 2 <= len(pairs):  # "0 stars", "1 star", "2 stars"
        raise ConvertError(
            f"{path} begins each line with a number, such as {_short(lines[0])}, and what follows "
            f"repeats; {_REMEDY}"
        )
    else:
        found = _in_order(path, pairs)
        progress.note(f"{path.name} is numbered; the numbers are not part of the labels")
    for number, label in enumerate(found, 1):
        if label in _NO_LABEL or _MARKUP.fullmatch(label):
            raise ConvertError(f"{path}, label {number} is {_short(label)}; {_REMEDY}")
    return found


def _table(path: Path, lines: list[str]) -> list[tuple[int, str]] | None:
    """The rows `0,cat` or `cat,0`, with or without a head; None: these are not such rows."""
    for delimiter in _DELIMITERS:
        try:
            rows = [
                [cell.strip() for cell in row]
                for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
            ]
        except csv.Error:
            continue
        if any(len(row) < 2 for row in rows):
            continue
        for column, other in ((0, 1), (-1, 0)):
            body = rows if _index(rows[0][column]) is not None else rows[1:]
            if not body or any(_index(row[column]) is None for row in body):
                continue
            if wide := next((row for row in body if len(row) != 2), None):
                raise ConvertError(
                    f"{path} has rows of {len(wide)} columns, such as "
                    f"{_short(delimiter.join(wide))}; give two, a number and its label"
                )
            return [(int(row[column]), row[other]) for row in body]
    return None


def _numbers(lines: list[str]) -> list[tuple[int, str]] | None:
    """The lines `0 cat`, in any order; None: their numbers are no outputs' (7 Up, 3 Musketeers)."""
    for form in _NUMBERED:
        matches = [form.fullmatch(line) for line in lines]
        pairs = [(int(match["number"]), match["label"]) for match in matches if match]
        numbers = {number for number, _ in pairs}
        outputs = 0 in numbers or numbers == set(range(1, len(lines) + 1))
        if len(pairs) == len(lines) > 1 and outputs:
            return pairs
    return None


# JSON, and what Python's print shows


def _structured(path: Path, text: str) -> tuple[str, ...]:
    try:
        value = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        value = _python(text)
        if value is None:
            what = "JSON" if path.suffix.lower() == ".json" else "a list or dictionary"
            raise ConvertError(f"{path} is not {what}: {error}; {_REMEDY}") from error
    if isinstance(value, _Pairs):
        return _in_order(path, _indexed(path, value))
    if isinstance(value, list) and all(type(label) in (str, int) for label in value):
        return tuple(str(label).strip() for label in value)
    raise _unknown(path, value)


class _Pairs(list[tuple[Any, Any]]):
    """A dictionary's items, with repeated keys."""


def _python(text: str) -> Any:
    """A dictionary or list as Python's print shows it; None: it is something else."""
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return _Pairs(value.items()) if isinstance(value, dict) else value


def _indexed(path: Path, pairs: Sequence[tuple[Any, Any]]) -> list[tuple[int, str]]:
    """The index and label of each item, whichever of the two is the key."""
    by_key = [(_index(key), _label(value)) for key, value in pairs]
    by_value = [(_index(value), _label(key)) for key, value in pairs]
    ways = [
        [(index, label) for index, label in way if index is not None and label is not None]
        for way in (by_key, by_value)
    ]
    whole = [way for way in ways if len(way) == len(pairs)]
    if len(whole) == 2 and sorted(whole[0]) != sorted(whole[1]):
        # Folders named 0, 1, 10, 2: which of the two numbers is the output?
        raise ConvertError(
            f"{path} maps numbers to other numbers, such as {pairs[0]}; give a JSON list of labels"
        )
    if not whole:
        raise _unknown(path, dict(pairs))
    return whole[0]


def _unknown(path: Path, value: Any) -> ConvertError:
    return ConvertError(
        f"{path} holds {_short(value)}; give a list of labels, or a dictionary of labels and their "
        "outputs' indices"
    )


def _index(value: Any) -> int | None:
    if type(value) is int:
        return value
    whole = isinstance(value, str) and value.isdecimal() and len(value) < 10
    return int(value) if whole else None


def _label(value: Any) -> str | None:
    # imagenet_class_index.json has ["n01440764", "tench"].
    if isinstance(value, list) and len(value) == 2 and _SYNSET.fullmatch(str(value[0])):
        value = value[1]
    return str(value).strip() if type(value) in (str, int) else None


def _in_order(path: Path, pairs: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    """The labels by their index; each from 0 up is there once."""
    ordered = sorted(pairs)
    indices = [index for index, _ in ordered]
    wanted = range(len(indices))
    if indices == list(wanted):
        return tuple(label for _, label in ordered)
    if twice := sorted({index for index in indices if indices.count(index) > 1}):
        raise ConvertError(f"{path} has several labels for the index {listed(twice)}")
    missing = sorted(set(wanted) - set(indices))
    raise ConvertError(
        f"{path} has {len(indices)} labels with indices from {indices[0]} to {indices[-1]}, "
        f"without {listed(missing)}; number the outputs from 0 without gaps, or give a JSON list "
        "of labels"
    )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return repr(text if len(text) <= 60 else text[:57] + "...")
