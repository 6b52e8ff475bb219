"""What the command line prints: bars, lines, a confusion matrix, what to type next."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

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


def progress(items: Iterable[Any], total: int) -> Iterable[Any]:
    """The items, and on a terminal how far they are."""
    if total < 2 or not sys.stderr.isatty():
        return items
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:  # the function's image has no need of it
        return items
    shown: Iterable[Any] = tqdm(items, total=total, unit=" images", leave=False, file=sys.stderr)
    return shown


@contextlib.contextmanager
def without_notices() -> Iterator[None]:
    """Keep the interpreter's INFO lines off standard error; all else goes there at the end."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            written.seek(0)
            for line in written:
                if not line.startswith(b"INFO: "):
                    os.write(2, line)
