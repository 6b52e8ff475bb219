"""Plots: the figures of an evaluation, on white, in colours that colour-blind people tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from matplotlib.axes import Axes

    from keras_to_lambda.train.assess.metrics import (
        Calibration,
        ClassFigures,
        Curve,
        Curves,
        Estimate,
    )

    Ints = npt.NDArray[np.int64]

INK, DIM, LINE = "#1d2430", "#5c6675", "#dde2ea"
BLUE, ORANGE = "#3b6fd4", "#d97706"
# Okabe and Ito's, without black and the yellow that white swallows.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
SHARES = LinearSegmentedColormap.from_list("shares", ("#ffffff", "#a9c1ee", "#3b6fd4", "#16336f"))
CHANGES = LinearSegmentedColormap.from_list("changes", ("#b45309", "#ffffff", "#2454b0"))
WRITTEN = 25  # labels: with more, a cell is too small for a number
NAMED = 5  # curves that have a name of their own where there are too many for all


def confusion(labels: Sequence[str], counts: Ints) -> Figure:
    """Rows are true labels, columns predicted ones; a cell's colour is its share of the row."""
    rows = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, rows, out=np.zeros(counts.shape), where=rows > 0)
    figure, axes = _square(labels)
    # Mistakes are small shares, and what the figure is for: the root keeps them from white.
    image = axes.imshow(shares, cmap=SHARES, norm=PowerNorm(0.5, 0, 1))
    _write(axes, counts, shares > 0.25)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label("share of the true label's pictures", color=DIM)
    bar.outline.set_visible(False)
    return figure


def change(labels: Sequence[str], counts: Ints, first: str, second: str) -> Figure:
    """The first model's counts minus the second's."""
    most = max(1, int(np.abs(counts).max()))
    figure, axes = _square(labels)
    image = axes.imshow(counts, cmap=CHANGES, vmin=-most, vmax=most)
    _write(axes, counts, np.abs(counts) > 0.6 * most, signed=True)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label(f"pictures: {_short(first)} minus {_short(second)}", color=DIM)
    bar.outline.set_visible(False)
    return figure


def classes(rows: Sequence[ClassFigures]) -> Figure:
    """Precision and recall of each label with their intervals, the lowest F1 at the bottom."""
    ordered = sorted(rows, key=lambda row: row.f1.value or 0.0)
    names = [f"{_short(row.label)} ({row.pictures})" for row in ordered]
    return _dots(
        names,
        [("recall", [row.recall for row in ordered], BLUE),
         ("precision", [row.precision for row in ordered], ORANGE)],
        "share, with 95 % interval",
    )  # fmt: skip


def recalls(labels: Sequence[str], models: Sequence[tuple[str, Sequence[Estimate]]]) -> Figure:
    """Both models' recall of each label, labels in the given order from the top."""
    series = [
        (_short(name), list(reversed(shares)), colour)
        for (name, shares), colour in zip(models, (BLUE, ORANGE), strict=True)
    ]
    return _dots([_short(label) for label in reversed(labels)], series, "recall, 95 % interval")


def roc(curves: Curves) -> Figure:
    """True by false positive rate of each label against the rest."""
    figure, axes = _plain((5.2, 5.0))
    axes.plot((0, 1), (0, 1), color=LINE, linestyle="--", linewidth=1)
    _lines(axes, curves.roc, curves.micro_roc, "AUC", step=False)
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    return figure


def precision_recall(curves: Curves) -> Figure:
    """Precision by recall of each label against the rest."""
    figure, axes = _plain((5.2, 5.0))
    _lines(axes, curves.recall, curves.micro_recall, "AP", step=True)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.legend(loc="lower left", frameon=False, fontsize=8)
    return figure


def reliability(calibration: Calibration) -> Figure:
    """Accuracy by confidence, and under it how many pictures there are of each confidence."""
    figure = Figure(figsize=(5.2, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(3.2, 1), sharex=True)
    filled = [found for found in calibration.bins if found.pictures]
    width = 1 / len(calibration.bins)
    above.plot((0, 1), (0, 1), color=DIM, linestyle="--", linewidth=1, label="as it should be")
    values = np.array([found.accuracy for found in filled], float)
    above.bar(
        [found.low for found in filled], values[:, 0], width, align="edge", color="#a9c1ee",
        edgecolor="white", label="accuracy",
    )  # fmt: skip
    above.errorbar(
        [found.confidence for found in filled], values[:, 0], _whiskers(values), fmt="o",
        color=BLUE, markersize=4, capsize=2, linewidth=1, label="with 95 % interval",
    )  # fmt: skip
    above.set_ylabel("accuracy")
    above.set_ylim(0, 1.02)
    above.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=8, borderpad=0.1,
        columnspacing=1.2, handlelength=1.5,
    )  # fmt: skip
    below.bar(
        [found.low for found in filled], [found.pictures for found in filled], width, align="edge",
        color=DIM, edgecolor="white",
    )  # fmt: skip
    below.set_xlabel("confidence: the predicted label's probability")
    below.set_ylabel("pictures")
    below.set_xlim(0, 1)
    below.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axes in (above, below):
        _style(axes)
    return figure


def _short(label: str, most: int = 28) -> str:
    # Matplotlib reads what stands between dollar signs as a formula.
    label = label.replace("$", r"\$")
    return label if len(label) <= most else label[: most - 1] + "…"


def _plain(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    _style(axes)
    return figure, axes


def _style(axes: Axes) -> None:
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=DIM, labelsize=8, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    for name in (axes.xaxis.label, axes.yaxis.label):
        name.set_color(INK)


def _square(labels: Sequence[str]) -> tuple[Figure, Axes]:
    """Axes for a matrix of labels by labels."""
    side = float(np.clip(2.4 + 0.45 * len(labels), 4.5, 15))
    figure = Figure(figsize=(side * 1.12, side), layout="constrained")
    axes = figure.add_subplot()
    ticks = np.arange(len(labels))
    names = [_short(label) for label in labels]
    # 15 inches for 100 labels leave a tenth of an inch for each: 7 points.
    size = float(np.clip(72 * side / len(labels) * 0.55, 5, 9))
    short = all(len(name) <= 2 for name in names)
    axes.set_xticks(ticks, names, rotation=0 if short else 90, fontsize=size)
    axes.set_yticks(ticks, names, fontsize=size)
    axes.set_xlabel("predicted", color=INK)
    axes.set_ylabel("true", color=INK)
    axes.tick_params(colors=DIM, length=0)
    axes.set_xticks(ticks - 0.5, minor=True)
    axes.set_yticks(ticks - 0.5, minor=True)
    axes.grid(which="minor", color=LINE, linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    for spine in axes.spines.values():
        spine.set_color(LINE)
    return figure, axes


def _write(axes: Axes, counts: Ints, dark: npt.NDArray[np.bool_], *, signed: bool = False) -> None:
    """Numbers into the cells, where they have room."""
    if len(counts) > WRITTEN:
        return
    size = 9 if len(counts) <= 14 else 6.5
    for row, column in zip(*np.nonzero(counts), strict=True):
        axes.text(
            column,
            row,
            f"{counts[row, column]:+d}" if signed else str(counts[row, column]),
            ha="center",
            va="center",
            fontsize=size if abs(counts[row, column]) < 1000 else size - 2,
            color="white" if dark[row, column] else INK,
        )


def _dots(
    names: Sequence[str], series: Sequence[tuple[str, Sequence[Estimate], str]], what: str
) -> Figure:
    """A line for each name, from the bottom, with a dot and whiskers of each series."""
    step = 0.32 if len(names) <= 30 else 0.21
    figure = Figure(figsize=(9.6, 1.2 + step * len(names)), layout="constrained")
    axes = figure.add_subplot()
    lowest = 1.0
    for number, (label, shares, colour) in enumerate(series):
        known = [place for place, share in enumerate(shares) if share.value is not None]
        if not known:
            continue
        values = np.array([shares[place] for place in known], float)
        lowest = min(lowest, values[:, 1].min())
        axes.errorbar(
            values[:, 0],
            np.array(known) + (0.14, -0.14)[number],
            xerr=_whiskers(values),
            fmt="os"[number],
            color=colour,
            markersize=5 if len(names) <= 30 else 3.5,
            linewidth=1.2,
            capsize=2 if len(names) <= 30 else 0,
            label=label,
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    # Dots, unlike bars, need no zero: what is empty on the left is left out.
    left = max(0.0, np.floor(10 * lowest) / 10)
    axes.set_xlim(left - 0.01 * (1 - left), 1 + 0.01 * (1 - left))
    axes.set_xlabel(what)
    _style(axes)
    axes.tick_params(axis="y", colors=INK, labelsize=9)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9, borderpad=0.1
    )
    return figure


def _whiskers(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rows of value, low and high -> (2, rows): how far down and up."""
    apart = [values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]]
    # Wilson's bounds touch 0 and 1 but for rounding.
    return np.maximum(apart, 0)


def _lines(axes: Axes, found: dict[str, Curve], micro: Curve, area: str, *, step: bool) -> None:
    """All curves: named where a legend has room, else those with the smallest areas."""
    worst = sorted(found, key=lambda label: found[label].area)
    named = [label for label in found if label in worst[:NAMED]] if len(found) > 10 else [*found]
    style = "steps-post" if step else "default"
    for label, curve in found.items():
        if label not in named:
            axes.plot(curve.x, curve.y, color="#c9d2e0", linewidth=0.8, drawstyle=style)
    for number, label in enumerate(named):
        curve = found[label]
        axes.plot(
            curve.x,
            curve.y,
            color=COLOURS[number % len(COLOURS)],
            linestyle=("-", "--")[number // len(COLOURS) % 2],
            linewidth=1.3,
            drawstyle=style,
            label=f"{_short(label, 20)}: {area} {curve.area:.3f}",
        )
    axes.plot(
        micro.x,
        micro.y,
        color=INK,
        linewidth=2,
        drawstyle=style,
        label=f"micro average: {area} {micro.area:.3f}",
    )
