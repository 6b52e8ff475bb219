"""Samples: photos whose class their folder tells, and the output that each folder belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_to_lambda.class_folders import ClassFolders, ignored, images
from keras_to_lambda.convert import labels, progress, sample_photos
from keras_to_lambda.convert.errors import ConvertError
from keras_to_lambda.runtime.model.card import distinct


@dataclass(frozen=True, slots=True)
class Sample:
    """One photo and the folder that it is in."""

    path: Path
    folder: str


def find(folder: Path, most: int) -> list[Sample]:
    """Photos below class folders: if there are more than `most`, as many of each class as can be.

    Raises:
        ConvertError: fewer than two classes have photos.
    """
    if not folder.is_dir():
        raise ConvertError(f"there is no folder of samples at {folder}")
    found = {name: images(folder / name) for name in folders(folder)}
    found = {name: paths for name, paths in found.items() if paths}
    if len(found) < 2:
        raise ConvertError(
            f"{folder} has {len(found)} folders with photos; at least two are needed, each named "
            "after its class"
        )
    # Too many classes for a photo of each: evenly spread ones.
    kept = sample_photos.spread(list(found), most)
    shares = _shares([len(found[name]) for name in kept], most)
    return [
        Sample(path, name)
        for name, share in zip(kept, shares, strict=True)
        for path in sample_photos.spread(found[name], share)
    ]


def folders(folder: Path) -> list[str]:
    """The names of the class folders in a folder, sorted."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not ignored(p.name))


def _shares(counts: Sequence[int], most: int) -> list[int]:
    """How many to take of each class: the same of all, and what small ones leave to the others."""
    shares, left = [0] * len(counts), most
    open_classes = sorted(range(len(counts)), key=lambda index: counts[index])
    for position, index in enumerate(open_classes):
        shares[index] = min(counts[index], left // (len(counts) - position))
        left -= shares[index]
    return shares


def orders(
    folders: Sequence[str], samples_dir: Path, classes: int, given: Path | None
) -> dict[str, dict[str, int]]:
    """For each label order that is possible: the output of each folder that matches a label.

    Args:
        folders: the names of all class folders.
        samples_dir: where they are, for messages.
        classes: outputs of the model; one output (a sigmoid) is two classes.
        given: the labels' file.

    Raises:
        ConvertError: folders and outputs do not match.
    """
    classes = max(classes, 2)
    if given is None:
        if len(folders) != classes:
            raise ConvertError(
                f"the model has {classes} outputs, {samples_dir} has {len(folders)} class folders: "
                "say with --labels which output is which"
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
        listed = ", ".join(strangers[:8]) + (len(strangers) > 8) * f" and {len(strangers) - 8} more"
        if len(set(place.values())) < 2:
            raise ConvertError(
                f"{len(place)} folders of {samples_dir} match a label in {given}; at least two are "
                f"needed. Without a label: {listed}"
            )
        progress.note(f"folders that match no label in {given}, left out: {listed}")
    # Keras sorts the folders' names as they are spelled; those without a folder, the file spells.
    spelled = {place[folder]: folder for folder in folders}
    ranked = sorted(range(classes), key=lambda index: spelled.get(index, names[index]))
    alphabetical = {folder: ranked.index(index) for folder, index in place.items()}
    return {"given": place} | ({"alphabetical": alphabetical} if alphabetical != place else {})
