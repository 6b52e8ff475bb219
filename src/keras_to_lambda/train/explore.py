"""What is in a data set, before anything is trained on it: a page for a person, JSON for machines.

k2l explore DATA      writes NAME.exploration.html and NAME.exploration.json
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from keras_to_lambda.runtime.errors import ClassifierError, SetupError
from keras_to_lambda.train import page
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data import twins as near
from keras_to_lambda.train.data.dataset import DataError, Dataset, neutral
from keras_to_lambda.train.data.twins import Twin
from keras_to_lambda.train.survey import BALANCES, INPUTS, Survey, survey

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLES = 8  # pictures of each class
MOST_SAMPLES = 400  # on a page: of a hundred classes there are four each
MOST_OUTLIERS = 24
MOST_PAIRS = 24  # of each sort
MOST_CLASSES = 30  # at once; the others on a click
MOST_SIZES = 1000  # as circles; more are binned
SUFFIX = ".exploration.html"
ENDINGS = (".git", ".csv", ".tsv", ".npz", ".gz", ".tar", ".tgz")
# What a person calls the kinds of outliers.
KINDS = {
    "small": "small",
    "long": "long",
    "flat": "nearly uniform",
    "dark": "dark",
    "bright": "bright",
    "far": "far from their class's mean",
}


@dataclass(frozen=True, slots=True)
class Exploration:
    """All that was found.

    name: of the data. seed: of the samples, and of what is set aside where the data is not split.
    twins: None if they were not looked for.
    """

    name: str
    seed: int
    data: Dataset
    survey: Survey
    twins: tuple[Twin, ...] | None

    @property
    def leaks(self) -> list[Twin]:
        """Pairs of which one picture is in another split, most alike first."""
        pairs = [twin for twin in self.twins or () if twin.first[0] != twin.second[0]]
        return sorted(pairs, key=_order)

    @property
    def contradictions(self) -> list[Twin]:
        """Pairs inside one split with two labels, most alike first."""
        pairs = [twin for twin in self.twins or () if twin.first[0] == twin.second[0]]
        return sorted((twin for twin in pairs if not twin.same_label), key=_order)

    def to_json(self) -> dict[str, Any]:
        """For machines: all numbers of the page."""
        return {
            "name": self.name,
            "seed": self.seed,
            "sha256": self.data.sha256,
            **self.survey.to_json(),
            "broken": [{"file": file, "reason": reason} for file, reason in self.data.broken],
            "twins": None
            if self.twins is None
            else {
                "between_splits": [self._pair(twin) for twin in self.leaks],
                "contradictions": [self._pair(twin) for twin in self.contradictions],
            },
        }

    def _pair(self, twin: Twin) -> dict[str, Any]:
        return {
            "similarity": float(twin.similarity),
            "same_label": bool(twin.same_label),
            **{
                side: {"split": split, "index": int(index), **self.who(split, index)}
                for side, (split, index) in (("first", twin.first), ("second", twin.second))
            },
        }

    def who(self, split: str, index: int) -> dict[str, str]:
        """A picture's name and label."""
        pictures = self.data.splits[split]
        return {
            "name": pictures.name(index),
            "label": self.data.labels[pictures.targets[index]],
        }


def explore(
    source: str,
    seed: int = 1,
    most: int = MOST_OUTLIERS,
    *,
    twins: bool = True,
    labels: str = "fine",
) -> Exploration:
    """Read a data set and look at all of it.

    Args:
        source: as `sources.load` takes it. seed: of the split, where it has none, and the samples.
        most: how many outliers are named.
        twins: whether near-duplicates are looked for. labels: of CIFAR-100, fine or coarse.

    Raises:
        DataError: it cannot be read, or has changed in the meantime.
    """
    data = sources.load(source, seed, labels=labels)
    total = sum(len(split) for split in data.splits.values())
    pairs = None
    try:
        with tqdm(total=total, unit="", desc="looking", disable=None, leave=False) as bar:
            found = survey(data, most, bar.update)
        if twins:
            pairs = tuple(near.find(data))
    except (ClassifierError, OSError) as error:
        raise DataError(f"{source} has changed while it was read ({error}): start again") from error
    return Exploration(_name(source), seed, data, found, pairs)


def _name(source: str) -> str:
    """What the data is called: without its scheme, its folder, and what tells its format."""
    scheme, _, rest = source.partition(":")
    path = Path(rest if scheme in ("keras", "git") else source)
    name = path.name or path.resolve().name
    for ending in ENDINGS:
        name = name.removesuffix(ending)
    return name or "data"


def _order(twin: Twin) -> tuple[float, tuple[str, int], tuple[str, int]]:
    return -twin.similarity, twin.first, twin.second


# Sentences, for the page and the terminal.


def counted(number: int, one: str, many: str = "") -> str:
    """A number and its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def about_balance(found: Survey) -> str:
    """How many more pictures the largest class has, and what a guess is worth."""
    balance = found.balance()
    most, least = (
        int(found.column("train")[found.labels.index(label)])
        for label in (balance.largest, balance.smallest)
    )
    guess = (
        f"Always guessing {balance.largest} is right for {balance.guess:.1%} of {balance.on}: the "
        "accuracy to beat."
    )
    if most == least:
        return f"Every class has {counted(most, 'picture')} in train. {guess}"
    return (
        f"In train, {balance.largest} has {most:,} pictures and {balance.smallest} {least:,}: "
        f"{balance.ratio:.1f} to 1. {guess}"
    )


def about_weights(found: Survey) -> str:
    """What `--balance` of `k2l train` would do."""
    ratio, balance = found.balance().ratio, found.balance()
    if ratio == 1:
        return "--balance would change nothing: it weighs classes by their pictures in train."
    return (
        "A class weighs (its pictures in train) ** -balance. With --balance 0 each picture counts "
        f"the same; with 1 each class does, a picture of {balance.smallest} {ratio:.1f} times as "
        f"much as one of {balance.largest}; 0.5 is between, {ratio**0.5:.1f} times."
    )


def about_shares(found: Survey) -> str:
    """Whether a split has other class shares than train."""
    shares = found.shares()
    if shares is None:
        return "All pictures are in one split: there are no shares to compare."
    test = (
        f"chi-square {shares.chi_square:.1f}, {counted(shares.degrees, 'degree')} of freedom, "
        f"p {_p(shares.p)}"
    )
    rare = " Few pictures are expected of several classes: take the test as a hint." * shares.sparse
    if shares.alike:
        return (
            f"The splits have the same class shares, as far as can be told: differences like "
            f"theirs come about by chance ({test}).{rare}"
        )
    return (
        f"The splits differ in their class shares by more than chance ({test}): {shares.label} is "
        f"{shares.here:.1%} of {shares.split} and {shares.train:.1%} of train.{rare}"
    )


def _p(value: float) -> str:
    return "below 0.0001" if value < 0.0001 else f"= {value:.2g}"


def about_sizes(found: Survey) -> str:
    """How large the pictures are, and which of them a network would see enlarged."""
    if len(found.sizes) == 1:
        ((width, height),) = found.sizes
        larger = [str(side) for side in INPUTS if min(width, height) < side]
        enlarged = f" An input of {' or '.join(larger)} pixels enlarges them." if larger else ""
        return f"All pictures have {width} x {height} pixels.{enlarged}"
    (low, _, high) = found.range(lambda width, height: width / height)
    text = f"{counted(len(found.sizes), 'size')}; width / height is from {low:.2f} to {high:.2f}."
    below = {side: found.below(side) / found.pictures for side in INPUTS}
    if not any(below.values()):
        return f"{text} None has a shorter side below {max(INPUTS)} pixels."
    told = ", ".join(f"{share:.1%} below {side}" for side, share in below.items())
    return f"{text} Of a shorter side {told} pixels, which such an input enlarges."


def about_outliers(found: Survey) -> str:
    """How many pictures stand out, by kind; "" if none does."""
    return ", ".join(f"{count:,} {KINDS[kind]}" for kind, count in found.standing_out.items())


def lines(exploration: Exploration) -> list[str]:
    """What the terminal says."""
    found, data = exploration.survey, exploration.data
    splits = ", ".join(f"{name} {found.column(name).sum():,}" for name in found.splits)
    told = [
        f"{counted(found.pictures, 'picture')} of {counted(len(found.labels), 'class', 'classes')}"
        f": {splits}.",
        about_balance(found),
        about_shares(found),
        about_sizes(found),
        _about_broken(data),
        f"Pictures that stand out: {about_outliers(found) or 'none'}.",
    ]
    if exploration.twins is not None:
        told.append(
            f"{counted(len(exploration.leaks), 'near-duplicate')} between splits; in train, "
            f"{counted(len(exploration.contradictions), 'pair')} with two labels."
        )
    return told


def _about_broken(data: Dataset) -> str:
    if not data.broken:
        return "No file is broken."
    few = "".join(f"\n  {file}: {reason}" for file, reason in data.broken[:5])
    rest = "\n  and others, on the page" * (len(data.broken) > 5)
    return f"{counted(len(data.broken), 'broken file')}, left out:{few}{rest}"


# The page.


def html(exploration: Exploration, samples: int = SAMPLES) -> str:
    """The page: one file that needs no network.

    Args:
        samples: pictures of each class, at most.

    Raises:
        DataError: a picture has changed in the meantime.
    """
    found, data = exploration.survey, exploration.data
    try:
        return page.render(
            "exploration.html.jinja",
            title=f"What is in {exploration.name}",
            x=exploration,
            found=found,
            balance=found.balance(),
            weights={balance: found.weights(balance) for balance in BALANCES},
            order=np.argsort(-found.counts.sum(axis=1), kind="stable").tolist(),
            most_classes=MOST_CLASSES,
            about_balance=about_balance(found),
            about_weights=about_weights(found),
            about_shares=about_shares(found),
            about_sizes=about_sizes(found),
            about_outliers=about_outliers(found),
            sizes=list(found.sizes.items())[:8],
            ranges=_ranges(found),
            chart=_chart(found),
            binned=len(found.sizes) > MOST_SIZES,
            means=[page.thumbnail(_mean(mean)) for mean in found.means],
            samples=_samples(exploration, samples),
            outliers=[
                (_thumbnail(data, outlier.split, outlier.index), outlier)
                for outlier in found.outliers
            ],
            pairs=[
                (twins, [_shown(exploration, twin) for twin in twins[:MOST_PAIRS]])
                for twins in (exploration.leaks, exploration.contradictions)
            ],
            channels=("grey",) if len(found.colour_mean) == 1 else ("red", "green", "blue"),
        )
    except (ClassifierError, OSError) as error:
        raise DataError(
            f"{exploration.name} has changed while it was read ({error}): start again"
        ) from error


def _thumbnail(data: Dataset, split: str, index: int, side: int = 128) -> str:
    return page.thumbnail(data.splits[split].picture(index, neutral(data)), side)


def _mean(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _samples(exploration: Exploration, most: int) -> list[list[tuple[str, str]]]:
    """For each label a few pictures of train: data: URLs and names."""
    data = exploration.data
    each = max(1, min(most, MOST_SAMPLES // len(data.labels)))
    train = data.splits["train"]
    chosen = []
    for target in range(len(data.labels)):
        # Each class by itself: its pictures stay the same when another class is added.
        random = np.random.default_rng([exploration.seed, target])
        rows = np.flatnonzero(train.targets == target)
        rows = random.permutation(rows)[:each].tolist()
        chosen.append([(_thumbnail(data, "train", row), train.name(row)) for row in rows])
    return chosen


def _shown(exploration: Exploration, twin: Twin) -> tuple[Twin, list[tuple[str, dict[str, str]]]]:
    """A pair, and of both a data: URL, and split, name and label."""
    return twin, [
        (
            _thumbnail(exploration.data, split, index, 160),
            {"split": split, **exploration.who(split, index)},
        )
        for split, index in (twin.first, twin.second)
    ]


def _ranges(found: Survey) -> list[tuple[str, str, str, str]]:
    """Rows of a table: what, and its lowest, median and highest value."""
    rows = (
        ("width, pixels", found.range(lambda width, _: width), "{:.0f}"),
        ("height, pixels", found.range(lambda _, height: height), "{:.0f}"),
        ("shorter side, pixels", found.range(min), "{:.0f}"),
        ("width / height", found.range(lambda width, height: width / height), "{:.2f}"),
    )
    return [(name, *(form.format(value) for value in values)) for name, values, form in rows]


def _chart(found: Survey) -> str:
    """Widths and heights, as a data: URL; "" if there is one size only."""
    if len(found.sizes) == 1:
        return ""
    from matplotlib.figure import Figure

    sizes, counts = np.array(list(found.sizes)), np.array(list(found.sizes.values()))
    # Sizes over several octaves would crowd in a corner.
    scale = "log" if (sizes.max(axis=0) / sizes.min(axis=0)).max() > 8 else "linear"
    figure = Figure(figsize=(5.2, 4.4))
    axes = figure.add_subplot(xscale=scale, yscale=scale, xlabel="width", ylabel="height")
    if len(sizes) > MOST_SIZES:
        cells = axes.hexbin(
            *sizes.T, C=counts, reduce_C_function=np.sum, gridsize=36, norm="log", cmap="Blues",
            xscale=scale, yscale=scale, linewidths=0.2, edgecolors="#94a8cf",
        )  # fmt: skip
        figure.colorbar(cells, ax=axes, label="pictures")
    else:
        area = np.maximum(700 * counts / counts.max(), 9)
        axes.scatter(*sizes.T, s=area, color="#3b6fd4", alpha=0.45, linewidths=0)
    low, high = sizes.min(), sizes.max()
    axes.plot([low, high], [low, high], "--", color="#94a8cf", linewidth=1, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    return page.plot(figure)


def write(exploration: Exploration, samples: int, output: Path) -> Path:
    """Write the page, and the JSON beside it.

    Returns:
        Where the JSON is.

    Raises:
        DataError: it cannot be written there, or a picture has changed in the meantime.
    """
    text = html(exploration, samples)
    record = json.dumps(exploration.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    beside = output.with_suffix(".json")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
        beside.write_text(record + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"cannot write {output} ({error.strerror}): name another with -o"
        ) from error
    return beside


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for wrong arguments or data."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        output = _checked(options)
        exploration = explore(
            options.data,
            options.seed,
            twins=not options.no_twins,
            labels=options.labels_kind,
        )
        for line in lines(exploration):
            print(line, flush=True)
        beside = write(exploration, options.samples, output)
    except (DataError, SetupError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB) and {beside}")
    return 0


def _checked(options: argparse.Namespace) -> Path:
    """Where the page is to be written.

    Raises:
        DataError: an argument is wrong.
    """
    if options.samples < 1:
        raise DataError("--samples must be at least 1")
    if not 0 <= options.seed < 2**31:
        raise DataError("--seed must be from 0 to 2147483647")
    output = options.output or Path(_name(options.data) + SUFFIX)
    if output.is_dir():
        raise DataError(f"{output} is a folder; -o wants the page's name, such as page.html")
    if output.suffix not in (".html", ".htm"):
        raise DataError(
            f"-o {output}: the page's name must end in .html; its JSON is put beside it"
        )
    return output


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="k2l explore",
        description="Look at a data set before anything is trained on it: how many pictures of\n"
        "what size each class has, what they look like, which stand out, which are broken, and\n"
        "which are in two splits. Writes a page (HTML, one file) and the numbers (JSON).",
        epilog=f"DATA is one of these:\n{sources.FORMS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        help="a folder, a file or a name, as below",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help=f"the page; the JSON is put beside it (default: the data's name and {SUFFIX}, here)",
    )
    sources.add_kind(parser)
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="of the samples, and of the split if the data has none (default: %(default)s)",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=SAMPLES,
        metavar="N",
        help="pictures of each class that are shown, at most; fewer where there are more than "
        f"{MOST_SAMPLES} in all (default: %(default)s)",
    )
    parser.add_argument(
        "--no-twins",
        action="store_true",
        help="do not look for near-duplicates, which takes longest",
    )
    return parser
