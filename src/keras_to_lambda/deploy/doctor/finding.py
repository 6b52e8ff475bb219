"""Finding: what one check found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """`WARN` does not stop a deployment, `FAIL` does; `SKIPPED` was not looked at."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """fix: a command, or a sentence that says what to do; for WARN and FAIL.

    A command in a sentence stands in `backticks`, and one of aws, sam or make deploy always: in
    these Setup.addressed puts the region and the profile.
    """

    status: Status
    text: str
    fix: str = ""


class Skip(Exception):
    """A check cannot be made here; the message says why."""


def ok(text: str) -> Finding:
    """All is well."""
    return Finding(Status.OK, text)


def warn(text: str, fix: str = "") -> Finding:
    """Worth knowing; a deployment works all the same, or may."""
    return Finding(Status.WARN, text, fix)


def fail(text: str, fix: str) -> Finding:
    """A deployment does not work."""
    return Finding(Status.FAIL, text, fix)
