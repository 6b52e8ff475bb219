"""Explanation: a cause that we know, found in a log by the words that give it away."""

from __future__ import annotations

import functools
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from keras_to_lambda.runtime.common import errors

TABLE = Path(__file__).with_name("errors.toml")


@dataclass(frozen=True)
class Known:
    """An error that people meet; its fields are explained in errors.toml."""

    id: str
    sign: str
    cause: str
    fix: tuple[str, ...]
    patterns: tuple[str, ...] = ()

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches a line that is explained by this."""
        return re.compile("|".join((*map(re.escape, self.sign.split("; ")), *self.patterns)))


class Explained(NamedTuple):
    """A known error, the number of its first line in a log, and the part of its sign there.

    Nothing of the log itself is shown: it may have secrets.
    """

    known: Known
    number: int
    sign: str


@functools.cache
def known() -> tuple[Known, ...]:
    """Every error that is known: those of the table, then the function's own by their codes."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    of_table = []
    for name, entry in table.items():
        fix = entry["fix"]
        fixes = (fix,) if isinstance(fix, str) else tuple(fix)
        patterns = tuple(entry.get("patterns", ()))
        of_table.append(Known(name, entry["sign"], entry["cause"], fixes, patterns))
    return (*of_table, *_own())


def _own() -> Iterator[Known]:
    """The function's errors, as the table in the docstring of runtime.common.errors has them."""
    by_code = defaultdict(list)
    for kind in errors.every():
        by_code[kind.code].append(kind)
    for code, kinds in by_code.items():
        names = "|".join(kind.__name__ for kind in kinds)
        about = re.search(rf"\b(?:{names})\s+\d+\s+{code}[ \t]*(.*)", errors.__doc__ or "")
        said = (about[1].strip() if about else "") or code.replace("_", " ")
        advice = [getattr(kind, "advice", "the message beside the code says it") for kind in kinds]
        yield Known(
            code,
            f'"code": "{code}"',
            f"the function's own answer, status {kinds[0].status}: {said}",
            ("; ".join(advice),),
            (
                rf'\\?"(?:code|outcome)\\?": ?\\?"{code}\\?"',
                rf'\\?"errorType\\?": ?\\?"(?:{names})\\?"',
            ),
        )


def explain(text: str) -> list[Explained]:
    """Each known cause in a log, once, in the order of its lines.

    A line has one cause: the table goes from the special to the general, and the first that fits
    takes the line.
    """
    found: dict[str, Explained] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        entry = next((entry for entry in known() if entry.pattern.search(line)), None)
        if entry and entry.id not in found:
            parts = entry.sign.split("; ")
            sign = next((part for part in parts if part in line), f"like {parts[0]}")
            found[entry.id] = Explained(entry, number, sign)
    return list(found.values())


def advice(text: str) -> str:
    """The first fix for the first cause in a text; empty where none is known."""
    causes = explain(text)
    return causes[0].known.fix[0] if causes else ""
