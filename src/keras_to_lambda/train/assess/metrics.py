"""Metrics: predictions and true labels in, the figures of an evaluation out, as JSON has them.

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
Record = dict[str, Any]

TOP_K = 5
BINS = 10
ALPHA = 0.05
# A softmax in float32 or int8 gives 0 to what is only unlikely: the log loss takes it for this.
LEAST = 1e-7


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

    def against_rest(self) -> Iterator[tuple[str, Bools, Doubles]]:
        """Label, whether each picture shows it, and its probability; "": all pairs together.

        Labels are left out that no picture shows, or all of them.
        """
        truth, shares = np.eye(len(self.labels), dtype=bool)[self.targets], self.probabilities
        for label, shown, share in zip(self.labels, truth.T, shares.T, strict=True):
            if shown.any() and not shown.all():
                yield label, shown, share
        yield "", truth.ravel(), shares.ravel()


def estimate(right: int, total: int) -> Record:
    """A share as value with low and high end of Wilson's 95% interval; None without a total."""
    if not total:
        return dict.fromkeys(("value", "low", "high"))
    interval = binomtest(right, total).proportion_ci(1 - ALPHA, "wilson")
    return {"value": right / total, "low": float(interval.low), "high": float(interval.high)}


def figures(answers: Predictions) -> Record:
    """Measure the answers to one picture or more.

    Returns:
        pictures, right: counts. accuracy, top_k (the true label is among the first k): estimates.
        log_loss, ece. averages: macro and weighted ones over labels with pictures: macro_f1 ...
        classes: for each label, pictures that show it, that were taken for it (predicted), both
            (right), precision and recall as estimates, f1.
        auc, ap: areas under the ROC and precision-recall curve by label; "": of all together.
        bins: of about equally confident answers: pictures, mean confidence, and the share that is
            right. confusion: rows are true labels, columns predicted ones.
    """
    total, right = len(answers), int(answers.right.sum())
    k = min(TOP_K, len(answers.labels) - 1)  # of all labels all are right
    ranks = (-answers.logits).argsort(axis=1, kind="stable")[:, :k]
    confusion = sk.confusion_matrix(
        answers.targets, answers.predicted, labels=range(len(answers.labels))
    )
    bins, rest = _bins(answers), list(answers.against_rest())
    # Expected calibration error (https://arxiv.org/abs/1706.04599).
    gaps = [row["pictures"] * abs(row["confidence"] - row["value"]) for row in bins]
    return {
        "pictures": total,
        "right": right,
        "accuracy": estimate(right, total),
        "k": k,
        "top_k": estimate(int((ranks == answers.targets[:, np.newaxis]).sum()), total),
        "log_loss": float(-answers.log_probabilities()[np.arange(total), answers.targets].mean()),
        "ece": sum(gaps) / total,
        "averages": _averages(answers),
        "classes": [
            {
                "label": label,
                "pictures": int(confusion[i].sum()),
                "predicted": int(confusion[:, i].sum()),
                "right": int(confusion[i, i]),
                "precision": estimate(int(confusion[i, i]), int(confusion[:, i].sum())),
                "recall": estimate(int(confusion[i, i]), int(confusion[i].sum())),
                "f1": float(
                    2 * confusion[i, i] / max(1, confusion[i].sum() + confusion[:, i].sum())
                ),
            }
            for i, label in enumerate(answers.labels)
        ],
        "auc": {label: float(sk.roc_auc_score(*pair)) for label, *pair in rest},
        "ap": {label: float(sk.average_precision_score(*pair)) for label, *pair in rest},
        "bins": bins,
        "confusion": confusion.tolist(),
    }


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


def _bins(answers: Predictions) -> list[Record]:
    """Accuracy by confidence, in BINS of equal width; those without pictures are left out."""
    confidence, right = answers.confidence(), answers.right
    place = np.clip(np.ceil(confidence * BINS), 1, BINS)
    return [
        {
            "pictures": int(own.sum()),
            "confidence": float(confidence[own].mean()),
            **estimate(int(right[own].sum()), int(own.sum())),
        }
        for own in (place == index for index in np.unique(place))
    ]


def weakest(found: Record, most: int = 3) -> list[Record]:
    """The labels with pictures and the lowest F1."""
    seen = [row for row in found["classes"] if row["pictures"]]
    return sorted(seen, key=lambda row: (row["f1"], row["label"]))[:most]


def compare(first: Predictions, second: Predictions) -> Record:
    """Compare two models' answers to the same pictures in the same order.

    Returns:
        both, first, second, neither: pictures that both, only one or none of them got right.
        difference: the first's accuracy minus the second's, as an estimate whose interval excludes
        0 exactly where p, of McNemar's exact test, is below 5% (significant).
    """
    counts = {
        name: int((one & two).sum())
        for name, one, two in (
            ("both", first.right, second.right),
            ("first", first.right, ~second.right),
            ("second", ~first.right, second.right),
            ("neither", ~first.right, ~second.right),
        )
    }
    settled = counts["first"] + counts["second"]
    ends, p = (0.5, 0.5, 0.5), 1.0
    if settled:
        # Given the pictures on which one alone is right, the first's share of them is binomial:
        # one test gives p and the interval, so that they cannot contradict each other.
        test = binomtest(counts["first"], settled)
        share = test.proportion_ci(1 - ALPHA, "exact")
        ends, p = (counts["first"] / settled, share.low, share.high), float(test.pvalue)
    values = (float((2 * end - 1) * settled / len(first)) for end in ends)
    difference = dict(zip(("value", "low", "high"), values, strict=True))
    return {**counts, "difference": difference, "p": p, "significant": p < ALPHA}
