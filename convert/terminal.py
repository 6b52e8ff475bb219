"""The terminal: the steps of a command, and how far each is."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO

_out: TextIO | None = None
_quiet = False


def use(out: TextIO | None = None, *, quiet: bool = False) -> None:
    """Choose where steps and progress go (default: stderr), or that nothing is said."""
    global _out, _quiet
    _out, _quiet = out, quiet


def is_quiet() -> bool:
    """Whether nothing is said."""
    return _quiet


def step(text: str) -> None:
    """Say what is begun."""
    if not _quiet:
        print(f"convert: {text} ...", file=_out or sys.stderr, flush=True)


def note(text: str) -> None:
    """Say what the user should know, and need not act on."""
    if not _quiet:
        print(f"convert: note: {text}", file=_out or sys.stderr, flush=True)


def progress(items: Iterable[Any], what: str = "photo") -> Iterable[Any]:
    """Show how far an iteration is, on a terminal."""
    out = _out or sys.stderr
    if _quiet or not out.isatty():
        return items
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:  # in another interpreter's environment
        return items
    return tqdm(items, unit=what, leave=False, file=out)
