"""Samples: the photos that calibrate and prove a model, and the output of each class folder."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_to_lambda.class_folders import TABLES, ClassFolders, ignored, images, unzipped
from keras_to_lambda.cli import progress
from keras_to_lambda.convert.common import labels
from keras_to_lambda.convert.common.conversion_errors import ConvertError, listed
from keras_to_lambda.runtime.common.formats import MEDIA_TYPES
from keras_to_lambda.runtime.model_file.card import distinct

EXPECTED = (
    f"expected: a folder of photos ({', '.join(sorted(MEDIA_TYPES))}), best in folders named after "
    "the labels; a .zip file of one; or data that `k2l train` reads"
)


@contextlib.contextmanager
def local(samples: Path, most: int) -> Iterator[Path]:
    """A folder of photos: `samples` itself, or a temporary one with a data set's test pictures.

    samples: a folder, a .zip file of one, or other data that `k2l train` reads. most: the largest
    number of a data set's pictures.
    """
    given = samples
    if samples.suffix.lower() == ".zip" and samples.is_file():
        try:
            samples = unzipped(samples)
        except ValueError as error:
            raise ConvertError(f"--samples: {error}") from error
    if samples.is_file() and samples.suffix.lower() in MEDIA_TYPES:
        raise ConvertError(f"--samples {given} is a single photo; {EXPECTED}")
    if samples.is_dir() and not any(samples.iterdir()):
        raise ConvertError(f"--samples {given} is an empty folder; {EXPECTED}")
    elsewhere = str(samples).startswith("keras:") or str(samples).endswith("#coarse")
    plain = samples.is_dir() and bool(images(samples))
    is_data = samples.is_file() or (samples.is_dir() and (not plain or _has_table(samples)))
    if not elsewhere and not is_data:
        yield samples
        return
    source = str(samples if elsewhere else samples.absolute())
    unpack = [sys.executable, "-P", "-m", "keras_to_lambda.train.data.unpack"]
    with tempfile.TemporaryDirectory(prefix="samples-") as folder:
        done = subprocess.run(  # noqa: S603  # our own command, no shell
            [*unpack, source, folder, str(most)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode and not plain:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            reason = reason.replace(str(samples), str(given))
            raise ConvertError(f"--samples {given}: no photos: {reason}; {EXPECTED}")
        yield samples if done.returncode else Path(folder)


def _has_table(folder: Path) -> bool:
    """Whether a folder, or one in it, has a table, which may have the labels of the photos."""
    return any(path.suffix.lower() in TABLES for at in ("*", "*/*") for path in folder.glob(at))


def photos(folder: Path, most: int) -> list[Path]:
    """Photos below a folder, sorted by path; if there are more than `most`, evenly spread ones."""
    found = images(_existing(folder))
    if not found:
        raise ConvertError(f"no photos ({', '.join(sorted(MEDIA_TYPES))}) below {folder}")
    if len(found) > most:
        progress.note(used(most, len(found)))
    return spread(found, most)


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise ConvertError(f"there is no folder of samples at {folder}")
    return folder


def used(most: int, found: int) -> str:
    """A sentence on photos that are left out."""
    return f"{most} of {found} photos are used, evenly spread; --max-samples {found} uses all"


def spread(items: list[Any], most: int) -> list[Any]:
    """At most so many of the items, evenly spread."""
    if len(items) <= most:
        return items
    return [items[index * len(items) // most] for index in range(most)]


@dataclass(frozen=True, slots=True)
class Sample:
    """One photo and the folder that it is in."""

    path: Path
    folder: str


def find(folder: Path, most: int) -> list[Sample]:
    """Photos below class folders: of more than `most`, as many of each class as can be."""
    found = {name: images(folder / name) for name in folders(_existing(folder))}
    found = {name: paths for name, paths in found.items() if paths}
    if len(found) < 2:
        raise ConvertError(
            f"{folder} has {len(found)} folders with photos; at least two are needed, each named "
            "after its class"
        )
    # Where there are more classes than photos, evenly spread classes.
    kept = spread(list(found), most)
    shares, left = {}, most
    for position, name in enumerate(sorted(kept, key=lambda name: len(found[name]))):
        # An equal share, and what smaller classes leave.
        shares[name] = min(len(found[name]), left // (len(kept) - position))
        left -= shares[name]
    return [Sample(path, name) for name in kept for path in spread(found[name], shares[name])]


def folders(folder: Path) -> list[str]:
    """The names of the class folders in a folder, sorted."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not ignored(p.name))


def orders(
    folders: Sequence[str], samples_dir: Path, classes: int, given: Path | None
) -> dict[str, dict[str, int]]:
    """For each possible order of labels: the output of each folder that matches a label.

    folders: the names of all class folders, in samples_dir. classes: the model's outputs; one (a
    sigmoid) is two classes. given: the labels' file.
    """
    classes = max(classes, 2)
    if given is None:
        if len(folders) != classes:
            raise ConvertError(
                f"the model has {classes} outputs, {samples_dir} has {len(folders)} class folders: "
                "give --labels, one label for each output in the output's order"
            )
        return {"alphabetical": {name: index for index, name in enumerate(sorted(folders))}}
    names = distinct(labels.read(given))
    if len(names) != classes:
        raise ConvertError(
            f"{given} has {len(names)} labels, the model has {classes} outputs: give one label for "
            "each output, in the output's order"
        )
    known = ClassFolders(names)
    place = {name: index for name in folders if (index := known.place(name)) is not None}
    if strangers := [name for name in folders if name not in place]:
        if len(set(place.values())) < 2:
            raise ConvertError(
                f"{len(place)} folders of {samples_dir} match a label in {given}; at least two are "
                f"needed. Without a label: {listed(strangers)}"
            )
        progress.note(f"folders that match no label in {given}, left out: {listed(strangers)}")
    # Keras sorts the folders' names; a label without a folder is sorted as the file spells it.
    spelled = {place[folder]: folder for folder in folders}
    ranked = sorted(range(classes), key=lambda index: spelled.get(index, names[index]))
    alphabetical = {folder: ranked.index(index) for folder, index in place.items()}
    return {"given": place} | ({"alphabetical": alphabetical} if alphabetical != place else {})
