"""The labels: one for each output of the model, in the output's order."""

from __future__ import annotations

import json
from pathlib import Path

from convert.errors import ConvertError


def read(path: Path, classes: int) -> tuple[str, ...]:
    """Read a text file with a label a line, or a JSON list.

    Raises:
        ConvertError: no such file, or not `classes` labels.
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
        labels = [str(value) for value in values]
    else:
        labels = [line.strip() for line in text.splitlines() if line.strip()]
    if len(labels) != classes:
        raise ConvertError(
            f"{path} has {len(labels)} labels, the model has {classes} outputs: give one label for "
            "each output, in the output's order"
        )
    return distinct(labels)


def distinct(labels: list[str]) -> tuple[str, ...]:
    """Give labels that stand several times (ImageNet has two cranes) their output's index.

    The answer is an object by label, in which a second one would replace the first.
    """
    return tuple(
        f"{label} [{index}]" if labels.count(label) > 1 else label
        for index, label in enumerate(labels)
    )
