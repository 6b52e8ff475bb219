"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from keras_to_lambda.cli import progress


def columns(table: Sequence[Sequence[str]], right: range | None = None) -> str:
    """The rows, aligned; right: the columns that are to the right (default: all but the ends)."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    right = right or range(1, len(widths) - 1)
    lines = []
    for row in table:
        cells = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(progress.plain("  " + "  ".join(cells).rstrip()))
    return "\n".join(lines)
