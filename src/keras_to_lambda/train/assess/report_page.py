"""The page of an evaluation: what evaluation.html.jinja shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_to_lambda.train import page
from keras_to_lambda.train.assess import metrics, plots
from keras_to_lambda.train.assess.answers import Asked, card_for, described
from keras_to_lambda.train.assess.findings import (
    Report,
    conclusion,
    doubtful,
    last,
    mistakes,
    names,
    ranged,
    three,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from keras_to_lambda.train.assess.metrics import Comparison, Figures

MATRIX = 100  # labels of a heat map; with more, those with the most mistakes are shown
LISTED = 30  # labels of the matrix as a table
LEAST = 560  # pixels that a figure needs to be read, where a telephone has less


@dataclass(frozen=True, slots=True)
class Plot:
    """source: a data: URL. least: pixels below which it is scrolled rather than shrunk; or 0."""

    source: str
    alt: str
    least: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """A line under a picture; kind: a class of the page's style."""

    text: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """source: a data: URL."""

    source: str
    alt: str
    name: str
    lines: tuple[Line, ...]


def html(report: Report, most: int) -> str:
    """The page: one file that asks nothing of any network."""
    found, asked = report.figures, report.asked
    labels, counts, shown = _matrix(found)
    rows = sorted(
        (row for row in found.classes if row.pictures or row.predicted),
        key=lambda row: (row.f1.value or 0.0, row.label),
    )
    wrong, k = mistakes(asked), found.top[0]
    confused = found.evaluation.worst(8)
    listed = len(labels) <= LISTED
    return page.render(
        "evaluation.html.jinja",
        title=f"Evaluation of {asked.subject.name}",
        three=three,
        summary=f"{found.right:,} of {found.pictures:,} {report.name} pictures of {report.source} "
        f"are right: accuracy {ranged(found.accuracy)}.",
        notes=[*report.notes, *asked.notes],
        tiles=[
            (three(found.accuracy.value), "accuracy"),
            (three(found.top[1].value), f"top-{k} accuracy"),
            (three(found.averages["macro_f1"].value), "macro F1"),
            (three(found.averages["macro_recall"].value), "balanced accuracy"),
            (three(found.log_loss), "log loss"),
            (three(found.brier), "Brier score"),
            (three(found.calibration.ece), "calibration error (ECE)"),
        ],
        comparison=_compared(report, most),
        classes_plot=Plot(
            page.plot(plots.classes(rows[:MATRIX])),
            "Precision and recall of each label with 95 % intervals. Lowest F1: "
            + ", ".join(f"{row.label} {three(row.f1.value)}" for row in found.worst()),
            LEAST,
        ),
        rows=[{"figures": row, "taken_for": _taken_for(found, row.label)} for row in rows],
        averages=found.averages,
        confused=confused,
        confusion_plot=Plot(
            page.plot(plots.confusion(labels, counts)),
            f"Confusion matrix of {shown}, rows are true labels, columns predicted ones. "
            + (f"Most often confused: {_confused(confused[:3])}" if confused else "All right."),
            _least(labels),
        ),
        matrix={"labels": labels, "rows": list(zip(labels, counts.tolist(), strict=True))}
        if listed
        else None,
        roc_plot=_curve_plot(plots.roc(found.curves), "ROC", "AUC", found.curves.micro_roc.area),
        recall_plot=_curve_plot(
            plots.precision_recall(found.curves),
            "Precision-recall",
            "average precision",
            found.curves.micro_recall.area,
        ),
        curve_text=_curve_text(found),
        calibration_text=_calibration_text(found),
        reliability_plot=Plot(
            page.plot(plots.reliability(found.calibration)),
            "Accuracy by confidence, with 95 % intervals, and below it the number of pictures of "
            f"each confidence. Calibration error {found.calibration.ece:.3f}",
        ),
        bins=found.calibration.bins,
        wrong=f"{len(wrong):,}",
        mistakes=_pictures(report, asked, wrong[:most]),
        doubtful=_pictures(report, asked, doubtful(asked)[: most // 2]),
        model=[*described(asked.subject), *_trained(asked)],
        data=[
            ("data", report.source),
            ("SHA-256", report.data.sha256),
            ("split", f"{report.name}, seed {report.seed}"),
            ("pictures", f"{len(report.split):,} with {len(report.data.labels)} labels"),
            ("files left out as broken", f"{len(report.data.broken):,}"),
        ],
        skipped=[(last(name), reason) for name, reason in report.data.broken],
        draws=metrics.DRAWS,
    )


def _trained(asked: Asked) -> list[tuple[str, str]]:
    """What the card says of the training, and what came out."""
    facts = asked.subject.card.provenance if asked.subject.card else {}
    kept = ("trained_by", "seed", "data_sha256", "source_file", "quantization")
    return [
        ("output", f"{len(asked.answers.labels)} {asked.output}"),
        *((key.replace("_", " "), str(facts[key])) for key in kept if facts.get(key) is not None),
    ]


def _matrix(found: Figures) -> tuple[list[str], metrics.Ints, str]:
    """The part of the confusion matrix that a page has room for, and what it is."""
    counts = found.evaluation.confusion
    used = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    what = f"{len(used)} labels"
    if len(used) > MATRIX:
        mistakes = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
        used = np.sort(used[np.argsort(-mistakes[used], kind="stable")[:MATRIX]])
        what = f"the {MATRIX} labels with the most mistakes"
    return [found.evaluation.labels[i] for i in used], counts[np.ix_(used, used)], what


def _least(labels: Sequence[str]) -> int:
    """Pixels that a matrix needs for its labels to be read."""
    return max(LEAST, 17 * len(labels)) if len(labels) > 6 else 0


def _taken_for(found: Figures, label: str) -> str:
    """What a label's pictures are taken for, the commonest first."""
    evaluation = found.evaluation
    row = evaluation.confusion[evaluation.labels.index(label)].copy()
    row[evaluation.labels.index(label)] = 0
    order = np.argsort(-row, kind="stable")[:3]
    return (
        ", ".join(f"{evaluation.labels[i]} ({row[i]})" for i in order if row[i]) or "nothing else"
    )


def _confused(pairs: Sequence[tuple[str, str, int, int]]) -> str:
    return ", ".join(
        f"{true} taken for {predicted} ({wrong} of {pictures})"
        for true, predicted, wrong, pictures in pairs
    )


def _curve_plot(figure: Figure, name: str, area: str, micro: float) -> Plot:
    return Plot(
        page.plot(figure),
        f"{name} curves of the labels, each against the rest; micro average: {area} {micro:.3f}",
    )


def _curve_text(found: Figures) -> str:
    curves = found.curves
    few = len(curves.roc) > 10
    return (
        f"Macro averages: AUC {three(curves.macro_auc)}, average precision "
        f"{three(curves.macro_ap)}."
        + " The labels with the smallest areas are named, the others grey."
        * few
    )


def _calibration_text(found: Figures) -> str:
    now = found.calibration
    mean = sum(row.pictures * (row.confidence or 0.0) for row in now.bins) / found.pictures
    share = found.right / found.pictures
    lead = (
        f"On average it is {100 * mean:.1f} % sure of its answers, and {100 * share:.1f} % of them "
        f"are right; the expected calibration error is {now.ece:.3f}."
    )
    if now.temperature is None or now.log_loss_then is None or now.ece_then is None:
        return (
            f"{lead} No temperature from {metrics.TEMPERATURES[0]:g} to "
            f"{metrics.TEMPERATURES[1]:g} has the smallest log loss on these pictures."
        )
    side = "too sure" if now.temperature > 1 else "not sure enough"
    return (
        f"{lead} Its logits divided by a temperature of {now.temperature:.2f} would have the "
        f"smallest log loss on these very pictures, {now.log_loss_then:.3f} instead of "
        f"{found.log_loss:.3f}, and a calibration error of {now.ece_then:.3f}: by that it is "
        f"{side}. The temperature was fitted to the pictures that it is judged by here; one to use "
        "is fitted to the validation pictures (--split validation)."
    )


def _pictures(report: Report, asked: Asked, indexes: Sequence[int]) -> list[Picture]:
    answers = asked.answers
    predicted, confidence = answers.predicted, answers.confidence
    truth, right = answers.truth, answers.right
    found = []
    for index in indexes:
        true, guess = answers.labels[answers.targets[index]], answers.labels[predicted[index]]
        if right[index]:
            lines = (Line(f"{true} ({confidence[index]:.2f})", "good"),)
            alt = f"rightly called {true}"
        else:
            lines = (
                Line(f"taken for {guess} ({confidence[index]:.2f})", "bad-text"),
                Line(f"is {true} ({truth[index]:.2f})"),
            )
            alt = f"{true}, taken for {guess}"
        found.append(_picture(report, index, alt, lines))
    return found


def _picture(report: Report, index: int, alt: str, lines: tuple[Line, ...]) -> Picture:
    image = report.split.picture(index, card_for(report.asked.subject, report.data))
    name = last(report.split.name(index))
    return Picture(page.thumbnail(image), f"{name}: {alt}", name, lines)


def _compared(report: Report, most: int) -> dict[str, Any] | None:
    """The section on two models."""
    if report.against is None:
        return None
    second, figures, found = report.against
    one, two = names(report.asked, second)
    first, total = report.figures, len(report.split)
    own = {row.label: row for row in first.classes}
    other = {row.label: row for row in figures.classes}
    seen = [label for label in found.labels if own.get(label) and own[label].pictures]

    def gap(label: str) -> float:
        return (own[label].recall.value or 0.0) - (other[label].recall.value or 0.0)

    seen.sort(key=gap, reverse=True)
    labels, change = _changed(found)
    shared_k = first.top[0] == figures.top[0]
    return {
        "name": two,
        "first": one,
        "second": two,
        "sentence": conclusion(report),
        "notes": second.notes,
        "rows": [
            ("accuracy", first.accuracy, figures.accuracy),
            *([(f"top-{first.top[0]} accuracy", first.top[1], figures.top[1])] * shared_k),
            *(
                (text, first.averages[name], figures.averages[name])
                for name, text in (
                    ("macro_precision", "macro precision"),
                    ("macro_recall", "macro recall (balanced accuracy)"),
                    ("macro_f1", "macro F1"),
                    ("weighted_f1", "weighted F1"),
                    ("kappa", "Cohen's kappa"),
                )
            ),
        ],
        "plain": [
            ("log loss", first.log_loss, figures.log_loss),
            ("Brier score", first.brier, figures.brier),
            ("calibration error (ECE)", first.calibration.ece, figures.calibration.ece),
            ("macro AUC", first.curves.macro_auc, figures.curves.macro_auc),
        ],
        "counts": [
            ("both", found.both, 100 * found.both / total, ""),
            (f"only {one}", found.first, 100 * found.first / total, " on"),
            (f"only {two}", found.second, 100 * found.second / total, " on"),
            ("neither", found.neither, 100 * found.neither / total, " low"),
        ],
        "recalls": Plot(
            page.plot(
                plots.recalls(
                    seen[:MATRIX],
                    [
                        (one, [own[label].recall for label in seen[:MATRIX]]),
                        (two, [other[label].recall for label in seen[:MATRIX]]),
                    ],
                )
            ),
            f"Recall of each label by {one} and {two} with 95 % intervals, those at the top where "
            f"{one} is furthest ahead",
            LEAST,
        ),
        "change": Plot(
            page.plot(plots.change(labels, change, one, two)),
            f"Difference of the confusion matrices, {one} minus {two}: rows are true labels, "
            "columns predicted ones",
            _least(labels),
        )
        if labels
        else None,
        "pictures": [
            _differing(report, second, index, (one, two)) for index in found.order[:most].tolist()
        ],
        "model": [*described(second.subject), *_trained(second)],
    }


def _changed(found: Comparison) -> tuple[list[str], metrics.Ints]:
    """The labels of which anything differs, the MATRIX with the most of it, and how it does."""
    apart = np.abs(found.change)
    busy = apart.sum(axis=0) + apart.sum(axis=1)
    most = np.argsort(-busy, kind="stable")[:MATRIX]
    used = np.sort(most[busy[most] > 0])
    return [found.labels[i] for i in used], found.change[np.ix_(used, used)]


def _differing(report: Report, second: Asked, index: int, names: tuple[str, str]) -> Picture:
    lines, alts = [], []
    for asked, name in zip((report.asked, second), names, strict=True):
        answers = asked.answers
        guess = answers.labels[answers.predicted[index]]
        kind = "good" if answers.right[index] else "bad-text"
        lines.append(Line(f"{name}: {guess} ({answers.confidence[index]:.2f})", kind))
        alts.append(f"{name} says {guess}")
    true = report.asked.answers.labels[report.asked.answers.targets[index]]
    return _picture(report, index, f"{true}; {', '.join(alts)}", (Line(f"is {true}"), *lines))
