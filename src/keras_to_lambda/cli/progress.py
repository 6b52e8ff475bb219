"""The terminal: the steps of a command, how far each is, and text that a file may have chosen.

In the sandbox nothing is printed: messages go to the parent, which shows them as its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

BAR_EVERY_S = 0.1
# Limits for the messages of a sandbox; no command has as many.
MAX_MESSAGE_BYTES = 1 << 14
MAX_MESSAGES = 200
# Characters of a line: a library's message can contain a whole file.
LONGEST = 2000

_quiet = False
_command = "convert"
_parent: int | None = None  # a pipe to it; only in the sandbox


def use(command: str = "", *, quiet: bool = False) -> None:
    """Choose whether steps, notes and progress are shown, on stderr.

    command: the verb that is named before them (default: the one of the last call).
    """
    global _command, _parent, _quiet
    _command, _parent, _quiet = command or _command, None, quiet


def report_to(pipe: int, *, quiet: bool) -> None:
    """In the sandbox: send messages to the parent, for `relay`."""
    global _parent, _quiet
    _parent, _quiet = pipe, quiet


def is_quiet() -> bool:
    """Whether nothing is shown."""
    return _quiet


def plain(text: str, most: int = LONGEST) -> str:
    """A text as one line that is safe on a terminal, at most `most` characters.

    Control characters, line breaks, and characters that reorder or hide others become escapes.
    """
    cut = text[:most] + (f"... ({len(text) - most} more characters)" if len(text) > most else "")
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def plain_lines(text: str) -> str:
    """A text of several lines, each as `plain` has it."""
    return "\n".join(plain(line) for line in text.split("\n"))


def step(text: str) -> None:
    """Show the step that begins."""
    _show("step", text)


def note(text: str) -> None:
    """Show information that needs no action."""
    _show("note", text)


def progress(items: Iterable[Any], what: str = "photo", total: int | None = None) -> Iterable[Any]:
    """Show how far an iteration is, on a terminal.

    Args:
        total: the number of items, where they have no length.
    """
    if _quiet:
        return items
    if _parent is not None:
        return _counted(list(items), what)
    bar = _bar(what, total, items)
    return items if bar is None else bar


def relay(pipe: int) -> None:
    """Show the messages of a sandbox until it ends: as text, whatever it sends."""
    bar, shown = None, 0
    with open(pipe, "rb") as messages:
        while line := messages.readline(MAX_MESSAGE_BYTES):
            try:
                kind, text, done, total = json.loads(line)
                text, done, total = str(text), int(done), int(total)
            except (ValueError, TypeError, OverflowError, RecursionError):
                continue
            if kind == "progress":
                bar = bar or _bar(plain(text, 20), total)
                if bar is not None:
                    bar.update(max(0, min(done, total) - bar.n))
                    if done >= total:
                        bar.close()
                        bar = None
            elif kind in ("step", "note") and shown < MAX_MESSAGES:
                shown += 1
                _show(kind, text)
    if bar is not None:
        bar.close()


def _show(kind: str, text: str, done: int = 0, total: int = 0) -> None:
    if _quiet:
        return
    if _parent is not None:
        message = json.dumps([kind, text[: MAX_MESSAGE_BYTES // 16], done, total])
        os.write(_parent, message.encode() + b"\n")
        return
    text = plain(text)
    ending = {"step": f"{text} ...", "note": f"note: {text}"}[kind]
    print(f"{_command}: {ending}", file=sys.stderr, flush=True)


def _counted(items: list[Any], what: str) -> Iterator[Any]:
    last = 0.0
    for index, item in enumerate(items):
        if (now := time.monotonic()) > last + BAR_EVERY_S:
            last = now
            _show("progress", what, index, len(items))
        yield item
    _show("progress", what, len(items), len(items))


def _bar(what: str, total: int | None, items: Iterable[Any] | None = None) -> Any:
    """A bar; None where it would not be seen."""
    if _quiet or not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:  # it is of an extra
        return None
    return tqdm(items, total=total, unit=what, leave=False, file=sys.stderr)
