"""Comparison: the logits of two paths on the same photos, and whether they are the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from keras_to_lambda.convert.quantize.quantization import Tolerance


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was measured.

    samples: photos compared. skipped: files that Keras could not read.
    agreement: share of the samples with the same top-1 label, 0..1.
    max_difference, mean_difference: of the logits, absolute. spread: see Tolerance.
    accuracy, reference_accuracy: share of right top-1 labels of the path and of Keras, 0..1; None
        where the samples' folders are not named after labels. judged: how many samples that is of.
    """

    samples: int
    skipped: int
    agreement: float
    max_difference: float
    mean_difference: float
    spread: float
    tolerance: Tolerance
    accuracy: float | None = None
    reference_accuracy: float | None = None
    judged: int = 0

    @property
    def faults(self) -> list[str]:
        """A sentence for each way in which the tolerance is exceeded; empty: verified."""
        allowed, found = self.tolerance, []
        if self.agreement < allowed.agreement:
            found.append(
                f"top-1 labels agree on {self.agreement:.1%} of the samples, "
                f"less than {allowed.agreement:.1%}"
            )
        # Written so that a NaN is a fault.
        if not self.mean_difference <= allowed.difference * self.spread:
            found.append(
                f"logits differ by {self.mean_difference:.3g} on average, more than "
                f"{allowed.difference:g} of their spread ({self.spread:.3g})"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """For the card and for machines."""
        return {**asdict(self), "passed": not self.faults}


def labelled(truth: Sequence[int | None]) -> tuple[np.ndarray, np.ndarray]:
    """The samples with a known right output, by index, and these outputs: int64."""
    pairs = [(index, right) for index, right in enumerate(truth) if right is not None]
    known, targets = np.array(pairs, np.int64).reshape(-1, 2).T
    return known, targets


def compare(
    expected: np.ndarray,
    answers: np.ndarray,
    tolerance: Tolerance,
    *,
    skipped: int = 0,
    truth: Sequence[int | None] = (),
) -> Comparison:
    """Compare two sets of logits, float32 (samples, classes); truth: right outputs, if known."""
    difference = np.abs(expected.astype(np.float64) - answers)
    known, right = labelled(truth)
    shares = [
        float((rows[known].argmax(axis=1) == right).mean()) if len(known) else None
        for rows in (answers, expected)
    ]
    return Comparison(
        samples=len(expected),
        skipped=skipped,
        agreement=float((expected.argmax(axis=1) == answers.argmax(axis=1)).mean()),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        spread=float(np.ptp(expected, axis=1).mean()),
        tolerance=tolerance,
        accuracy=shares[0],
        reference_accuracy=shares[1],
        judged=len(known),
    )


def same_answers(expected: np.ndarray, answers: np.ndarray, tolerance: Tolerance) -> np.ndarray:
    """For each sample, whether its top-1 label and its logits agree: bool, (samples,)."""
    apart = np.abs(expected.astype(np.float64) - answers).mean(axis=1)
    near = apart <= tolerance.difference * np.ptp(expected, axis=1).mean()
    same: np.ndarray = near & (expected.argmax(axis=1) == answers.argmax(axis=1))
    return same
