"""Metrics: scores and true labels in, all figures of an evaluation out, each with its certainty.

Nothing here knows a model or a file. Curves and their areas are scikit-learn's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_array
from scipy.special import log_softmax
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from keras_to_lambda.cli.evaluation import Evaluation, wilson
from keras_to_lambda.convert.detection.conventions import mcnemar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DRAWS = 1000
BINS = 15
ALPHA = 0.05
CURVE_POINTS = 200  # of a curve that is kept: more than a plot can show
# A softmax in float32 or int8 says 0 of what is only unlikely: the log loss takes it for this.
LEAST = float(np.finfo(np.float64).eps)
TEMPERATURES = (0.05, 20.0)


class Estimate(NamedTuple):
    """A figure and its 95 % interval; None where the pictures do not define it."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def share(cls, right: int, total: int) -> Estimate:
        """Of `total`, with Wilson's interval."""
        return cls(right / total, *wilson(right, total)) if total else cls(None)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model answered about labelled pictures.

    labels: the model's, in its output's order.
    scores: float32, (pictures, labels), finite: as the model gave them.
    logs: float64, the same shape: logarithms of the probabilities.
    targets: int64, (pictures,): the true label's position among `labels`.
    """

    labels: tuple[str, ...]
    scores: Floats
    logs: Doubles
    targets: Ints

    @classmethod
    def of(
        cls, labels: tuple[str, ...], scores: Floats, output: str, targets: npt.NDArray[np.integer]
    ) -> Answers:
        """Of a model's output, "logits" or "probabilities".

        Probabilities are made to add up to 1, which those of an int8 model do not quite.
        """
        values = scores.astype(np.float64)
        logs = np.log(np.maximum(values, LEAST)) if output == "probabilities" else values
        return cls(labels, scores, log_softmax(logs, axis=1), targets.astype(np.int64))

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def probabilities(self) -> Doubles:
        """float64, (pictures, labels): each row's sum is 1."""
        shares: Doubles = np.exp(self.logs)
        return shares

    @property
    def predicted(self) -> Ints:
        """int64, (pictures,): of labels with the same score the first, as the function ranks."""
        return self.scores.argmax(axis=1)

    @property
    def right(self) -> Bools:
        """bool, (pictures,)."""
        return self.predicted == self.targets

    @property
    def confidence(self) -> Doubles:
        """float64, (pictures,): the predicted label's probability."""
        return self._probability(self.predicted)

    @property
    def truth(self) -> Doubles:
        """float64, (pictures,): the true label's probability."""
        return self._probability(self.targets)

    @property
    def evaluation(self) -> Evaluation:
        """The counts of the top-1 predictions."""
        return Evaluation.of(self.labels, self.scores, self.targets.astype(np.int32))

    def _probability(self, columns: Ints) -> Doubles:
        shares: Doubles = np.exp(self.logs[np.arange(len(self)), columns])
        return shares


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """What one label is told by.

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


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve of one label against the rest, or of all together.

    x, y: float64, (points,), at most CURVE_POINTS: false and true positive rate, or recall and
        precision. area: under the whole curve; for precision and recall the average precision.
    """

    x: Doubles
    y: Doubles
    area: float


@dataclass(frozen=True, slots=True)
class Curves:
    """By label, those without pictures left out; micro: over all pairs of picture and label.

    macro_auc, macro_ap: means of the labels' areas.
    """

    roc: dict[str, Curve]
    recall: dict[str, Curve]
    micro_roc: Curve
    micro_recall: Curve
    macro_auc: float | None
    macro_ap: float | None


@dataclass(frozen=True, slots=True)
class Bin:
    """Pictures whose answers were about equally confident: low < confidence <= high.

    confidence: their mean; None without pictures. accuracy: the share that was right.
    """

    low: float
    high: float
    pictures: int
    confidence: float | None
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether answers of 80 % are right 80 times in a hundred.

    ece: the bins' mean distance between confidence and accuracy, weighted by their pictures, 0..1.
    temperature: what the logits would have to be divided by for the smallest log loss on these very
        pictures; None if none within TEMPERATURES does, as where nothing is wrong.
    log_loss_then, ece_then: after that, on the same pictures.
    """

    bins: tuple[Bin, ...]
    ece: float
    temperature: float | None
    log_loss_then: float | None
    ece_then: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything about one model on one split.

    top: k, and the share of pictures whose true label is among the first k.
    log_loss: mean of minus the natural logarithm of the true label's probability.
    brier: mean squared distance of the probabilities from 1 and 0, summed over the labels: 0..2.
    averages: macro and weighted precision, recall and F1, and Cohen's kappa, by name. Macro: the
        mean over labels with pictures, an undefined precision counted as 0. Its recall is the
        balanced accuracy; the weighted recall is the accuracy.
    """

    evaluation: Evaluation
    accuracy: Estimate
    top: tuple[int, Estimate]
    log_loss: float
    brier: float
    averages: dict[str, Estimate]
    classes: tuple[ClassFigures, ...]
    curves: Curves
    calibration: Calibration

    @property
    def pictures(self) -> int:
        """How many were looked at."""
        return self.evaluation.photos

    @property
    def right(self) -> int:
        """How many of them were right."""
        return int(np.trace(self.evaluation.confusion))

    def worst(self, most: int = 3) -> list[ClassFigures]:
        """The labels with pictures and the lowest F1."""
        seen = [row for row in self.classes if row.pictures]
        return sorted(seen, key=lambda row: (row.f1.value or 0.0, row.label))[:most]


def figures(answers: Answers, top_k: int = 5, seed: int = 1) -> Figures:
    """Measure.

    Args:
        answers: of one picture or more.
        top_k: capped at one less than there are labels: all of them are always right.
        seed: of the bootstrap.
    """
    evaluation = answers.evaluation
    total, k = len(answers), max(1, min(top_k, len(answers.labels) - 1))
    lines = curves(answers)
    draws = resampled(evaluation.confusion, seed)
    return Figures(
        evaluation=evaluation,
        accuracy=Estimate.share(int(answers.right.sum()), total),
        top=(k, Estimate.share(int((ranks(answers) < k).sum()), total)),
        log_loss=_log_loss(answers.logs, answers.targets),
        brier=brier(answers),
        averages=_averages(evaluation.confusion, draws),
        classes=_classes(evaluation, draws, lines),
        curves=lines,
        calibration=calibration(answers),
    )


def ranks(answers: Answers) -> Ints:
    """int64, (pictures,): labels that the model puts before the true one; 0: it is right."""
    rows = np.arange(len(answers))
    own = answers.scores[rows, answers.targets][:, np.newaxis]
    before = np.arange(len(answers.labels)) < answers.targets[:, np.newaxis]
    ahead: Ints = ((answers.scores > own) | ((answers.scores == own) & before)).sum(axis=1)
    return ahead


def brier(answers: Answers) -> float:
    """Brier's score over all labels, 0..2 (Monthly Weather Review 78, 1950)."""
    shares = answers.probabilities
    # sum of (p - y)^2, without the matrix of y.
    return float(np.mean((shares**2).sum(axis=1) + 1 - 2 * answers.truth))


def _log_loss(logs: Doubles, targets: Ints) -> float:
    return float(-np.mean(logs[np.arange(len(targets)), targets]))


# Precision, recall and F1, of one confusion matrix or of many at once.


@dataclass(frozen=True, slots=True)
class Tallies:
    """Of each label: pictures that are right, that show it, and that are taken for it.

    Each int64, (..., labels).
    """

    right: Ints
    actual: Ints
    predicted: Ints

    def precision(self) -> Doubles:
        """float64, (..., labels); NaN where undefined, as below."""
        return _ratio(self.right, self.predicted)

    def recall(self) -> Doubles:
        return _ratio(self.right, self.actual)

    def f1(self) -> Doubles:
        return _ratio(2 * self.right, self.actual + self.predicted)


def _ratio(over: npt.NDArray[Any], under: npt.NDArray[Any]) -> Doubles:
    return np.divide(over, under, out=np.full(np.shape(under), np.nan), where=under > 0)


def resampled(confusion: Ints, seed: int, draws: int = DRAWS) -> Tallies:
    """Draw the pictures anew, with replacement, `draws` times.

    Which picture is which does not matter to a confusion matrix: its cells are drawn, from a
    multinomial distribution.

    Returns:
        (draws, labels) each.
    """
    labels, (true, guess) = len(confusion), np.nonzero(confusion)
    counts = confusion[true, guess]
    drawn = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), draws)
    cells = np.arange(len(counts))

    def by(column: Ints, own: Ints) -> Ints:
        place = csr_array((np.ones(len(own), np.int64), (own, column)), (len(counts), labels))
        return np.asarray(drawn @ place)

    same = cells[true == guess]
    return Tallies(by(true[same], same), by(true, cells), by(guess, cells))


def _tallies(confusion: Ints) -> Tallies:
    return Tallies(np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0))


def _macro(values: Doubles, tallies: Tallies) -> Doubles:
    present = tallies.actual > 0
    return (np.nan_to_num(values) * present).sum(axis=-1) / present.sum(axis=-1)


def _weighted(values: Doubles, tallies: Tallies) -> Doubles:
    weights = tallies.actual / tallies.actual.sum(axis=-1, keepdims=True)
    return (np.nan_to_num(values) * weights).sum(axis=-1)


def _kappa(tallies: Tallies) -> Doubles:
    """Cohen's (https://doi.org/10.1177/001316446002000104)."""
    total = tallies.actual.sum(axis=-1)
    seen = tallies.right.sum(axis=-1) / total
    chance = (tallies.actual * tallies.predicted).sum(axis=-1) / total**2
    return _ratio(seen - chance, 1 - chance)


AVERAGES: Mapping[str, Callable[[Tallies], Doubles]] = {
    "macro_precision": lambda t: _macro(t.precision(), t),
    "macro_recall": lambda t: _macro(t.recall(), t),
    "macro_f1": lambda t: _macro(t.f1(), t),
    "weighted_precision": lambda t: _weighted(t.precision(), t),
    "weighted_recall": lambda t: _weighted(t.recall(), t),
    "weighted_f1": lambda t: _weighted(t.f1(), t),
    "kappa": _kappa,
}


def _averages(confusion: Ints, draws: Tallies) -> dict[str, Estimate]:
    once = _tallies(confusion)
    return {name: _percentile(float(of(once)), of(draws)) for name, of in AVERAGES.items()}


def _percentile(value: float, draws: Doubles) -> Estimate:
    known = draws[np.isfinite(draws)]
    if not math.isfinite(value) or not len(known):
        return Estimate(None)
    low, high = np.percentile(known, (100 * ALPHA / 2, 100 - 100 * ALPHA / 2))
    return Estimate(value, float(low), float(high))


def _classes(evaluation: Evaluation, draws: Tallies, lines: Curves) -> tuple[ClassFigures, ...]:
    once = _tallies(evaluation.confusion)
    f1, drawn = once.f1(), draws.f1()
    rows = []
    for index, label in enumerate(evaluation.labels):
        right, pictures, predicted = (
            int(tally[index]) for tally in (once.right, once.actual, once.predicted)
        )
        rows.append(
            ClassFigures(
                label=label,
                pictures=pictures,
                predicted=predicted,
                right=right,
                precision=Estimate.share(right, predicted),
                recall=Estimate.share(right, pictures),
                f1=_percentile(float(f1[index]), drawn[:, index]),
                auc=lines.roc[label].area if label in lines.roc else None,
                ap=lines.recall[label].area if label in lines.recall else None,
            )
        )
    return tuple(rows)


# Curves.


def curves(answers: Answers) -> Curves:
    """Each label against the rest, and all of them together."""
    shares = answers.probabilities
    roc, recall = {}, {}
    for index, label in enumerate(answers.labels):
        shown = answers.targets == index
        if shown.any() and not shown.all():
            roc[label], recall[label] = _pair(shown, shares[:, index])
    every = answers.targets[:, np.newaxis] == np.arange(len(answers.labels))
    micro_roc, micro_recall = _pair(every.ravel(), shares.ravel())
    return Curves(
        roc=roc,
        recall=recall,
        micro_roc=micro_roc,
        micro_recall=micro_recall,
        macro_auc=_mean(roc),
        macro_ap=_mean(recall),
    )


def _pair(shown: Bools, shares: Doubles) -> tuple[Curve, Curve]:
    false, true, _ = roc_curve(shown, shares)
    precision, recall, _ = precision_recall_curve(shown, shares, drop_intermediate=True)
    return (
        Curve(*_thinned(false, true), float(auc(false, true))),
        Curve(*_thinned(recall, precision), float(average_precision_score(shown, shares))),
    )


def _thinned(x: Doubles, y: Doubles) -> tuple[Doubles, Doubles]:
    """At most CURVE_POINTS of a curve's points, evenly spread along it, both ends kept."""
    if len(x) <= CURVE_POINTS:
        return x, y
    along = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.searchsorted(along, np.linspace(0, along[-1], CURVE_POINTS - 1))
    kept = np.unique(np.append(kept.clip(0, len(x) - 1), len(x) - 1))
    return x[kept], y[kept]


def _mean(found: dict[str, Curve]) -> float | None:
    return float(np.mean([curve.area for curve in found.values()])) if found else None


# Calibration.


def calibration(answers: Answers, bins: int = BINS) -> Calibration:
    """Compare confidence with accuracy, in bins of equal width."""
    found = _bins(answers.confidence, answers.right, bins)
    temperature = best_temperature(answers)
    if temperature is None:
        return Calibration(found, _ece(found), None, None, None)
    logs = log_softmax(answers.logs / temperature, axis=1)
    confidence = np.exp(logs[np.arange(len(answers)), answers.predicted])
    return Calibration(
        bins=found,
        ece=_ece(found),
        temperature=temperature,
        log_loss_then=_log_loss(logs, answers.targets),
        ece_then=_ece(_bins(confidence, answers.right, bins)),
    )


def _bins(confidence: Doubles, right: Bools, bins: int) -> tuple[Bin, ...]:
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows = []
    for index in range(bins):
        own = place == index
        count = int(own.sum())
        rows.append(
            Bin(
                low=index / bins,
                high=(index + 1) / bins,
                pictures=count,
                confidence=float(confidence[own].mean()) if count else None,
                accuracy=Estimate.share(int(right[own].sum()), count),
            )
        )
    return tuple(rows)


def _ece(bins: tuple[Bin, ...]) -> float:
    """Guo et al., 2017 (https://arxiv.org/abs/1706.04599)."""
    total = sum(found.pictures for found in bins)
    return sum(
        found.pictures / total * abs(found.confidence - found.accuracy.value)
        for found in bins
        if found.confidence is not None and found.accuracy.value is not None
    )


def best_temperature(answers: Answers) -> float | None:
    """What to divide the logits by for the smallest log loss on these pictures; None: no such."""

    def loss(log_t: float) -> float:
        return _log_loss(log_softmax(answers.logs / math.exp(log_t), axis=1), answers.targets)

    if ranks(answers).max() == 0:
        return None  # the colder, the better, without end
    low, high = (math.log(bound) for bound in TEMPERATURES)
    # The loss has one minimum: it is convex in 1 / T.
    found = float(minimize_scalar(loss, bounds=(low, high), method="bounded").x)
    return math.exp(found) if low + 0.01 < found < high - 0.01 else None


# Two models on the same pictures.


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same pictures.

    labels: the first's, then what only the second knows.
    both, first, second, neither: pictures that both, only one or none of them got right.
    difference: the first's accuracy minus the second's.
    p: of McNemar's exact test.
    change: int64, (labels, labels): the first's confusion matrix minus the second's.
    order: int64: the pictures to which they give different labels; those that one got right come
        first, by how far apart the two probabilities of the true label are.
    """

    labels: tuple[str, ...]
    both: int
    first: int
    second: int
    neither: int
    difference: Estimate
    p: float
    change: Ints
    order: Ints

    @property
    def significant(self) -> bool:
        """At 5 %."""
        return self.p < ALPHA


def compare(first: Answers, second: Answers, seed: int = 1) -> Comparison:
    """Compare.

    Args:
        first, second: about the same pictures in the same order; their labels may be ordered
            differently, and one may know more of them.
        seed: of the difference's bootstrap interval.
    """
    labels = first.labels + tuple(x for x in second.labels if x not in first.labels)
    place = np.array([labels.index(label) for label in second.labels])
    counts = [
        int((one & two).sum())
        for one in (first.right, ~first.right)
        for two in (second.right, ~second.right)
    ]
    both, only_first, only_second, neither = counts
    total = len(first)
    drawn = np.random.default_rng(seed).multinomial(total, np.array(counts) / total, DRAWS)
    change = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(change, (first.targets, first.predicted), 1)
    np.add.at(change, (place[second.targets], place[second.predicted]), -1)
    apart = np.abs(first.truth - second.truth)
    settled = first.right != second.right
    order = np.lexsort((-apart, ~settled))
    return Comparison(
        labels=labels,
        both=both,
        first=only_first,
        second=only_second,
        neither=neither,
        difference=_percentile(
            (only_first - only_second) / total, (drawn[:, 1] - drawn[:, 2]) / total
        ),
        p=mcnemar(first.right, second.right),
        change=change,
        order=order[(first.predicted != place[second.predicted])[order]],
    )
