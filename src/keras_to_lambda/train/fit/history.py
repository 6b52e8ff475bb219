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

    from keras_to_lambda.html_report import SERIES, SOFT, axes

    figure = Drawn(figsize=(10, 3.6), layout="constrained")
    for place, curve in enumerate(("loss", "accuracy"), start=1):
        axis = axes(figure, 1, 2, place, xlabel="epoch", title=curve)
        axis.xaxis.get_major_locator().set_params(integer=True)
        for colour, (name, entries) in zip(SERIES, histories.items(), strict=False):
            epochs = [entry["epoch"] for entry in entries]
            for field, style in ((curve, {"ls": "--", "alpha": 0.6}),
                                 (f"validation_{curve}", {"label": name})):  # fmt: skip
                values = [entry[field] for entry in entries]
                axis.plot(epochs, values, color=colour, marker=".", markersize=3, **style)
    axis.legend(
        title="dashed: training pictures", title_fontsize=8, fontsize=8, frameon=False,
        labelcolor=SOFT,
    )  # fmt: skip
    return figure
