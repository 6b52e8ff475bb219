"""History: the curves of one or several training runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Loss and accuracy by epoch: dashed on training pictures, solid on validation pictures.

    histories: by name, at most as many as a page has colours; entries as training.json has them.
    """
    from matplotlib.figure import Figure as Drawn

    from keras_to_lambda.html_report import LINE, SERIES, SOFT, axes

    figure = Drawn(figsize=(10, 3.6), layout="constrained")
    for place, curve in enumerate(("loss", "accuracy"), start=1):
        axis = axes(figure, 1, 2, place, xlabel="epoch")
        axis.set_title(curve, color=SOFT)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(color=LINE, linewidth=0.6)
        for colour, (name, entries) in zip(SERIES, histories.items(), strict=False):
            epochs = [entry["epoch"] for entry in entries]
            style = {"color": colour, "marker": "." if len(entries) < 3 else ""}
            axis.plot(epochs, [entry[curve] for entry in entries], "--", alpha=0.6, **style)
            held_back = [entry[f"validation_{curve}"] for entry in entries]
            axis.plot(epochs, held_back, label=name, **style)
    legend = axis.legend(
        title="dashed: training pictures", fontsize=8, frameon=False, labelcolor=SOFT
    )
    legend.get_title().set(color=SOFT, fontsize=8)
    return figure
