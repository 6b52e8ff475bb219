"""EXIF: samples with an orientation flag, and whether the model was trained with it applied."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIGNIFICANT = 0.05
DONE = {"apply": "applied", "ignore": "ignored"}


@dataclass(frozen=True, slots=True)
class Flagged:
    """The samples that are not stored upright, by their flag.

    samples: how many. judged: how many of these are in folders named after labels.
    apply, ignore: how many of the judged ones are right with the flag applied, and ignored.
    p: of McNemar's test between the two.
    """

    samples: int = 0
    judged: int = 0
    apply: int = 0
    ignore: int = 0
    p: float = 1.0

    @property
    def fits(self) -> str | None:
        """The way that is significantly more accurate; None: the samples do not show it."""
        if self.p >= SIGNIFICANT:
            return None
        return "apply" if self.apply > self.ignore else "ignore"

    def note(self, exif: str, *, chosen_here: bool) -> list[str]:
        """Remarks on the card's `exif`; chosen_here: neither an option nor a card stated it."""
        if self.fits is None or (exif == self.fits) != chosen_here or exif == "apply" == self.fits:
            return []
        evidence = (
            f"of {self.judged} samples with an EXIF orientation flag, {self.ignore} are right with "
            f"the flag ignored and {self.apply} with it applied (p = {self.p:.2g})"
        )
        if chosen_here:
            return [f"{evidence}: exif: {exif}"]
        return [f"exif: {exif} is given, but {evidence}; compare with --exif {self.fits}"]

    def row(self, exif: str) -> str:
        """For the report."""
        return f"{self.samples} samples have a flag; it is {DONE[exif]}"


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """The exact two-sided p-value of McNemar's test (https://doi.org/10.1007/BF02295996).

    first, second: bool, (photos,): which of them each of two ways has right.
    """
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    total = only_first + only_second
    return float(binomtest(only_first, total).pvalue) if total else 1.0
