"""The sample photos: files that verification and calibration look at."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from classifier.class_folders import SUFFIXES, images
from convert.errors import ConvertError

SEED = 1  # what `python -m train` sets aside with, if no other is named


@contextlib.contextmanager
def local(samples: Path, most: int) -> Iterator[Path]:
    """A folder of photos, for as long as the block lasts.

    Args:
        samples: that folder; or other data that `train` reads, of which the test pictures are
            written into class folders.
        most: as for `find`.

    Raises:
        ConvertError: it is no data that is read.
    """
    data = str(samples).startswith("keras:") or samples.is_file()
    if not data and not (samples.is_dir() and not images(samples)):
        yield samples
        return
    from train.data import sources, unpack
    from train.data.dataset import DataError

    try:
        found = sources.load(str(samples), SEED)
    except DataError as error:
        raise ConvertError(f"--samples: {error}") from error
    with tempfile.TemporaryDirectory(prefix="samples-") as folder:
        unpack.split(found, "test", Path(folder), most)
        yield Path(folder)


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
