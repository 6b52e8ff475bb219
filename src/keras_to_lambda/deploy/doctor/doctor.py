"""The command line of the doctor."""

from __future__ import annotations

import contextlib
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_to_lambda import aws, project
from keras_to_lambda.cli import frame
from keras_to_lambda.deploy.doctor.checks import ANYWHERE, CHECKS
from keras_to_lambda.deploy.doctor.setup import Finding, Setup, Skip, warn
from keras_to_lambda.explain import Explained, explain

WIDTH = 100
STATUS_WIDTH, NAME_WIDTH = 9, 14
SAID = 300  # of an error that no check expected
NOTHING_KNOWN = """\
No known error found. The most useful line is the last one of a traceback, or the first with
"error" in it; paste more of:
  a build         docker build --progress=plain . 2>&1 | tee build.log
  a deployment    k2l deploy -- --no-confirm-changeset --debug 2>&1 | tee deploy.log
  the function    sam logs --stack-name STACK --region REGION
  a request       curl -v ...
then: k2l doctor --explain build.log"""


def examine(setup: Setup) -> Iterator[tuple[str, Finding]]:
    """Every check, one after the other; none of them raises."""
    names: Sequence[str] = list(CHECKS)
    if not (setup.root / "template.yaml").is_file():
        names = [name for name in names if name in ANYWHERE]
        text = "not a project folder; run it in a clone or in a folder made by `k2l new`"
        yield "project", warn(text)
    for name in names:
        if sys.stdout.isatty():  # until the finding is printed over it
            print(f"{'...':{STATUS_WIDTH}}{name}", end="\r", flush=True)
        try:
            finding = CHECKS[name](setup)
        except Skip as why:
            finding = Finding("skipped", str(why))
        except Exception as error:  # noqa: BLE001  # a check that breaks must not hide the others
            text, _, fix = aws.one_line(error).partition("; ")
            finding = warn(f"could not be checked: {type(error).__name__}: {text[:SAID]}", fix)
        yield name, finding


def check(setup: Setup) -> bool:
    """Run every check and print what it found; False if one fails."""
    count: Counter[str] = Counter()
    for name, finding in examine(setup):
        count[finding.status] += 1
        print(shown(name, finding), flush=True)
    print(
        f"\n{', '.join(f'{number} {status}' for status, number in count.items())} in {setup.root}"
    )
    return not count["FAIL"]


def shown(name: str, finding: Finding) -> str:
    """A finding as lines for people."""
    margin = " " * (STATUS_WIDTH + NAME_WIDTH)
    lines = textwrap.wrap(finding.text, WIDTH - len(margin), break_on_hyphens=False)
    if finding.fix:
        lines.append(f"fix: {finding.fix}")  # never broken: it is there to be copied
    head = f"{finding.status:{STATUS_WIDTH}}{name:{NAME_WIDTH}}"
    return head + f"\n{margin}".join(lines)


def pasted(stream: Any) -> bytes:
    """All of it; Ctrl-C ends what has no end, as `sam logs --tail` before a pipe."""
    parts: list[bytes] = []
    with contextlib.suppress(KeyboardInterrupt):
        while part := stream.read1(1 << 16):
            parts.append(part)
    return b"".join(parts)


def explain_log(source: str) -> int:
    """Explain a file, or what is pasted."""
    if source == "-":
        if sys.stdin.isatty():
            print("paste the log or traceback, then press Ctrl-D in an empty line", file=sys.stderr)
        text = pasted(sys.stdin.buffer).decode(errors="replace")
    else:
        text = Path(source).read_text(encoding="utf-8", errors="replace")
    causes = explain(text)
    print("\n\n".join(map(_shown_cause, causes)) or NOTHING_KNOWN)
    return frame.OK if causes else frame.FAILED


def _shown_cause(cause: Explained) -> str:
    wrapped = textwrap.wrap(cause.known.cause, WIDTH - 9, break_on_hyphens=False)
    return "\n".join(
        [
            f"line {cause.number}: {cause.sign}",
            "  cause  " + f"\n{' ' * 9}".join(wrapped),
            *(f"  fix    {fix}" for fix in cause.known.fix),
        ]
    )


def parser() -> frame.Parser:
    """The command line."""
    p = frame.Parser(
        "k2l doctor",
        description="Check what a deployment needs, from near to far: a line each, and the remedy. "
        "With --explain: name the causes in a log.",
        epilog="exit status:\n"
        "  0  nothing fails; or, with --explain, a cause was found\n"
        "  1  something fails; or no cause was found\n"
        "  2  the command line is wrong\n\n"
        "examples:\n"
        "  k2l doctor --offline\n"
        "  k2l doctor --region eu-central-1 Architecture=arm64 ConcurrencyLimit=5\n"
        "  sam logs --stack-name keras-to-lambda | k2l doctor --explain\n",
    )
    p.add_argument(
        "parameters",
        nargs="*",
        metavar="NAME=VALUE",
        help="template parameters to check (default: the template's)",
    )
    p.add_argument(
        "--explain",
        nargs="?",
        const="-",
        metavar="FILE",
        help="explain a log or traceback, from a file or from what is pasted; reads nothing else",
    )
    aws.add_options(p)
    p.add_argument("--stack", default=project.stack(), help="stack name (default: %(default)s)")
    p.add_argument(
        "--service-role",
        action="store_true",
        help="CloudFormation deploys with a service role: the caller needs fewer permissions",
    )
    p.add_argument("--offline", action="store_true", help="no calls to AWS")
    return p


@frame.command("k2l doctor")
def main(argv: Sequence[str] | None = None, root: Path = project.ROOT) -> int:
    """Run the command; the exit status is explained in its help."""
    p = parser()
    options = vars(p.parse_args(argv))
    if log := options.pop("explain"):
        return explain_log(log)
    return frame.OK if check(_setup(options, root)) else frame.FAILED


def _setup(options: dict[str, Any], root: Path) -> Setup:
    given = options.pop("parameters")
    setup = Setup(**options, root=root)
    if given:
        setup.parameters = setup.plain.given(given)
    return setup
