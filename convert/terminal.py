"""The terminal: the steps of a command, how far each is, and text that a file may have chosen."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO

# A line of a report; what a library says of a file can be the file.
LONGEST = 2000

_out: TextIO | None = None
_quiet = False


def use(out: TextIO | None = None, *, quiet: bool = False) -> None:
    """Choose where steps and progress go (default: stderr), or that nothing is said."""
    global _out, _quiet
    _out, _quiet = out, quiet


def is_quiet() -> bool:
    """Whether nothing is said."""
    return _quiet


def plain(text: str, most: int = LONGEST) -> str:
    """A text as one line that a terminal shows and does not obey.

    Control characters, line breaks, and those that reorder or hide what stands beside them are
    written as escapes; beyond `most` characters it is cut off.
    """
    cut = text[:most] + (f"... ({len(text) - most} more characters)" if len(text) > most else "")
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def plain_lines(text: str) -> str:
    """A text of several lines, each as `plain` has it."""
    return "\n".join(plain(line) for line in text.split("\n"))


def fail(command: str, error: BaseException | str) -> None:
    """Say why a command fails."""
    print(f"{command}: {plain(str(error))}", file=sys.stderr)


def step(text: str) -> None:
    """Say what is begun."""
    if not _quiet:
        print(f"convert: {plain(text)} ...", file=_out or sys.stderr, flush=True)


def note(text: str) -> None:
    """Say what the user should know, and need not act on."""
    if not _quiet:
        print(f"convert: note: {plain(text)}", file=_out or sys.stderr, flush=True)


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
