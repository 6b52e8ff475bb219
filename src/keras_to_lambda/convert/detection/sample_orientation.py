"""EXIF: samples with an orientation flag, and whether the model was trained with it applied."""

from __future__ import annotations

from dataclasses import dataclass

DONE = {"apply": "applied", "ignore": "ignored"}


@dataclass(frozen=True, slots=True)
class Flagged:
    """The samples that are not stored upright, by their flag.

    samples: how many. judged: how many of these are in folders named after labels.
    apply, ignore: how many of the judged ones are right with the flag applied, and ignored.
    fits: ignore, if that is significantly more accurate; else apply.
    """

    samples: int = 0
    judged: int = 0
    apply: int = 0
    ignore: int = 0
    fits: str = "apply"

    def note(self) -> list[str]:
        """A remark on a model that was trained with the flag ignored."""
        if self.fits == "apply":
            return []
        return [
            f"of {self.judged} samples with an EXIF orientation flag, {self.ignore} are right with "
            f"the flag ignored and {self.apply} with it applied: exif: ignore"
        ]

    def row(self, exif: str) -> str:
        """For the report."""
        return f"{self.samples} samples have a flag; it is {DONE[exif]}"
