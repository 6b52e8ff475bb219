"""The report of an evaluation: JSON for machines, a summary for a terminal, a page for people."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from sklearn import metrics as sk

from keras_to_lambda import html_report
from keras_to_lambda.train.assess.metrics import Record, compare, figures, weakest
from keras_to_lambda.train.assess.split_predictions import Evaluated, EvaluatedModel
from keras_to_lambda.train.data.dataset import SPLITS, Dataset, Split, neutral
from keras_to_lambda.train.fit import history

EPOCH = r"(-\d{3,}-\d\.\d{4})?"  # of a checkpoint's name: epoch and accuracy
TEMPLATE = Path(__file__).with_name("evaluation.html.jinja")
MATRIX = 40  # labels; of more, those with the most mistakes are shown
NAMED = 6  # curves that have a name and a colour
PICTURES, OF_A_PAIR = 120, 6  # pictures of mistakes, in all and of one cell of the matrix
FEW = 30  # pictures of a label: their recall has an interval of 20 points or more


@dataclass(frozen=True, slots=True)
class Report:
    """An evaluation.

    source: the data's name. split: the pictures, by name `part`. against: the second model.
    calibration: as it is in the card now, if that was measured.
    """

    source: str
    data: Dataset
    part: str
    split: Split
    seed: int
    model: Evaluated
    notes: tuple[str, ...]
    against: Evaluated | None = None
    calibration: Mapping[str, Any] | None = None


def to_json(report: Report) -> Record:
    """Everything; no path but for the last part of each. Shares are 0..1."""
    data = report.data
    found: Record = {
        "data": {
            "name": report.source,
            "sha256": data.sha256,
            "split": report.part,
            "seed": report.seed,
            "labels": list(data.labels),
            "skipped": [[last(name), reason] for name, reason in data.broken],
        },
        "notes": list(report.notes),
        "model": _model(report, report.model),
    }
    if report.against is not None:
        found["against"] = _model(report, report.against)
        found["comparison"] = compare(report.model.answers, report.against.answers)
    return {"conclusion": conclusion(found), **found}


def _model(report: Report, evaluated: Evaluated) -> Record:
    answers, model = evaluated.answers, evaluated.model
    confidence, wrong = answers.confidence(), np.flatnonzero(~answers.right)
    return {
        "name": model.name,
        "file": model.file,
        "kind": model.kind,
        "output": evaluated.output,
        "card": model.card and model.card.to_json(),
        "notes": list(evaluated.notes),
        "labels": list(answers.labels),
        **figures(answers),
        "mistakes": [  # the most confident first
            {
                "row": row,
                "picture": last(report.split.names[row]),
                "true": answers.labels[answers.targets[row]],
                "predicted": answers.labels[answers.predicted[row]],
                "probability": round(float(confidence[row]), 6),
                "true_probability": round(
                    float(answers.probabilities[row, answers.targets[row]]), 6
                ),
            }
            for row in wrong[np.argsort(-confidence[wrong], kind="stable")].tolist()
        ],
    }


def last(name: str) -> str:
    """A file by its folder and its own name: the rest is of one machine."""
    return "/".join(PurePath(name).parts[-2:])


def confused(found: Record) -> list[tuple[int, int, int, int]]:
    """The commonest confusions: true and predicted label's index, pictures, those of the label."""
    pairs = [
        (i, j, count, sum(row))
        for i, row in enumerate(found["confusion"])
        for j, count in enumerate(row)
        if count and i != j
    ]
    return sorted(pairs, key=lambda pair: -pair[2])


def conclusion(record: Record) -> str:
    """Two sentences for a reader who stops after them."""
    found = record["model"]
    wrong = found["pictures"] - found["right"]
    often = found["pictures"] / wrong if wrong else 0
    once = f", wrong about once in {often:.0f}" if often > 1.5 else ""
    share, low, high = (100 * end for end in found["accuracy"].values())
    first = (
        f"{found['name']} is right on {found['right']:,} of {found['pictures']:,} pictures: "
        f"accuracy {share:.1f}% (95% interval {low:.1f} to {high:.1f}%){once}."
    )
    if "against" in record:
        return f"{first} {compared(record)}"
    weak = [row for row in weakest(found, 2) if row["f1"] < 0.999]
    if not weak:
        return f"{first} No label stands out as weak."
    names = " and ".join(f"{row['label']} (F1 {row['f1']:.3f})" for row in weak)
    few = [row for row in weak if row["pictures"] < FEW]
    rest = "".join(f", with few pictures of {row['label']} ({row['pictures']})" for row in few[:1])
    return f"{first} Its weakest label{'s are' if len(weak) > 1 else ' is'} {names}{rest}."


def compared(record: Record) -> str:
    """Which of two models is better; the interval excludes 0 exactly where the test finds it."""
    found, (one, two) = record["comparison"], names(record)
    if not found["first"] + found["second"]:
        return f"{one} and {two} are right on the same pictures."
    value, low, high = (100 * end for end in found["difference"].values())
    p = "p < 0.001" if found["p"] < 0.001 else f"p = {found['p']:.3f}"
    why = (
        f"{value:+.1f} points of accuracy for {one}, 95% interval {low:+.1f} to {high:+.1f}; it "
        f"alone is right on {found['first']} pictures, {two} alone on {found['second']}: McNemar's "
        f"exact test, {p}"
    )
    if not found["significant"]:
        return f"Whether {one} or {two} is better is not certain ({why})."
    better, other = (one, two) if value > 0 else (two, one)
    return f"{better} is better than {other} ({why})."


def names(record: Record) -> tuple[str, str]:
    """The two models' names: of their cards, or their files where these are the same."""
    first, second = record["model"], record["against"]
    key = "file" if first["name"] == second["name"] else "name"
    return first[key], second[key]


def pictures(data: Dataset, part: str) -> str:
    """Which pictures of the data are evaluated, for a sentence."""
    total = sum(map(len, data.splits.values()))
    if part not in SPLITS:
        return f"all {total:,} pictures"
    return f"{len(data.splits[part]):,} of {total:,} pictures (the {part} split)"


def three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def ranged(found: Record) -> str:
    return "{} (95% interval {} to {})".format(*map(three, found.values()))


def text(record: Record) -> str:
    """A summary for a terminal."""
    found, other = record["model"], record.get("against", {})
    labels = found["labels"]
    confusions = [
        f"confused: {labels[true]} taken for {labels[guess]}, {wrong} of {shown}"
        for true, guess, wrong, shown in confused(found)[:3]
    ]
    notes = [*record["notes"], *found["notes"], *other.get("notes", ())]
    return "\n".join([
        record["conclusion"],
        f"accuracy {ranged(found['accuracy'])}, {found['right']:,} of {found['pictures']:,} right",
        *(f"accuracy of {one['file']} {ranged(one['accuracy'])}" for one in [other] if one),
        *[f"top-{found['k']} accuracy {ranged(found['top_k'])}"] * (found["k"] > 1),
        f"macro F1 {found['averages']['macro_f1']:.3f}, calibration error (ECE) {found['ece']:.3f}",
        *confusions,
        *(f"note: {note}" for note in notes),
    ])  # fmt: skip


def html(report: Report, record: Record, command: str) -> str:
    """The page. command: the command line, without secrets."""
    found, data = record["model"], report.data
    wrong = _mistakes(report, found)
    return html_report.render(
        TEMPLATE,
        kind="Evaluation",
        title=f"{found['name']} on {report.source}",
        conclusion=record["conclusion"],
        command=command,
        notes=[*record["notes"], *found["notes"]],
        tiles=[
            (three(found["accuracy"]["value"]), "accuracy"),
            *[(three(found["top_k"]["value"]), f"top-{found['k']} accuracy")] * (found["k"] > 1),
            (three(found["averages"]["macro_f1"]), "macro F1"),
            (
                f"{found['pictures'] - found['right']:,}",
                f"mistakes in {found['pictures']:,} pictures",
            ),
            (three(found["ece"]), "calibration error"),
        ],
        found=found,
        rows=sorted(
            (row for row in found["classes"] if row["pictures"] or row["predicted"]),
            key=lambda row: (row["f1"], row["label"]),
        ),
        matrix=_matrix(found, {pair[:2] for pair in wrong}),
        wrong=wrong,
        training=_training(report.model.model),
        curves=_curves(report.model, found),
        reliability=_reliability(found),
        calibration=report.calibration,
        comparison=_comparison(record),
        model=_described(report.model),
        against=report.against and _described(report.against),
        data=[
            ("evaluated", pictures(data, report.part)),
            ("seed of the split", str(report.seed)),
            ("SHA-256", data.sha256),
        ],
        skipped=record["data"]["skipped"],
        few=FEW,
        three=three,
        width=lambda value: f"{100 * (value or 0.0):.1f}%",
    )


def _mistakes(report: Report, found: Record) -> list[Any]:
    """The commonest confusions, each with the most confident of its pictures."""
    labels, card = found["labels"], report.model.model.card or neutral(report.data)
    shown: dict[tuple[str, str], list[html_report.EmbeddedPicture]] = defaultdict(list)
    for each in found["mistakes"]:
        own = shown[each["true"], each["predicted"]]
        if len(own) < OF_A_PAIR and sum(map(len, shown.values())) < PICTURES:
            lines = [
                ("bad", f"{each['predicted']} ({each['probability']:.2f})"),
                ("", f"is {each['true']} ({each['true_probability']:.2f})"),
                ("name", each["picture"]),
            ]
            source = html_report.thumbnail(report.split.picture(each["row"], card))
            alt = f"{each['true']}: {lines[0][1]}"
            own.append(html_report.EmbeddedPicture(source, alt, lines))
    return [
        (i, j, labels[i], labels[j], count, total, own)
        for i, j, count, total in confused(found)
        if (own := shown[labels[i], labels[j]])
    ]


def _matrix(found: Record, linked: set[tuple[int, int]]) -> Record:
    """The confusion matrix; of many labels, those with the most mistakes.

    linked: true and predicted label of the cells that lead to pictures.
    """
    counts, labels = np.array(found["confusion"]), found["labels"]
    seen = counts.sum(axis=0) + counts.sum(axis=1)
    wrong = np.where(seen, seen - 2 * np.diag(counts), -1)
    used = np.sort(np.argsort(-wrong, kind="stable")[: min(MATRIX, int((seen > 0).sum()))]).tolist()

    def cell(i: int, j: int) -> tuple[int, float, str]:
        # Mistakes are small shares: the root keeps them from the background.
        share = math.sqrt(counts[i, j] / max(1, counts[i].sum()))
        return int(counts[i, j]), share, f"pair-{i}-{j}" if (i, j) in linked else ""

    rows = [(labels[i], [cell(i, j) for j in used]) for i in used]
    return {"labels": [labels[i] for i in used], "rows": rows, "whole": len(labels) <= MATRIX}


def _training(model: EvaluatedModel) -> Any:
    """The curves of the model's run, which `k2l train` left in its folder; None: there is none."""
    if model.kind == "endpoint":
        return None
    path = Path(model.where).resolve()
    folder = path.parent.parent if path.parent.suffix == ".checkpoints" else path.parent
    place, own = folder / "training.json", rf"{re.escape(folder.name)}({EPOCH}\.keras|\.tflite)"
    if not place.exists() or not re.fullmatch(own, path.name):
        return None
    try:
        entries = json.loads(place.read_text(encoding="utf-8"))["history"]
        return html_report.plot(history.plot({model.name: entries}), "Training by epoch")
    except (OSError, ValueError, KeyError, TypeError):  # of another program
        return None


def _curves(evaluated: Evaluated, found: Record) -> list[Any]:
    """ROC and precision-recall curves, each label against the rest."""
    from matplotlib.figure import Figure

    def roc(shown: Any, share: Any) -> Any:
        return sk.roc_curve(shown, share)[:2]

    def recall(shown: Any, share: Any) -> Any:
        return sk.precision_recall_curve(shown, share, drop_intermediate=True)[1::-1]

    plots = []
    for title, curve, areas, short, ends in (
        ("ROC curves", roc, found["auc"], "AUC", ("false positive rate", "true positive rate")),
        ("Precision-recall curves", recall, found["ap"], "AP", ("recall", "precision")),
    ):
        figure = Figure(figsize=(5, 4.6))
        axes = html_report.axes(figure, xlabel=ends[0], ylabel=ends[1])
        worst = sorted(filter(None, areas), key=areas.__getitem__)[:NAMED]
        for name, *pair in evaluated.answers.against_rest():
            look: Record = {"color": html_report.LINE, "linewidth": 0.9, "zorder": 1}
            if name in worst or not name:
                colour = html_report.SERIES[worst.index(name)] if name else html_report.INK
                label = f"{_plain(name or 'all together')} ({short} {areas[name]:.3f})"
                look = {"color": colour, "label": label, "ls": "-" if name else "--"}
            axes.plot(*curve(*pair), **look)
        axes.legend(loc="best", frameon=False, fontsize=8, labelcolor=html_report.SOFT)
        about = (
            f"{title} of the labels, each against the rest; all together {short} {areas['']:.3f}"
        )
        plots.append(html_report.plot(figure, about))
    return plots


def _plain(label: str) -> str:
    """A label for a legend: matplotlib reads $ as mathematics, and hides what begins with _."""
    short = label if len(label) <= 28 else label[:27] + "…"
    return " " + short.replace("$", r"\$")


def _reliability(found: Record) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.2))
    axes = html_report.axes(
        figure, xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02)
    )
    axes.plot((0, 1), (0, 1), "--", color=html_report.SOFT, linewidth=1)
    names = ("confidence", "value", "low", "high")
    x, y, low, high = np.array([[row[name] for name in names] for row in found["bins"]]).T
    ends = np.maximum([y - low, high - y], 0)  # rounding can leave -1e-17
    axes.errorbar(x, y, yerr=ends, fmt="o", color=html_report.SERIES[0], capsize=3)
    return html_report.plot(figure, "Share of right answers by confidence, with 95% intervals")


def _comparison(record: Record) -> Record | None:
    """The section on two models."""
    if "against" not in record:
        return None
    first, second = record["model"], record["against"]
    other = {row["label"]: row["recall"] for row in second["classes"]}
    recalls = [
        (f"recall of {row['label']} ({row['pictures']})", row["recall"], other[row["label"]])
        for row in first["classes"]
        if row["pictures"] and row["label"] in other
    ]
    return {
        "names": names(record),
        "sentence": compared(record),
        "notes": second["notes"],
        "rows": [("accuracy", first["accuracy"], second["accuracy"]), *recalls],
        "matrix": _matrix(second, set()),
    }


def _described(evaluated: Evaluated) -> list[tuple[str, str]]:
    """Rows of a table: where the model is from, and how pictures become its input."""
    model, card = evaluated.model, evaluated.model.card
    rows = [("file", model.file), ("kind", model.kind)]
    if card is None:
        return rows
    size = f"{card.height} x {card.width} x {card.channels}"
    steps = html_report.provenance(card.to_json()["preprocessing"])
    return [*rows, ("input", size), *steps, *html_report.provenance(card.provenance)]
