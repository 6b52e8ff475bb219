"""A bounded load on this machine: latencies, throughput and errors under, at and over capacity.

    make load

The function runs in two of AWS's emulators behind one port (tests.emulator.fleet). Two kinds of
load:

    closed   so many clients, each of which asks again when it has its answer
    open     so many requests a second, whether the ones before are answered or not; latency counts
             from when a request was due, so that a stall is in the figures of all that it delayed

The exit status is 1 if an answer is wrong or missing, an error has no name, or memory or file
descriptors of an environment grow. No time is judged.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.emulator.fleet import Environment, Fleet
from tests.endurance.faults import EVENT, INVOKE, PHOTO, is_right, write

SIZE = 2
WAIT_S = 40  # longer than any time-out here; no answer by then is a hang
CLIENTS_MOST = 64  # threads of an open load: more under way at a time wait, and their wait counts
ALLOWED_MB, ALLOWED_DESCRIPTORS = 8.0, 3


class Closed(NamedTuple):
    """A number of clients that share `count` requests."""

    clients: int
    count: int

    def __str__(self) -> str:
        return f"{self.clients} client{'s' * (self.clients > 1)}"


class Open(NamedTuple):
    """Requests that come at a fixed rate, a second."""

    rate: float
    count: int

    def __str__(self) -> str:
        return f"{self.rate:g} a second"


class Answer(NamedTuple):
    """One request: its status, whether its answer was right or a named error, seconds."""

    status: int
    good: bool
    seconds: float
    what: str


class Result(NamedTuple):
    """A load and all that came of it, in `seconds`."""

    where: str
    load: Closed | Open
    answers: list[Answer]
    seconds: float

    @property
    def statuses(self) -> Counter[int]:
        """How many answers there were of each status."""
        return Counter(answer.status for answer in self.answers)

    def quantile_ms(self, share: float, status: int | None = None) -> float:
        """Of the sorted latencies, the one below which `share` of them lie."""
        times = sorted(a.seconds for a in self.answers if status in {None, a.status})
        return 1000 * times[min(len(times) - 1, int(share * len(times)))] if times else 0.0


def run(url: str, event: dict[str, Any] | bytes, load: Closed | Open, where: str = "") -> Result:
    """Put a server under a load, and wait until every request has its answer."""
    body, kind = (
        (event, "image/jpeg")
        if isinstance(event, bytes)
        else (json.dumps(event).encode(), "application/json")
    )
    numbers = iter(range(load.count))
    lock = threading.Lock()
    answers: list[Answer] = []
    start = time.monotonic()

    def client() -> None:
        with contextlib.closing(_Client(url, body, kind)) as asks:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                due = time.monotonic()
                if isinstance(load, Open):
                    due = start + number / load.rate
                    time.sleep(max(0.0, due - time.monotonic()))
                answers.append(asks.ask(due))

    most = load.clients if isinstance(load, Closed) else min(CLIENTS_MOST, load.count)
    threads = [threading.Thread(target=client) for _ in range(most)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Result(where, load, answers, time.monotonic() - start)


class _Client:
    """One caller's connection, kept open as browsers and SDKs do."""

    def __init__(self, url: str, body: bytes, kind: str) -> None:
        parts = urlsplit(url)
        self._path, self._body, self._headers = parts.path, body, {"Content-Type": kind}
        self._connection = http.client.HTTPConnection(str(parts.netloc), timeout=WAIT_S)

    def ask(self, due: float) -> Answer:
        """One request; seconds count from `due`."""
        try:
            self._connection.request("POST", self._path, self._body, self._headers)
            response = self._connection.getresponse()
            status, answer = response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()
            return Answer(0, False, time.monotonic() - due, type(error).__name__)
        seconds = time.monotonic() - due
        if status == 200 and not response.getheader("X-Amz-Function-Error"):
            return Answer(status, is_right(answer), seconds, "scores")
        return Answer(status, _named(status, answer), seconds, json.dumps(answer)[:80])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _named(status: int, answer: Any) -> bool:
    """Whether it is a throttle, as Lambda and API Gateway tell it."""
    if not isinstance(answer, dict):
        return False
    throttled = status == 429 and "ConcurrentInvocationLimitExceeded" in answer.get("Reason", "")
    return throttled or (status == 500 and answer == {"message": "Internal server error"})


def table(results: Sequence[Result]) -> str:
    """The results in Markdown."""
    lines = [
        "| to | load | requests | a second | p50 ms | p95 | p99 | longest | answers by status |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for result in results:
        right = result.statuses[200]
        quantiles = [f"{result.quantile_ms(share, 200):.0f}" for share in (0.5, 0.95, 0.99, 1)]
        others = ", ".join(
            f"{count} x {status}" for status, count in sorted(result.statuses.items())
        )
        refused = [status for status in result.statuses if status in {429, 500}]
        if refused:
            others += f" (p99 {result.quantile_ms(0.99, refused[0]):.0f} ms)"
        lines.append(
            f"| {result.where} | {result.load} | {len(result.answers)} "
            f"| {right / result.seconds:.0f} | {' | '.join(quantiles)} | {others} |"
        )
    return "\n".join(lines)


def memory(environment: Environment) -> tuple[float, int]:
    """Resident MB and open descriptors of an environment's function."""
    [pid] = environment.functions()
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208


def bad(results: Sequence[Result]) -> list[str]:
    """What is wrong with what came back; nothing, if all is well."""
    found = [
        f"{result.where}, {result.load}: {len(result.answers)} answers to {result.load.count}"
        for result in results
        if len(result.answers) != result.load.count
    ]
    wrong = Counter(
        f"{result.where}, {result.load}: {answer.status} {answer.what}"
        for result in results
        for answer in result.answers
        if not answer.good
    )
    return found + [f"{count} x {what}" for what, count in wrong.items()]


def main(argv: Sequence[str] | None = None) -> int:
    """Run every load and print the table."""
    p = argparse.ArgumentParser(
        prog="python -m tests.endurance.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--seconds", type=float, default=5, help="of each load (default: %(default)g)")
    p.add_argument("--docs", action="store_true", help="write the table to docs/faults.md")
    args = p.parse_args(argv)
    if sys.platform != "linux":
        print("load: skipped: AWS's emulator is a Linux binary")
        return 0
    results: list[Result] = []
    grown: list[str] = []

    def load(url: str, event: Any, load: Closed | Open, where: str) -> Result:
        print(f"  {where}: {load}, {load.count} requests", file=sys.stderr, flush=True)
        results.append(run(url, event, load, where))
        return results[-1]

    with Fleet(SIZE) as fleet:
        invoke, predict = fleet.url + INVOKE, fleet.url + "/predict"
        for _ in range(2):
            run(invoke, EVENT, Closed(SIZE, 100))  # warm: what a first request loads is no leak
        before = [memory(environment) for environment in fleet.environments]
        load(invoke, EVENT, Closed(1, 200), "Invoke API")
        # As much as this machine can: the other loads are shares of it.
        full = load(invoke, EVENT, Closed(SIZE, 300), "Invoke API")
        capacity = full.statuses[200] / full.seconds
        for share in (0.5, 0.9, 2.0):
            rate = round(share * capacity, 1)
            load(invoke, EVENT, Open(rate, round(rate * args.seconds)), "Invoke API")
        load(invoke, EVENT, Closed(8, 800), "Invoke API")
        load(predict, PHOTO, Closed(SIZE, 200), "HTTP")
        load(predict, PHOTO, Closed(8, 800), "HTTP")
        after = [memory(environment) for environment in fleet.environments]
    for number, ((mb, fds), (mb_then, fds_then)) in enumerate(zip(before, after, strict=True)):
        line = f"environment {number + 1}: {mb_then - mb:+.1f} MB, {fds_then - fds:+} descriptors"
        grown.append(line)
    leaks = [
        line
        for line, (mb, fds), (mb_then, fds_then) in zip(grown, before, after, strict=True)
        if mb_then - mb > ALLOWED_MB or fds_then - fds > ALLOWED_DESCRIPTORS
    ]
    print(table(results))
    print("\n".join(["", f"{SIZE} environments, {os.cpu_count()} processors", *grown]))
    for line in (wrong := bad(results) + leaks):
        print(f"load: FAILED: {line}")
    if args.docs and not wrong:
        write("load", table(results))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
