"""The report of an evaluation: JSON for machines, a summary for a terminal, a page for people."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from sklearn import metrics as sk

from keras_to_lambda import html_report
from keras_to_lambda.convert.common import scaling as scalings
from keras_to_lambda.train.assess.metrics import Estimate, Figures, PairedComparison
from keras_to_lambda.train.assess.split_predictions import Evaluated
from keras_to_lambda.train.data.dataset import SPLITS, Dataset, Split, neutral

KINDS = {"keras": "Keras", "tflite": "TensorFlow Lite", "endpoint": "endpoint"}
TEMPLATE = Path(__file__).with_name("evaluation.html.jinja")
MATRIX = 40  # labels; of more, those with the most mistakes are shown
NAMED = 6  # curves that have a name and a colour
PICTURES, OF_A_PAIR = 120, 6  # pictures of mistakes, in all and of one cell of the matrix
FEW = 30  # pictures of a label: their recall has an interval of 20 points or more


@dataclass(frozen=True, slots=True)
class Report:
    """An evaluation.

    source: the data's name. split: the pictures, by name `part`. against: the second model with its
    figures, and the comparison. calibration: as it is in the card now, if that was measured.
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


def to_json(report: Report) -> dict[str, Any]:
    """Everything; no path but for the last part of each. Shares are 0..1."""
    data = report.data
    found = {
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
    }
    if report.against is not None:
        second, figures, comparison = report.against
        found |= {"against": _model(report, second, figures), "comparison": asdict(comparison)}
    return found


def _model(report: Report, evaluated: Evaluated, figures: Figures) -> dict[str, Any]:
    answers, model = evaluated.answers, evaluated.model
    found, confidence, truth = asdict(figures), answers.confidence(), answers.truth
    predicted = answers.predicted
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
                "picture": last(report.split.names[index]),
                "true": answers.labels[answers.targets[index]],
                "predicted": answers.labels[predicted[index]],
                "probability": round(float(confidence[index]), 6),
                "true_probability": round(float(truth[index]), 6),
            }
            for index in mistakes(evaluated)
        ],
    }


def last(name: str) -> str:
    """A file by its folder and its own name: the rest is of one machine."""
    return "/".join(PurePath(name).parts[-2:])


def mistakes(evaluated: Evaluated) -> list[int]:
    """Pictures that are wrong, the most confident first."""
    answers = evaluated.answers
    wrong = np.flatnonzero(~answers.right)
    order: list[int] = wrong[np.argsort(-answers.confidence()[wrong], kind="stable")].tolist()
    return order


def confused(evaluated: Evaluated, most: int) -> list[tuple[int, int, int, int]]:
    """The commonest confusions: true and predicted label's index, pictures, those of the label."""
    counts = evaluated.answers.confusion()
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = zip(*np.unravel_index(order, counts.shape), strict=True)
    return [
        (int(i), int(j), int(wrong[i, j]), int(counts[i].sum())) for i, j in pairs if wrong[i, j]
    ]


def conclusion(report: Report) -> str:
    """Two sentences for a reader who stops after them."""
    found = report.figures
    right = f"{report.model.model.name} is right on {found.right:,} of {found.pictures:,} pictures"
    often = found.pictures / (found.pictures - found.right) if found.right < found.pictures else 0
    once = f", wrong about once in {often:.0f}" if often > 1.5 else ""
    low, high = (100 * (bound or 0.0) for bound in (found.accuracy.low, found.accuracy.high))
    accuracy = f"{found.right / found.pictures:.1%} (95% interval {low:.1f} to {high:.1f}%)"
    first = f"{right}: accuracy {accuracy}{once}."
    if report.against is not None:
        return f"{first} {compared(report)}"
    weak = [row for row in found.weakest(2) if (row.f1 or 0.0) < 0.999]
    if not weak:
        return f"{first} No label stands out as weak."
    names = " and ".join(f"{row.label} (F1 {three(row.f1)})" for row in weak)
    few = [row for row in weak if row.pictures < FEW]
    rest = "".join(f", though {row.pictures} pictures of {row.label} are few" for row in few[:1])
    return f"{first} Its weakest label{'s are' if len(weak) > 1 else ' is'} {names}{rest}."


def compared(report: Report) -> str:
    """Which of two models is better; the interval excludes 0 exactly where the test finds it."""
    assert report.against is not None
    found = report.against[2]
    one, two = names(report)
    if not found.first + found.second:
        return f"{one} and {two} are right on the same pictures."
    value, low, high = (100 * (part or 0.0) for part in asdict(found.difference).values())
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.3f}"
    why = (
        f"{value:+.1f} points of accuracy for {one}, 95% interval {low:+.1f} to {high:+.1f}; it "
        f"alone is right on {found.first} pictures, {two} alone on {found.second}: McNemar's exact "
        f"test, {p}"
    )
    if not found.significant:
        return f"Whether {one} or {two} is better is not certain ({why})."
    better, other = (one, two) if value > 0 else (two, one)
    return f"{better} is better than {other} ({why})."


def names(report: Report) -> tuple[str, str]:
    """The two models' names: of their cards, or their files where these are the same."""
    assert report.against is not None
    first, second = report.model.model, report.against[0].model
    if first.name != second.name:
        return first.name, second.name
    return first.file, second.file


def part(data: Dataset, split: str) -> str:
    """Which pictures of the data are evaluated, for a sentence."""
    total = sum(len(data.splits[name]) for name in SPLITS)
    if split not in SPLITS:
        return f"all {total:,} pictures"
    return f"{len(data.splits[split]):,} of {total:,} pictures (the {split} split)"


def three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def ranged(found: Estimate) -> str:
    return f"{three(found.value)} (95% interval {three(found.low)} to {three(found.high)})"


def text(report: Report) -> str:
    """A summary for a terminal."""
    found, labels = report.figures, report.model.answers.labels
    rows = [
        ("accuracy", f"{ranged(found.accuracy)}, {found.right:,} of {found.pictures:,} right"),
        (f"top-{found.k} accuracy", ranged(found.top_k)),
        ("macro F1", three(found.averages["macro_f1"])),
        ("calibration error (ECE)", three(found.ece)),
        ("lowest F1", ", ".join(f"{row.label} {three(row.f1)}" for row in found.weakest())),
        *(
            ("confused", f"{labels[true]} taken for {labels[guess]}: {wrong} of {pictures}")
            for true, guess, wrong, pictures in confused(report.model, 3)
        ),
    ]
    notes = [*report.notes, *report.model.notes]
    if report.against is not None:
        second, figures, _ = report.against
        rows.append((f"accuracy of {second.model.file}", ranged(figures.accuracy)))
        notes += [compared(report), *second.notes]
    return "\n".join([
        f"{report.model.model.file} on {report.source}, {part(report.data, report.part)}",
        *(f"  {name:<24} {value}" for name, value in rows),
        *(f"note: {note}" for note in notes),
    ])  # fmt: skip


def html(report: Report, command: str) -> str:
    """The page. command: the command line, without secrets."""
    found, evaluated = report.figures, report.model
    model, data = evaluated.model, report.data
    wrong = _mistakes(report)
    return html_report.render(
        TEMPLATE,
        kind="Evaluation",
        title=f"{model.name} on {report.source}",
        conclusion=conclusion(report),
        command=command,
        notes=[*report.notes, *evaluated.notes],
        tiles=[
            (three(found.accuracy.value), "accuracy"),
            (three(found.top_k.value), f"top-{found.k} accuracy"),
            (three(found.averages["macro_f1"]), "macro F1"),
            (f"{found.pictures - found.right:,}", f"mistakes in {found.pictures:,} pictures"),
            (three(found.ece), "calibration error"),
        ],
        found=found,
        rows=sorted(
            (row for row in found.classes if row.pictures or row.predicted),
            key=lambda row: (row.f1 or 0.0, row.label),
        ),
        matrix=_matrix(evaluated, {pair[:2] for pair in wrong}),
        wrong=wrong,
        curves=_curves(evaluated, found),
        reliability=_reliability(found),
        calibration=report.calibration,
        comparison=_comparison(report),
        model=described(evaluated),
        data=[
            ("evaluated", part(data, report.part)),
            ("labels", f"{len(data.labels)}; the model has {len(evaluated.answers.labels)}"),
            ("seed of the split", str(report.seed)),
            ("SHA-256", data.sha256),
        ],
        skipped=[(last(name), reason) for name, reason in data.broken],
        few=FEW,
        three=three,
        width=lambda value: f"{100 * (value or 0.0):.1f}%",
    )


def _mistakes(report: Report) -> list[Any]:
    """The commonest confusions, each with the most confident of its pictures."""
    answers, labels = report.model.answers, report.model.answers.labels
    card = report.model.model.card or neutral(report.data)
    predicted, confidence, truth = answers.predicted, answers.confidence(), answers.truth
    pictures: dict[tuple[int, int], list[html_report.EmbeddedPicture]] = defaultdict(list)
    left = PICTURES
    for index in mistakes(report.model):
        true, guess = int(answers.targets[index]), int(predicted[index])
        if left and len(pictures[true, guess]) < OF_A_PAIR:
            left -= 1
            lines = [
                ("bad", f"{labels[guess]} ({confidence[index]:.2f})"),
                ("", f"is {labels[true]} ({truth[index]:.2f})"),
                ("name", last(report.split.names[index])),
            ]
            source = html_report.thumbnail(report.split.picture(index, card))
            shown = html_report.EmbeddedPicture(source, f"{labels[true]}: {lines[0][1]}", lines)
            pictures[true, guess].append(shown)
    return [
        (true, guess, labels[true], labels[guess], count, total, pictures[true, guess])
        for true, guess, count, total in confused(report.model, len(labels) ** 2)
        if (true, guess) in pictures
    ]


def _matrix(evaluated: Evaluated, linked: set[tuple[int, int]]) -> dict[str, Any]:
    """The confusion matrix; of many labels, those with the most mistakes.

    linked: true and predicted label of the cells that lead to pictures.
    """
    counts, labels = evaluated.answers.confusion(), evaluated.answers.labels
    seen = counts.sum(axis=0) + counts.sum(axis=1)
    wrong = np.where(seen, seen - 2 * np.diag(counts), -1)
    used = np.sort(np.argsort(-wrong, kind="stable")[: min(MATRIX, int((seen > 0).sum()))]).tolist()
    rows = [
        # Mistakes are small shares: the root keeps them from the background.
        (
            labels[i],
            [
                (
                    int(counts[i, j]),
                    math.sqrt(counts[i, j] / max(1, counts[i].sum())),
                    f"pair-{i}-{j}" if (i, j) in linked else "",
                )
                for j in used
            ],
        )
        for i in used
    ]
    return {"labels": [labels[i] for i in used], "rows": rows, "whole": len(labels) <= MATRIX}


def _curves(evaluated: Evaluated, found: Figures) -> list[Any]:
    """ROC and precision-recall curves, each label against the rest."""
    from matplotlib.figure import Figure

    def roc(shown: Any, share: Any) -> Any:
        return sk.roc_curve(shown, share)[:2]

    def recall(shown: Any, share: Any) -> Any:
        precision, found, _ = sk.precision_recall_curve(shown, share, drop_intermediate=True)
        return found, precision

    plots = []
    for title, curve, areas, short, ends in (
        ("ROC curves", roc, found.auc, "AUC", ("false positive rate", "true positive rate")),
        ("Precision-recall curves", recall, found.ap, "AP", ("recall", "precision")),
    ):
        figure = Figure(figsize=(5, 4.6))
        axes = html_report.axes(figure, xlabel=ends[0], ylabel=ends[1])
        worst = sorted(filter(None, areas), key=areas.__getitem__)[:NAMED]
        for name, *pair in evaluated.answers.against_rest():
            look: dict[str, Any] = {"color": html_report.LINE, "linewidth": 0.9, "zorder": 1}
            if name in worst or not name:
                colour = html_report.SERIES[worst.index(name)] if name else html_report.INK
                label = f"{_plain(name or 'all together')} ({short} {areas[name]:.3f})"
                look = {"color": colour, "label": label, "ls": "-" if name else "--"}
            axes.plot(*curve(*pair), **look)
        axes.legend(loc="best", frameon=False, fontsize=8, labelcolor=html_report.SOFT)
        text = f"{title} of the labels, each against the rest; all together {short} {areas['']:.3f}"
        plots.append(html_report.plot(figure, text))
    return plots


def _plain(label: str) -> str:
    """A label for a legend: matplotlib reads $ as mathematics, and hides what begins with _."""
    short = label if len(label) <= 28 else label[:27] + "…"
    return " " + short.replace("$", r"\$")


def _reliability(found: Figures) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.2))
    axes = html_report.axes(
        figure, xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02)
    )
    axes.plot((0, 1), (0, 1), "--", color=html_report.SOFT, linewidth=1)
    x = [row[1] for row in found.bins]
    y, low, high = np.array([[*asdict(row[2]).values()] for row in found.bins]).T
    ends = np.maximum([y - low, high - y], 0)  # rounding can leave -1e-17
    axes.errorbar(x, y, yerr=ends, fmt="o", color=html_report.SERIES[0], capsize=3)
    return html_report.plot(figure, "Share of right answers by confidence, with 95% intervals")


def _comparison(report: Report) -> dict[str, Any] | None:
    """The section on two models."""
    if report.against is None:
        return None
    second, figures, _ = report.against
    one, two = names(report)
    other = {row.label: row for row in figures.classes}
    rows = [("accuracy", report.figures.accuracy, figures.accuracy)]
    rows += [
        (name.replace("_", " "), Estimate(value), Estimate(figures.averages[name]))
        for name, value in report.figures.averages.items()
    ]
    rows += [
        (f"recall of {row.label} ({row.pictures})", row.recall, other[row.label].recall)
        for row in report.figures.classes
        if row.pictures and row.label in other
    ]
    return {
        "names": (one, two),
        "sentence": compared(report),
        "notes": second.notes,
        "rows": rows,
        "matrix": _matrix(second, set()),
        "model": described(second),
    }


def described(evaluated: Evaluated) -> list[tuple[str, str]]:
    """Rows of a table: where the model is from, and how pictures become its input."""
    model, card = evaluated.model, evaluated.model.card
    rows = [("file" if card else "URL", model.file), ("run by", KINDS[model.kind])]
    if card is None:
        return [*rows, ("preprocessing", "the endpoint's own")]
    steps = card.preprocessing
    return [
        *rows,
        ("input", f"{card.height} x {card.width} x {card.channels}"),
        ("resize", f"{steps.resize}, {steps.interpolation}"),
        ("scaling", scalings.done(card)),
        ("EXIF orientation, alpha", f"{steps.exif}, {steps.alpha}"),
        *html_report.provenance(card.provenance),
    ]
