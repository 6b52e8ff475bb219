"""Conventions: the usual ways from photos to tensors, and the statistics that show which one fits.

For each convention the same photos give their right answers and their losses. A convention is out
if another does better by more than luck explains; a factor (scaling, colour order and so on) is
found if all conventions that remain agree on it. Conventions with equal tensors always remain
together, and so are never a random pick.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from keras_to_lambda.cli.evaluation import wilson
from keras_to_lambda.runtime.image.preprocess import scale
from keras_to_lambda.runtime.model_file.card import CHOICES, PRESETS, ModelCard, Preprocessing

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

# A preset for each scaling of keras.applications (runtime/model_file/card.py), and what it does.
SCALINGS: Mapping[str, str] = {
    "rescale": "1/255",
    "mobilenet_v2": "-1..1",
    "resnet50": "caffe: BGR, minus the means",
    "densenet121": "torch: mean and std",
    "raw": "0..255",
}
ORDERS = CHOICES["color_order"]
# In each row `k2l convert`'s default comes first: it represents all that tie exactly.
INTERPOLATIONS = ("pillow:nearest", "pillow:bilinear", "pillow:bicubic", "tf:bilinear")
RESIZES = CHOICES["resize"]

UPRIGHT = Preprocessing(exif="apply")
ALPHA = 0.05
# How ALPHA is shared between a convention's two tests. Beside those that differ in one factor only,
# what the others have in common cancels out: that test sees the small differences. Beside all, one
# that is wrong in several factors at once meets some that are right in all: that needs little.
NEIGHBOURS_SHARE, ALL_SHARE = 0.8, 0.2
# Random signs drawn for a permutation test.
DRAWS = 5_000
# A photo's loss counts up to here: one hopeless photo must not outweigh a hundred.
WORST_LOSS = math.log(1e4)
# Untrained networks to compare with, and the side in pixels of what they look at.
NETWORKS = 60
THUMBNAIL = 20


@dataclass(frozen=True, slots=True)
class Convention:
    """One way from a photo in a folder to a tensor and its expected output.

    The first four are the fields of `runtime.model_file.card.Preprocessing`.

    labels: "alphabetical" or "given", the order of the outputs.
    """

    scaling: str
    color_order: str
    interpolation: str
    resize: str
    labels: str = "alphabetical"

    def card(
        self, height: int, width: int, channels: int, steps: Preprocessing = UPRIGHT
    ) -> ModelCard:
        """What `runtime.image.preprocess.prepare` needs to make the tensor.

        steps: what a convention leaves open.
        """
        steps = replace(
            steps,
            scaling=self.scaling,
            color_order=self.color_order,
            interpolation=self.interpolation,
            resize=self.resize,
        )
        labels = ("unknown", "other")
        return ModelCard("unknown", labels, height, width, channels, preprocessing=steps)


FACTORS = tuple(field.name for field in fields(Convention))


def colours(channels: int) -> list[tuple[str, str]]:
    """Scalings with colour orders; a network without exactly three channels has fewer."""
    if channels != 3:
        return [(s, "rgb") for s in SCALINGS if PRESETS[s] not in ("caffe", "torch")]
    return [(scaling, order) for scaling in SCALINGS for order in ORDERS]


def geometries() -> list[tuple[str, str]]:
    """Interpolations with ways to the input's shape."""
    return [(interpolation, resize) for resize in RESIZES for interpolation in INTERPOLATIONS]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one convention made of the photos.

    right: bool, (photos,): the top-1 output is the folder's.
    loss: float64, (photos,), 0..WORST_LOSS: minus the log of the folder's probability.
    """

    convention: Convention
    right: Bools
    loss: Doubles


def logits(scores: Floats) -> Doubles:
    """Whatever a classifier ends in -> logits, (photos, classes), of two classes or more.

    A single output becomes two classes: a probability of the second one (a sigmoid), or its logit.
    Rows that are not finite stay so.
    """
    values = np.asarray(scores, np.float64)
    finite = values[np.isfinite(values).all(axis=1)]
    if values.shape[1] == 1:
        if finite.size and finite.min() >= 0 and finite.max() <= 1:
            values = np.concatenate([1 - values, values], axis=1)
            return np.log(np.maximum(values, math.exp(-WORST_LOSS)))
        return np.concatenate([np.zeros_like(values), values], axis=1)
    # The steps of a quantized softmax add up to some hundredths.
    if finite.size and finite.min() >= 0 and np.abs(finite.sum(axis=1) - 1).max() < 0.05:
        return np.log(np.maximum(values, math.exp(-WORST_LOSS)))
    return values


def outcome(convention: Convention, scores: Floats, targets: Ints) -> Outcome:
    """Judge one convention's scores: float32, (photos, outputs), logits or probabilities.

    The loss is taken at the temperature that suits the convention best, which is the same chance
    for all: a convention that only makes the network more or less sure of itself gains nothing.
    targets: int64, (photos,), the expected output of each photo.
    """
    values = logits(scores)
    usable = np.asarray(np.isfinite(values).all(axis=1))
    values = np.where(usable[:, None], values, 0.0)
    right = (values.argmax(axis=1) == targets) & usable
    values -= values.max(axis=1, keepdims=True)
    spread = float(values.std())
    weights = class_weights(targets)
    best = np.full(len(targets), math.log(values.shape[1]))
    for step in np.arange(-4, 6.5, 0.5) if spread > 0 else ():
        sharp = values * (2.0**step / spread)
        log_sum = np.log(np.exp(sharp).sum(axis=1))
        loss = np.minimum(log_sum - sharp[np.arange(len(targets)), targets], WORST_LOSS)
        if weights @ loss < weights @ best:
            best = loss
    return Outcome(convention, right, np.where(usable, best, WORST_LOSS))


def class_weights(targets: Ints) -> Doubles:
    """A weight for each photo: every class counts the same, and all weights add up to 1."""
    _, index, counts = np.unique(targets, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (len(counts) * counts[index]), np.float64)


def accuracy(right: Bools, targets: Ints, confidence: float = 0.95) -> tuple[float, float, float]:
    """The mean of the classes' accuracies, and its interval's lower and upper bound, 0..1.

    Wilson's interval (https://doi.org/10.1080/01621459.1927.10502953), on as many photos as would
    give the mean the same variance if the classes were of one size: that many there are, if so.
    """
    weights = class_weights(targets)
    share, total = min(float(weights @ right), 1.0), 1.0 / float(weights @ weights)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    return share, *wilson(share * total, total, z)


def _luck(losses: Doubles, weights: Doubles) -> Callable[[int, Sequence[int]], float]:
    """A function: the p-value of one convention, by index, beside some others (or itself).

    If it is the true one, none of the others fits better, and a photo's difference between the two
    could as well have had the other sign: a paired permutation test that assumes no distribution.
    What counts is the largest of the studentized differences, and in each draw of signs the largest
    one of that draw, so that the others may be many (Westfall and Young's max T).
    losses: float64, (photos, conventions). weights: float64, (photos,).
    """
    weighted = losses * weights[:, None]
    random = np.random.default_rng(0)
    signs = random.integers(0, 2, (DRAWS, len(weights)), dtype=np.int8).astype(np.float64)
    draws = (signs * 2 - 1) @ weighted

    def p(index: int, others: Sequence[int]) -> float:
        behind = weighted[:, [index]] - weighted[:, others]
        size = np.sqrt((behind**2).sum(axis=0))
        apart = size > 1e-12
        rivals, size = np.asarray(others)[apart], size[apart]
        # The subtraction keeps rounding from breaking ties.
        observed = (behind.sum(axis=0)[apart] / size).max(initial=-np.inf) - 1e-6
        if observed <= 0:
            return 1.0
        drawn = ((draws[:, [index]] - draws[:, rivals]) / size).max(axis=1)
        return float(((drawn >= observed).sum() + 1) / (DRAWS + 1))

    return p


@dataclass(frozen=True, slots=True)
class ConventionResult:
    """What was found out about one convention.

    accuracy, low, high: see `accuracy`. loss: the mean, each class counting the same.
    p: of being the true one and still looking as bad, see `_luck`.
    """

    convention: Convention
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
class Property:
    """What was found out about one property of the convention.

    fitting: the values that fit, best first; one: found. or only one was tried.
    rival: the best convention with another value, where one was found; None otherwise.
    p: the largest of all conventions with another value: none of them has more.
    """

    name: str
    tried: tuple[str, ...]
    fitting: tuple[str, ...]
    rival: ConventionResult | None
    p: float

    @property
    def found(self) -> str | None:
        """The value, if only one fits of several tried."""
        return self.fitting[0] if len(self.fitting) == 1 and len(self.tried) > 1 else None


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of the photos.

    rows: every convention tried, by accuracy, then by loss.
    best: the row with the smallest loss.
    bound: what the best one's accuracy is at least, corrected for all conventions tried.
    floor: what it has to exceed before anything is named; see `floor`.
    """

    rows: tuple[ConventionResult, ...]
    best: ConventionResult
    bound: float
    floor: float
    factors: tuple[Property, ...]

    @property
    def convincing(self) -> bool:
        """Whether the best accuracy is out of an untrained network's reach."""
        return self.bound > self.floor

    def factor(self, name: str) -> Property:
        """The one of that name."""
        return next(factor for factor in self.factors if factor.name == name)

    @property
    def named(self) -> bool:
        """Whether scaling and colour order were found.

        A greyscale network has no order, and a quantized input may leave one scaling.
        """
        return self.convincing and all(
            factor.found is not None or len(factor.tried) == 1
            for factor in (self.factor("scaling"), self.factor("color_order"))
        )


def compare(outcomes: Sequence[Outcome], targets: Ints, floor: float) -> Evidence:
    """Compare conventions on the same photos.

    Each convention gets its chance to be the true one: it is held against all others, and again
    against those that differ from it in one factor. So the true one, whichever it is, is ruled out
    wrongly at most ALPHA of the time, however many are tried; and without that no factor is named
    wrongly. targets: int64, (photos,): the class of each photo, whatever its number.
    """
    weights = class_weights(targets)
    losses = np.stack([o.loss for o in outcomes], axis=1)
    means = weights @ losses
    best = int(means.argmin())
    luck, rows = _luck(losses, weights), []
    for index, one in enumerate(outcomes):
        share, low, high = accuracy(one.right, targets)
        near = [
            number
            for number, other in enumerate(outcomes)
            if sum(getattr(other.convention, f) != getattr(one.convention, f) for f in FACTORS) == 1
        ]
        p_all, p_near = luck(index, range(len(outcomes))), luck(index, near)
        p = min(1.0, p_near / NEIGHBOURS_SHARE, p_all / ALL_SHARE)
        rows.append(ConventionResult(one.convention, share, low, high, float(means[index]), p))
    _, bound, _ = accuracy(outcomes[best].right, targets, 1 - ALPHA / len(outcomes))
    return Evidence(
        rows=tuple(sorted(rows, key=lambda row: (-row.accuracy, row.loss))),
        best=rows[best],
        bound=bound,
        floor=floor,
        factors=tuple(_factor(name, rows) for name in FACTORS),
    )


def _factor(name: str, rows: Sequence[ConventionResult]) -> Property:
    ordered = sorted(rows, key=lambda row: row.loss)

    def values(some: Iterable[ConventionResult]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(getattr(row.convention, name) for row in some))

    fitting = values(row for row in ordered if row.fits)
    others = [row for row in ordered if getattr(row.convention, name) not in fitting]
    p = max((row.p for row in others), default=1.0)
    return Property(name, values(rows), fitting, others[0] if others else None, p)


def floor(thumbnails: Floats, targets: Ints) -> float:
    """The accuracy that a network needs before we believe that it was trained on such classes.

    The larger of the square root of chance (1/classes), and the best (each class counting the same)
    that any of NETWORKS random networks reaches on the same photos: untrained weights distinguish
    classes that differ in brightness or colour alone. Each is one convolution of 3 x 3 with stride
    2, ReLU, the averages of the whole picture or of nine parts of it, and a dense layer: more of
    the pixels is left in its answers than in those of a deep network of random weights.

    thumbnails: float32, (photos, THUMBNAIL, THUMBNAIL, channels), 0..255. targets: int64,
    (photos,).
    """
    _, truth = np.unique(targets, return_inverse=True)
    classes, weights = int(truth.max()) + 1, class_weights(targets)
    count, channels = len(thumbnails), thumbnails.shape[-1]

    def patches(scaling: str) -> Floats:
        """(photos x 9 x 9, channels x 9); random weights do not care for the channels' order."""
        card = Convention(scaling, "rgb", *geometries()[0]).card(1, 1, channels)
        windows = np.lib.stride_tricks.sliding_window_view(
            scale(thumbnails, card), (3, 3), axis=(1, 2)
        )
        return windows[:, ::2, ::2].reshape(-1, channels * 9)

    scaled = [patches(x) for x in dict.fromkeys(scaling for scaling, _ in colours(channels))]
    random, best = np.random.default_rng(0), math.sqrt(1 / classes)
    for network in range(NETWORKS):
        kernel = random.normal(0, math.sqrt(2 / (channels * 9)), (channels * 9, 16))
        head = random.normal(size=((1 if network % 2 else 9) * 16, classes)).astype(np.float32)
        for pixels in scaled:
            maps = np.maximum(pixels @ kernel.astype(np.float32), 0).reshape(count, 9, 9, 16)
            if network % 2:
                pooled = maps.mean(axis=(1, 2))
            else:
                pooled = maps.reshape(count, 3, 3, 3, 3, 16).mean(axis=(2, 4)).reshape(count, -1)
            best = max(best, float(weights @ ((pooled @ head).argmax(axis=1) == truth)))
    return best
