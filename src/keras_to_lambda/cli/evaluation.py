"""Evaluation: what a classifier got right on labelled photos, with what certainty, and what not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt  # which the function's image has not


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Counts of one model on one split.

    labels: the classes.
    confusion: int64, (labels, labels): rows are the true class, columns the predicted one.
    """

    labels: tuple[str, ...]
    confusion: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls,
        labels: tuple[str, ...],
        scores: npt.NDArray[np.float32],
        targets: npt.NDArray[np.int32],
    ) -> Evaluation:
        """Count the top-1 predictions: scores (photos, labels), targets (photos,)."""
        confusion = np.zeros((len(labels), len(labels)), np.int64)
        np.add.at(confusion, (targets, scores.argmax(axis=1)), 1)
        return cls(labels, confusion)

    @property
    def photos(self) -> int:
        """How many were looked at."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share that was right, 0..1."""
        return float(np.trace(self.confusion) / self.photos)

    @property
    def interval(self) -> tuple[float, float]:
        """The accuracy's 95 % interval."""
        return wilson(int(np.trace(self.confusion)), self.photos)

    def worst(self, most: int = 5) -> list[tuple[str, str, int, int]]:
        """The commonest confusions: true label, predicted label, photos, photos of the label."""
        pairs = []
        for i, j in np.argwhere(self.confusion):
            counts = int(self.confusion[i, j]), int(self.confusion[i].sum())
            pairs.append((self.labels[i], self.labels[j], *counts))
        wrong = [pair for pair in pairs if pair[0] != pair[1]]
        return sorted(wrong, key=lambda pair: (-pair[2], pair[3], pair[0], pair[1]))[:most]


def wilson(right: float, total: float, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval for a share (https://doi.org/10.1080/01621459.1927.10502953).

    Args:
        right: successes. total: trials, at least 1.
        z: the normal quantile; 1.959964 gives 95 %.

    Returns:
        Lower and upper bound, 0..1.
    """
    share = right / total
    middle = share + z * z / (2 * total)
    half = z * math.sqrt(max(share * (1 - share), 0.0) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return (middle - half) / scale, (middle + half) / scale
