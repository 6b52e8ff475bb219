"""The sample photos: files that verification and calibration look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convert.errors import ConvertError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}


def find(folder: Path, most: int) -> list[Path]:
    """Photos below a folder, sorted by path; if there are more than `most`, evenly spread ones.

    Raises:
        ConvertError: there is none.
    """
    if not folder.is_dir():
        raise ConvertError(f"there is no folder of samples at {folder}")
    found = below(folder)
    if not found:
        raise ConvertError(f"no photos ({', '.join(sorted(SUFFIXES))}) below {folder}")
    return spread(found, most)


def below(folder: Path) -> list[Path]:
    """All photos below a folder, sorted by path."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def spread(items: list[Any], most: int) -> list[Any]:
    """At most so many of the items, evenly spread."""
    if len(items) <= most:
        return items
    return [items[index * len(items) // most] for index in range(most)]


def truth(photos: Sequence[Path], labels: Sequence[str]) -> list[int | None]:
    """The output that is right for each photo: that of the label which its folder is named after.

    Folder names may have _ or - for a label's spaces, and other capitals. None where the folder is
    not named after a label.
    """
    places = {_folded(label): index for index, label in enumerate(labels)}
    return [places.get(_folded(photo.parent.name)) for photo in photos]


def _folded(name: str) -> str:
    return name.casefold().replace("_", " ").replace("-", " ").strip()
