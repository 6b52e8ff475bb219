"""Verdict: the result of the trials, as text or JSON."""

from __future__ import annotations

import math
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

from keras_to_lambda.convert.common import text_table
from keras_to_lambda.convert.detection.evidence import ALPHA, FACTORS, Evidence, FactorFinding
from keras_to_lambda.convert.detection.trials import SCALINGS

SHOWN = 10  # rows of the table
LUCK = 0.99  # what an untrained network has right on photos that show nothing
TITLES = {"color_order": "colour order", "labels": "label order"}
# The factors that are options of `k2l convert`.
OPTIONS = {
    "scaling": "--preprocess",
    "color_order": "--color-order",
    "interpolation": "--interpolation",
    "resize": "--resize",
}


@dataclass(frozen=True)
class Detected:
    """A finding as text or JSON.

    photos: how many were looked at. unread: how many could not be. classes: how many they show.
    labels: the file.
    """

    finding: Evidence
    model: Path
    photos: int
    unread: int
    classes: int
    labels: Path | None

    def text(self) -> str:
        """Table, verdicts, options."""
        finding = self.finding
        head = f"{self.model.name}: {self.photos} photos of {self.classes} classes, "
        head += f"{len(finding.rows)} conventions tried"
        head += f"; {self.unread} photos could not be read" * (self.unread > 0)
        parts = [head, _table(finding)]
        if finding.convincing:
            parts.append("\n".join(_verdict(*item) for item in finding.factors.items()))
        parts.append(self._options() if finding.named else f"NOT FOUND. {self.reason()}")
        return "\n\n".join(parts)

    def reason(self) -> str:
        """Why nothing is named, and what would help; empty if something is."""
        finding = self.finding
        if finding.named:
            return ""
        if finding.convincing:
            both = ((name, finding.factors[name]) for name in FACTORS[:2])
            names = [_title(x) for x, one in both if one.found is None and len(one.tried) > 1]
            return (
                f"The photos do not separate the {' and the '.join(names)}: what is listed above "
                f"fits equally. {self.photos} were tried; more may separate them (--max-samples), "
                "best those of the training set. If the network normalizes its input itself, no "
                "photos can."
            )
        # Wilson's lower bound of n right out of n is n / (n + z * z).
        z = NormalDist().inv_cdf(1 - ALPHA / len(finding.rows) / 2)
        floor = math.sqrt(1 / self.classes) if finding.floor > LUCK else finding.floor
        needed = math.floor(z * z * floor / (1 - floor)) + 1
        if needed > self.photos:
            return (
                f"{self.photos} photos are not enough: even a model that is always right could be "
                f"luck. {needed} or more are needed, evenly from all classes."
            )
        if finding.floor > LUCK:
            return (
                "These photos cannot show whether the model was trained: untrained weights "
                "distinguish the classes as well, by brightness or colour alone. Use photos of "
                "classes that look less different, or of more classes."
            )
        return (
            "No convention makes the model convincingly better than an untrained one. The best "
            f"gets {finding.rows[0].accuracy:.1%} right, which is at least {finding.bound:.1%} "
            f"after correction for {len(finding.rows)} tries; it has to be more than "
            f"{finding.floor:.1%}. Check --labels, or give more photos; the preprocessing may also "
            "be one that was not tried."
        )

    def _options(self) -> str:
        factors = self.finding.factors
        lines = ["FOUND. Options for `k2l convert`:", f"  {shlex.join(_options(self.finding))}"]
        for name, option in OPTIONS.items():
            if others := " or ".join(factors[name].fitting[1:]):
                lines.append(f"  the {_title(name)} is open: {option} may as well be {others}")
        file = "a file with the folders' names, sorted alphabetically"
        if self.finding.rows[0].labels == "given":
            file = shlex.quote(str(self.labels))
        elif self.labels:
            file = f"not as {self.labels.name} orders them, but sorted alphabetically"
        return "\n".join([*lines, f"  --labels: {file}"])

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        finding, convincing = self.finding, self.finding.convincing
        return {
            "model": str(self.model),
            "named": finding.named,
            "reason": self.reason(),
            "photos": self.photos,
            "photos_unread": self.unread,
            "classes": self.classes,
            "accuracy_at_least": finding.bound,
            "accuracy_floor": finding.floor,
            "factors": {
                name: {
                    "found": factor.found if convincing else None,
                    "tried": factor.tried,
                    "fitting": factor.fitting if convincing else factor.tried,
                }
                for name, factor in finding.factors.items()
            },
            "options": _options(finding) if finding.named else [],
            "conventions": [asdict(row) for row in finding.rows],
        }


def _title(name: str) -> str:
    return TITLES.get(name, name)


def _options(finding: Evidence) -> list[str]:
    """The best convention for `k2l convert`."""
    best = finding.rows[0]
    return [word for name, option in OPTIONS.items() for word in (option, getattr(best, name))]


def _table(finding: Evidence) -> str:
    names = [name for name in FACTORS if name != "labels" or len(finding.factors[name].tried) > 1]
    head = ["accuracy", "95 % interval", "loss", "p"]
    rows = [[*head, *(name.removeprefix("color_") for name in names)]]
    for number, row in enumerate(finding.rows[:SHOWN]):
        p = "fits" if row.fits else _p(row.p)
        figures = [f"{row.accuracy:.1%}", f"{row.low:.1%} .. {row.high:.1%}", f"{row.loss:.3f}"]
        rows.append([*figures, p if number else "best", *(getattr(row, x) for x in names)])
    table = text_table.columns(rows, range(len(head)))
    more = len(finding.rows) - SHOWN
    return f"{table}\n  and {more} more" if more > 0 else table


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 0.001 else "< 0.001"


def _verdict(name: str, factor: FactorFinding) -> str:
    shown = [f"{x} [{SCALINGS[x]}]" if name == "scaling" else x for x in factor.fitting]
    text = shown[0] if factor.found else f"not separated: {', '.join(shown)} fit equally"
    if len(factor.tried) == 1:
        text = f"{shown[0]} (nothing else was tried)"
    return f"{_title(name)}:".ljust(15) + f" {text}"
