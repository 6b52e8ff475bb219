"""History: the curves of one or several training runs.

python -m keras_to_lambda.train.fit.history A/training.json B/training.json -o curves.png
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_to_lambda.cli import frame
from keras_to_lambda.train.data.dataset import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = (
    ("loss", "loss", "validation_loss"),
    ("accuracy", "accuracy", "validation_accuracy"),
)


def plot(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Loss and accuracy by epoch: dashed on training pictures, solid on validation pictures.

    Args:
        histories: by name; entries as training.json has them.
    """
    from matplotlib.figure import Figure as Drawn

    from keras_to_lambda.html_report import LINE, SERIES, SOFT, axes

    figure = Drawn(figsize=(10, 3.6), layout="constrained")
    for place, (title, training, validation) in enumerate(CURVES, start=1):
        axis = axes(figure, 1, 2, place, xlabel="epoch")
        axis.set_title(title, color=SOFT)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(color=LINE, linewidth=0.6)
        for number, (name, entries) in enumerate(histories.items()):
            epochs = [entry["epoch"] for entry in entries]
            values = [entry.get(training) for entry in entries]
            colour = SERIES[number % len(SERIES)]
            style = {"color": colour, "marker": "." if len(entries) < 3 else ""}
            if None not in values:  # records of older versions have no training accuracy
                axis.plot(epochs, values, "--", alpha=0.6, **style)
            axis.plot(epochs, [entry[validation] for entry in entries], label=name, **style)
    if len(histories) <= len(SERIES):
        axis.legend(
            title="dashed: training pictures", fontsize=8, title_fontsize=8, frameon=False,
            labelcolor=SOFT,
        ).get_title().set_color(SOFT)  # fmt: skip
    return figure


@frame.command("python -m keras_to_lambda.train.fit.history")
def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the histories of several runs in one plot. Returns the exit code: 2 for wrong files."""
    parser = frame.Parser(
        "python -m keras_to_lambda.train.fit.history",
        "Draw the training histories of several models in one plot.",
    )
    parser.add_argument("records", metavar="training.json", nargs="+", type=Path)
    parser.add_argument(
        "-o", "--output", metavar="FILE.png", type=Path, default=Path("histories.png"),
        help="plot (default: %(default)s)",
    )  # fmt: skip
    args = parser.parse_args(arguments)
    histories = {}
    for path in args.records:
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))["history"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is not a training.json of k2l train") from error
        histories[str(path.parent if path.parent.name else path.stem)] = entries
    plot(histories).savefig(args.output, dpi=120)
    print(f"wrote {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
