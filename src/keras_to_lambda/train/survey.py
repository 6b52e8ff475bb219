"""Survey: what the pictures of a data set are like, in numbers, from one pass over them."""

from __future__ import annotations

import dataclasses
import struct
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from keras_to_lambda.train.data.dataset import neutral
from keras_to_lambda.train.data.photos import Photos

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from keras_to_lambda.runtime.model.card import ModelCard
    from keras_to_lambda.train.data.dataset import Dataset, Split

SIDE = 16  # of the squares that pictures of a class are compared as
MEAN_SIDE = 64  # of the mean pictures, at most

# What stands out. LONG, FLAT, DARK and BRIGHT are wanted twice over, absolutely and among these
# pictures: white digits on black are not ten thousand dark pictures.
SMALL = 1 / 3  # of the median shorter side
LONG = 2.2  # sides' ratio: a phone's screen has 20 : 9, and a screenshot is no photo
FLAT = 0.06  # contrast
DARK, BRIGHT = 0.15, 0.85  # mean value
RARE = 3.0  # robust deviations from the median brightness
FAR = 3.5  # robust deviations of a class's distances, as Iglewicz and Hoaglin (1993) advise
FEWEST = 8  # pictures that a class needs for its distances to have a usual range
KINDS = ("small", "long", "flat", "dark", "bright", "far")

# Pictures whose shorter side is below are enlarged by a network of that input.
INPUTS = (160, 224)
ORIENTATION = ExifTags.Base.Orientation

BALANCES = (0.5, 1.0)  # of `k2l train`, that are shown
ALIKE = 0.01  # the p-value below which splits are said to differ


@dataclass(frozen=True, slots=True)
class Measures:
    """Pictures of one split or several, a row for each.

    sizes: int32, (pictures, 2): width and height, pixels.
    mean: float64, (pictures, channels): of the values, 0..1.
    square: float64, (pictures, channels): mean of the squared values, 0..1.
    small: uint8, (pictures, SIDE * SIDE * channels): stretched to a small square.
    """

    sizes: npt.NDArray[np.int32]
    mean: npt.NDArray[np.float64]
    square: npt.NDArray[np.float64]
    small: npt.NDArray[np.uint8]

    @classmethod
    def joined(cls, parts: Sequence[Measures]) -> Measures:
        """The rows of all of them, in order."""
        return cls(
            *(
                np.concatenate([getattr(part, field.name) for part in parts])
                for field in dataclasses.fields(cls)
            )
        )

    @property
    def brightness(self) -> npt.NDArray[np.float64]:
        """Mean value of all channels: float64, (pictures,), 0..1."""
        return self.mean.mean(axis=1)

    @property
    def contrast(self) -> npt.NDArray[np.float64]:
        """Standard deviation of a channel's values, over all channels: (pictures,), 0..0.5.

        A picture of one colour has none.
        """
        variance = np.maximum(self.square - self.mean**2, 0)
        return np.sqrt(variance.mean(axis=1))


@dataclass(frozen=True, slots=True)
class Outlier:
    """A picture that stands out.

    reasons: a kind of KINDS, and how a person is told, each.
    """

    split: str
    index: int
    name: str
    label: str
    reasons: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Balance:
    """How many pictures the classes of train have.

    largest, smallest: labels. ratio: of their pictures.
    guess: the share of `on` that always guessing the largest is right for, 0..1.
    on: the split that the guess is judged on.
    """

    largest: str
    smallest: str
    ratio: float
    guess: float
    on: str


@dataclass(frozen=True, slots=True)
class Shares:
    """Whether splits have the same class shares (Pearson's chi-square test).

    chi_square, degrees, p: the test's.
    sparse: whether too few pictures are expected in too many cells for p to be taken at its word.
    label, split: where the share is farthest from train's. here, train: both shares, 0..1.
    """

    chi_square: float
    degrees: int
    p: float
    sparse: bool
    label: str
    split: str
    here: float
    train: float

    @property
    def alike(self) -> bool:
        """Whether the differences are such as come by chance."""
        return self.p >= ALIKE


@dataclass(frozen=True, slots=True)
class Files:
    """What the files are, by their headers.

    formats, modes: how many of each, commonest first; modes are Pillow's.
    transparent: have an alpha channel or a transparent colour.
    turned: have an orientation flag that viewers obey, and Keras does not.
    """

    formats: dict[str, int]
    modes: dict[str, int]
    transparent: int
    turned: int


@dataclass(frozen=True, slots=True)
class Survey:
    """All numbers.

    labels, splits: names. counts: int64, (labels, splits).
    sizes: width and height -> pictures, commonest first, of all splits.
    colour_mean, colour_std: float64, (channels,), of train, 0..1; each picture counts the same,
        whatever its size.
    outliers: what stands out, by kind, the strongest of each first; at most as many as asked for.
    standing_out: how many pictures there are of each kind that has any; one may be of several.
    means: uint8, (labels, height, width, channels): the mean picture of each class of train.
    files: None for pictures that are in no files of their own.
    """

    labels: tuple[str, ...]
    splits: tuple[str, ...]
    counts: npt.NDArray[np.int64]
    sizes: dict[tuple[int, int], int]
    colour_mean: npt.NDArray[np.float64]
    colour_std: npt.NDArray[np.float64]
    outliers: tuple[Outlier, ...]
    standing_out: dict[str, int]
    means: npt.NDArray[np.uint8]
    files: Files | None

    @property
    def pictures(self) -> int:
        """Of all splits."""
        return int(self.counts.sum())

    def column(self, split: str) -> npt.NDArray[np.int64]:
        """Pictures of each label in a split: int64, (labels,)."""
        return self.counts[:, self.splits.index(split)]

    def balance(self) -> Balance:
        """How unlike the classes' numbers are."""
        train = self.column("train")
        most, least = int(train.argmax()), int(train.argmin())
        on = "test" if self.column("test").any() else "train"
        judged = self.column(on)
        return Balance(
            largest=self.labels[most],
            smallest=self.labels[least],
            ratio=float(train[most] / train[least]),
            guess=float(judged[most] / judged.sum()),
            on=on,
        )

    def weights(self, balance: float) -> npt.NDArray[np.float64]:
        """What a picture of each class weighs with `--balance`: float64, (labels,).

        The mean over the pictures of train is 1.
        """
        train = self.column("train").astype(np.float64)
        weights = train**-balance
        return weights * train.sum() / (weights @ train)

    def shares(self) -> Shares | None:
        """Whether the splits have the same class shares; None if only train has pictures."""
        from scipy.stats import chi2_contingency

        there = np.flatnonzero(self.counts.sum(axis=0))
        if len(there) < 2:
            return None
        table = self.counts[:, there]
        chi_square, p, degrees, expected = chi2_contingency(table, correction=False)
        shares = table / table.sum(axis=0)
        train = shares[:, list(there).index(self.splits.index("train"))]
        apart = np.abs(shares - train[:, np.newaxis])
        row, column = np.unravel_index(apart.argmax(), apart.shape)
        return Shares(
            chi_square=float(chi_square),
            degrees=int(degrees),
            p=float(p),
            # Cochran's rule: at most a fifth of the cells below 5.
            sparse=bool((expected < 5).mean() > 0.2),
            label=self.labels[row],
            split=self.splits[there[column]],
            here=float(shares[row, column]),
            train=float(train[row]),
        )

    def range(self, of: Callable[[int, int], float]) -> tuple[float, float, float]:
        """Lowest, median and highest of what can be said of a width and a height."""
        values = np.repeat(
            [of(width, height) for width, height in self.sizes], list(self.sizes.values())
        )
        return float(values.min()), float(np.median(values)), float(values.max())

    def below(self, side: int) -> int:
        """How many pictures have a shorter side of fewer pixels."""
        return sum(count for size, count in self.sizes.items() if min(size) < side)

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        shares = self.shares()
        weights = {str(balance): self.weights(balance) for balance in BALANCES}
        return {
            "pictures": self.pictures,
            "splits": {name: int(self.column(name).sum()) for name in self.splits},
            "classes": [
                {
                    "label": label,
                    **{name: int(self.column(name)[row]) for name in self.splits},
                    "total": int(self.counts[row].sum()),
                    "share": float(self.counts[row].sum() / self.pictures),
                    "weight": {name: float(all_of[row]) for name, all_of in weights.items()},
                }
                for row, label in enumerate(self.labels)
            ],
            "balance": dataclasses.asdict(self.balance()),
            "split_shares": shares and {**dataclasses.asdict(shares), "alike": shares.alike},
            "sizes": {
                "width": self.range(lambda width, _: width),
                "height": self.range(lambda _, height: height),
                "aspect": self.range(lambda width, height: width / height),
                "distinct": len(self.sizes),
                "commonest": [
                    {"width": width, "height": height, "pictures": count}
                    for (width, height), count in list(self.sizes.items())[:10]
                ],
                "shorter_side_below": {str(side): self.below(side) for side in INPUTS},
            },
            "files": self.files and dataclasses.asdict(self.files),
            "colour": {"mean": self.colour_mean.tolist(), "std": self.colour_std.tolist()},
            "standing_out": self.standing_out,
            "outliers": [
                {**dataclasses.asdict(outlier), "reasons": [list(r) for r in outlier.reasons]}
                for outlier in self.outliers
            ],
        }


def survey(data: Dataset, most: int, tell: Callable[[], object] = lambda: None) -> Survey:
    """Look at every picture once.

    Args:
        data: any.
        most: how many outliers are wanted.
        tell: called after each picture.

    Raises:
        ClassifierError: a file has changed since it was checked.
    """
    card = neutral(data, SIDE)
    means = _Means(data, card)
    names = tuple(data.splits)
    parts = [
        _measure(split, card, tell, means if name == "train" else None)
        for name, split in data.splits.items()
    ]
    everything = Measures.joined(parts)
    train = parts[names.index("train")]
    mean = train.mean.mean(axis=0)
    found = _standing_out(data, everything)
    sizes = Counter((int(width), int(height)) for width, height in everything.sizes)
    return Survey(
        labels=data.labels,
        splits=names,
        counts=np.stack(
            [np.bincount(s.targets, minlength=len(data.labels)) for s in data.splits.values()],
            axis=1,
        ).astype(np.int64),
        sizes=dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))),
        colour_mean=mean,
        colour_std=np.sqrt(np.maximum(train.square.mean(axis=0) - mean**2, 0)),
        outliers=tuple(_in_turns(found, most)),
        standing_out={kind: len(own) for kind, own in found.items() if own},
        means=means.pictures(),
        files=_files(data),
    )


class _Means:
    """The sum of each class's pictures, all of one size."""

    def __init__(self, data: Dataset, card: ModelCard) -> None:
        self.size = (MEAN_SIDE, MEAN_SIDE)
        if data.shape:
            scale = min(1.0, MEAN_SIDE / max(data.shape[:2]))
            height, width = (max(1, round(side * scale)) for side in data.shape[:2])
            self.size = (width, height)
        width, height = self.size
        shape = (len(data.labels), height, width, card.channels)
        self.sums = np.zeros(shape, np.int64)
        self.counts = np.zeros(len(data.labels), np.int64)

    def add(self, target: int, image: Image.Image) -> None:
        pixels = np.asarray(_resized(image, self.size))
        self.sums[target] += pixels.reshape(self.sums.shape[1:])
        self.counts[target] += 1

    def pictures(self) -> npt.NDArray[np.uint8]:
        """uint8, (labels, height, width, channels)."""
        counts = np.maximum(self.counts, 1)[:, np.newaxis, np.newaxis, np.newaxis]
        return np.rint(self.sums / counts).astype(np.uint8)


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    # Half the time for photos; on average, values are off by less than 1 of 255.
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)


def _measure(
    split: Split, card: ModelCard, tell: Callable[[], object], means: _Means | None
) -> Measures:
    rows, channels = len(split), card.channels
    found = Measures(
        sizes=np.zeros((rows, 2), np.int32),
        mean=np.zeros((rows, channels)),
        square=np.zeros((rows, channels)),
        small=np.zeros((rows, SIDE * SIDE * channels), np.uint8),
    )
    values = np.arange(256) / 255
    for row, image in enumerate(split.each(card)):
        # Mean and deviation of all pixels, in a tenth of the time that floats take.
        histogram = np.array(image.histogram(), np.float64).reshape(channels, 256)
        found.sizes[row] = image.size
        found.mean[row] = histogram @ values / (image.width * image.height)
        found.square[row] = histogram @ values**2 / (image.width * image.height)
        found.small[row] = np.asarray(_resized(image, (SIDE, SIDE))).reshape(-1)
        if means:
            means.add(int(split.targets[row]), image)
        tell()
    return found


def robust(values: npt.NDArray[np.float64], floor: float) -> npt.NDArray[np.float64]:
    """Distances from the median in robust standard deviations (1.4826 x the median deviation).

    Args:
        values: float64, (values,).
        floor: the deviation is taken to be at least this: of values that are nearly all the same,
            the others do not lie infinitely far off.

    Returns:
        float64, (values,).
    """
    if not len(values):
        return values
    middle = np.median(values)
    deviation = 1.4826 * np.median(np.abs(values - middle))
    return (values - middle) / max(float(deviation), floor)


def distances(
    small: npt.NDArray[np.uint8], targets: npt.NDArray[np.int32], labels: int
) -> npt.NDArray[np.float64]:
    """How far each picture is from the mean of its class.

    Args:
        small: uint8, (pictures, values). targets: int32, (pictures,). labels: how many.

    Returns:
        float64, (pictures,): robust deviations of its class's distances; 0 in a class of fewer than
        FEWEST.
    """
    far = np.zeros(len(small))
    for target in range(labels):
        rows = np.flatnonzero(targets == target)
        if len(rows) < FEWEST:
            continue
        middle = small[rows].mean(axis=0, dtype=np.float64)
        own = np.empty(len(rows))
        # In pieces: as floats, a class of a large set takes eight times its memory.
        for start in range(0, len(rows), 1024):
            piece = small[rows[start : start + 1024]] - middle
            own[start : start + 1024] = np.sqrt((piece**2).mean(axis=1)) / 255
        far[rows] = robust(own, floor=0.01)
    return far


def _standing_out(data: Dataset, all_of: Measures) -> dict[str, list[Outlier]]:
    """What stands out, by kind, strongest first; a picture under each kind that it is of."""
    width, height = all_of.sizes.T.astype(np.float64)
    shorter, ratio = (
        np.minimum(width, height),
        np.maximum(width, height) / np.minimum(width, height),
    )
    brightness, contrast = all_of.brightness, all_of.contrast
    rare = robust(brightness, floor=0.02)
    targets = np.concatenate([split.targets for split in data.splits.values()])
    far = distances(all_of.small, targets, len(data.labels))
    usual = float(np.median(shorter))
    # Of each kind: where, how strongly, and what a person is told.
    kinds: dict[str, tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]] = {
        "small": (shorter < SMALL * usual, -shorter),
        "long": ((ratio > LONG) & (ratio > 1.5 * np.median(ratio)), ratio),
        "flat": ((contrast < FLAT) & (contrast < np.median(contrast) / 2), -contrast),
        "dark": ((brightness < DARK) & (rare < -RARE), -brightness),
        "bright": ((brightness > BRIGHT) & (rare > RARE), brightness),
        "far": (far > FAR, far),
    }

    def reason(kind: str, row: int) -> str:
        across, down = all_of.sizes[row].tolist()
        if kind == "small":
            return f"small: {across} x {down} pixels; the median shorter side is {usual:.0f}"
        if kind == "long":
            shape = ("wide", "high") if across > down else ("high", "wide")
            return f"{ratio[row]:.2f} times as {shape[0]} as {shape[1]}"
        if kind == "flat":
            return f"nearly uniform: contrast {contrast[row]:.3f}, median {np.median(contrast):.2f}"
        if kind in ("dark", "bright"):
            return f"{kind}: mean {brightness[row]:.2f}, median {np.median(brightness):.2f}"
        return f"far from the mean {data.labels[targets[row]]}: {far[row]:.1f} robust deviations"

    chosen = {kind: np.flatnonzero(where) for kind, (where, _) in kinds.items()}
    reasons: dict[int, list[tuple[str, str]]] = {}
    for kind, rows in chosen.items():
        for row in rows.tolist():
            reasons.setdefault(row, []).append((kind, reason(kind, row)))
    outliers = {row: _outlier(data, row, tuple(told)) for row, told in reasons.items()}
    return {
        kind: [outliers[row] for row in rows[np.argsort(-kinds[kind][1][rows], kind="stable")]]
        for kind, rows in chosen.items()
    }


def _outlier(data: Dataset, row: int, reasons: tuple[tuple[str, str], ...]) -> Outlier:
    """Of a row of all splits, one after the other."""
    for name, split in data.splits.items():
        if row < len(split):
            label = data.labels[split.targets[row]]
            return Outlier(name, row, split.name(row), label, reasons)
        row -= len(split)
    raise IndexError(row)


def _in_turns(found: dict[str, list[Outlier]], most: int) -> list[Outlier]:
    """At most so many, from each kind in turn, so that a common one leaves room for the others."""
    ranked = sorted(
        (place, KINDS.index(kind)) for kind, own in found.items() for place in range(len(own))
    )
    chosen: dict[tuple[str, int], tuple[int, int]] = {}
    for place, kind in ranked:
        outlier = found[KINDS[kind]][place]
        if len(chosen) < most:
            chosen.setdefault((outlier.split, outlier.index), (kind, place))
    return [found[KINDS[kind]][place] for kind, place in sorted(chosen.values())]


def _files(data: Dataset) -> Files | None:
    paths = [
        path for split in data.splits.values() if isinstance(split, Photos) for path in split.paths
    ]
    if not paths:
        return None
    with ThreadPoolExecutor() as pool:
        headers = list(pool.map(_header, paths))
    formats, modes = (
        dict(sorted(Counter(column).items(), key=lambda item: (-item[1], item[0])))
        for column in zip(*((header[0], header[1]) for header in headers), strict=True)
    )
    return Files(
        formats=formats,
        modes=modes,
        transparent=sum(header[2] for header in headers),
        turned=sum(header[3] for header in headers),
    )


def _header(path: Path) -> tuple[str, str, bool, bool]:
    """Format, mode, whether it is transparent, whether it is to be turned; no pixel is decoded."""
    with Image.open(path) as image:
        # A JPEG with a preview in it is one all the same.
        kind = "JPEG" if image.format == "MPO" else str(image.format)
        # Of a PNG without EXIF data, Pillow decodes everything to look behind the pixels.
        known = kind != "PNG" or "exif" in image.info
        try:
            turned = known and image.getexif().get(ORIENTATION, 1) in range(2, 9)
        except (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):
            turned = False  # damaged data about a picture that is not
        return kind, image.mode, image.has_transparency_data, turned
