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
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import requests

from benchmarks.table import markdown, put
from tests.emulator.fleet import Fleet
from tests.endurance.faults import DOCUMENT, EVENT, INVOKE, PHOTO, is_right
from tests.endurance.soak import held

SIZE = 2
WAIT_S = 40  # longer than any time-out here; no answer by then is a hang
CLIENTS_MOST = 64  # threads of an open load: more under way at a time wait, and their wait counts
ALLOWED_MB, ALLOWED_DESCRIPTORS = 8.0, 3
HEAD = ("to", "load", "requests", "a second", "p50 ms", "p95", "p99", "longest",
        "answers by status")  # fmt: skip


class Load(NamedTuple):
    """`count` requests by so many clients; with a rate: as many a second, by who is free."""

    count: int
    clients: int = CLIENTS_MOST
    rate: float = 0.0

    def __str__(self) -> str:
        if self.rate:
            return f"{self.rate:g} a second"
        return f"{self.clients} client{'s' * (self.clients > 1)}"


class Answer(NamedTuple):
    """One request: its status, seconds, and what was wrong with its answer, if anything."""

    status: int
    seconds: float
    fault: str


class Result(NamedTuple):
    """A load and all that came of it, in `seconds`."""

    where: str
    load: Load
    answers: list[Answer]
    seconds: float

    @property
    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer in self.answers)

    def quantile(self, share: float, status: int) -> str:
        """Milliseconds below which `share` of the latencies of a status lie."""
        times = sorted(a.seconds for a in self.answers if a.status == status)
        at = min(len(times) - 1, int(share * len(times)))
        return f"{1000 * times[at]:.0f}" if times else "0"

    def row(self) -> list[str]:
        counts = self.statuses
        by_status = ", ".join(f"{count} x {status}" for status, count in sorted(counts.items()))
        for status in {429, 500} & set(counts):
            by_status += f" (p99 {self.quantile(0.99, status)} ms)"
        quantiles = (self.quantile(share, 200) for share in (0.5, 0.95, 0.99, 1))
        per_s = f"{counts[200] / self.seconds:.0f}"
        return [self.where, str(self.load), str(len(self.answers)), per_s, *quantiles, by_status]


def ask(session: requests.Session, url: str, sent: dict[str, Any], due: float) -> Answer:
    """One request; seconds count from `due`."""
    try:
        response = session.post(url, timeout=WAIT_S, **sent)
        status, answer = response.status_code, response.json()
    except requests.RequestException as error:  # also of an answer that is not JSON
        return Answer(0, time.monotonic() - due, type(error).__name__)
    seconds = time.monotonic() - due
    if status == 200:
        good = is_right(answer) and "X-Amz-Function-Error" not in response.headers
    else:  # a throttle, as Lambda and API Gateway tell it
        limit = status == 429 and "ConcurrentInvocationLimitExceeded" in answer.get("Reason", "")
        good = limit or (status == 500 and answer == {"message": "Internal server error"})
    return Answer(status, seconds, "" if good else response.text[:80])


def run(url: str, event: dict[str, Any] | bytes, load: Load, where: str = "") -> Result:
    """Put a server under a load, and wait until every request has its answer."""
    sent = {"data": event} if isinstance(event, bytes) else {"json": event}
    numbers, lock = iter(range(load.count)), threading.Lock()
    start = time.monotonic()

    def client(_: int) -> list[Answer]:
        answers = []
        # One connection for each, kept open as browsers and SDKs do.
        with requests.Session() as session:
            session.trust_env = False
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return answers
                due = start + number / load.rate if load.rate else time.monotonic()
                time.sleep(max(0.0, due - time.monotonic()))
                answers.append(ask(session, url, sent, due))

    clients = min(load.clients, load.count)
    with ThreadPoolExecutor(clients) as pool:
        answers = [answer for each in pool.map(client, range(clients)) for answer in each]
    return Result(where, load, answers, time.monotonic() - start)


def faults(results: Sequence[Result]) -> list[str]:
    """What is wrong with what came back; nothing, if all is well."""
    found: Counter[str] = Counter()
    for result in results:
        name = f"{result.where}, {result.load}"
        if len(result.answers) != result.load.count:
            found[f"{name}: {len(result.answers)} answers to {result.load.count}"] += 1
        found.update(f"{name}: {a.status} {a.fault}" for a in result.answers if a.fault)
    return [f"{count} x {what}" for what, count in found.items()]


def main(argv: Sequence[str] | None = None) -> int:
    """Run every load and print the table."""
    p = argparse.ArgumentParser(
        prog="python -m tests.endurance.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--docs", action="store_true", help="write the table to docs/faults.md")
    args = p.parse_args(argv)
    if sys.platform != "linux":
        print("load: skipped: AWS's emulator is a Linux binary")
        return 0
    results: list[Result] = []

    def load(url: str, event: Any, load: Load, where: str) -> Result:
        print(f"  {where}: {load}, {load.count} requests", file=sys.stderr, flush=True)
        results.append(run(url, event, load, where))
        return results[-1]

    with Fleet(SIZE) as fleet:
        invoke, predict = fleet.url + INVOKE, fleet.url + "/predict"
        for _ in range(2):
            run(invoke, EVENT, Load(100, SIZE))  # warm: what a first request loads is no leak
        before = [held(*environment.functions()) for environment in fleet.environments]
        load(invoke, EVENT, Load(200, 1), "Invoke API")
        # As much as this machine can: the other loads are shares of it.
        full = load(invoke, EVENT, Load(300, SIZE), "Invoke API")
        for share in (0.5, 0.9, 2.0):
            rate = round(share * full.statuses[200] / full.seconds, 1)
            load(invoke, EVENT, Load(round(rate * 5), rate=rate), "Invoke API")
        load(invoke, EVENT, Load(800, 8), "Invoke API")
        load(predict, PHOTO, Load(200, SIZE), "HTTP")
        load(predict, PHOTO, Load(800, 8), "HTTP")
        after = [held(*environment.functions()) for environment in fleet.environments]
    wrong = faults(results)
    table = markdown(HEAD, [result.row() for result in results], words=(0, 1, 8))
    print(f"{table}\n\n{SIZE} environments, {os.cpu_count()} processors")
    for number, ((mb, fds), (mb_then, fds_then)) in enumerate(zip(before, after, strict=True), 1):
        line = f"environment {number}: {mb_then - mb:+.1f} MB, {fds_then - fds:+} descriptors"
        print(line)
        if mb_then - mb > ALLOWED_MB or fds_then - fds > ALLOWED_DESCRIPTORS:
            wrong.append(line)
    for line in wrong:
        print(f"load: FAILED: {line}")
    if args.docs and not wrong:
        put("load", table, DOCUMENT)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
