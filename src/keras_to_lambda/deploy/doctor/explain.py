"""Explanation: a cause that we know, found in a log by the line that gives it away."""

from __future__ import annotations

import functools
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from keras_to_lambda.runtime.common import errors

TABLE = Path(__file__).with_name("errors.toml")
QUOTED = 160

# What follows an option of a command line: in quotes, or up to the next space.
VALUE = r"(?:\"[^\"]*\"|'[^']*'|\S+)"

# What a log may hold that must not be shown again. Each match is replaced by the second part. A
# line may have megabytes: a pattern that begins at many places of it must not go far from each.
SECRETS = (
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
    (r"\b(AKIA|ASIA)[A-Z0-9]{16}\b", r"\1***"),
    # Who asks, in a URL: up to the last @, as passwords are pasted unescaped.
    (r"://[^/\s]+@", "://***@"),
    # Tokens that say whose they are: of GitHub, Hugging Face, GitLab, Slack, OpenAI, Google.
    (r"(gh[pousr]_|hf_)[A-Za-z0-9]{20,}", r"\1***"),
    (r"(github_pat_|glpat-|xox[abp]-|(?<![A-Za-z0-9])sk-|AIza)[\w-]{20,}", r"\1***"),
    # A JSON web token: https://datatracker.ietf.org/doc/html/rfc7519#section-3.1
    # From a word's beginning on, as a word may have many an eyJ.
    (r"(?<![\w-])(?=(?:[\w-]*[-_])?eyJ)[\w-]+\.[\w-]+\.[\w-]*", "***"),
    # An option and its value: --password VALUE, docker login -p VALUE, curl -u VALUE.
    (
        r"(?i)((?<!\S)--?[\w-]{0,40}(?:secret|passw(?:or)?d|token|api-?key|access-?key)(?!-stdin)"
        r"[\w-]{0,40}\s+)(?![-\s])" + VALUE,
        r"\1***",
    ),
    (r"(\blogin\b.{0,200}?\s-p[\s=]*|\bcurl\b.{0,200}?\s(?:-u|--user)[\s=]*)" + VALUE, r"\1***"),
    # A name and its value: "x-api-key": "VALUE", WANDB_KEY=VALUE.
    (
        r"(?i)((?:secret|passw(?:or)?d|token|api[_-]?key|_key|authorization|signature|credential)"
        r"[\w-]{0,40}\\?[\"']?\s*[:=]\s*\\?[\"']?(?:(?:Bearer|Basic|Token|AWS4-HMAC-SHA256)\s+)?)"
        r"[^\s\"',&\\]{6,}",
        r"\1***",
    ),
    # The same with a space alone, as in a Dockerfile and ~/.netrc: ENV API_KEY VALUE, password
    # VALUE. A digit tells a value from prose ("password is wrong").
    (
        r"((?:SECRET|TOKEN|API_?KEY|_KEY|(?i:passw(?:or)?d))\w{0,40}[ \t]{1,20})"
        r"(?=\S{0,40}\d)\S{6,}",
        r"\1***",
    ),
    # A long word of letters in both cases and digits: a session token, a secret key.
    (
        r"(?<![\w+/=])(?=[\w+/]*[a-z])(?=[\w+/]*[A-Z])(?=[\w+/]*\d)[A-Za-z0-9+/]{40,}={0,2}",
        "***",
    ),
)


@dataclass(frozen=True)
class Known:
    """An error that people meet.

    sign: what to look for, as the docs say it.
    patterns: regular expressions, one of which is found in the line that gives it away.
    fix: commands and sentences, in the order in which to try them.
    source: where it is documented.
    """

    id: str
    sign: str
    patterns: tuple[str, ...]
    cause: str
    fix: tuple[str, ...]
    source: str

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(f"(?:{pattern})" for pattern in self.patterns))

    def search(self, line: str) -> re.Match[str] | None:
        return self._pattern.search(line)


@dataclass(frozen=True)
class Explained:
    """A known error, and the line in which it was found: without secrets, shortened."""

    known: Known
    number: int
    line: str


@functools.cache
def known() -> tuple[Known, ...]:
    """Every error that is known: those of the table, then the function's own by their codes."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return (
        *(
            Known(
                id=name,
                sign=entry["sign"],
                patterns=tuple(entry["patterns"]),
                cause=entry["cause"],
                fix=tuple(entry["fix"]),
                source=entry["source"],
            )
            for name, entry in table.items()
        ),
        *own(),
    )


def own() -> list[Known]:
    """The function's own errors, from the tree in src/keras_to_lambda/runtime/common/errors.py."""
    found: dict[str, Known] = {}
    for kind in errors.every():
        line = re.search(rf"\b{kind.__name__}\s+\d+\s+{kind.code}[ \t]*(.*)", errors.__doc__ or "")
        about = line[1].strip() if line else ""
        advice = getattr(kind, "advice", "the message beside the code says what to do")
        if kind.code in found:
            before = found[kind.code]
            about, advice = before.cause.partition(": ")[2], f"{before.fix[0]}; {advice}"
        found[kind.code] = Known(
            id=kind.code,
            sign=f'"code": "{kind.code}"',
            patterns=(
                rf'\\?"(?:code|outcome)\\?": ?\\?"{kind.code}\\?"',
                *(
                    rf'\\?"errorType\\?": ?\\?"{each.__name__}\\?"'
                    for each in errors.every()
                    if each.code == kind.code
                ),
            ),
            cause=f"the function's own answer, status {kind.status}: "
            + (about or kind.code.replace("_", " ")),
            fix=(advice,),
            source="docs/serving.md",
        )
    return list(found.values())


def explain(text: str) -> list[Explained]:
    """Each known cause in a log, once, in the order of its lines.

    A line has one cause: the table goes from the special to the general, and the first that fits
    takes the line.
    """
    found: dict[str, Explained] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        for entry in known():
            match = entry.search(line)
            if match:
                found.setdefault(entry.id, Explained(entry, number, quoted(line, match.start())))
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


def quoted(line: str, around: int = 0) -> str:
    """A line without secrets, cut to QUOTED characters around a place in it."""
    whole = masked(line)
    place = min(len(masked(line[:around])), len(whole))
    start = max(0, min(place - QUOTED // 3, len(whole) - QUOTED))
    cut = whole[start : start + QUOTED].strip()
    return "... " * (start > 0) + cut + " ..." * (start + QUOTED < len(whole))


def masked(text: str) -> str:
    """A text with every secret that we can tell replaced by three stars."""
    for pattern, replacement in SECRETS:
        text = re.sub(pattern, replacement, text)
    return text
