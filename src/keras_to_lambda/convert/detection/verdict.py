"""Verdict: the result of the trials, as text or JSON."""

from __future__ import annotations

import math
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

from keras_to_lambda.convert.common import text_table
from keras_to_lambda.convert.detection import conventions
from keras_to_lambda.convert.detection.conventions import Convention, Evidence, Property
from keras_to_lambda.runtime.model_file.card import PRESETS, ModelCard

SHOWN = 10  # rows of the table
# The names of the factors in the report.
TITLES = {
    "scaling": "scaling",
    "color_order": "colour order",
    "interpolation": "interpolation",
    "resize": "resize",
    "labels": "label order",
}
# Their options of `k2l convert`.
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
    labels: the file. card: the model's own, if it has one.
    """

    finding: Evidence
    model: Path
    photos: int
    unread: int
    classes: int
    labels: Path | None
    card: ModelCard | None

    def text(self) -> str:
        """Table, verdicts, options."""
        finding = self.finding
        head = f"{self.model.name}: {self.photos} photos of {self.classes} classes, "
        head += f"{len(finding.rows)} conventions tried"
        if self.unread:
            head += f"; {self.unread} photos could not be read"
        parts = [head, _table(finding)]
        if finding.convincing:
            parts.append("\n".join(map(_verdict, finding.factors)))
            parts += [_compared(self.card, finding)] if self.card else []
        if finding.named:
            parts.append(self._options())
        else:
            parts.append("NOT FOUND. " + self.reason())
        return "\n\n".join(parts)

    def reason(self) -> str:
        """Why nothing is named, and what would help; empty if something is."""
        finding = self.finding
        if finding.named:
            return ""
        if finding.convincing:
            both = [f for f in finding.factors[:2] if f.found is None and len(f.tried) > 1]
            names = " and the ".join(TITLES[factor.name] for factor in both)
            return (
                f"The photos do not separate the {names}: what is listed above fits equally. "
                f"{self.photos} were tried; more may separate them (--max-samples), best those of "
                "the training set. If the network normalizes its input itself, no photos can."
            )
        # With very few photos, some random network has them all right: not the photos' fault.
        needed = _needed(finding, math.sqrt(1 / self.classes))
        if needed <= self.photos and finding.floor > 0.99:
            return (
                "These photos cannot show whether the model was trained: untrained weights "
                "distinguish the classes as well, by brightness or colour alone. Use photos of "
                "classes that look less different, or of more classes."
            )
        if needed <= self.photos:
            needed = _needed(finding, finding.floor)
        if needed > self.photos:
            return (
                f"{self.photos} photos are not enough: even a model that is always right could "
                f"be luck. {needed} or more are needed, evenly from "
                f"{'both' if self.classes == 2 else f'all {self.classes}'} classes."
            )
        best = finding.best
        return (
            f"No convention makes the model convincingly better than an untrained one. The best "
            f"gets {best.accuracy:.1%} right, which is at least {finding.bound:.1%} after "
            f"correction for {len(finding.rows)} tries; it has to be more than {finding.floor:.1%}."
            " If it was trained: on these classes, in this order (--labels)? With a preprocessing "
            "that is not among the ones tried? More photos help if it is only weak."
        )

    def _options(self) -> str:
        best = self.finding.best.convention
        lines = ["FOUND. Options for `k2l convert`:", f"  {shlex.join(_options(best))}"]
        for factor in self.finding.factors:
            if factor.name in OPTIONS and len(factor.fitting) > 1:
                others = " or ".join(factor.fitting[1:])
                option = f"{OPTIONS[factor.name]} may as well be {others}"
                lines.append(f"  the {TITLES[factor.name]} is open: {option}")
        if best.labels == "given":
            lines.append(f"  --labels {shlex.quote(str(self.labels))}")
        elif self.labels:
            how = f"not as {self.labels.name} orders them, but sorted alphabetically"
            lines.append(f"  --labels: {how}")
        else:
            lines.append("  --labels: a file with the folders' names, sorted alphabetically")
        return "\n".join(lines)

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
                factor.name: {
                    "found": factor.found if convincing else None,
                    "p": factor.p,
                    "tried": factor.tried,
                    "fitting": factor.fitting if convincing else factor.tried,
                }
                for factor in finding.factors
            },
            "options": _options(finding.best.convention) if finding.named else [],
            "conventions": [asdict(row) for row in finding.rows],
        }


def _options(one: Convention) -> list[str]:
    """A convention for `k2l convert`."""
    return [word for name, option in OPTIONS.items() for word in (option, getattr(one, name))]


def _needed(finding: Evidence, floor: float) -> int:
    """How many photos a faultless model needs to get beyond a floor."""
    # Wilson's lower bound of n right out of n is n / (n + z * z).
    z = NormalDist().inv_cdf(1 - conventions.ALPHA / len(finding.rows) / 2)
    return math.floor(z * z * floor / (1 - floor)) + 1


def _table(finding: Evidence) -> str:
    names = [name for name in TITLES if name != "labels" or len(finding.factor(name).tried) > 1]
    head = ["accuracy", "95 % interval", "loss", "p"]
    rows = [head + [name.removeprefix("color_") for name in names]]
    for row in finding.rows[:SHOWN]:
        p = "best" if row is finding.best else "fits" if row.fits else _p(row.p)
        interval = f"{row.low:.1%} .. {row.high:.1%}"
        values = [getattr(row.convention, name) for name in names]
        rows.append([f"{row.accuracy:.1%}", interval, f"{row.loss:.3f}", p, *values])
    table = text_table.columns(rows, range(len(head)))
    more = len(finding.rows) - SHOWN
    return f"{table}\n  and {more} more" if more > 0 else table


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 0.001 else "< 0.001"


def _verdict(factor: Property) -> str:
    title = f"{TITLES[factor.name]}:".ljust(15)
    shown = [_shown(factor.name, value) for value in factor.fitting]
    if len(factor.tried) == 1:
        return f"{title} {shown[0]} (nothing else was tried)"
    if factor.found is None:
        return f"{title} not separated: {', '.join(shown)} fit equally"
    if factor.rival is None:
        return f"{title} {shown[0]}"
    value = _shown(factor.name, getattr(factor.rival.convention, factor.name))
    p = "p < 0.001" if factor.p < 0.001 else f"p at most {_p(factor.p)}"
    return f"{title} {shown[0]} (best rival {value}: {factor.rival.accuracy:.1%}; {p})"


def _shown(name: str, value: str) -> str:
    return f"{value} [{conventions.SCALINGS[value]}]" if name == "scaling" else value


def _compared(card: ModelCard, finding: Evidence) -> str:
    """Whether the model's own card agrees; it was not looked at before."""
    apart = []
    for name in OPTIONS:
        factor, stated = finding.factor(name), getattr(card.preprocessing, name)
        fitting = {PRESETS.get(value, value) for value in factor.fitting}
        known = PRESETS.get(stated, stated) if isinstance(stated, str) else None
        if len(factor.tried) > 1 and known not in fitting:
            apart.append(f"{TITLES[name]} {stated}")
    if apart:
        return f"The model's card says otherwise: {', '.join(apart)}."
    return "The model's card agrees."
