"""Verdict: the result of the trials, as text or JSON."""

from __future__ import annotations

import math
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

from keras_to_lambda.convert.detection import conventions
from keras_to_lambda.convert.detection.conventions import (
    Convention,
    ConventionResult,
    Evidence,
    Property,
)
from keras_to_lambda.runtime.model_file.card import PRESETS, ModelCard

SHOWN = 10  # rows of the table
# The names of the factors in the report, and of their options of `k2l convert`.
TITLES = {
    "scaling": ("scaling", "--preprocess"),
    "color_order": ("colour order", "--color-order"),
    "interpolation": ("interpolation", "--interpolation"),
    "resize": ("resize", "--resize"),
    "labels": ("label order", "--labels"),
}


@dataclass(frozen=True)
class Detected:
    """A finding as text or JSON.

    photos: how many were looked at. unread: how many could not be. classes: how many they show.
    shuffled: see `Detective.shuffled`. labels: the file. card: the model's own, if it has one.
    """

    finding: Evidence
    model: Path
    photos: int
    unread: int
    classes: int
    shuffled: float
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
            parts.append("\n".join(_verdict(factor) for factor in finding.factors if factor.tried))
            parts += [_compared(self.card, finding)] if self.card else []
        if finding.named:
            parts.append(self._paste())
        else:
            parts += ["NOT FOUND. " + self.reason(), self._uncertain()]
        return "\n\n".join(parts)

    def _uncertain(self) -> str:
        """The best of each colour order as options, where the photos do not decide."""
        best: dict[str, ConventionResult] = {}
        for row in self.finding.rows:
            best.setdefault(row.convention.color_order, row)
        apart = self.finding.factor("color_order").found is None
        rows = list(best.values()) if apart else [self.finding.rows[0]]
        options = [f"  {' '.join(_options(x.convention))}  ({x.accuracy:.1%} right)" for x in rows]
        return "\n".join(
            [
                "Most likely, not certain:",
                *options,
                "The table's accuracy is the share of photos whose folder is the model's first "
                "label; its interval shows how far luck could move it.",
            ]
        )

    def reason(self) -> str:
        """Why nothing is named, and what would help; empty if something is."""
        finding = self.finding
        if finding.named:
            return ""
        if finding.convincing:
            names = [
                TITLES[name][0]
                for name in ("scaling", "color_order")
                if finding.factor(name).found is None and len(finding.factor(name).tried) > 1
            ]
            return (
                f"The photos do not separate the {' and the '.join(names)}: what is listed above "
                f"fits equally. {self.photos} were tried; more may separate them (--max-samples), "
                "best those of the training set. If the network normalizes its input itself, no "
                "photos can."
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
        text = (
            f"No convention makes the model convincingly better than an untrained one. The best "
            f"gets {best.accuracy:.1%} right, which is at least {finding.bound:.1%} after "
            f"correction for {len(finding.rows)} tries; it has to be more than {finding.floor:.1%}."
        )
        if self.shuffled > max(finding.floor, 1.2 * best.accuracy):
            return (
                f"{text} But if every folder could choose its output, {self.shuffled:.1%} would be "
                "right: the outputs seem to be in another order than "
                f"{'this file says' if self.labels else 'the folders'}; give the order of training "
                "with --labels."
            )
        return (
            f"{text} If it was trained: on these classes, in this order (--labels)? With a "
            "preprocessing that is not among the ones tried? More photos help if it is only weak."
        )

    def _paste(self) -> str:
        options = shlex.join(_options(self.finding.best.convention))
        lines = ["FOUND. Options for `k2l convert`:", f"  {options}"]
        for factor in self.finding.factors:
            if factor.name != "labels" and len(factor.fitting) > 1:
                title, option = TITLES[factor.name]
                lines.append(
                    f"  the {title} is open: {option} may as well be "
                    + " or ".join(factor.fitting[1:])
                )
        order = self.finding.best.convention.labels
        if order == "given":
            lines.append(f"  --labels {shlex.quote(str(self.labels))}")
        elif self.labels:
            lines.append(
                f"  --labels: not as {self.labels.name} orders them, but sorted alphabetically"
            )
        else:
            lines.append("  --labels: a file with the folders' names, sorted alphabetically")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        finding = self.finding
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
                    "found": factor.found if finding.convincing else None,
                    "p": factor.p,
                    "tried": factor.tried,
                    "fitting": factor.fitting if finding.convincing else factor.tried,
                }
                for factor in finding.factors
            },
            "options": _options(finding.best.convention) if finding.named else [],
            "conventions": [
                {
                    **asdict(row.convention),
                    "accuracy": row.accuracy,
                    "interval_95": [row.low, row.high],
                    "loss": row.loss,
                    "p": row.p,
                    "p_mcnemar": row.mcnemar,
                }
                for row in finding.rows
            ],
        }


def _options(one: Convention) -> list[str]:
    """A convention for `k2l convert`."""
    pairs = [(option, getattr(one, name)) for name, (_, option) in TITLES.items()]
    return [word for pair in pairs if pair[0] != "--labels" for word in pair]


def _needed(finding: Evidence, floor: float) -> int:
    """How many photos a faultless model needs to get beyond a floor."""
    # Wilson's lower bound of n right out of n is n / (n + z * z).
    z = NormalDist().inv_cdf(1 - conventions.ALPHA / len(finding.rows) / 2)
    return math.floor(z * z * floor / (1 - floor)) + 1


def _table(finding: Evidence) -> str:
    several = len(finding.factor("labels").tried) > 1
    head = ["accuracy", "95 % interval", "McNemar", "loss", "p"]
    head += ["scaling", "order", "interpolation", "resize", *(["labels"] if several else [])]
    rows = [head]
    for row in finding.rows[:SHOWN]:
        one = row.convention
        rows.append(
            [
                f"{row.accuracy:.1%}",
                f"{row.low:.1%} .. {row.high:.1%}",
                "" if row is finding.best else _p(row.mcnemar),
                f"{row.loss:.3f}",
                "best" if row is finding.best else "fits" if row.fits else _p(row.p),
                one.scaling,
                one.color_order,
                one.interpolation,
                one.resize,
                *([one.labels] if several else []),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if column < 5 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    if len(finding.rows) > SHOWN:
        lines.append(f"  and {len(finding.rows) - SHOWN} more")
    return "\n".join(lines)


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 0.001 else "< 0.001"


def _verdict(factor: Property) -> str:
    title = f"{TITLES[factor.name][0]}:".ljust(15)
    shown = [_shown(factor.name, value) for value in factor.fitting]
    if len(factor.tried) == 1:
        return f"{title} {shown[0]} (nothing else was tried)"
    if factor.found is None:
        return f"{title} not separated: {', '.join(shown)} fit equally"
    rival = factor.rival
    evidence = ""
    if rival is not None:
        value = _shown(factor.name, getattr(rival.convention, factor.name))
        p = "p < 0.001" if factor.p < 0.001 else f"p at most {_p(factor.p)}"
        evidence = f" (best rival {value}: {rival.accuracy:.1%}; {p})"
    return f"{title} {shown[0]}{evidence}"


def _shown(name: str, value: str) -> str:
    return f"{value} [{conventions.SCALINGS[value]}]" if name == "scaling" else value


def _compared(card: ModelCard, finding: Evidence) -> str:
    """Whether the model's own card agrees; it was not looked at before."""
    apart = []
    for factor in finding.factors:
        if factor.name == "labels" or len(factor.tried) == 1:
            continue
        says = getattr(card.preprocessing, factor.name)
        if factor.name == "scaling":
            stated = PRESETS.get(says) if isinstance(says, str) else None
            agrees = stated in {PRESETS[value] for value in factor.fitting}
        else:
            agrees = says in factor.fitting
        if not agrees:
            apart.append(f"{TITLES[factor.name][0]} {says}")
    if apart:
        return f"The model's card says otherwise: {', '.join(apart)}."
    return "The model's card agrees."
