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
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_to_lambda import project
from keras_to_lambda.cli import frame
from keras_to_lambda.deploy.batch import progress, result_table, runs
from keras_to_lambda.deploy.batch.cloud import BatchError, Cloud, session
from keras_to_lambda.deploy.batch.ledger import Ledger, Summary
from keras_to_lambda.deploy.batch.progress import Progress
from keras_to_lambda.deploy.batch.runs import Run
from keras_to_lambda.deploy.estimate import EstimateError, estimate
from keras_to_lambda.runtime.request import SCORES

# In place of `resume`, which asks with the options of the run.
AGAIN = "these batches would fail again: start them under another name, with other options"
WATCH_S = 10.0
TELL_S = 2.0


@frame.command("k2l batch", refused=frame.FAILED, interrupted="stopped; what runs in AWS goes on")
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is as in the module's docstring."""
    arguments = _parser().parse_args(argv)
    status: int = arguments.command(_cloud(arguments), arguments)
    return status


def _parser() -> frame.Parser:
    given, _, examples = (__doc__ or "").partition("\n\n")
    parser = frame.Parser(
        "k2l batch",
        description=given,
        epilog=examples,
    )
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
        help="what the run is called from here on; the same name and input again is the same run "
        "(default: the time in UTC)",
    )
    start.add_argument(
        "--items", type=_count, default=100, help="images in one call (default: %(default)s)"
    )
    start.add_argument(
        "--concurrency",
        type=_count,
        default=50,
        help="calls at a time; no more than the function may run at once (default: %(default)s)",
    )
    start.add_argument(
        "--tolerate",
        type=_percent,
        default=5.0,
        metavar="PERCENT",
        help="of images whose whole batch failed; more end the run. An image with an error of its "
        "own does not count (default: %(default)g)",
    )
    start.add_argument(
        "--top-k", type=_count, default=1, help="labels kept of each image (default: %(default)s)"
    )
    start.add_argument(
        "--scores", choices=SCORES, help="what is kept of them (default: what the model gives)"
    )
    start.add_argument("--model", help="of several models, the one to ask (default: the default)")
    start.add_argument(
        "--ms",
        type=_milliseconds,
        help="milliseconds that the function takes for an image, as `make receipt` measures them: "
        "the input is then counted, and time and cost are estimated (docs/simulation.md), before "
        "anything is started; a run that could not work is not",
    )
    start.set_defaults(command=_start)

    status = commands.add_parser("status", help="how far a run is")
    status.add_argument("run", metavar="RUN")
    status.add_argument("--watch", action="store_true", help="again and again, until it ends")
    status.set_defaults(command=_status)

    results = commands.add_parser("results", help="one table of all answers, and the ledger")
    results.add_argument("run", metavar="RUN")
    results.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="a .parquet, .csv or .jsonl file"
    )
    results.add_argument(
        "--no-recount",
        action="store_true",
        help="do not read the input again: faster, but a batch of which nothing was written is "
        "then not missed",
    )
    results.set_defaults(command=_results)

    resume = commands.add_parser(
        "resume", help="redrive what failed, or ask again for images without an answer"
    )
    resume.add_argument("run", metavar="RUN")
    resume.set_defaults(command=_resume)

    for command in (start, status, results, resume):
        command.add_argument("--json", action="store_true", help="for programs")
        where = command.add_argument_group("where (default: what the stack's outputs say)")
        where.add_argument("--stack", default=project.stack(), help="default: %(default)s")
        where.add_argument("--state-machine", metavar="ARN", help="in place of --stack")
        where.add_argument("--region", help="as AWS is configured, if not said")
        where.add_argument("--profile", help="of AWS's configuration")
        where.add_argument("--bucket", help="with --state-machine: the bucket of runs/")
    return parser


def _cloud(arguments: argparse.Namespace) -> Cloud:
    machine, bucket = arguments.state_machine, arguments.bucket
    if bool(machine) != bool(bucket):
        raise BatchError("give --state-machine and --bucket together, or neither")
    aws = session(arguments.region, arguments.profile)
    return Cloud.at(machine, bucket, aws) if machine else Cloud.of_stack(arguments.stack, aws)


def _start(cloud: Cloud, arguments: argparse.Namespace) -> int:
    options = {"top_k": arguments.top_k, "scores": arguments.scores, "model": arguments.model}
    batch = {
        "items": arguments.items,
        "concurrency": arguments.concurrency,
        "tolerated_percent": arguments.tolerate,
    }
    if arguments.model:
        cloud.try_options(options)
    run, count = runs.plan(cloud, arguments.input, arguments.name, options=options, batch=batch)
    source = run.last.images
    guess = None
    if arguments.ms is not None:
        if count is None:
            count = _tell(("input", n) for n, _ in enumerate(source.items(cloud), 1))
        guess = _estimate(cloud, count, arguments)
    details = {"run": run.name, "images": count, "input": source._asdict()}
    if not arguments.json:
        # Before it is started, so that who interrupts that has its name, and the costs.
        what = "images" if count is None else _images(count)
        print(f"{run.name}: {what} of s3://{source.bucket}/{source.key}", flush=True)
        if guess:
            print(
                f"at least {_time(guess['seconds'])} and {guess['dollars']:.2f} dollars with a "
                f"function of {cloud.memory_mb:,} MB on {cloud.architecture}; an estimate "
                "(docs/simulation.md)",
                flush=True,
            )
    run = runs.start(cloud, run)
    if arguments.json:
        print(json.dumps({**details, **({"estimate": guess} if guess else {})}))
    else:
        print(_next(arguments, "status", run, "--watch"))
    return 0


def _next(arguments: argparse.Namespace, verb: str, run: Run, *flags: str) -> str:
    """What to type next, by the interpreter and for the stack that this command was for."""
    given = vars(arguments)
    where = [
        (f"--{name.replace('_', '-')}", given[name])
        for name in ("stack", "state_machine", "bucket", "region", "profile")
        if given[name] and (name, given[name]) != ("stack", project.stack())
    ]
    words = ["k2l", "batch", verb, run.name, *flags]
    return f"next: {shlex.join([*words, *(word for option in where for word in option)])}"


def _tell(read: Iterable[tuple[str, int]]) -> int:
    """Go through what is read, with a line now and then; how many images there were."""
    count, printed = 0, time.monotonic()
    for what, count in read:
        if time.monotonic() > printed + TELL_S:
            printed = time.monotonic()
            print(f"reading {what}: {count:,} images", file=sys.stderr)
    return count


def _estimate(cloud: Cloud, count: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Time and cost of a run that could work; BatchError of any other."""
    try:
        guess = estimate(
            count,
            arguments.ms,
            batch=arguments.items,
            concurrency=arguments.concurrency,
            memory_mb=cloud.memory_mb,
            architecture=cloud.architecture,
            timeout_s=cloud.timeout_s,
        )
    except EstimateError as error:
        raise BatchError(f"not started: the estimate for --ms failed: {error}") from error
    if guess.broken:
        raise BatchError(f"nothing is started: {'; '.join(guess.broken)} (--items)")
    return {"seconds": guess.seconds, "dollars": guess.dollars}


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _status(cloud: Cloud, arguments: argparse.Namespace) -> int:
    run = Run.load(cloud, arguments.run)
    while True:
        now = progress.of(cloud, run)
        print(
            json.dumps(_plain(now)) if arguments.json else _told(cloud, arguments, run, now),
            flush=True,
        )
        if now.status in progress.ENDED or not arguments.watch:
            break
        time.sleep(WATCH_S)
    return 0 if now.status in ("RUNNING", "SUCCEEDED", "PENDING_REDRIVE") else 1


def _plain(now: Progress) -> dict[str, Any]:
    return {**now._asdict(), "done": now.done, "a_second": now.a_second, "left_s": now.left_s}


def _failures(found: Mapping[str, runs.Failure]) -> list[str]:
    """The failed batches, by error with the first one's cause."""
    lines = [
        f"  {each.batches:,} failed with {error}: {each.cause}" for error, each in found.items()
    ]
    return [line[:300] for line in lines]


def _told(cloud: Cloud, arguments: argparse.Namespace, run: Run, now: Progress) -> str:
    total = now.images.get("total", 0)
    share = f" ({now.done / total:.0%})" if total else ""
    lines = [
        f"{now.part}: {now.status.lower()}, {_time(now.seconds)}, {now.done:,} of {total:,} images"
        + share
        + ("" if now.a_second is None else f", {now.a_second:,.1f} a second")
        + (f", about {_time(now.left_s)} left" if now.left_s else "")
    ]
    failed = {k: v for k, v in now.batches.items() if v and k in ("failed", "timedOut", "aborted")}
    if failed:
        lines.append(
            "  batches: " + ", ".join(f"{count:,} {name}" for name, count in failed.items())
        )
    if now.error:
        lines.append(f"  {now.error[:300]}")
    if now.status in progress.ENDED:
        found = runs.failures(cloud, run) if failed else {}
        lines += _failures(found)
        then = "results" if now.status == "SUCCEEDED" and not failed else "resume"
        lines.append(AGAIN if runs.fails_alike(found) else _next(arguments, then, run))
    return "\n".join(lines)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min {rest} s"
        if minutes
        else f"{rest} s"
    )


def _results(cloud: Cloud, arguments: argparse.Namespace) -> int:
    output: Path | None = arguments.output
    if output:
        result_table.writer_of(output)
    run = Run.load(cloud, arguments.run)
    runs.ended(cloud, run)
    with Ledger() as ledger:
        _tell(runs.read(cloud, run, ledger, recount=not arguments.no_recount))
        summary = ledger.summary(recounted=not arguments.no_recount)
        as_json = json.dumps({"run": run.name, **summary._asdict()}) if arguments.json else None
        # Before the table, which may yet fail: for want of room, say.
        found = runs.failures(cloud, run) if summary.missing else {}
        print(as_json or _ledger(arguments, run, summary, found), flush=True)
        if output:
            result_table.write(ledger.rows({part.number: part.name for part in run.parts}), output)
    if output and not arguments.json:
        print(f"{output}: {summary.inputs + summary.unlisted:,} rows")
    return 1 if summary.missing else 0


def _ledger(
    arguments: argparse.Namespace, run: Run, summary: Summary, failures: Mapping[str, runs.Failure]
) -> str:
    again, refused = sum(summary.again.values()), sum(summary.refused.values())
    lines = [
        f"{run.name}: the ledger, over {len(run.parts)} part{'s' * (len(run.parts) > 1)}",
        f"  {'images':<32} {summary.inputs:>12,}",
        f"  {'answered':<32} {summary.answered:>12,}",
        *_by(summary.labels, "    "),
        f"  {'errors, for good':<32} {refused:>12,}",
        *_by(summary.refused, "    "),
        f"  {'errors that may pass':<32} {again:>12,}",
        *_by(summary.again, "    "),
        f"  {'missing: no answer at all':<32} {summary.missing:>12,}",
    ]
    if summary.unlisted:
        lines.append(f"  answers to what is not in the input {summary.unlisted:>9,}")
    if summary.duplicates:
        lines.append(f"  listed again in the input, one row each {summary.duplicates:>5,}")
    if summary.folders:
        lines.append(f"  folders in the listing, left out {summary.folders:>12,}")
    lines += _failures(failures)
    if again or summary.missing:
        alike = runs.fails_alike(failures)
        lines.append(AGAIN if alike else _next(arguments, "resume", run))
    return "\n".join(lines)


def _by(counts: Any, margin: str, most: int = 12) -> list[str]:
    some = list(counts.items())[:most]
    lines = [f"{margin}{name:<{34 - len(margin)}} {count:>12,}" for name, count in some]
    rest = sum(list(counts.values())[most:])
    return [*lines, f"{margin}{'others':<{34 - len(margin)}} {rest:>12,}"] if rest else lines


def _resume(cloud: Cloud, arguments: argparse.Namespace) -> int:
    what, run, count = runs.resume(cloud, Run.load(cloud, arguments.run))
    if arguments.json:
        print(json.dumps({"run": run.name, "did": what, "part": run.last.name, "images": count}))
        return 0
    sentences = {
        "nothing": "nothing to do: every image has an answer, or an error that another try repeats",
        "redriven": f"{run.last.name} goes on with its failed batches",
        "started": f"{run.last.name} asks for {_images(count)} again",
    }
    print(f"{run.name}: {sentences[what]}")
    if what != "nothing":
        print(_next(arguments, "status", run, "--watch"))
    return 0


def _count(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 0 < number <= 10_000:  # children at a time at most, which is the larger limit
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 10,000")
    return number


def _milliseconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < 900_000:  # the longest that a function may run
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of milliseconds")
    return number


def _percent(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage")
    return number
