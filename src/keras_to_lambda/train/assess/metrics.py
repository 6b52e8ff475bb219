"""Metrics: predictions and true labels in, the figures of an evaluation out.

Confusion matrix, curves and areas are scikit-learn's, intervals and tests scipy's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax
from scipy.stats import binomtest
from sklearn import metrics as sk

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

TOP_K = 5
DRAWS = 500
BINS = 10
ALPHA = 0.05
CURVE_POINTS = 200
# A softmax in float32 or int8 gives 0 to what is only unlikely: the log loss takes it for this.
LEAST = 1e-7


class Estimate(NamedTuple):
    """A figure and its 95% interval; None where the pictures do not define it."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def share(cls, right: int, total: int) -> Estimate:
        """A share with Wilson's interval."""
        if not total:
            return cls(None)
        interval = binomtest(right, total).proportion_ci(1 - ALPHA, "wilson")
        return cls(right / total, float(interval.low), float(interval.high))


@dataclass(frozen=True, slots=True)
class Predictions:
    """A model's answers to labelled pictures.

    labels: the model's, in its output's order.
    logits: float64, (pictures, labels), finite; of probabilities their logarithms.
    targets: int64, (pictures,): the true label's index.
    """

    labels: tuple[str, ...]
    logits: Doubles
    targets: Ints

    @classmethod
    def of(
        cls,
        labels: tuple[str, ...],
        scores: npt.NDArray[np.float32],
        output: str,
        targets: npt.NDArray[np.integer[Any]],
    ) -> Predictions:
        """From a model's output, "logits" or "probabilities"."""
        values = scores.astype(np.float64)
        if output == "probabilities":
            values = np.log(np.maximum(values, LEAST))
        return cls(labels, values, targets.astype(np.int64))

    def __len__(self) -> int:
        return len(self.targets)

    def rows(self, chosen: slice) -> Predictions:
        """The answers to some of the pictures."""
        return Predictions(self.labels, self.logits[chosen], self.targets[chosen])

    def log_probabilities(self, temperature: float = 1.0) -> Doubles:
        """float64, (pictures, labels), of the logits divided by a temperature."""
        return np.asarray(log_softmax(self.logits / temperature, axis=1))

    @property
    def probabilities(self) -> Doubles:
        return np.asarray(np.exp(self.log_probabilities()))

    @property
    def predicted(self) -> Ints:
        return np.asarray(self.logits.argmax(axis=1))

    @property
    def right(self) -> Bools:
        return np.asarray(self.predicted == self.targets)

    def confidence(self, temperature: float = 1.0) -> Doubles:
        """float64, (pictures,): the predicted label's probability."""
        return np.asarray(np.exp(self.log_probabilities(temperature).max(axis=1)))

    @property
    def truth(self) -> Doubles:
        """float64, (pictures,): the true label's probability."""
        return self.probabilities[np.arange(len(self)), self.targets]

    def confusion(self) -> Ints:
        """int64, (labels, labels): rows are true labels, columns predicted ones."""
        every = range(len(self.labels))
        return np.asarray(sk.confusion_matrix(self.targets, self.predicted, labels=every))


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One label's figures.

    pictures: that show it. predicted: that were taken for it. right: both.
    auc, ap: areas under its ROC and precision-recall curves; None unless some pictures show it and
        some do not.
    """

    label: str
    pictures: int
    predicted: int
    right: int
    precision: Estimate
    recall: Estimate
    f1: Estimate
    auc: float | None
    ap: float | None


class Curve(NamedTuple):
    """A curve of at most CURVE_POINTS points, and the area under it."""

    x: Doubles
    y: Doubles
    area: float


class Bin(NamedTuple):
    """Pictures whose answers were about equally confident: low < confidence <= high."""

    low: float
    high: float
    pictures: int
    confidence: float
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of one model on one split.

    top_k: the share of pictures whose true label is among the first k.
    averages: macro and weighted precision, recall and F1, by name: macro_f1 and so on. Macro is the
        mean over labels with pictures; its recall is the balanced accuracy.
    roc, recall: curves by label, and of all pairs of picture and label together ("").
    """

    pictures: int
    right: int
    accuracy: Estimate
    k: int
    top_k: Estimate
    log_loss: float
    brier: float
    ece: float
    averages: dict[str, Estimate]
    classes: tuple[ClassFigures, ...]
    roc: dict[str, Curve]
    recall: dict[str, Curve]
    bins: tuple[Bin, ...]
    macro_auc: float | None
    macro_ap: float | None

    def weakest(self, most: int = 3) -> list[ClassFigures]:
        """The labels with pictures and the lowest F1."""
        seen = [row for row in self.classes if row.pictures]
        return sorted(seen, key=lambda row: (row.f1.value or 0.0, row.label))[:most]


def figures(answers: Predictions, seed: int = 1) -> Figures:
    """Measure.

    Args:
        answers: of one picture or more.
        seed: of the bootstrap.
    """
    total, right = len(answers), int(answers.right.sum())
    labels = range(len(answers.labels))
    shares = answers.probabilities
    k = min(TOP_K, len(labels) - 1)  # of all labels all are right
    ranks = (-answers.logits).argsort(axis=1, kind="stable")[:, :k]
    among = int((ranks == answers.targets[:, np.newaxis]).sum())
    roc, recall = _curves(answers, shares)
    averages, f1 = _averages(answers.confusion(), seed)
    bins = reliability(answers)
    return Figures(
        pictures=total,
        right=right,
        accuracy=Estimate.share(right, total),
        k=k,
        top_k=Estimate.share(among, total),
        log_loss=float(-answers.log_probabilities()[np.arange(total), answers.targets].mean()),
        # Summed over the labels, 0 to 2 (Brier, 1950).
        brier=float(np.mean(((shares - np.eye(len(labels))[answers.targets]) ** 2).sum(axis=1))),
        ece=calibration_error(bins),
        averages=averages,
        classes=_classes(answers, f1, roc, recall),
        roc=roc,
        recall=recall,
        bins=bins,
        macro_auc=_mean(roc),
        macro_ap=_mean(recall),
    )


def _mean(curves: dict[str, Curve]) -> float | None:
    areas = [curve.area for label, curve in curves.items() if label]
    return float(np.mean(areas)) if areas else None


def _averages(confusion: Ints, seed: int) -> tuple[dict[str, Estimate], list[Estimate]]:
    """Averages, and each label's F1; intervals are percentiles of a bootstrap of the pictures."""
    true, guess = np.nonzero(confusion)
    counts, every = confusion[true, guess], np.arange(len(confusion))
    # A multinomial draw of the matrix's cells is a draw of the pictures with replacement.
    drawn = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), DRAWS)
    samples = np.vstack([counts, drawn]).astype(np.float64)  # the first is what was seen
    shows, says = (column[:, np.newaxis] == every for column in (true, guess))
    actual, predicted, right = (samples @ cells for cells in (shows, says, shows & says))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {
            "precision": np.nan_to_num(right / predicted),
            "recall": np.nan_to_num(right / actual),
            "f1": np.nan_to_num(2 * right / (actual + predicted)),
        }
    weights = {"macro": actual > 0, "weighted": actual}
    averages = {
        f"{kind}_{name}": _percentiles((values * own).sum(axis=1) / own.sum(axis=1))
        for kind, own in weights.items()
        for name, values in found.items()
    }
    return averages, [_percentiles(column) for column in found["f1"].T]


def _percentiles(samples: Doubles) -> Estimate:
    low, high = np.percentile(samples[1:], (100 * ALPHA / 2, 100 - 100 * ALPHA / 2))
    return Estimate(float(samples[0]), float(low), float(high))


def _classes(
    answers: Predictions, f1: list[Estimate], roc: dict[str, Curve], recall: dict[str, Curve]
) -> tuple[ClassFigures, ...]:
    confusion = answers.confusion()
    counts = zip(confusion.sum(axis=1), confusion.sum(axis=0), confusion.diagonal(), strict=True)
    return tuple(
        ClassFigures(
            label=label,
            pictures=pictures,
            predicted=predicted,
            right=right,
            precision=Estimate.share(right, predicted),
            recall=Estimate.share(right, pictures),
            f1=own if pictures + predicted else Estimate(None),
            auc=roc[label].area if label in roc else None,
            ap=recall[label].area if label in recall else None,
        )
        for label, own, (pictures, predicted, right) in zip(
            answers.labels, f1, (map(int, row) for row in counts), strict=True
        )
    )


def _curves(answers: Predictions, shares: Doubles) -> tuple[dict[str, Curve], dict[str, Curve]]:
    """Each label against the rest, and "": all pairs of picture and label."""
    truth = answers.targets[:, np.newaxis] == np.arange(len(answers.labels))
    roc, recall = {}, {}
    for label, shown, share in (
        *zip(answers.labels, truth.T, shares.T, strict=True),
        ("", truth.ravel(), shares.ravel()),
    ):
        if not shown.any() or shown.all():
            continue
        false, true, _ = sk.roc_curve(shown, share)
        precision, found, _ = sk.precision_recall_curve(shown, share, drop_intermediate=True)
        roc[label] = Curve(*_thinned(false, true), float(sk.auc(false, true)))
        area = float(sk.average_precision_score(shown, share))
        recall[label] = Curve(*_thinned(found, precision), area)
    return roc, recall


def _thinned(x: Doubles, y: Doubles) -> tuple[Doubles, Doubles]:
    """Points that are evenly spread along a curve, both ends kept."""
    along = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.searchsorted(along, np.linspace(0, along[-1], CURVE_POINTS))
    kept = np.unique(np.append(kept.clip(0, len(x) - 1), len(x) - 1))
    return x[kept], y[kept]


def reliability(answers: Predictions) -> tuple[Bin, ...]:
    """Accuracy by confidence, in BINS of equal width; those without pictures are left out."""
    confidence, right = answers.confidence(), answers.right
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    bins = []
    for index in np.unique(place).tolist():
        own = place == index
        share = Estimate.share(int(right[own].sum()), int(own.sum()))
        low, high = index / BINS, (index + 1) / BINS
        bins.append(Bin(low, high, int(own.sum()), float(confidence[own].mean()), share))
    return tuple(bins)


def calibration_error(bins: tuple[Bin, ...]) -> float:
    """ECE of Guo et al., 2017 (https://arxiv.org/abs/1706.04599)."""
    gaps = [abs(row.confidence - (row.accuracy.value or 0.0)) for row in bins]
    return float(np.average(gaps, weights=[row.pictures for row in bins]))


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Two models on the same pictures.

    both, first, second, neither: pictures that both, only one or none of them got right.
    difference: the first's accuracy minus the second's; the interval excludes 0 exactly where the
        test finds a difference.
    p: of McNemar's exact test.
    differing: int64: the pictures to which they give different labels; those that one of them got
        right come first, by how far apart the true label's two probabilities are.
    """

    both: int
    first: int
    second: int
    neither: int
    difference: Estimate
    p: float
    differing: Ints

    @property
    def significant(self) -> bool:
        """At 5 %."""
        return self.p < ALPHA


def compare(first: Predictions, second: Predictions) -> PairedComparison:
    """Compare two models' answers to the same pictures in the same order."""
    both, only_first, only_second, neither = (
        int((one & two).sum())
        for one in (first.right, ~first.right)
        for two in (second.right, ~second.right)
    )
    total, settled = len(first), only_first + only_second
    difference, p = Estimate(0.0, 0.0, 0.0), 1.0
    if settled:
        # Given the pictures on which one alone is right, the first's share of them is binomial:
        # one test gives p and the interval, so that they cannot contradict each other.
        test = binomtest(only_first, settled)
        share = test.proportion_ci(1 - ALPHA, "exact")
        value, low, high = (
            float((2 * part - 1) * settled / total)
            for part in (only_first / settled, share.low, share.high)
        )
        difference, p = Estimate(value, low, high), float(test.pvalue)
    one, two = (np.array(answers.labels)[answers.predicted] for answers in (first, second))
    order = np.lexsort((-np.abs(first.truth - second.truth), first.right == second.right))
    differing = order[(one != two)[order]]
    return PairedComparison(both, only_first, only_second, neither, difference, p, differing)
