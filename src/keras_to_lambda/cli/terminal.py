"""What the command line prints: bars, lines, a confusion matrix, what to type next."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import TextIO

from keras_to_lambda.cli.evaluation import Evaluation

BAR = 24  # columns
EIGHTHS = " ▏▎▍▌▋▊▉█"
# With more classes the most frequent confusions are printed in place of a matrix.
MATRIX = 25

Row = tuple[str, float, float | None]  # label, probability, logit


def bar(share: float, width: int = BAR, out: TextIO | None = None) -> str:
    """A share, 0..1, as a bar of `width` columns, as fine as the terminal's encoding allows."""
    encoding = (out or sys.stdout).encoding or "ascii"
    try:
        EIGHTHS.encode(encoding)
    except UnicodeEncodeError:
        return ("#" * round(share * width)).ljust(width)
    whole, part = divmod(round(share * width * 8), 8)
    return ("█" * whole + EIGHTHS[part].strip()).ljust(width)


def block(name: str, rows: Sequence[Row]) -> str:
    """One image: a line for each label, best first."""
    wide = max(len(label) for label, _, _ in rows)
    lines = [name]
    for label, share, logit in rows:
        score = "" if logit is None else f"{logit:9.3f}"
        lines.append(f"  {label.ljust(wide)}  {bar(share)} {share:7.1%}{score}")
    return "\n".join(lines)


def line(name: str, rows: Sequence[Row], wide: int, truth: str | None = None) -> str:
    """One image of many: a line."""
    (label, share, _), *others = rows
    wrong = "" if truth in (None, label) else f"   not {truth}"
    rest = ", ".join(f"{label} {share:.1%}" for label, share, _ in others)
    best = f"{label.ljust(14)} {bar(share, 10)} {share:6.1%}"
    return f"{name.ljust(wide)}  {best}{wrong or (rest and '   ' + rest)}".rstrip()


def evaluation(result: Evaluation) -> str:
    """Accuracy, and what was taken for what."""
    low, high = result.interval
    text = (
        f"accuracy {result.accuracy:.1%} of {result.photos:,} images (95 % interval {low:.1%} to "
        f"{high:.1%})"
    )
    seen = [
        index
        for index in range(len(result.labels))
        if result.confusion[index].any() or result.confusion[:, index].any()
    ]
    if len(seen) > MATRIX:
        confused = [
            f"  {count:4}  {truth} taken for {said} (of {total})"
            for truth, said, count, total in result.worst(10)
        ]
        return "\n".join([text, "most often confused:", *confused])
    labels = [result.labels[index] for index in seen]
    across = shutil.get_terminal_size((100, 24)).columns
    name = max(len(label) for label in labels)
    cell = max(4, min(max(len(label) for label in labels) + 1, (across - name - 2) // len(seen)))
    rows = [" " * name + "".join(label[: cell - 1].rjust(cell) for label in labels)]
    for index, label in zip(seen, labels, strict=True):
        counts = (str(result.confusion[index, other] or ".").rjust(cell) for other in seen)
        rows.append(label.ljust(name) + "".join(counts))
    return "\n".join([text, "rows: what it is; columns: what it was taken for", *rows])
