"""The command line of the doctor."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from keras_to_lambda.cli import frame
from keras_to_lambda.deploy.doctor import account, machine, project_folder
from keras_to_lambda.deploy.doctor.context import Finding, Setup, Skip, Status, warn
from keras_to_lambda.deploy.doctor.explain import Explained, aws_error, explain
from keras_to_lambda.project import ROOT, stack

WIDTH = 100
STATUS_WIDTH, NAME_WIDTH = 9, 14
SAID = 300  # of an error that no check expected

# From near to far: what fails first explains what fails, or is skipped, after it.
CHECKS: tuple[tuple[str, Callable[[Setup], Finding]], ...] = (
    ("Python", machine.python),
    ("Docker", machine.docker),
    ("architecture", machine.architecture),
    ("sam", machine.sam),
    ("aws", machine.aws),
    ("template", project_folder.template),
    ("parameters", project_folder.parameters),
    ("model", project_folder.model),
    ("image", project_folder.image),
    ("image start", project_folder.image_start),
    ("region", account.region),
    ("identity", account.identity),
    ("permissions", account.permissions),
)

# What is checked in a folder that is not a project.
ANYWHERE = ("Python", "Docker", "sam", "aws", "region", "identity")

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
    checks = CHECKS
    if not (setup.root / "template.yaml").is_file():
        checks = tuple((name, check) for name, check in CHECKS if name in ANYWHERE)
        text = "not a project folder; run it in a clone or in a folder made by `k2l new`"
        yield "project", warn(text)
    for name, check in checks:
        try:
            finding = check(setup)
        except Skip as why:
            finding = Finding(Status.SKIPPED, str(why))
        except Exception as error:  # noqa: BLE001  # a check that breaks must not hide the others
            text, _, fix = aws_error(error).partition("; ")
            finding = warn(f"could not be checked: {type(error).__name__}: {text[:SAID]}", fix)
        yield name, finding


def shown(name: str, finding: Finding) -> str:
    """A finding as lines for people."""
    margin = " " * (STATUS_WIDTH + NAME_WIDTH)
    lines = textwrap.wrap(finding.text, WIDTH - len(margin), break_on_hyphens=False)
    if finding.fix:
        lines.append(f"fix: {finding.fix}")  # never broken: it is there to be copied
    head = f"{finding.status.value:{STATUS_WIDTH}}{name:{NAME_WIDTH}}"
    return head + f"\n{margin}".join(lines)


def check(setup: Setup, as_json: bool) -> int:
    """Run every check and print what it found."""
    found: list[tuple[str, Finding]] = []
    for name, finding in examine(setup):
        found.append((name, finding))
        if not as_json:
            print(shown(name, finding), flush=True)
    count = Counter(finding.status for _, finding in found)
    if as_json:
        rows = [
            {"status": f.status.value, "name": name, "finding": f.text, "fix": f.fix}
            for name, f in found
        ]
        print(json.dumps({"ok": not count[Status.FAIL], "checks": rows}, indent=1))
    else:
        counted = ", ".join(f"{count[status]} {status.value}" for status in Status if count[status])
        print(f"\n{counted}")
    return frame.FAILED if count[Status.FAIL] else frame.OK


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
        try:
            text = Path(source).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            print(f"doctor: cannot read {source}: {error.strerror}", file=sys.stderr)
            return frame.WRONG_USE
    causes = explain(text)
    if causes:
        print("\n\n".join(map(_shown_cause, causes)))
    else:
        print(NOTHING_KNOWN)
    return frame.OK if causes else frame.FAILED


def _shown_cause(cause: Explained) -> str:
    wrapped = textwrap.wrap(cause.known.cause, WIDTH - 9, break_on_hyphens=False)
    return "\n".join(
        [
            f"line {cause.number}: {cause.known.sign}",
            "  cause  " + f"\n{' ' * 9}".join(wrapped),
            *(f"  fix    {fix}" for fix in cause.known.fix),
        ]
    )


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"invalid parameter {text!r}: use NAME=VALUE")
    return name, value


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
        type=_parameter,
        metavar="NAME=VALUE",
        help="template parameters to check (default: samconfig.toml's, or the template's)",
    )
    p.add_argument(
        "--explain",
        nargs="?",
        const="-",
        metavar="FILE",
        help="explain a log or traceback, from a file or from what is pasted; reads nothing else",
    )
    p.add_argument("--image", default="", help="Docker image to check (default: keras-to-lambda)")
    p.add_argument("--region", default="", help="AWS region (default: as AWS is configured)")
    p.add_argument("--profile", default="", help="AWS profile (default: as AWS is configured)")
    p.add_argument("--stack", default=stack(), help="stack name (default: %(default)s)")
    p.add_argument(
        "--service-role",
        action="store_true",
        help="CloudFormation deploys with a service role: the caller needs fewer permissions",
    )
    p.add_argument("--offline", action="store_true", help="no calls to AWS")
    p.add_argument("--json", action="store_true", help="output as one JSON document")
    return p


@frame.command("k2l doctor")
def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command; the exit status is explained in its help."""
    p = parser()
    args = p.parse_args(argv)
    if args.explain:
        if args.json:
            p.error("--json is for the checks, not for --explain")
        return explain_log(args.explain)
    setup = Setup(
        image=args.image,
        region=args.region,
        profile=args.profile,
        stack=args.stack,
        offline=args.offline,
        service_role=args.service_role,
        parameters=dict(args.parameters),
        root=root,
    )
    known: dict[str, str] = {}
    with contextlib.suppress(Exception):  # a template that cannot be read is a finding
        known = setup.plain.parameters
    if known and (unknown := setup.parameters.keys() - known.keys()):
        which = ", ".join(sorted(unknown))
        p.error(f"unknown parameter {which}; template.yaml has {', '.join(sorted(known))}")
    return check(setup, args.json)
