"""The sample photos: files that verification and calibration look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from classifier.class_folders import SUFFIXES, images
from convert.errors import ConvertError


def find(folder: Path, most: int) -> list[Path]:
    """Photos below a folder, sorted by path; if there are more than `most`, evenly spread ones.

    Raises:
        ConvertError: there is none.
    """
    if not folder.is_dir():
        raise ConvertError(f"there is no folder of samples at {folder}")
    found = images(folder)
    if not found:
        raise ConvertError(f"no photos ({', '.join(sorted(SUFFIXES))}) below {folder}")
    return spread(found, most)


def spread(items: list[Any], most: int) -> list[Any]:
    """At most so many of the items, evenly spread."""
    if len(items) <= most:
        return items
    return [items[index * len(items) // most] for index in range(most)]
