"""Findings of an evaluation: all of it for machines, a summary for a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_to_lambda.train.data.dataset import SPLITS

if TYPE_CHECKING:
    from keras_to_lambda.train.assess.answers import Asked
    from keras_to_lambda.train.assess.metrics import Comparison, Estimate, Figures
    from keras_to_lambda.train.data.dataset import Dataset, Split

DIGITS = 6


@dataclass(frozen=True, slots=True)
class Report:
    """An evaluation.

    source: the data's name, the last part of its path. against: the second model with its figures,
    and the comparison; None without one.
    """

    source: str
    data: Dataset
    name: str
    seed: int
    asked: Asked
    figures: Figures
    notes: tuple[str, ...]
    against: tuple[Asked, Figures, Comparison] | None = None

    @property
    def split(self) -> Split:
        """The pictures that were looked at."""
        return self.data.splits[self.name]


# What was found, for machines.


def to_json(report: Report) -> dict[str, Any]:
    """Everything; no path but for the last part of each. Shares are 0..1."""
    against: dict[str, Any] = {}
    if report.against is not None:
        second, figures, comparison = report.against
        against = {
            "against": _model(report, second, figures),
            "comparison": _comparison(report, second, comparison),
        }
    return {
        "data": {
            "name": report.source,
            "sha256": report.data.sha256,
            "split": report.name,
            "seed": report.seed,
            "pictures": len(report.split),
            "labels": list(report.data.labels),
            "skipped": [[last(name), reason] for name, reason in report.data.broken],
        },
        "notes": list(report.notes),
        "model": _model(report, report.asked, report.figures),
        **against,
    }


def _model(report: Report, asked: Asked, found: Figures) -> dict[str, Any]:
    answers, subject = asked.answers, asked.subject
    k, top = found.top
    calibration = found.calibration
    return {
        "name": subject.name,
        "file": subject.file,
        "kind": subject.kind,
        "output": asked.output,
        "card": subject.card and subject.card.to_json(),
        "notes": list(asked.notes),
        "pictures": found.pictures,
        "right": found.right,
        "accuracy": _estimate(found.accuracy),
        "top_k": {"k": k, **_estimate(top)},
        "log_loss": _number(found.log_loss),
        "brier": _number(found.brier),
        "balanced_accuracy": _estimate(found.averages["macro_recall"]),
        **{name: _estimate(value) for name, value in found.averages.items()},
        "macro_auc": _number(found.curves.macro_auc),
        "macro_ap": _number(found.curves.macro_ap),
        "micro_auc": _number(found.curves.micro_roc.area),
        "micro_ap": _number(found.curves.micro_recall.area),
        "labels": list(answers.labels),
        "confusion": found.evaluation.confusion.tolist(),
        "classes": [
            {
                "label": row.label,
                "pictures": row.pictures,
                "predicted": row.predicted,
                "right": row.right,
                "precision": _estimate(row.precision),
                "recall": _estimate(row.recall),
                "f1": _estimate(row.f1),
                "auc": _number(row.auc),
                "ap": _number(row.ap),
            }
            for row in found.classes
        ],
        "calibration": {
            "ece": _number(calibration.ece),
            "temperature": _number(calibration.temperature),
            "log_loss_at_temperature": _number(calibration.log_loss_then),
            "ece_at_temperature": _number(calibration.ece_then),
            "bins": [
                {
                    "low": _number(row.low),
                    "high": _number(row.high),
                    "pictures": row.pictures,
                    "confidence": _number(row.confidence),
                    "accuracy": _estimate(row.accuracy),
                }
                for row in calibration.bins
            ],
        },
        "curves": {
            name: {
                label: [[round(float(v), 4) for v in axis] for axis in (curve.x, curve.y)]
                for label, curve in {**curves, "": micro}.items()
            }
            for name, curves, micro in (
                ("roc", found.curves.roc, found.curves.micro_roc),
                ("recall_precision", found.curves.recall, found.curves.micro_recall),
            )
        },
        "mistakes": [
            {
                "picture": last(report.split.name(index)),
                "true": answers.labels[answers.targets[index]],
                "predicted": answers.labels[answers.predicted[index]],
                "probability": _number(answers.confidence[index]),
                "true_probability": _number(answers.truth[index]),
            }
            for index in mistakes(asked)
        ],
    }


def _comparison(report: Report, second: Asked, found: Comparison) -> dict[str, Any]:
    one, two = report.asked.answers, second.answers
    return {
        "both_right": found.both,
        "only_model_right": found.first,
        "only_against_right": found.second,
        "both_wrong": found.neither,
        "accuracy_difference": _estimate(found.difference),
        "mcnemar_p": found.p,
        "significant": found.significant,
        "conclusion": conclusion(report),
        "labels": list(found.labels),
        "confusion_difference": found.change.tolist(),
        "differing": [
            {
                "picture": last(report.split.name(index)),
                "true": one.labels[one.targets[index]],
                "model": one.labels[one.predicted[index]],
                "against": two.labels[two.predicted[index]],
                "true_probability": [_number(one.truth[index]), _number(two.truth[index])],
            }
            for index in found.order.tolist()
        ],
    }


def _estimate(found: Estimate) -> dict[str, float | None]:
    return {key: _number(value) for key, value in found._asdict().items()}


def _number(value: float | None) -> float | None:
    # Adding 0.0 turns -0.0, which rounding makes of Wilson's lowest bounds, into 0.0.
    return None if value is None else round(float(value), DIGITS) + 0.0


def last(name: str) -> str:
    """A file by its folder and its own name: the rest is of one machine."""
    return "/".join(PurePath(name).parts[-2:])


def mistakes(asked: Asked) -> list[int]:
    """Pictures that are wrong, the most confident first."""
    answers = asked.answers
    wrong = np.flatnonzero(~answers.right)
    order: list[int] = wrong[np.argsort(-answers.confidence[wrong], kind="stable")].tolist()
    return order


def doubtful(asked: Asked) -> list[int]:
    """Pictures that are right, the least confident first."""
    answers = asked.answers
    right = np.flatnonzero(answers.right)
    order: list[int] = right[np.argsort(answers.confidence[right], kind="stable")].tolist()
    return order


def part(data: Dataset, split: str) -> str:
    """Which pictures of the data were judged, for a sentence."""
    total = sum(len(data.splits[name]) for name in SPLITS)
    if split not in SPLITS:
        return f"all {total:,} pictures"
    return f"{len(data.splits[split]):,} of {total:,} pictures (the {split} split)"


# What was found, for a terminal.


def text(report: Report) -> str:
    """A summary."""
    found, evaluation = report.figures, report.figures.evaluation
    k, top = found.top
    rows = [
        ("accuracy", f"{ranged(found.accuracy)}, {found.right:,} of {found.pictures:,} right"),
        (f"top-{k} accuracy", ranged(top)),
        ("macro F1", ranged(found.averages["macro_f1"])),
        ("log loss, Brier score", f"{found.log_loss:.3f}, {found.brier:.3f}"),
        ("calibration error (ECE)", f"{found.calibration.ece:.3f}"),
        (
            "lowest F1",
            ", ".join(f"{row.label} {three(row.f1.value)}" for row in found.worst()),
        ),
        *(
            ("confused", f"{true} taken for {predicted}: {wrong} of {pictures}")
            for true, predicted, wrong, pictures in evaluation.worst(3)
        ),
    ]
    head = f"{report.asked.subject.file} on {report.source}, {part(report.data, report.name)}"
    lines = [head, *(f"  {name:<24} {value}" for name, value in rows)]
    if report.against is not None:
        second, figures, _ = report.against
        file = second.subject.file
        lines += [
            f"{file} on the same",
            f"  {'accuracy':<24} {ranged(figures.accuracy)}",
            f"  {'macro F1':<24} {ranged(figures.averages['macro_f1'])}",
            conclusion(report),
        ]
    notes = [*report.notes, *report.asked.notes]
    notes += report.against[0].notes if report.against else ()
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])


def conclusion(report: Report) -> str:
    """What a comparison comes to, in plain words."""
    assert report.against is not None
    second, _, found = report.against
    one, two = names(report.asked, second)
    if not found.first + found.second:
        return f"{one} and {two} get the same pictures right: there is no difference to test."
    points = 100 * (found.difference.value or 0.0)
    low, high = (100 * (bound or 0.0) for bound in found.difference[1:])
    if found.first == found.second:
        lead = f"Each of {one} and {two} gets {found.first} pictures right that the other does not."
    else:
        lead = (
            f"{one} gets {found.first} pictures right that {two} does not, and {two} "
            f"{found.second} that {one} does not: {points:+.1f} points of accuracy for {one} "
            f"({low:+.1f} to {high:+.1f})."
        )
    verdict = "is significant" if found.significant else "is not significant"
    return f"{lead} The difference {verdict} at 5 %: {_p(found.p)} (McNemar's exact test)."


def _p(value: float) -> str:
    if value < 0.001:
        return "p < 0.001"
    return f"p = {value:.3f}" if value < 0.1 else f"p = {value:.2f}"


def names(one: Asked, two: Asked) -> tuple[str, str]:
    """What the two are called: by their cards, or by their files where that is the same."""
    first, second = one.subject, two.subject
    if first.name != second.name:
        return first.name, second.name
    if first.file != second.file:
        return first.file, second.file
    return f"{first.file} (first)", f"{second.file} (second)"


def three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def ranged(found: Estimate) -> str:
    if found.value is None:
        return "-"
    return f"{found.value:.3f} (95 % interval {three(found.low)} to {three(found.high)})"
