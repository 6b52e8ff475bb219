"""`k2l explore`: what is in a data set, before anything is trained on it.

k2l explore DATA      writes NAME.exploration.html and NAME.exploration.json
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from scipy.stats import chi2_contingency

from keras_to_lambda import atomic_files, html_report
from keras_to_lambda.cli import frame, progress
from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.train.data import near_duplicates, sources
from keras_to_lambda.train.data.dataset import (
    SPLITS,
    DataError,
    Dataset,
    joined,
    neutral,
    prefetch,
)
from keras_to_lambda.train.data.near_duplicates import Fingerprint, NearDuplicate
from keras_to_lambda.train.recipe_options import whole

TEMPLATE = Path(__file__).with_name("exploration.html.jinja")
SUFFIX = ".exploration.html"
EACH, EXAMPLES = 8, 400  # examples of a class, and on a page
MOST_PAIRS = 24
# Anchor, heading and meaning of the sections on near-duplicates.
LEAKS = (
    "leaks", "Near-duplicates between splits", "A picture that is trained on and tested makes the "
    "accuracy look too good; keep one of each pair."
)  # fmt: skip
CONFLICTS = (
    "conflicts", "One picture, two labels", "One of the labels is wrong, or the classes overlap."
)  # fmt: skip
INPUTS = (160, 224)  # pixels: inputs that a picture with a shorter side is enlarged for
ALIKE = 0.01  # the p-value below which class shares differ between splits


@dataclass(frozen=True, slots=True)
class Exploration:
    """All that was found.

    counts: pictures, int64, (labels, SPLITS). sizes: width and height of each picture, int64.
    pairs: near-duplicates; None if they were not looked for.
    formats: of the files, the commonest first. turned: files with an EXIF orientation that turns
    them.
    """

    name: str
    seed: int
    data: Dataset
    counts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    pairs: list[NearDuplicate] | None
    formats: dict[str, int]
    turned: int

    @property
    def leaks(self) -> list[NearDuplicate]:
        """Near-duplicates in two splits."""
        return [pair for pair in self.pairs or () if pair.leak]

    @property
    def conflicts(self) -> list[NearDuplicate]:
        """Near-duplicates in one split, with two labels."""
        return [pair for pair in self.pairs or () if not pair.leak]

    def who(self, split: str, index: int) -> dict[str, str]:
        """A picture's split, name and label."""
        own = self.data.splits[split]
        label = self.data.labels[own.targets[index]]
        return {"split": split, "name": own.names[index], "label": label}

    def to_json(self) -> dict[str, Any]:
        """All numbers of the page."""

        def listed(pairs: list[NearDuplicate]) -> list[dict[str, Any]]:
            return [
                {
                    "similarity": round(pair.similarity, 4),
                    "same_label": pair.same_label,
                    "first": self.who(*pair.first),
                    "second": self.who(*pair.second),
                }
                for pair in pairs
            ]

        pairs = {"between_splits": listed(self.leaks), "label_conflicts": listed(self.conflicts)}
        sizes = Counter(map(tuple, self.sizes.tolist()))
        return {
            "name": self.name,
            "seed": self.seed,
            "sha256": self.data.sha256,
            "conclusion": conclusion(self),
            "counts": {
                label: dict(zip(SPLITS, row, strict=True))
                for label, row in zip(self.data.labels, self.counts.tolist(), strict=True)
            },
            "sizes": [[*size, count] for size, count in sizes.most_common()],
            "formats": self.formats,
            "turned": self.turned,
            "broken": [{"file": file, "reason": reason} for file, reason in self.data.broken],
            "near_duplicates": None if self.pairs is None else pairs,
        }


def explore(
    source: str, seed: int = 1, *, duplicates: bool = True, labels: str = "fine"
) -> Exploration:
    """Read a data set and look at all of it.

    Args:
        source: as `sources.load` takes it. labels: of CIFAR-100, fine or coarse.
        seed: of the split, where it has none, and of the examples.
        duplicates: whether near-duplicates are looked for.
    """
    data = sources.load(source, seed, labels=labels)
    every, card = joined(data.splits[name] for name in SPLITS), neutral(data)

    def measure(index: int) -> tuple[tuple[int, int], Fingerprint | None]:
        picture = every.picture(index, card)
        return picture.size, near_duplicates.fingerprint(picture) if duplicates else None

    formats: Counter[str] = Counter()
    turned = 0
    try:
        measured = list(prefetch(measure, range(len(every)), "pictures"))
        for path in filter(None, map(every.path, range(len(every)))):
            with Image.open(path) as image:
                formats[image.format or "unknown"] += 1
                turned += image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
    except (ClassifierError, OSError) as error:
        raise DataError(f"{source} changed while it was read ({error}); start again") from error
    pairs = None
    if duplicates:
        prints = iter([own for _, own in measured if own])
        pairs = near_duplicates.find(
            data, {name: [next(prints) for _ in data.splits[name].names] for name in SPLITS}
        )
    counts = [np.bincount(data.splits[name].targets, minlength=len(data.labels)) for name in SPLITS]
    return Exploration(
        sources.name_of(source), seed, data, np.stack(counts, axis=1),
        np.array([size for size, _ in measured], np.int64), pairs,
        dict(formats.most_common()), turned,
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
    faults = [f"{counted(len(found.data.broken), 'broken file')}"] * bool(found.data.broken)
    if found.leaks:
        pairs = counted(len(found.leaks), "near-duplicate")
        faults.append(f"{pairs} between splits, which make an accuracy look too good")
    if found.conflicts:
        faults.append(
            f"{counted(len(found.conflicts), 'pair')} of the same picture with two labels"
        )
    if faults:
        return f"{first} To repair before training: {'; '.join(faults)}."
    looked = "broken files" if found.pairs is None else "broken files or near-duplicates"
    return f"{first} It has no {looked}."


def balance(found: Exploration) -> str:
    """How many more pictures the largest class has, and what guessing it is worth."""
    train, test = found.counts[:, 0], found.counts[:, 2]
    most, least = int(train.argmax()), int(train.argmin())
    labels = found.data.labels
    guess = test[most] / max(1, test.sum())
    lead = f"Every class has {counted(int(train[most]), 'picture')} in train."
    if train[most] > train[least]:
        lead = (
            f"In train, {labels[most]} has {train[most]:,} pictures and {labels[least]} "
            f"{train[least]:,}: {train[most] / max(1, train[least]):.1f} to 1."
        )
    return (
        f"{lead} Always guessing {labels[most]} is right for {guess:.1%} of test: the accuracy to "
        "beat."
    )


def shares(found: Exploration) -> str:
    """Whether the splits have the same class shares (chi-square test)."""
    counts = found.counts
    counts = counts[counts.any(axis=1)][:, counts.any(axis=0)]
    if min(counts.shape) < 2:
        return ""
    p = float(chi2_contingency(counts).pvalue)
    if p >= ALIKE:
        return "The splits have the same class shares, up to chance."
    parts = found.counts / np.maximum(found.counts.sum(axis=0), 1)
    label, split = np.unravel_index(np.abs(parts - parts[:, :1]).argmax(), parts.shape)
    return (
        f"The splits differ in their class shares by more than chance (chi-square test, p "
        f"{'< 0.0001' if p < 0.0001 else f'= {p:.2g}'}): {found.data.labels[label]} is "
        f"{parts[label, 0]:.1%} of train and {parts[label, split]:.1%} of {SPLITS[split]}."
    )


def sizes(found: Exploration) -> str:
    """How large the pictures are, and how many of them an input enlarges."""
    sides = found.sizes
    if (sides == sides[0]).all():
        return f"All pictures have {sides[0, 0]} x {sides[0, 1]} pixels."
    low = ", ".join(f"{(sides.min(axis=1) < n).mean():.1%} below {n}" for n in INPUTS)
    return (
        f"{counted(len(np.unique(sides, axis=0)), 'size')}, from {sides[:, 0].min()} x "
        f"{sides[:, 1].min()} to {sides[:, 0].max()} x {sides[:, 1].max()} pixels. Of the shorter "
        f"sides {low} pixels: an input of that size enlarges them."
    )


def lines(found: Exploration) -> list[str]:
    """A summary for a terminal."""
    broken = [f"  {file}: {reason}" for file, reason in found.data.broken[:5]]
    texts = (conclusion(found), *broken, balance(found), shares(found), sizes(found))
    return [text for text in texts if text]


def html(found: Exploration, command: str = "") -> str:
    """The page. command: the command line."""
    counts, labels = found.counts, found.data.labels
    order = np.argsort(-counts.sum(axis=1), kind="stable").tolist()
    sections = [(*LEAKS, found.leaks), (*CONFLICTS, found.conflicts)] * (found.pairs is not None)
    try:
        examples = [(labels[row], _examples(found, row)) for row in order]
        shown = [(*about, len(pairs), _pairs(found, pairs)) for *about, pairs in sections]
    except (ClassifierError, OSError) as error:
        raise DataError(f"{found.name} changed while it was read ({error}); start again") from error
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
            *((f"{len(pairs):,}", heading.lower()) for _, heading, _, pairs in sections),
        ],
        splits=SPLITS,
        rows=[(labels[row], counts[row].tolist()) for row in order],
        total=max(1, int(counts.sum())),
        most=max(1, int(counts.sum(axis=1).max())),
        balance=balance(found),
        shares=shares(found),
        sizes=sizes(found),
        files=", ".join(f"{n:,} {name}" for name, n in found.formats.items()),
        turned=found.turned,
        examples=examples,
        pairs=shown,
        broken=found.data.broken,
        sha256=found.data.sha256,
        seed=found.seed,
    )


def _picture(found: Exploration, split: str, index: int) -> html_report.EmbeddedPicture:
    who = found.who(split, index)
    source = html_report.thumbnail(found.data.splits[split].picture(index, neutral(found.data)))
    return html_report.EmbeddedPicture(
        source, who["label"], [("", who["label"]), ("name", f"{split}: {who['name']}")]
    )


def _examples(found: Exploration, target: int) -> list[html_report.EmbeddedPicture]:
    """A few pictures of a label in train, at random."""
    each = max(1, min(EACH, EXAMPLES // len(found.data.labels)))
    rows = np.flatnonzero(found.data.splits["train"].targets == target)
    # Each class by itself: its pictures stay the same when another class is added.
    chosen = np.random.default_rng([found.seed, target]).permutation(rows)[:each].tolist()
    return [_picture(found, "train", row) for row in chosen]


def _pairs(found: Exploration, pairs: list[NearDuplicate]) -> list[tuple[float, list[Any]]]:
    """The most similar pairs of a section."""
    return [
        (pair.similarity, [_picture(found, *side) for side in (pair.first, pair.second)])
        for pair in pairs[:MOST_PAIRS]
    ]


@frame.command("k2l explore")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for wrong arguments or data."""
    options = parser().parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    output: Path = options.output or Path(sources.name_of(options.data) + SUFFIX)
    atomic_files.checked(output)
    found = explore(
        options.data, options.seed, duplicates=not options.no_duplicates, labels=options.labels_kind
    )
    print("\n".join(map(progress.plain, lines(found))), flush=True)
    page = html(found, shlex.join(["k2l", "explore", *words]))
    beside = atomic_files.write_report(output, page, found.to_json())
    print(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB) and {beside}")
    return frame.OK


def parser() -> argparse.ArgumentParser:
    parser = frame.Parser(
        "k2l explore",
        "Report on a data set before training: pictures by class and split, sizes, examples, "
        "broken files, near-duplicates between splits, pictures with two labels.",
        f"DATA is one of these:\n{sources.FORMS}",
    )
    sources.add(parser)
    add = parser.add_argument
    add("-o", "--output", metavar="FILE.html", type=Path, help="report; the JSON is written beside "
        f"it (default: NAME{SUFFIX})")  # fmt: skip
    add("--seed", type=whole(0, 2**31 - 1), default=1, metavar="N", help="seed of the examples, "
        "and of the split of data without splits (default: 1)")  # fmt: skip
    add("--no-duplicates", action="store_true", help="skip the search for near-duplicates")
    return parser
