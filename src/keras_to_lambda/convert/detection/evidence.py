"""Evidence: how well each convention fits the photos, and what that shows.

A convention is one usual way from photos to tensors: scaling, colour order, interpolation, resize,
and the order of the labels. It is out if another does better by more than luck explains; a factor
is found if all conventions that remain agree on it. Conventions with equal tensors always remain
together, and so are never a random pick.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from keras_to_lambda.cli.evaluation import wilson
from keras_to_lambda.runtime.model_file.card import Preprocessing

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

FACTORS = ("scaling", "color_order", "interpolation", "resize", "labels")
ALPHA = 0.05
DRAWS = 10_000  # of random signs
# A photo's loss counts up to here: one hopeless photo must not outweigh a hundred.
WORST_LOSS = math.log(1e4)
NETWORKS = 60  # untrained ones to compare with


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one convention made of the photos.

    labels: the order of the outputs, "alphabetical" or "given".
    right: bool, (photos,): the top-1 output is the folder's.
    loss: float64, (photos,), 0..WORST_LOSS: minus the log of the folder's probability.
    trained: the same at the temperature of training, 1.
    """

    steps: Preprocessing
    labels: str
    right: Bools
    loss: Doubles
    trained: Doubles

    @classmethod
    def of(cls, steps: Preprocessing, labels: str, scores: Floats, targets: Ints) -> Outcome:
        """Judge scores: float32, (photos, outputs), logits or probabilities.

        The loss is taken at the temperature that suits the convention best, which is the same
        chance for all: one that only makes the network more or less sure of itself gains nothing.
        targets: int64, (photos,), the expected output of each photo.
        """
        values = logits(scores)
        usable = np.asarray(np.isfinite(values).all(axis=1))
        values = np.where(usable[:, None], values, 0.0)
        right = (values.argmax(axis=1) == targets) & usable
        values -= values.max(axis=1, keepdims=True)
        spread, weights = float(values.std()), class_weights(targets)
        best = np.full(len(targets), math.log(values.shape[1]))

        def loss(sharp: Doubles) -> Doubles:
            log_sum = np.log(np.exp(sharp).sum(axis=1))
            losses = log_sum - sharp[np.arange(len(targets)), targets]
            return np.asarray(np.minimum(losses, WORST_LOSS), np.float64)

        for step in np.arange(-4, 6.5, 0.5) if spread > 0 else ():
            tried = loss(values * (2.0**step / spread))
            if weights @ tried < weights @ best:
                best = tried
        losses = (np.where(usable, each, WORST_LOSS) for each in (best, loss(values)))
        return cls(steps, labels, right, *losses)


def logits(scores: Floats) -> Doubles:
    """Whatever a classifier ends in -> logits, (photos, classes), of two classes or more.

    A single output becomes two classes: a probability of the second one (a sigmoid), or its logit.
    Rows that are not finite stay so.
    """
    values = np.asarray(scores, np.float64)
    finite = values[np.isfinite(values).all(axis=1)]
    shares = finite.size > 0 and finite.min() >= 0
    if values.shape[1] == 1:
        shares = shares and finite.max() <= 1
        values = np.concatenate([1 - values if shares else np.zeros_like(values), values], axis=1)
    else:  # the steps of a quantized softmax add up to some hundredths
        shares = shares and np.abs(finite.sum(axis=1) - 1).max() < 0.05
    return np.log(np.maximum(values, math.exp(-WORST_LOSS))) if shares else values


def class_weights(targets: Ints) -> Doubles:
    """A weight for each photo: every class counts the same, and all weights add up to 1."""
    _, index, counts = np.unique(targets, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (len(counts) * counts[index]), np.float64)


def accuracy(right: Bools, targets: Ints, confidence: float = 0.95) -> tuple[float, float, float]:
    """The mean of the classes' accuracies, and its interval's lower and upper bound, 0..1.

    Wilson's interval, on as many photos as would give the mean the same variance if the classes
    were of one size: that many there are, if so.
    """
    weights = class_weights(targets)
    share, total = min(float(weights @ right), 1.0), 1.0 / float(weights @ weights)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    return share, *wilson(share * total, total, z)


@dataclass(frozen=True, slots=True)
class Row:
    """What was found out about one convention.

    accuracy, low, high: see `accuracy`. loss: the mean, each class counting the same. p: of being
    the true one and still so much worse than the best, corrected for the number of conventions.
    """

    scaling: str
    color_order: str
    interpolation: str
    resize: str
    labels: str
    accuracy: float
    low: float
    high: float
    loss: float
    p: float

    @property
    def fits(self) -> bool:
        """Whether it may be the true one."""
        return self.p > ALPHA


@dataclass(frozen=True, slots=True)
class FactorFinding:
    """What was found out about one of FACTORS: the values that were tried, and that fit.

    Both best first: by the smallest loss of a convention with the value.
    """

    tried: tuple[str, ...]
    fitting: tuple[str, ...]

    @property
    def found(self) -> str | None:
        """The value, if only one fits of several tried."""
        return self.fitting[0] if len(self.fitting) == 1 and len(self.tried) > 1 else None


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of the photos.

    rows: every convention tried, by loss. bound: what the first one's accuracy is at least,
    corrected for all conventions. floor: what it has to exceed before anything is named.
    """

    rows: tuple[Row, ...]
    bound: float
    floor: float
    factors: dict[str, FactorFinding]

    @property
    def convincing(self) -> bool:
        """Whether the best accuracy is out of an untrained network's reach."""
        return self.bound > self.floor

    @property
    def named(self) -> bool:
        """Whether scaling and colour order were found.

        A greyscale network has no order, and a quantized input may leave one scaling.
        """
        both = (self.factors["scaling"], self.factors["color_order"])
        return self.convincing and all(x.found is not None or len(x.tried) == 1 for x in both)


def luck(loss: Doubles, less: Doubles, targets: Ints) -> float:
    """The chance that one of two equally good conventions has so much more loss: see `compare`."""
    behind = class_weights(targets) * (loss - less)
    signs, at_least = _signs(len(targets)), behind.sum() - 1e-9  # rounding must not break ties
    # In blocks: as float64 the signs of many photos would take gigabytes.
    reached = sum(int((block @ behind >= at_least).sum()) for block in np.array_split(signs, 100))
    return (reached + 1) / (DRAWS + 1)


@functools.lru_cache(maxsize=1)
def _signs(photos: int) -> npt.NDArray[np.int8]:
    """Random signs, (DRAWS, photos): the same for each convention, and drawn once for all."""
    return np.random.default_rng(0).integers(0, 2, (DRAWS, photos), dtype=np.int8) * 2 - 1


def compare(outcomes: Sequence[Outcome], targets: Ints, floor: float) -> Evidence:
    """Compare conventions on the same photos, each with the one of the smallest loss.

    If a convention is the true one, no other fits better, and a photo's difference between the two
    could as well have had the other sign: a paired permutation test that assumes no distribution.
    By Bonferroni's correction the true convention, whichever it is, is ruled out wrongly at most
    ALPHA of the time; and without that no factor is named wrongly. targets: int64, (photos,): the
    class of each photo, whatever its number.
    """
    weights = class_weights(targets)
    ordered = sorted(outcomes, key=lambda one: float(weights @ one.loss))
    rows = []
    for one in ordered:
        steps = one.steps
        rows.append(
            Row(
                str(steps.scaling),
                steps.color_order,
                steps.interpolation,
                steps.resize,
                one.labels,
                *accuracy(one.right, targets),
                loss=float(weights @ one.loss),
                p=min(1.0, len(outcomes) * luck(one.loss, ordered[0].loss, targets)),
            )
        )
    _, bound, _ = accuracy(ordered[0].right, targets, 1 - ALPHA / len(outcomes))
    return Evidence(tuple(rows), bound, floor, {name: _factor(name, rows) for name in FACTORS})


def _factor(name: str, rows: Sequence[Row]) -> FactorFinding:
    tried, fitting = (
        tuple(dict.fromkeys(str(getattr(row, name)) for row in some))
        for some in (rows, [row for row in rows if row.fits])
    )
    return FactorFinding(tried, fitting)


def least_accuracy(thumbnails: Floats, targets: Ints) -> float:
    """The accuracy that a network needs before we believe that it was trained on such classes.

    The largest (each class counting the same) of the square root of chance (1/classes), of what the
    nearest class by mean colour has right, and of the best of NETWORKS random perceptrons on the
    same photos: untrained weights distinguish classes that differ in brightness or colour alone.

    thumbnails: float32, (photos, side, side, channels), 0..255. targets: int64, (photos,).
    """
    _, truth = np.unique(targets, return_inverse=True)
    classes, weights = range(int(truth.max()) + 1), class_weights(targets)
    pixels = thumbnails / 127.5 - 1
    colours, flat = pixels.mean(axis=(1, 2)), pixels.reshape(len(pixels), -1)
    means = np.stack([colours[truth == one].mean(axis=0) for one in classes])
    answers = [np.linalg.norm(colours[:, None] - means, axis=2).argmin(axis=1)]
    random = np.random.default_rng(0)
    for _ in range(NETWORKS):
        hidden = np.maximum(flat @ random.normal(size=(flat.shape[1], 40)), 0)
        answers.append((hidden @ random.normal(size=(40, len(classes)))).argmax(axis=1))
    return max(math.sqrt(1 / len(classes)), *(float(weights @ (x == truth)) for x in answers))
