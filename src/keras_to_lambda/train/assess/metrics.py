"""Metrics: predictions and true labels in, the figures of an evaluation out.

Confusion matrix, curves and areas are scikit-learn's, intervals and tests scipy's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax
from scipy.stats import binomtest
from sklearn import metrics as sk

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

TOP_K = 5
BINS = 10
ALPHA = 0.05
# A softmax in float32 or int8 gives 0 to what is only unlikely: the log loss takes it for this.
LEAST = 1e-7


@dataclass(frozen=True, slots=True)
class Estimate:
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

    def against_rest(self) -> Iterator[tuple[str, Bools, Doubles]]:
        """Label, whether each picture shows it, and its probability; "": all pairs together.

        Labels are left out that no picture shows, or all of them.
        """
        truth, shares = np.eye(len(self.labels), dtype=bool)[self.targets], self.probabilities
        for label, shown, share in zip(self.labels, truth.T, shares.T, strict=True):
            if shown.any() and not shown.all():
                yield label, shown, share
        yield "", truth.ravel(), shares.ravel()


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One label's figures: pictures that show it, that were taken for it (predicted), and both."""

    label: str
    pictures: int
    predicted: int
    right: int
    precision: Estimate
    recall: Estimate
    f1: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of one model on one split.

    top_k: the share of pictures whose true label is among the first k.
    averages: macro and weighted precision, recall and F1, by name: macro_f1 and so on. Macro is the
        mean over labels with pictures; its recall is the balanced accuracy.
    auc, ap: areas under the ROC and the precision-recall curve by label; "": of all together.
    bins: of about equally confident answers: how many, mean confidence, share that is right.
    """

    pictures: int
    right: int
    accuracy: Estimate
    k: int
    top_k: Estimate
    log_loss: float
    ece: float
    averages: dict[str, float]
    classes: tuple[ClassFigures, ...]
    auc: dict[str, float]
    ap: dict[str, float]
    bins: list[tuple[int, float, Estimate]]

    def weakest(self, most: int = 3) -> list[ClassFigures]:
        """The labels with pictures and the lowest F1."""
        seen = [row for row in self.classes if row.pictures]
        return sorted(seen, key=lambda row: (row.f1 or 0.0, row.label))[:most]


def figures(answers: Predictions) -> Figures:
    """Measure the answers to one picture or more."""
    total, right = len(answers), int(answers.right.sum())
    k = min(TOP_K, len(answers.labels) - 1)  # of all labels all are right
    ranks = (-answers.logits).argsort(axis=1, kind="stable")[:, :k]
    among = int((ranks == answers.targets[:, np.newaxis]).sum())
    bins = reliability(answers)
    rest = list(answers.against_rest())
    # Expected calibration error (https://arxiv.org/abs/1706.04599).
    gaps = [abs(confidence - (share.value or 0.0)) for _, confidence, share in bins]
    return Figures(
        pictures=total,
        right=right,
        accuracy=Estimate.share(right, total),
        k=k,
        top_k=Estimate.share(among, total),
        log_loss=float(-answers.log_probabilities()[np.arange(total), answers.targets].mean()),
        ece=float(np.average(gaps, weights=[row[0] for row in bins])),
        averages=_averages(answers),
        classes=_classes(answers),
        auc={label: float(sk.roc_auc_score(*pair)) for label, *pair in rest},
        ap={label: float(sk.average_precision_score(*pair)) for label, *pair in rest},
        bins=bins,
    )


def _classes(answers: Predictions) -> tuple[ClassFigures, ...]:
    confusion = answers.confusion()
    counts = zip(confusion.sum(axis=1), confusion.sum(axis=0), confusion.diagonal(), strict=True)
    classes = []
    for label, row in zip(answers.labels, counts, strict=True):
        shown, said, right = map(int, row)
        f1 = 2 * right / (shown + said) if shown + said else None
        shares = Estimate.share(right, said), Estimate.share(right, shown)
        classes.append(ClassFigures(label, shown, said, right, *shares, f1))
    return tuple(classes)


def _averages(answers: Predictions) -> dict[str, float]:
    seen = np.unique(answers.targets)
    found: dict[str, float] = {}
    for kind in ("macro", "weighted"):
        values = sk.precision_recall_fscore_support(
            answers.targets, answers.predicted, labels=seen, average=kind, zero_division=0
        )
        names = (f"{kind}_{name}" for name in ("precision", "recall", "f1"))
        found |= dict(zip(names, map(float, values[:3]), strict=True))
    return found


def reliability(answers: Predictions) -> list[tuple[int, float, Estimate]]:
    """Accuracy by confidence, in BINS of equal width; those without pictures are left out."""
    confidence, right = answers.confidence(), answers.right
    place = np.clip(np.ceil(confidence * BINS), 1, BINS)
    bins = []
    for own in (place == index for index in np.unique(place)):
        share = Estimate.share(int(right[own].sum()), int(own.sum()))
        bins.append((int(own.sum()), float(confidence[own].mean()), share))
    return bins


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Two models on the same pictures.

    both, first, second, neither: pictures that both, only one or none of them got right.
    difference: the first's accuracy minus the second's; the interval excludes 0 exactly where the
        test finds a difference.
    p: of McNemar's exact test. significant: at 5%.
    """

    both: int
    first: int
    second: int
    neither: int
    difference: Estimate
    p: float
    significant: bool


def compare(first: Predictions, second: Predictions) -> PairedComparison:
    """Compare two models' answers to the same pictures in the same order."""
    both, only_first, only_second, neither = (
        int((one & two).sum())
        for one in (first.right, ~first.right)
        for two in (second.right, ~second.right)
    )
    settled = only_first + only_second
    difference, p = Estimate(0.0, 0.0, 0.0), 1.0
    if settled:
        # Given the pictures on which one alone is right, the first's share of them is binomial:
        # one test gives p and the interval, so that they cannot contradict each other.
        test = binomtest(only_first, settled)
        share = test.proportion_ci(1 - ALPHA, "exact")
        ends = (only_first / settled, share.low, share.high)
        difference = Estimate(*(float((2 * end - 1) * settled / len(first)) for end in ends))
        p = float(test.pvalue)
    counts = both, only_first, only_second, neither
    return PairedComparison(*counts, difference, p, p < ALPHA)
