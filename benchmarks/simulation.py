"""A thousand to ten million images, by the three ways: time, cost, and the limits that they meet.

    python -m benchmarks.simulation            with the milliseconds of .receipt/receipt.json
    python -m benchmarks.simulation --ms 12    with those given

Arithmetic, not a measurement: deploy/estimate.py has the formulas, and AWS's limits with their
pages. Three cases are also gone through event by event, with times that vary, to show that the
formulas add up.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.table import markdown, put
from keras_to_lambda.deploy import MEMORY_MB
from keras_to_lambda.deploy.estimate import (
    DOWNLOAD_MS,
    LIMITS,
    LOG_BYTES,
    PUT_MS,
    WAYS,
    Estimate,
    EstimateError,
    Work,
    counts,
    duration_s,
    estimate,
    rates,
    rising,
)
from keras_to_lambda.deploy.prices import PriceError

ROOT = Path(__file__).resolve().parent.parent
RECEIPT = ROOT / ".receipt" / "receipt.json"
DOCS = ROOT / "docs" / "simulation.md"

IMAGES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
# What a stack may do at a time: a new account's reported limit, and everybody's default.
CONCURRENCIES = (LIMITS["new account"].value, LIMITS["concurrency"].value)
BATCHES = {"http": 1, "sqs": 10, "map": 100}
NAMES = {"http": "requests, HTTP API", "sqs": "uploads, SQS", "map": "Distributed Map"}
# Gone through event by event; small enough for a second.
CHECKED = (("http", 100_000), ("sqs", 100_000), ("map", 1_000_000))
SEED = 7
JITTER = 0.3


@dataclass(frozen=True)
class Speed:
    """The function's measured milliseconds, and where they are from."""

    ms_per_image: float
    overhead_ms: float
    cold_ms: float
    log_bytes: int
    memory_mb: int
    source: str


def measured(path: Path = RECEIPT, memory_mb: int | None = None) -> Speed:
    """The speed of a receipt's first model.

    Args:
        memory_mb: of this size; of the advised one for None, or else of the cheapest.

    Raises:
        OSError: there is no receipt.
        ValueError: it is none, or has not measured this size.
    """
    receipt: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    try:
        rows = [r for r in receipt["sizes"] if r["model"] == receipt["sizes"][0]["model"]]
        size = memory_mb or receipt["advice"][rows[0]["model"]]["memory_mb"]
        row = next((r for r in rows if r["memory_mb"] == size), None)
        if memory_mb and not row:
            sizes = ", ".join(str(r["memory_mb"]) for r in rows)
            raise ValueError(f"{path.name} has no row of {memory_mb} MB, but of {sizes}")
        row = row or min(rows, key=lambda r: r["dollars_per_million"]["x86_64"])
        return Speed(
            ms_per_image=row["ms_per_image"],
            overhead_ms=max(0.0, row["p50_ms"] - row["ms_per_image"]),
            cold_ms=row["cold_billed_ms"],
            log_bytes=round(row["log_bytes"]),
            memory_mb=row["memory_mb"],
            source=f"{row['model']} at {row['memory_mb']:,} MB, measured on {receipt['machine']}",
        )
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{path.name} is no receipt: {error!r}") from error


def event_by_event(work: Work, seed: int = SEED, jitter: float = JITTER) -> float:
    """Seconds until the last of the invocations has ended, each with a time of its own.

    Workers take the next invocation when they are free; they appear as `rising` allows, and no more
    of them than `counts` allow. Invocations begin no faster than `rates` allow. Each takes its time
    plus or minus `jitter`, evenly spread; a worker's first is longer by the cold start.
    """
    chance = random.Random(seed)  # noqa: S311  # not a secret
    mean_s = work.invocation_ms / 1000
    most, gap_s = min(counts(work).values()), 1 / min(rates(work).values())
    first, more = rising(work)
    free: list[float] = []  # when each worker has nothing to do
    workers = 0
    may_begin = ended = 0.0
    for _ in range(work.invocations):
        appears = max(0.0, (workers + 1 - first) / more)
        idle = bool(free) and free[0] <= max(appears, may_begin)
        if workers < most and not idle:
            begin, extra = max(appears, may_begin), work.cold_ms / 1000
            workers += 1
        else:
            begin, extra = max(heapq.heappop(free), may_begin), 0.0
        may_begin = begin + gap_s
        end = begin + extra + mean_s * (1 + jitter * (2 * chance.random() - 1))
        heapq.heappush(free, end)
        ended = max(ended, end)
    return ended


def all_cases(
    speed: Speed,
    batches: dict[str, int],
    *,
    download_ms: float = DOWNLOAD_MS,
    put_ms: float = PUT_MS,
    prefixes: int = 1,
) -> list[Estimate]:
    """Every way, number of images and concurrency."""
    return [
        estimate(
            images, speed.ms_per_image, batches[way], concurrency, speed.memory_mb,
            way=way, overhead_ms=speed.overhead_ms, cold_ms=speed.cold_ms,
            log_bytes=speed.log_bytes, download_ms=download_ms, put_ms=put_ms, prefixes=prefixes,
        )
        for way in WAYS
        for images in IMAGES
        for concurrency in CONCURRENCIES
    ]  # fmt: skip


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def case_table(cases: Sequence[Estimate]) -> str:
    """A row for each number of images; the two concurrencies side by side."""
    head = ["images, way", "batch", "$"]
    head += [f"time, at most {n:,}" for n in CONCURRENCIES] + ["then at a time", "bound by"]
    rows = []
    for slow, fast in zip(cases[::2], cases[1::2], strict=True):
        work = fast.work
        rows.append(
            [f"{work.images:,}, {NAMES[work.way]}", str(work.in_each), f"{fast.dollars:.2f}",
             duration(slow.seconds), duration(fast.seconds), f"{fast.at_a_time:,.0f}",
             fast.bound or "-"]
        )  # fmt: skip
    wrong = dict.fromkeys(sentence for case in cases for sentence in case.broken)
    return "\n\n".join([markdown(head, rows), *(f"**Cannot run so:** {each}." for each in wrong)])


def part_table(cases: Sequence[Estimate], images: int = 1_000_000) -> str:
    """What a million images cost, by what it is for."""
    chosen = [
        case
        for case in cases
        if case.work.images == images and case.work.concurrency == CONCURRENCIES[-1]
    ]
    names = dict.fromkeys(name for case in chosen for name in case.parts)
    rows = [
        [name, *(f"{c.parts[name]:.2f}" if name in c.parts else "" for c in chosen)]
        for name in names
    ]
    rows.append(["in all", *(f"{case.dollars:.2f}" for case in chosen)])
    return markdown([f"{images:,} images, $", *(NAMES[c.work.way] for c in chosen)], rows)


def limit_table() -> str:
    """AWS's limits, with their pages."""
    rows = [
        [name, f"{limit.value:,}", limit.what, f"[page]({limit.source})"]
        for name, limit in LIMITS.items()
    ]
    lines = ["| limit | value | of | source |", "| --- | ---: | --- | --- |"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def check_table(cases: Sequence[Estimate]) -> str:
    """The formula beside the simulation of events."""
    rows = []
    for case in cases:
        work = case.work
        if (work.way, work.images) not in CHECKED:
            continue
        formula, events = duration_s(work), event_by_event(work)
        rows.append(
            [f"{work.images:,}, {NAMES[work.way]}, at most {work.concurrency:,}",
             f"{formula:.1f}", f"{events:.1f}", f"{events / formula - 1:+.1%}"]
        )  # fmt: skip
    return markdown(("images, way, concurrency", "formula, s", "events, s", "differs"), rows)


def assumptions(speed: Speed, cases: Sequence[Estimate]) -> str:
    """What went in, measured and assumed."""
    work = cases[0].work
    return "\n".join(
        [
            f"- Milliseconds: {speed.ms_per_image:.1f} an image inside a request, "
            f"{speed.overhead_ms:.1f} a request besides, {speed.cold_ms:.0f} a cold start; "
            f"{speed.source}.",
            f"- Memory: {speed.memory_mb:,} MB, x86_64.",
            f"- Assumed: {work.download_ms:g} ms for an image out of S3, {work.put_ms:g} for an "
            f"answer into it; the images below {work.prefixes} partitioned "
            f"prefix{'es' * (work.prefixes > 1)}; "
            f"{work.item_bytes} bytes an item, {work.answer_bytes} an answer, "
            f"{work.log_bytes} of log an invocation.",
        ]
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks.simulation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="exit status: 0 printed; 1 a file cannot be read; 2 wrong use",
    )
    p.add_argument("--ms", type=float, help="milliseconds of an image inside a batch")
    p.add_argument("--overhead", type=float, metavar="MS", help="of an invocation besides")
    p.add_argument("--cold", type=float, metavar="MS", help="of a cold start, as billed")
    p.add_argument(
        "--memory", type=int, metavar="MB", help="of the function; one that the receipt has"
    )
    p.add_argument(
        "--batch", type=int, default=BATCHES["map"], metavar="N",
        help="images in a batch of the map (default: %(default)s)",
    )  # fmt: skip
    p.add_argument(
        "--download", type=float, default=DOWNLOAD_MS, metavar="MS",
        help="of an image out of S3, assumed (default: %(default)g)",
    )  # fmt: skip
    p.add_argument(
        "--put", type=float, default=PUT_MS, metavar="MS",
        help="of an answer into S3, assumed (default: %(default)g)",
    )  # fmt: skip
    p.add_argument(
        "--prefixes", type=int, default=1, metavar="N",
        help="of S3 that the images are spread over (default: %(default)s)",
    )  # fmt: skip
    p.add_argument("--docs", action="store_true", help="renew the tables in docs/simulation.md")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; the exit status is explained in the help."""
    p = parser()
    args = p.parse_args(argv)
    try:
        speed = _speed(args)
    except OSError:
        p.error("there is no .receipt/receipt.json: run make receipt, or give --ms")
    except ValueError as error:
        print(f"simulation: {error}", file=sys.stderr)
        return 1
    batches = {**BATCHES, "map": args.batch}
    try:
        cases = all_cases(
            speed, batches, download_ms=args.download, put_ms=args.put, prefixes=args.prefixes
        )
    except EstimateError as error:
        p.error(str(error))
    except PriceError as error:
        print(f"simulation: {error}", file=sys.stderr)
        return 1
    sections = {
        "assumptions": assumptions(speed, cases),
        "cases": case_table(cases),
        "parts": part_table(cases),
        "check": check_table(cases),
        "limits": limit_table(),
    }
    if args.docs:
        for name, text in sections.items():
            put(name, text, DOCS)
    try:
        for name, text in sections.items():
            print(f"## {name}\n\n{text}\n", flush=True)
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _speed(args: argparse.Namespace) -> Speed:
    """The receipt's, or what was given; what is given replaces what was measured.

    Raises:
        OSError, ValueError: nothing was given, and there is no receipt.
    """
    if args.ms is None:
        base = measured(memory_mb=args.memory)
    else:
        base = Speed(
            args.ms, 1.0, 1_000.0, LOG_BYTES, MEMORY_MB, "as given with --ms, not measured"
        )
    return Speed(
        base.ms_per_image,
        base.overhead_ms if args.overhead is None else args.overhead,
        base.cold_ms if args.cold is None else args.cold,
        base.log_bytes,
        base.memory_mb if args.memory is None else args.memory,
        base.source,
    )


if __name__ == "__main__":
    sys.exit(main())
