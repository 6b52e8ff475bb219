"""The labels: one for each output of the model, in the output's order."""

from __future__ import annotations

import json
from pathlib import Path

from convert.errors import ConvertError


def read(path: Path, *, numbered: bool = False) -> tuple[str, ...]:
    """Read a text file with a label a line, or a JSON list.

    Args:
        numbered: each line is `INDEX label`, as in Teachable Machine's labels.txt.

    Raises:
        ConvertError: no such file, or something else in it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConvertError(f"cannot read the labels {path}: {error}") from error
    if path.suffix.lower() == ".json":
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ConvertError(f"{path} is not JSON: {error}") from error
        if not isinstance(values, list):
            raise ConvertError(f"{path} must be a JSON list of labels, in the output's order")
        return tuple(str(value) for value in values)
    labels = [line.strip() for line in text.splitlines() if line.strip()]
    return _unnumbered(path, labels) if numbered else tuple(labels)


def _unnumbered(path: Path, lines: list[str]) -> tuple[str, ...]:
    labels = []
    for index, line in enumerate(lines):
        number, _, label = line.partition(" ")
        if number != str(index) or not label.strip():
            raise ConvertError(
                f"{path}, line {index + 1} is {line!r}, not `{index} LABEL` as Teachable Machine "
                "writes it"
            )
        labels.append(label.strip())
    return tuple(labels)
