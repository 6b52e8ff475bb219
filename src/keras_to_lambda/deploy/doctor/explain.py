"""Explanation: a cause that we know, found in a log by the words that give it away."""

from __future__ import annotations

import functools
import re
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from keras_to_lambda.runtime.common import errors

TABLE = Path(__file__).with_name("errors.toml")


@dataclass(frozen=True)
class Known:
    """An error that people meet.

    sign: what to look for, as the docs say it; each of its parts, between semicolons, is found.
    patterns: regular expressions of what else gives the error away.
    fix: commands and sentences, in the order in which to try them.
    """

    id: str
    sign: str
    cause: str
    fix: tuple[str, ...]
    patterns: tuple[str, ...] = ()

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """What a line has that is explained by this."""
        return re.compile("|".join((*map(re.escape, self.sign.split("; ")), *self.patterns)))


@dataclass(frozen=True)
class Explained:
    """A known error, and the number of its first line in a log, of which nothing is shown.

    A line may have secrets.
    """

    known: Known
    number: int


@functools.cache
def known() -> tuple[Known, ...]:
    """Every error that is known: those of the table, then the function's own by their codes."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return (
        *(
            Known(
                name,
                entry["sign"],
                entry["cause"],
                (fix,) if isinstance(fix := entry["fix"], str) else tuple(fix),
                tuple(entry.get("patterns", ())),
            )
            for name, entry in table.items()
        ),
        *own(),
    )


def own() -> list[Known]:
    """The function's own errors, from the tree in src/keras_to_lambda/runtime/common/errors.py."""
    by_code = defaultdict(list)
    for kind in errors.every():
        by_code[kind.code].append(kind)
    found = []
    for code, kinds in by_code.items():
        names = "|".join(kind.__name__ for kind in kinds)
        about = re.search(rf"\b(?:{names})\s+\d+\s+{code}[ \t]*(.*)", errors.__doc__ or "")
        said = about[1].strip() if about else ""
        advice = [getattr(kind, "advice", "the message beside the code says it") for kind in kinds]
        found.append(
            Known(
                code,
                f'"code": "{code}"',
                f"the function's own answer, status {kinds[0].status}: "
                + (said or code.replace("_", " ")),
                ("; ".join(advice),),
                (
                    rf'\\?"(?:code|outcome)\\?": ?\\?"{code}\\?"',
                    rf'\\?"errorType\\?": ?\\?"(?:{names})\\?"',
                ),
            )
        )
    return found


def explain(text: str) -> list[Explained]:
    """Each known cause in a log, once, in the order of its lines.

    A line has one cause: the table goes from the special to the general, and the first that fits
    takes the line.
    """
    found: dict[str, Explained] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        for entry in known():
            if entry.pattern.search(line):
                found.setdefault(entry.id, Explained(entry, number))
                break
    return list(found.values())


def advice(text: str) -> str:
    """The first fix for the first cause in a text; empty where none is known."""
    causes = explain(text)
    return causes[0].known.fix[0] if causes else ""


def aws_error(error: Exception) -> str:
    """An error of boto3 in one line: the operation first, and a remedy where one is known.

    A proxy's page, which is no answer of AWS, is left out.
    """
    text = re.sub(
        r"An error occurred \((\w+)\) when calling the (\w+) operation(?: \(reached .*?\))?",
        r"\2: \1",
        str(error).partition("<")[0],
    )
    return "; ".join(filter(None, (" ".join(text.split()), advice(str(error)))))
