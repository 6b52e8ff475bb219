"""Classify images by the million through the stack's state machine.

    k2l batch start s3://my-photos/2026/ --name spring
    k2l batch status spring --watch
    k2l batch results spring -o spring.parquet
    k2l batch resume spring

Exit status: 0 done; 1 it cannot be done, or images have no answer; 2 wrong use; 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from keras_to_lambda import aws, project
from keras_to_lambda.cli import frame
from keras_to_lambda.deploy.batch import result_table, runs
from keras_to_lambda.deploy.batch.cloud import BatchError, Cloud
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
    cloud = Cloud.of_stack(args.stack, aws.session(args.region, args.profile), args.bucket)
    status: int = args.command(cloud, args)
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
        "Bucket and Key); s3://bucket/list.jsonl; or the manifest.json of an S3 inventory in CSV",
    )
    start.add_argument(
        "--name",
        help="name of the run; the same name and input again is the same run (default: the time "
        "in UTC)",
    )
    for option, kind, most, default, about in (
        ("--items", int, 10_000, 100, "images in one call"),
        ("--concurrency", int, 10_000, 50, "calls at a time, at most the function's concurrency"),
        ("--tolerate", float, 100, 5.0, "percentage of images whose batch may fail"),
        ("--top-k", int, 10_000, 1, "labels kept of each image"),
    ):
        least = 0 if kind is float else 1
        start.add_argument(
            option,
            type=_number(kind, least, most),
            default=default,
            metavar="N",
            help=f"{about}, {least} to {most:,} (default: %(default)g)",
        )
    start.add_argument("--scores", choices=SCORES, help="kind of scores (default: the model's)")
    start.add_argument("--model", help="name of the model (default: the function's default)")
    start.set_defaults(command=_start)

    status = commands.add_parser("status", help="how far a run is")
    status.add_argument("--watch", action="store_true", help="repeat until the run ends")
    status.set_defaults(command=_status)

    results = commands.add_parser("results", help="one table of all answers, and the ledger")
    results.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="table, a .parquet or .csv file"
    )
    results.set_defaults(command=_results)

    resume = commands.add_parser(
        "resume", help="ask again for images without an answer, or with a temporary error"
    )
    resume.set_defaults(command=_resume)

    for command in (status, results, resume):
        command.add_argument("run", metavar="RUN", help="name of the run")
    for command in (start, status, results, resume):
        where = command.add_argument_group("where")
        where.add_argument(
            "--stack", default=project.stack(), help="stack name (default: %(default)s)"
        )
        aws.add_options(where)
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
    print(f"{run.name}: images of {run.last.images}", flush=True)
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
        print("\n".join(_reported(cloud, args, run, now)), flush=True)
        if now.ended or not args.watch:
            break
        time.sleep(WATCH_S)
    return frame.FAILED if now.ended and now.status != "SUCCEEDED" else frame.OK


def _reported(cloud: Cloud, args: argparse.Namespace, run: BatchRun, now: Progress) -> list[str]:
    total = now.images.get("total", 0)
    a_second = now.done / max(now.seconds, 1e-3)
    line = (
        f"{now.part}: {now.status.lower()}, {_time(now.seconds)}, {now.done:,} of {total:,} images"
    )
    line += f" ({now.done / total:.0%})" * bool(total) + f", {a_second:,.1f} a second"
    if not now.ended and now.done:
        line += f", about {_time((total - now.done) / a_second)} left"
    failed = [f"{now.batches[k]:,} {k}" for k in runs.DONE[1:] if now.batches.get(k)]
    lines = [line, *([f"  batches: {', '.join(failed)}"] if failed else [])]
    if not now.ended:
        return lines
    if now.error:
        lines.append(f"  {now.error[:300]}")
    done = now.status == "SUCCEEDED" and not failed
    return [*lines, *_then(cloud, args, run, "results" if done else "resume", failed=bool(failed))]


def _then(
    cloud: Cloud, args: argparse.Namespace, run: BatchRun, verb: str, *, failed: bool
) -> list[str]:
    """The failed batches, by error with the first one's cause; and what to type next."""
    found = runs.failures(cloud, run) if failed else {}
    lines = [
        f"  {each.batches:,} failed with {error}: {each.cause}"[:300]
        for error, each in found.items()
    ]
    return [*lines, AGAIN if runs.fails_alike(found) else _next(args, verb, run)]


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join([f"{count} {unit}" for count, unit in parts if count][:2]) or "0 s"


def _results(cloud: Cloud, args: argparse.Namespace) -> int:
    output: Path | None = args.output
    if output and output.suffix not in result_table.WRITERS:
        raise BatchError(f"{output}: name it {' or '.join(result_table.WRITERS)}")
    if output and output.suffix == ".parquet" and not importlib.util.find_spec("pyarrow"):
        raise BatchError(f"{output} needs pyarrow: `pip install pyarrow`, or name it .csv")
    if output and (output.is_dir() or not output.parent.is_dir()):
        raise BatchError(f"{output}: use a file's name in a folder that exists")
    run = runs.load(cloud, args.run)
    runs.ended(cloud, run)
    with Ledger() as ledger:
        _tell(runs.read(cloud, run, ledger))
        summary = ledger.summary()
        # Before the table, which may yet fail: for want of room, say.
        print("\n".join(_ledger(cloud, args, run, summary)), flush=True)
        if output:
            result_table.write(ledger.rows({part.number: part.name for part in run.parts}), output)
            print(f"{output}: {summary.inputs + summary.unlisted:,} rows")
    return frame.FAILED if summary.missing else frame.OK


def _ledger(cloud: Cloud, args: argparse.Namespace, run: BatchRun, summary: Summary) -> list[str]:
    lines = [
        f"{run.name}: the ledger, over {len(run.parts)} part{'s' * (len(run.parts) > 1)}",
        f"  {'images':<32} {summary.inputs:>12,}",
    ]
    for what, counts in (
        ("answered", summary.answered),
        ("permanent errors", summary.refused),
        ("temporary errors", summary.again),
    ):
        lines += [f"  {what:<32} {sum(counts.values()):>12,}", *_by(counts)]
    lines.append(f"  {'missing: no answer at all':<32} {summary.missing:>12,}")
    for what, count in (
        ("answers to what is not in the input", summary.unlisted),
        ("listed again in the input, one row each", summary.duplicates),
    ):
        if count:
            lines.append(f"  {what} {count:>{44 - len(what)},}")
    if summary.again or summary.missing:
        lines += _then(cloud, args, run, "resume", failed=bool(summary.missing))
    return lines


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
