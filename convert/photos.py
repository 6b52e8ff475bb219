"""The sample photos: files that verification and calibration look at."""

from __future__ import annotations

from pathlib import Path

from convert.errors import ConvertError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}


def find(folder: Path, most: int) -> list[Path]:
    """Photos below a folder, sorted by path; if there are more than `most`, evenly spread ones.

    Raises:
        ConvertError: there is none.
    """
    if not folder.is_dir():
        raise ConvertError(f"there is no folder of samples at {folder}")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise ConvertError(f"no photos ({', '.join(sorted(SUFFIXES))}) below {folder}")
    if len(found) <= most:
        return found
    return [found[index * len(found) // most] for index in range(most)]
