"""Tables: for the terminal and, between markers, for docs/benchmarks.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.material import ROOT

DOCS = ROOT / "docs" / "benchmarks.md"


def markdown(
    head: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = (0,)
) -> str:
    """A table; words: the columns of text, where the others are figures."""
    rules = ("---" if column in words else "---:" for column in range(len(head)))
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join(rules)} |"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def number(value: float | None, digits: int = 0) -> str:
    """A figure, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def put(name: str, text: str, document: Path = DOCS) -> None:
    """Put a section's text between its markers in a document."""
    whole = document.read_text(encoding="utf-8")
    block = re.compile(rf"(<!-- bench: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not block.search(whole):
        raise SystemExit(f"{document.name} has no place for {name}")
    document.write_text(block.sub(lambda m: f"{m[1]}{text}\n{m[2]}", whole), encoding="utf-8")
