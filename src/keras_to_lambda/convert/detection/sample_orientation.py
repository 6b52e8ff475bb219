"""EXIF: samples with an orientation flag, and whether the model was trained with it applied."""

from __future__ import annotations

from dataclasses import dataclass

DONE = {"apply": "applied", "ignore": "ignored"}


@dataclass(frozen=True, slots=True)
class Flagged:
    """The samples that are not stored upright, by their flag.

    samples: how many. judged: how many of these are in folders named after labels.
    apply, ignore: how many of the judged ones are right with the flag applied, and ignored.
    fits: the way that is significantly more accurate; "": the samples do not show it.
    """

    samples: int = 0
    judged: int = 0
    apply: int = 0
    ignore: int = 0
    fits: str = ""

    def note(self, exif: str, *, chosen_here: bool) -> list[str]:
        """Remarks on the card's `exif`; chosen_here: neither an option nor a card stated it."""
        if not self.fits or (exif == self.fits and (exif == "apply" or not chosen_here)):
            return []
        evidence = (
            f"of {self.judged} samples with an EXIF orientation flag, {self.ignore} are right with "
            f"the flag ignored and {self.apply} with it applied"
        )
        if chosen_here:
            return [f"{evidence}: exif: {exif}"]
        return [f"exif: {exif} is given, but {evidence}; compare with --exif {self.fits}"]

    def row(self, exif: str) -> str:
        """For the report."""
        return f"{self.samples} samples have a flag; it is {DONE[exif]}"
