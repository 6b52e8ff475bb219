"""Classify images by the million through the stack's state machine.

    k2l batch start s3://my-photos/2026/ --name spring
    k2l batch status spring --watch
    k2l batch results spring -o spring.parquet
    k2l batch resume spring

Exit status: 0 done; 1 it cannot be done, or images have no answer; 2 wrong use; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import boto3

from keras_to_lambda import project
from keras_to_lambda.cli import frame
from keras_to_lambda.deploy.batch import result_table, runs
from keras_to_lambda.deploy.batch.cloud import Cloud, aws_errors
from keras_to_lambda.deploy.batch.ledger import Ledger, Summary
from keras_to_lambda.deploy.batch.runs import BatchRun, Progress
from keras_to_lambda.runtime.inference.request import SCORES

# In place of `resume`, which asks with the options of the run.
AGAIN = "these batches would fail again: start them under another name, with other options"
WATCH_S = 10.0
TELL_S = 2.0


@frame.command("k2l batch", refused=frame.FAILED, interrupted="stopped; what runs in AWS goes on")
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is as in the module's docstring."""
    args = _parser().parse_args(argv)
    with aws_errors("AWS"):
        session = boto3.Session(region_name=args.region, profile_name=args.profile)
    status: int = args.command(Cloud.of_stack(args.stack, session, args.bucket), args)
    return status


def _parser() -> frame.Parser:
    about, _, examples = (__doc__ or "").partition("\n\n")
    parser = frame.Parser("k2l batch", description=about, epilog=examples)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    start = commands.add_parser("start", help="start a run over many images")
    start.add_argument(
        "input",
        metavar="INPUT",
        help="s3://bucket/prefix/ (every object below it); s3://bucket/list.csv (a column url, or "
        "Bucket and Key); s3://bucket/list.jsonl; the manifest.json of an S3 inventory in CSV; or "
        "a local .csv, .jsonl or .txt of URLs, which is uploaded",
    )
    start.add_argument(
        "--name",
        help="name of the run; the same name and input again is the same run (default: the time "
        "in UTC)",
    )
    start.add_argument(
        "--items",
        type=_number(int, 1, 10_000),
        default=100,
        help="images in one call, 1 to 10,000 (default: %(default)s)",
    )
    start.add_argument(
        "--concurrency",
        type=_number(int, 1, 10_000),
        default=50,
        help="calls at a time, 1 to 10,000; no more than the function may run at once "
        "(default: %(default)s)",
    )
    start.add_argument(
        "--tolerate",
        type=_number(float, 0, 100),
        default=5.0,
        metavar="PERCENT",
        help="percentage of images whose whole batch may fail before the run ends; an image with "
        "an error of its own does not count (default: %(default)g)",
    )
    start.add_argument(
        "--top-k",
        type=_number(int, 1, 10_000),
        default=1,
        help="labels kept of each image (default: %(default)s)",
    )
    start.add_argument("--scores", choices=SCORES, help="kind of scores (default: the model's)")
    start.add_argument("--model", help="name of the model (default: the function's default)")
    start.set_defaults(command=_start)

    status = commands.add_parser("status", help="how far a run is")
    status.add_argument("--watch", action="store_true", help="repeat until the run ends")
    status.set_defaults(command=_status)

    results = commands.add_parser("results", help="one table of all answers, and the ledger")
    results.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="a .parquet, .csv or .jsonl file"
    )
    results.set_defaults(command=_results)

    resume = commands.add_parser(
        "resume", help="ask again for images without an answer, or with a temporary error"
    )
    resume.set_defaults(command=_resume)

    for command in (status, results, resume):
        command.add_argument("run", metavar="RUN", help="name of the run")
    for command in (status, results):
        command.add_argument("--json", action="store_true", help="output as JSON")
    for command in (start, status, results, resume):
        where = command.add_argument_group("where")
        where.add_argument(
            "--stack", default=project.stack(), help="stack name (default: %(default)s)"
        )
        where.add_argument("--region", help="AWS region (default: as AWS is configured)")
        where.add_argument("--profile", help="AWS profile (default: as AWS is configured)")
        where.add_argument("--bucket", help="bucket of the runs (default: the stack's)")
    return parser


def _number(kind: type[int | float], least: int, most: int) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most:,}")
        return number

    return parse


def _start(cloud: Cloud, args: argparse.Namespace) -> int:
    options = {"top_k": args.top_k, "scores": args.scores, "model": args.model}
    batch = {
        "items": args.items,
        "concurrency": args.concurrency,
        "tolerated_percent": args.tolerate,
    }
    if args.model:
        cloud.try_options(options)
    run = runs.plan(cloud, args.input, args.name, options, batch)
    # Before it is started, so that who interrupts that has its name.
    print(f"{run.name}: images of s3://{run.last.images.bucket}/{run.last.images.key}", flush=True)
    runs.start(cloud, run)
    print(_next(args, "status", run, "--watch"))
    return frame.OK


def _next(args: argparse.Namespace, verb: str, run: BatchRun, *flags: str) -> str:
    """What to type next, for the stack that this command was for."""
    given = vars(args)
    where = [
        word
        for name in ("stack", "region", "profile", "bucket")
        if given[name] and (name, given[name]) != ("stack", project.stack())
        for word in (f"--{name}", given[name])
    ]
    return f"next: {shlex.join(['k2l', 'batch', verb, run.name, *flags, *where])}"


def _tell(read: Iterable[tuple[str, int]]) -> None:
    """Go through what is read, with a line now and then."""
    printed = time.monotonic()
    for what, count in read:
        if time.monotonic() > printed + TELL_S:
            printed = time.monotonic()
            print(f"reading {what}: {count:,} images", file=sys.stderr)


def _status(cloud: Cloud, args: argparse.Namespace) -> int:
    run = runs.load(cloud, args.run)
    while True:
        now = runs.progress(cloud, run)
        print(
            json.dumps(now._asdict()) if args.json else _reported(cloud, args, run, now), flush=True
        )
        if now.status in runs.ENDED or not args.watch:
            break
        time.sleep(WATCH_S)
    return frame.FAILED if now.status in ("FAILED", "TIMED_OUT", "ABORTED") else frame.OK


def _failures(found: Mapping[str, runs.Failure]) -> list[str]:
    """The failed batches, by error with the first one's cause."""
    lines = [
        f"  {each.batches:,} failed with {error}: {each.cause}" for error, each in found.items()
    ]
    return [line[:300] for line in lines]


def _reported(cloud: Cloud, args: argparse.Namespace, run: BatchRun, now: Progress) -> str:
    total = now.images.get("total", 0)
    share = f" ({now.done / total:.0%})" if total else ""
    lines = [
        f"{now.part}: {now.status.lower()}, {_time(now.seconds)}, {now.done:,} of {total:,} images"
        f"{share}, {now.a_second:,.1f} a second"
    ]
    if now.a_second and now.status not in runs.ENDED:
        lines[0] += f", about {_time((total - now.done) / now.a_second)} left"
    failed = {k: v for k, v in now.batches.items() if v and k in ("failed", "timedOut", "aborted")}
    if failed:
        lines.append(
            "  batches: " + ", ".join(f"{count:,} {name}" for name, count in failed.items())
        )
    if now.error:
        lines.append(f"  {now.error[:300]}")
    if now.status in runs.ENDED:
        found = runs.failures(cloud, run) if failed else {}
        lines += _failures(found)
        then = "results" if now.status == "SUCCEEDED" and not failed else "resume"
        lines.append(AGAIN if runs.fails_alike(found) else _next(args, then, run))
    return "\n".join(lines)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join([f"{count} {unit}" for count, unit in parts if count][:2]) or "0 s"


def _results(cloud: Cloud, args: argparse.Namespace) -> int:
    output: Path | None = args.output
    if output:
        result_table.writer_of(output)
    run = runs.load(cloud, args.run)
    runs.ended(cloud, run)
    with Ledger() as ledger:
        _tell(runs.read(cloud, run, ledger))
        summary = ledger.summary()
        # Before the table, which may yet fail: for want of room, say.
        if args.json:
            print(json.dumps({"run": run.name, **summary._asdict()}), flush=True)
        else:
            print(_ledger(cloud, args, run, summary), flush=True)
        if output:
            result_table.write(ledger.rows({part.number: part.name for part in run.parts}), output)
    if output and not args.json:
        print(f"{output}: {summary.inputs + summary.unlisted:,} rows")
    return frame.FAILED if summary.missing else frame.OK


def _ledger(cloud: Cloud, args: argparse.Namespace, run: BatchRun, summary: Summary) -> str:
    again, refused = sum(summary.again.values()), sum(summary.refused.values())
    lines = [
        f"{run.name}: the ledger, over {len(run.parts)} part{'s' * (len(run.parts) > 1)}",
        f"  {'images':<32} {summary.inputs:>12,}",
        f"  {'answered':<32} {summary.answered:>12,}",
        *_by(summary.labels),
        f"  {'permanent errors':<32} {refused:>12,}",
        *_by(summary.refused),
        f"  {'temporary errors':<32} {again:>12,}",
        *_by(summary.again),
        f"  {'missing: no answer at all':<32} {summary.missing:>12,}",
    ]
    for what, count in (
        ("answers to what is not in the input", summary.unlisted),
        ("listed again in the input, one row each", summary.duplicates),
        ("folders in the listing, left out", summary.folders),
    ):
        if count:
            lines.append(f"  {what} {count:>{44 - len(what)},}")
    found = runs.failures(cloud, run) if summary.missing else {}
    lines += _failures(found)
    if again or summary.missing:
        lines.append(AGAIN if runs.fails_alike(found) else _next(args, "resume", run))
    return "\n".join(lines)


def _by(counts: Mapping[str, int], most: int = 12) -> list[str]:
    some = list(counts.items())
    if rest := sum(count for _, count in some[most:]):
        some = [*some[:most], ("others", rest)]
    return [f"    {name:<30} {count:>12,}" for name, count in some]


def _resume(cloud: Cloud, args: argparse.Namespace) -> int:
    run = runs.load(cloud, args.run)
    if done := runs.resume(cloud, run):
        print(f"{run.name}: {done}\n{_next(args, 'status', run, '--watch')}")
    else:
        print(
            f"{run.name}: nothing to do: every image has an answer, or an error that another try "
            "repeats"
        )
    return frame.OK
