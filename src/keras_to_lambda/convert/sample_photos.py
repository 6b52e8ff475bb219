"""The sample photos: files that verification and calibration look at."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_to_lambda.class_folders import images, unzipped
from keras_to_lambda.convert import progress
from keras_to_lambda.convert.errors import ConvertError
from keras_to_lambda.runtime.image.formats import MEDIA_TYPES


@contextlib.contextmanager
def local(samples: Path, most: int) -> Iterator[Path]:
    """A folder of photos, for as long as the block lasts.

    Args:
        samples: that folder, or a .zip file of it; or other data that `train` reads, of which the
            test pictures are written into class folders.
        most: as for `find`.

    Raises:
        ConvertError: it is no data that is read.
    """
    if samples.suffix.lower() == ".zip" and samples.is_file():
        try:
            yield unzipped(samples)
        except ValueError as error:
            raise ConvertError(f"--samples: {error}") from error
        return
    elsewhere = str(samples).startswith("keras:")
    if not elsewhere and not samples.is_file() and (not samples.is_dir() or images(samples)):
        yield samples
        return
    source = str(samples if elsewhere else samples.absolute())
    with tempfile.TemporaryDirectory(prefix="samples-") as folder:
        done = subprocess.run(  # noqa: S603  # our own command, no shell
            [
                sys.executable,
                "-P",
                "-m",
                "keras_to_lambda.train.data.unpack",
                source,
                folder,
                str(most),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ConvertError(f"--samples {samples}: no photos, and no other data: {reason}")
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
        raise ConvertError(f"no photos ({', '.join(sorted(MEDIA_TYPES))}) below {folder}")
    if len(found) > most:
        progress.note(used(most, len(found)))
    return spread(found, most)


def used(most: int, found: int) -> str:
    """A sentence on photos that are left out."""
    return f"{most} of {found} photos are used, evenly spread; --max-samples {found} uses all"


def spread(items: list[Any], most: int) -> list[Any]:
    """At most so many of the items, evenly spread."""
    if len(items) <= most:
        return items
    return [items[index * len(items) // most] for index in range(most)]
