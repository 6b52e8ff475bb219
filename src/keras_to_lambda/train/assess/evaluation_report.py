"""The report of an evaluation: JSON for machines, a summary for a terminal, a page for people."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_to_lambda import html_report
from keras_to_lambda.train.assess.metrics import DRAWS, Estimate
from keras_to_lambda.train.assess.split_predictions import described
from keras_to_lambda.train.data.dataset import SPLITS, neutral

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from matplotlib.figure import Figure

    from keras_to_lambda.train.assess.calibration import Check
    from keras_to_lambda.train.assess.metrics import Curve, Figures, PairedComparison
    from keras_to_lambda.train.assess.split_predictions import Evaluated
    from keras_to_lambda.train.data.dataset import Dataset, Split

TEMPLATE = Path(__file__).with_name("evaluation.html.jinja")
DIGITS = 6
MATRIX = 40  # labels; of more, those with the most mistakes are shown
NAMED = 6  # curves that have a name and a colour
PICTURES = 200  # behind the matrix
OF_A_PAIR = 6  # pictures of one cell of the matrix
FEW = 30  # pictures of a label: their recall has an interval of 20 points or more


@dataclass(frozen=True, slots=True)
class Report:
    """An evaluation.

    source: the data's name. split: the pictures, by name `part`. against: the second model with its
    figures, and the comparison. calibration: as it is in the card now, if that was measured, and
    checks: what the evaluated pictures say of it.
    """

    source: str
    data: Dataset
    part: str
    split: Split
    seed: int
    model: Evaluated
    figures: Figures
    notes: tuple[str, ...]
    against: tuple[Evaluated, Figures, PairedComparison] | None = None
    calibration: Mapping[str, Any] | None = None
    checks: tuple[Check, ...] = ()


# For machines.


def to_json(report: Report) -> dict[str, Any]:
    """Everything; no path but for the last part of each. Shares are 0..1."""
    against: dict[str, Any] = {}
    if report.against is not None:
        second, figures, comparison = report.against
        against = {
            "against": _model(report, second, figures),
            "comparison": {**plain(comparison), "significant": comparison.significant},
        }
        against["comparison"]["differing"] = [
            {
                **_facts(report, report.model, index, "model"),
                "against": _label(second, "predicted", index),
            }
            for index in comparison.differing.tolist()
        ]
    data = report.data
    return {
        "conclusion": conclusion(report),
        "data": {
            "name": report.source,
            "sha256": data.sha256,
            "split": report.part,
            "seed": report.seed,
            "labels": list(data.labels),
            "skipped": [[last(name), reason] for name, reason in data.broken],
        },
        "notes": list(report.notes),
        "model": _model(report, report.model, report.figures),
        "calibration_checks": plain(report.checks),
        **against,
    }


def _model(report: Report, evaluated: Evaluated, figures: Figures) -> dict[str, Any]:
    answers, model = evaluated.answers, evaluated.model
    confidence = answers.confidence()
    found: dict[str, Any] = plain(figures)
    return {
        "name": model.name,
        "file": model.file,
        "kind": model.kind,
        "output": evaluated.output,
        "card": model.card and model.card.to_json(),
        "notes": list(evaluated.notes),
        "labels": list(answers.labels),
        **found.pop("averages"),
        **found,
        "confusion": answers.confusion().tolist(),
        "mistakes": [
            {
                **_facts(report, evaluated, index, "predicted"),
                "probability": plain(confidence[index]),
                "true_probability": plain(answers.truth[index]),
            }
            for index in mistakes(evaluated)
        ],
    }


def _facts(report: Report, evaluated: Evaluated, index: int, name: str) -> dict[str, str]:
    """A picture, its label, and the label that a model gives it, by a name."""
    return {
        "picture": last(report.split.name(index)),
        "true": _label(evaluated, "targets", index),
        name: _label(evaluated, "predicted", index),
    }


def plain(value: Any) -> Any:
    """Figures as JSON values: tuples with names and dataclasses become objects."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, float):
        return round(float(value), DIGITS)
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _label(evaluated: Evaluated, which: str, index: int) -> str:
    label: str = evaluated.answers.labels[getattr(evaluated.answers, which)[index]]
    return label


def last(name: str) -> str:
    """A file by its folder and its own name: the rest is of one machine."""
    return "/".join(PurePath(name).parts[-2:])


def mistakes(evaluated: Evaluated) -> list[int]:
    """Pictures that are wrong, the most confident first."""
    answers = evaluated.answers
    wrong = np.flatnonzero(~answers.right)
    order: list[int] = wrong[np.argsort(-answers.confidence()[wrong], kind="stable")].tolist()
    return order


def confused(evaluated: Evaluated, most: int) -> list[tuple[str, str, int, int]]:
    """The commonest confusions: true label, predicted label, pictures, pictures of the label."""
    counts, labels = evaluated.answers.confusion(), evaluated.answers.labels
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = zip(*np.unravel_index(order, counts.shape), strict=True)
    return [
        (labels[i], labels[j], int(wrong[i, j]), int(counts[i].sum()))
        for i, j in pairs
        if wrong[i, j]
    ]


# Sentences.


def conclusion(report: Report) -> str:
    """Two sentences for a reader who stops after them."""
    found = report.figures
    right = f"{report.model.model.name} is right on {found.right:,} of {found.pictures:,} pictures"
    often = found.pictures / (found.pictures - found.right) if found.right < found.pictures else 0
    once = f", wrong about once in {often:.0f}" if often > 1.5 else ""
    first = f"{right}: accuracy {percent(found.accuracy)}{once}."
    if report.against is not None:
        return f"{first} {_verdict(report)}"
    weak = [row for row in found.weakest(2) if (row.f1.value or 0.0) < 0.999]
    if not weak:
        return f"{first} No label stands out as weak."
    names = " and ".join(f"{row.label} (F1 {three(row.f1.value)})" for row in weak)
    few = [row for row in weak if row.pictures < FEW]
    rest = "".join(f", though {row.pictures} pictures of {row.label} are few" for row in few[:1])
    return f"{first} Its weakest label{'s are' if len(weak) > 1 else ' is'} {names}{rest}."


def _verdict(report: Report) -> str:
    """Which of two models is better; the interval excludes 0 exactly where the test finds it."""
    assert report.against is not None
    found = report.against[2]
    one, two = names(report)
    if not found.first + found.second:
        return f"{one} and {two} are right on the same pictures."
    value, low, high = (100 * (number or 0.0) for number in found.difference)
    ends = f"{value:+.1f} points of accuracy, 95% interval {low:+.1f} to {high:+.1f}"
    if not found.significant:
        return f"Whether {one} or {two} is better is not certain ({ends})."
    better, other = (one, two) if value > 0 else (two, one)
    return f"{better} is better than {other} ({ends} for {one})."


def compared(report: Report) -> str:
    """The comparison and what it is based on."""
    assert report.against is not None
    found = report.against[2]
    one, two = names(report)
    if not found.first + found.second:
        return _verdict(report)
    return (
        f"{_verdict(report)} {one} is right on {found.first} pictures that {two} gets wrong, and "
        f"{two} on {found.second} that {one} gets wrong: McNemar's exact test, {_p(found.p)}."
    )


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def names(report: Report) -> tuple[str, str]:
    """The two models' names: of their cards, or their files where these are the same."""
    assert report.against is not None
    first, second = report.model.model, report.against[0].model
    for one, two in ((first.name, second.name), (first.file, second.file)):
        if one != two:
            return one, two
    return f"{first.file} (first)", f"{second.file} (second)"


def part(data: Dataset, split: str) -> str:
    """Which pictures of the data are evaluated, for a sentence."""
    total = sum(len(data.splits[name]) for name in SPLITS)
    if split not in SPLITS:
        return f"all {total:,} pictures"
    return f"{len(data.splits[split]):,} of {total:,} pictures (the {split} split)"


def three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def ranged(found: Estimate) -> str:
    if found.value is None:
        return "-"
    return f"{found.value:.3f} (95% interval {three(found.low)} to {three(found.high)})"


def percent(found: Estimate) -> str:
    low, high = (100 * (bound or 0.0) for bound in found[1:])
    return f"{100 * (found.value or 0.0):.1f}% (95% interval {low:.1f} to {high:.1f}%)"


def text(report: Report) -> str:
    """A summary for a terminal."""
    found = report.figures
    rows = [
        ("accuracy", f"{ranged(found.accuracy)}, {found.right:,} of {found.pictures:,} right"),
        (f"top-{found.k} accuracy", ranged(found.top_k)),
        ("macro F1", ranged(found.averages["macro_f1"])),
        ("log loss, Brier score", f"{found.log_loss:.3f}, {found.brier:.3f}"),
        ("calibration error (ECE)", f"{found.ece:.3f}"),
        ("lowest F1", ", ".join(f"{row.label} {three(row.f1.value)}" for row in found.weakest())),
        *(
            ("confused", f"{true} taken for {predicted}: {wrong} of {pictures}")
            for true, predicted, wrong, pictures in confused(report.model, 3)
        ),
        *([("calibration", _checked(report))] if report.checks else ()),
    ]
    head = f"{report.model.model.file} on {report.source}, {part(report.data, report.part)}"
    lines = [head, *(f"  {name:<24} {value}" for name, value in rows)]
    notes = [*report.notes, *report.model.notes]
    if report.against is not None:
        second, figures, _ = report.against
        lines += [
            f"{second.model.file} on the same",
            f"  {'accuracy':<24} {ranged(figures.accuracy)}",
            f"  {'macro F1':<24} {ranged(figures.averages['macro_f1'])}",
            compared(report),
        ]
        notes += second.notes
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])


def _checked(report: Report) -> str:
    agree = sum(row.agree for row in report.checks)
    return f"stated and observed shares agree in {agree} of {len(report.checks)} bins of confidence"


# The page.


def html(report: Report, command: str) -> str:
    """The page. command: the command line, without secrets."""
    found, evaluated = report.figures, report.model
    rows = sorted(
        (row for row in found.classes if row.pictures or row.predicted),
        key=lambda row: (row.f1.value or 0.0, row.label),
    )
    wrong = mistakes(evaluated)
    pairs = _pairs(report)
    labels, matrix = _matrix(report, {(true, guess) for true, guess, *_ in pairs})
    facts = evaluated.model.card.provenance if evaluated.model.card else {}
    return html_report.render(
        TEMPLATE,
        kind="Evaluation",
        title=f"{evaluated.model.name} on {report.source}",
        conclusion=conclusion(report),
        command=command,
        notes=[*report.notes, *evaluated.notes],
        tiles=[
            (three(found.accuracy.value), "accuracy"),
            (three(found.top_k.value), f"top-{found.k} accuracy"),
            (three(found.averages["macro_f1"].value), "macro F1"),
            (f"{len(wrong):,}", f"mistakes in {found.pictures:,} pictures"),
            (three(found.ece), "calibration error"),
        ],
        rows=rows,
        averages=[(name.replace("_", " "), value) for name, value in found.averages.items()],
        others=[
            ("log loss", found.log_loss),
            ("Brier score (0 to 2)", found.brier),
            ("macro AUC", found.macro_auc),
            ("macro average precision", found.macro_ap),
        ],
        confused=confused(evaluated, 8),
        labels=labels,
        matrix=matrix,
        every_label=len(found.classes) <= MATRIX,
        mistakes=_pictures(report, wrong[:12]),
        wrong=len(wrong),
        pairs=pairs,
        curves=_curves(found),
        reliability=html_report.plot(
            _reliability(found),
            "Accuracy by confidence with 95% intervals; on the dashed line they are equal. "
            f"Calibration error {found.ece:.3f}",
        ),
        bins=found.bins,
        calibration=report.calibration,
        checks=report.checks,
        checked=_checked(report) if report.checks else "",
        comparison=_comparison(report),
        model=[
            *described(evaluated.model),
            ("output", f"{len(evaluated.answers.labels)} {evaluated.output}"),
            *html_report.provenance(facts),
        ],
        data=[
            ("name", report.source),
            ("pictures", f"{part(report.data, report.part)}, {len(report.data.labels)} labels"),
            ("seed of the split", str(report.seed)),
            ("SHA-256", report.data.sha256),
        ],
        skipped=[(last(name), reason) for name, reason in report.data.broken],
        draws=DRAWS,
        few=FEW,
        three=three,
        width=lambda value: f"{100 * (value or 0.0):.1f}%",
    )


def _pairs(
    report: Report,
) -> list[tuple[int, int, str, str, int, list[html_report.EmbeddedPicture]]]:
    """Pictures of the matrix's cells: wrong ones first, by how often; then those that are right.

    Each: true and predicted label, by index and by name; how many; and the pictures: of mistakes
    the most confident, of right answers the least.
    """
    answers = report.model.answers
    counts, labels, confidence = answers.confusion(), answers.labels, answers.confidence()
    cells = [(int(i), int(j)) for i, j in np.argwhere(counts)]
    cells.sort(key=lambda cell: (cell[0] == cell[1], -counts[cell], cell))
    found, room = [], PICTURES
    for true, guess in cells:
        own = np.flatnonzero((answers.targets == true) & (answers.predicted == guess))
        sign = 1 if true == guess else -1
        own = own[np.argsort(sign * confidence[own], kind="stable")][: min(OF_A_PAIR, room)]
        if not len(own):
            break
        room -= len(own)
        pictures = _pictures(report, own.tolist())
        count = int(counts[true, guess])
        found.append((true, guess, labels[true], labels[guess], count, pictures))
    return found


def _matrix(
    report: Report, shown: set[tuple[int, int]]
) -> tuple[list[str], list[tuple[str, list[dict[str, Any]]]]]:
    """The confusion matrix; of many labels, those with the most mistakes."""
    counts, labels = report.model.answers.confusion(), report.model.answers.labels
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    seen = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    used = np.sort(seen[np.argsort(-wrong[seen], kind="stable")[:MATRIX]])
    rows = []
    for i in used.tolist():
        total = max(1, int(counts[i].sum()))
        cells = [
            {
                "pictures": int(counts[i, j]),
                # Mistakes are small shares: the root keeps them from the background.
                "share": math.sqrt(counts[i, j] / total),
                "anchor": f"pair-{i}-{j}" if (i, j) in shown else "",
            }
            for j in used.tolist()
        ]
        rows.append((labels[i], cells))
    return [labels[i] for i in used], rows


def _pictures(
    report: Report, indexes: Iterable[int], second: Evaluated | None = None
) -> list[html_report.EmbeddedPicture]:
    """Pictures with what the model, or both, take them for."""
    card = report.model.model.card or neutral(report.data)
    found = []
    for index in indexes:
        lines = []
        for evaluated in (report.model, *((second,) if second else ())):
            answers = evaluated.answers
            guess = _label(evaluated, "predicted", index)
            share = float(answers.probabilities[index].max())
            name = f"{evaluated.model.name}: " if second else ""
            style = "good" if answers.right[index] else "bad"
            lines.append((style, f"{name}{guess} ({share:.2f})"))
        true = _label(report.model, "targets", index)
        if second or not report.model.answers.right[index]:
            lines.append(("", f"is {true} ({report.model.answers.truth[index]:.2f})"))
        name = last(report.split.name(index))
        source = html_report.thumbnail(report.split.picture(index, card))
        alt = f"{true}: {lines[0][1]}"
        found.append(html_report.EmbeddedPicture(source, alt, [*lines, ("name", name)]))
    return found


def _curves(found: Figures) -> list[Any]:
    """ROC and precision-recall curves, each label against the rest."""
    from matplotlib.figure import Figure

    plots = []
    for title, curves, area, ends in (
        ("ROC curves", found.roc, "AUC", ("false positive rate", "true positive rate")),
        ("Precision-recall curves", found.recall, "AP", ("recall", "precision")),
    ):
        figure = Figure(figsize=(5, 4.6))
        axes = html_report.axes(figure, xlabel=ends[0], ylabel=ends[1])
        drawn: Mapping[str, Curve] = {name: curve for name, curve in curves.items() if name}
        worst = sorted(drawn, key=lambda name: drawn[name].area)[:NAMED]
        for name in sorted(drawn, key=lambda name: name in worst):
            curve = drawn[name]
            look = (
                {"color": html_report.SERIES[worst.index(name)], "linewidth": 1.4,
                 "label": f"{_plain(name)} ({area} {curve.area:.3f})"}
                if name in worst
                else {"color": html_report.LINE, "linewidth": 0.9}
            )  # fmt: skip
            axes.plot(curve.x, curve.y, **look)
        total = curves[""]
        label = f"all together ({area} {total.area:.3f})"
        axes.plot(total.x, total.y, "--", color=html_report.INK, linewidth=1.4, label=label)
        axes.legend(loc="best", frameon=False, fontsize=8, labelcolor=html_report.SOFT)
        text = f"{title} of the labels, each against the rest; all together {area} {total.area:.3f}"
        plots.append(html_report.plot(figure, text))
    return plots


def _plain(label: str) -> str:
    """A label for a legend: matplotlib reads $ as mathematics, and hides what begins with _."""
    short = label if len(label) <= 28 else label[:27] + "…"
    return " " + short.replace("$", r"\$")


def _reliability(found: Figures) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.2))
    axes = html_report.axes(
        figure, xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02)
    )
    axes.plot((0, 1), (0, 1), "--", color=html_report.SOFT, linewidth=1)
    x = [row.confidence for row in found.bins]
    y, low, high = np.array([row.accuracy for row in found.bins], float).T
    ends = np.maximum([y - low, high - y], 0)  # rounding can leave -1e-17
    axes.errorbar(x, y, yerr=ends, fmt="o", color=html_report.SERIES[0], capsize=3)
    return figure


def _comparison(report: Report) -> dict[str, Any] | None:
    """The section on two models."""
    if report.against is None:
        return None
    second, figures, found = report.against
    first, total = report.figures, len(report.split)
    one, two = names(report)
    other = {row.label: row for row in figures.classes}
    recalls = [
        (row.label, row.pictures, row.recall, other[row.label].recall)
        for row in first.classes
        if row.pictures and row.label in other
    ]
    recalls.sort(key=lambda row: (row[2].value or 0.0) - (row[3].value or 0.0))
    counts = {
        "both right": found.both,
        f"only {one} right": found.first,
        f"only {two} right": found.second,
        "both wrong": found.neither,
    }
    return {
        "names": (one, two),
        "sentence": compared(report),
        "notes": second.notes,
        "rows": [
            ("accuracy", first.accuracy, figures.accuracy),
            *(
                (name.replace("_", " "), value, figures.averages[name])
                for name, value in first.averages.items()
            ),
        ],
        "counts": [(name, count, f"{100 * count / total:.1f}%") for name, count in counts.items()],
        "recalls": recalls,
        "pictures": _pictures(report, found.differing[:12].tolist(), second),
        "differing": len(found.differing),
        "model": described(second.model),
    }
