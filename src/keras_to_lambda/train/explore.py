"""`k2l explore`: what is in a data set, before anything is trained on it.

k2l explore DATA      writes NAME.exploration.html
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from keras_to_lambda import atomic_files, html_report
from keras_to_lambda.cli import frame, progress
from keras_to_lambda.train.data import near_duplicates, sources
from keras_to_lambda.train.data.dataset import (
    SEED,
    SPLITS,
    Dataset,
    joined,
    neutral,
    prefetch,
)
from keras_to_lambda.train.data.near_duplicates import Fingerprint, NearDuplicate

TEMPLATE = Path(__file__).with_name("exploration.html.jinja")
SUFFIX = ".exploration.html"
EACH, EXAMPLES = 8, 400  # examples of a class, and on a page
MOST_PAIRS = 24  # shown as pictures
INPUTS = (160, 224)  # pixels: inputs that a picture with a shorter side is enlarged for


@dataclass(frozen=True, slots=True)
class Exploration:
    """All that was found.

    counts: pictures, int64, (labels, SPLITS). sizes: width and height of each picture, int64.
    leaks: near-duplicates in two splits; conflicts: in one split, with two labels.
    turned: files with an EXIF orientation that turns them.
    """

    name: str
    data: Dataset
    counts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    leaks: list[NearDuplicate]
    conflicts: list[NearDuplicate]
    turned: int


def explore(source: str) -> Exploration:
    """Read a data set, as `sources.load` takes it, and look at all of it.

    Raises DataError: see `sources.load`.
    """
    progress.step(f"reading {source}")
    data = sources.load(source, SEED)
    every, card = joined(data.splits[name] for name in SPLITS), neutral(data)

    def measure(index: int) -> tuple[tuple[int, int], Fingerprint, bool]:
        picture, turned = every.picture(index, card), False
        if path := every.path(index):
            with Image.open(path) as image:
                turned = image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
        return picture.size, near_duplicates.fingerprint(picture), turned

    progress.step(f"comparing {len(every):,} pictures")
    measured = list(prefetch(measure, range(len(every)), "pictures"))
    sizes, prints, turned = zip(*measured, strict=True)
    pairs = near_duplicates.find(data, prints)
    counts = [np.bincount(data.splits[name].targets, minlength=len(data.labels)) for name in SPLITS]
    return Exploration(
        sources.name_of(source), data, np.stack(counts, axis=1), np.array(sizes, np.int64),
        [pair for pair in pairs if pair.leak], [pair for pair in pairs if not pair.leak],
        sum(turned),
    )  # fmt: skip


def counted(number: int, one: str, many: str = "") -> str:
    """A number and its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def conclusion(found: Exploration) -> str:
    """Two sentences for a reader who stops after them."""
    counts = found.counts
    splits = ", ".join(f"{n:,} {name}" for name, n in zip(SPLITS, counts.sum(axis=0), strict=True))
    first = (
        f"{found.name} has {counted(int(counts.sum()), 'picture')} of "
        f"{counted(len(counts), 'class', 'classes')} ({splits})."
    )
    pairs = counted(len(found.leaks), "near-duplicate")
    faults = {
        counted(len(found.data.broken), "broken file"): found.data.broken,
        f"{pairs} between splits, which make an accuracy look too good": found.leaks,
        f"{counted(len(found.conflicts), 'pair')} of the same picture with two labels": (
            found.conflicts
        ),
    }
    if any(faults.values()):
        named = "; ".join(text for text, seen in faults.items() if seen)
        return f"{first} To repair before training: {named}."
    return f"{first} It has no broken files or near-duplicates."


def balance(found: Exploration) -> str:
    """How many more pictures the largest class has, and what guessing it is worth."""
    train, test, labels = found.counts[:, 0], found.counts[:, 2], found.data.labels
    most, least = int(train.argmax()), int(train.argmin())
    lead = f"Every class has {counted(int(train[most]), 'picture')} in train."
    if train[most] > train[least]:
        lead = (
            f"In train, {labels[most]} has {train[most]:,} pictures and {labels[least]} "
            f"{train[least]:,}: {train[most] / max(1, train[least]):.1f} to 1."
        )
    return (
        f"{lead} Always guessing {labels[most]} is right for "
        f"{test[most] / max(1, test.sum()):.1%} of test: the accuracy to beat."
    )


def sizes(found: Exploration) -> str:
    """How large the pictures are, how many of them an input enlarges, and how many are turned."""
    sides = found.sizes
    if (sides == sides[0]).all():
        text = f"All pictures have {sides[0, 0]} x {sides[0, 1]} pixels."
    else:
        low = ", ".join(f"{(sides.min(axis=1) < n).mean():.1%} below {n}" for n in INPUTS)
        text = (
            f"{counted(len(np.unique(sides, axis=0)), 'size')}, from {sides[:, 0].min()} x "
            f"{sides[:, 1].min()} to {sides[:, 0].max()} x {sides[:, 1].max()} pixels. Of the "
            f"shorter sides {low} pixels, which an input of that size enlarges."
        )
    if found.turned:
        text += (
            f" {counted(found.turned, 'file')} with an EXIF orientation: k2l train turns them, "
            "Keras' own loaders do not."
        )
    return text


def html(found: Exploration, command: str = "") -> str:
    """The page. command: the command line."""
    counts, labels = found.counts, found.data.labels
    order = np.argsort(-counts.sum(axis=1), kind="stable").tolist()
    examples = [(labels[row], _examples(found, row)) for row in order]
    pairs = [_section(found, name) for name in ("leaks", "conflicts")]
    return html_report.render(
        TEMPLATE,
        kind="Data set",
        title=found.name,
        conclusion=conclusion(found),
        command=command,
        tiles=[
            (f"{counts.sum():,}", "pictures"),
            (f"{len(counts):,}", "classes"),
            (f"{len(found.data.broken):,}", "broken files"),
            (f"{len(found.leaks):,}", "near-duplicates between splits"),
            (f"{len(found.conflicts):,}", "one picture, two labels"),
        ],
        splits=SPLITS,
        rows=[(labels[row], counts[row].tolist()) for row in order],
        total=max(1, int(counts.sum())),
        most=max(1, int(counts.sum(axis=1).max())),
        balance=balance(found),
        sizes=sizes(found),
        examples=examples,
        pairs=pairs,
        broken=found.data.broken,
        sha256=found.data.sha256,
    )


def _picture(found: Exploration, split: str, index: int) -> html_report.EmbeddedPicture:
    own = found.data.splits[split]
    label = found.data.labels[own.targets[index]]
    source = html_report.thumbnail(own.picture(index, neutral(found.data)))
    lines = [("", label), ("name", f"{split}: {own.names[index]}")]
    return html_report.EmbeddedPicture(source, label, lines)


def _examples(found: Exploration, target: int) -> list[html_report.EmbeddedPicture]:
    """A few pictures of a label in train, at random."""
    each = max(1, min(EACH, EXAMPLES // len(found.data.labels)))
    rows = np.flatnonzero(found.data.splits["train"].targets == target)
    # Each class by itself: its pictures stay the same when another class is added.
    chosen = np.random.default_rng([SEED, target]).permutation(rows)[:each].tolist()
    return [_picture(found, "train", row) for row in chosen]


def _section(found: Exploration, name: str) -> tuple[str, list[Any], list[tuple[str, str]]]:
    """Near-duplicates: the anchor, the most similar pairs as pictures, the names of the others."""
    pairs: list[NearDuplicate] = getattr(found, name)
    shown = [
        (pair.similarity, [_picture(found, *side) for side in (pair.first, pair.second)])
        for pair in pairs[:MOST_PAIRS]
    ]

    def named(split: str, index: int) -> str:
        return f"{split}: {found.data.splits[split].names[index]}"

    return name, shown, [(named(*p.first), named(*p.second)) for p in pairs[MOST_PAIRS:]]


@frame.command("k2l explore")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for wrong arguments or data."""
    options = parser().parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    progress.use("explore")
    output: Path = options.output or Path(sources.name_of(options.data) + SUFFIX)
    atomic_files.checked(output)
    found = explore(options.data)
    broken = [f"  {file}: {reason}" for file, reason in found.data.broken[:5]]
    for line in (conclusion(found), *broken, balance(found), sizes(found)):
        print(progress.plain(line), flush=True)
    atomic_files.write_text(output, html(found, shlex.join(["k2l", "explore", *words])))
    print(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")
    return frame.OK


def parser() -> argparse.ArgumentParser:
    parser = frame.Parser(
        "k2l explore",
        "Report on a data set before training: pictures by class and split, sizes, examples, "
        "broken files, near-duplicates between splits, pictures with two labels.",
        f"DATA is one of these:\n{sources.FORMS}",
    )
    sources.add(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE.html", type=Path, help=f"report (default: NAME{SUFFIX})"
    )
    return parser
