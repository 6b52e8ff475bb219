"""What the function takes on Lambda at each memory size, measured in its container.

    make receipt                  the image's default model, 512 to 1,769 MB, and the release before
    python -m benchmarks.receipt --model models/my/my.tflite --sizes 1024,1769

The container has AWS's emulator in it, and as much of a processor as Lambda gives for the memory: a
whole vCPU at 1,769 MB (https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html), as
a quota of the kernel's scheduler in periods of 20 ms. Not measured: the sandbox's creation and the
image's way to it, which are part of Lambda's cold starts; the network; Lambda's processors.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

from benchmarks.estimate import compute, each
from benchmarks.material import ROOT, before
from benchmarks.table import markdown, number, put
from keras_to_lambda.runtime.common.aws_lambda import INVOCATIONS_PATH, MB_PER_VCPU

DOCS = ROOT / "docs"
TAG = "keras-to-lambda:receipt"
TAG_BEFORE = "keras-to-lambda:receipt-before"
LABEL = "keras-to-lambda.receipt"  # of its containers: others may run the same image
INSIDE = "/tmp/receipt.tflite"  # noqa: S108  # in the container
PERIOD_US = 20_000
SIZES = "512,1024,1769"
REPORT = re.compile(r"^REPORT .*?\tDuration: ([\d.]+) ms\tBilled Duration: (\d+) ms", re.MULTILINE)


class BoxError(Exception):
    """The container cannot be built, started or called; the message gives the reason."""


@dataclass
class Measured:
    """Milliseconds of a model at one memory size, from all containers."""

    tag: str
    memory_mb: int
    model: Path | None = None
    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    billed: list[int] = field(default_factory=list)
    peak_mb: float = 0.0

    @property
    def name(self) -> str:
        """The model's."""
        if self.tag == TAG_BEFORE:
            return "default, the release before"
        return self.model.stem if self.model else "default"

    @property
    def p95(self) -> float:
        """Milliseconds that 95 of a hundred warm requests stay under."""
        return statistics.quantiles(self.warm, n=20, method="inclusive")[-1]

    def dollars(self, architecture: str) -> float:
        """For a million warm requests: Lambda's time and requests, no gateway, no free tier."""
        time_ = statistics.fmean(compute(ms, self.memory_mb, architecture) for ms in self.billed)
        return 1_000_000 * (time_ + each("lambda_request"))


def docker(*arguments: str, timeout_s: float = 120) -> str:
    """A docker command's output.

    Raises:
        BoxError: it failed, or did not end in time.
    """
    try:
        done = subprocess.run(
            ["docker", *arguments],  # noqa: S607  # the user's own
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout_s,
            env={**os.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BoxError(f"docker {arguments[0]}: {error}") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise BoxError(f"docker {arguments[0]}: {lines[-1]}")
    return done.stdout


class Box:
    """A running container; made by `running`."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.url = name, f"http://{address}{INVOCATIONS_PATH}"

    def invoke(self, body: bytes) -> float:
        """Milliseconds until the answer is here.

        Raises:
            BoxError: there is no answer, or it is an error.
        """
        start = time.perf_counter()
        try:
            answer = requests.post(self.url, body, timeout=120).json()
        except requests.RequestException as error:
            answer = {"errorType": str(error)}
        if "errorType" in answer:
            logged = docker("logs", "--tail=2", self.name)
            raise BoxError(f"the function failed: {answer['errorType']}: {logged}")
        return (time.perf_counter() - start) * 1000

    def reports(self, expected: int) -> list[tuple[float, int]]:
        """Duration and billed duration of each invocation, by the emulator's log.

        Raises:
            BoxError: there are not as many as expected.
        """
        for _ in range(100):  # the log is written after the answer
            found = REPORT.findall(docker("logs", self.name))
            if len(found) == expected:
                return [(float(ms), int(billed)) for ms, billed in found]
            time.sleep(0.05)
        raise BoxError(f"the emulator reported {len(found)} of {expected} invocations")

    def peak_mb(self) -> float:
        """The largest peak of resident memory of its processes."""
        status = docker("exec", self.name, "sh", "-c", "cat /proc/[0-9]*/status 2>/dev/null")
        return max(int(kb) for kb in re.findall(r"VmHWM:\s*(\d+) kB", status)) * 1024 / 1e6


@contextmanager
def running(image: str, *options: str) -> Iterator[Box]:
    """A container whose function has not started: the emulator starts it with the first request.

    Raises:
        BoxError: it does not start.
    """
    name = docker("run", "-d", f"--label={LABEL}", "-p", "127.0.0.1::8080", *options, image).strip()
    try:
        address = docker("port", name, "8080/tcp").split()[0]
        for _ in range(600):  # Docker's own proxy accepts connections before there is a server
            with suppress(requests.RequestException):
                requests.get(f"http://{address}/", timeout=60)  # starts no function
                break
            time.sleep(0.1)
        yield Box(name, address)
    finally:
        docker("rm", "-f", name)


def limits(memory_mb: int) -> list[str]:
    """Docker's options for what Lambda gives to a function of this size."""
    quota = max(1000, round(memory_mb / MB_PER_VCPU * PERIOD_US))
    return [
        *(f"--cpu-period={PERIOD_US}", f"--cpu-quota={quota}"),
        *(f"--memory={memory_mb}m", f"--memory-swap={memory_mb}m"),
        *(f"--env=AWS_LAMBDA_FUNCTION_MEMORY_SIZE={memory_mb}", "--env=METRICS_NAMESPACE=receipt"),
    ]


def measure(row: Measured, bodies: Sequence[bytes], count: int) -> None:
    """One fresh container more: its first answer, and warm requests.

    Raises:
        BoxError
    """
    options = limits(row.memory_mb)
    if row.model:
        mounted = f"--volume={row.model.resolve()}:{INSIDE}:ro"
        options += [mounted, f"--env=MODEL_PATH={INSIDE}"]
    with running(row.tag, *options) as box:
        cold = box.invoke(bodies[0])
        for index in range(3 + count):
            box.invoke(bodies[index % len(bodies)])
        warm = box.reports(4 + count)[4:]
        row.peak_mb = max(row.peak_mb, box.peak_mb())
    row.cold.append(cold)
    row.warm += [ms for ms, _ in warm]
    row.billed += [billed for _, billed in warm]


def table(rows: Sequence[Measured]) -> str:
    """The figures as Markdown."""
    head = ("model, MB", "vCPU", "cold, ms", "p50, ms", "p95, ms", "peak, MB", "$/million x86_64",
            "$/million arm64, if as fast")  # fmt: skip
    return markdown(
        head,
        [
            [f"{row.name}, {row.memory_mb:,}", number(row.memory_mb / MB_PER_VCPU, 2),
             number(statistics.median(row.cold)), number(statistics.median(row.warm), 1),
             number(row.p95, 1), number(row.peak_mb),
             *(number(row.dollars(each_), 2) for each_ in ("x86_64", "arm64"))]
            for row in rows
        ],
    )  # fmt: skip


def compared(rows: Sequence[Measured]) -> str:
    """Cold starts beside those of the release before; "": that was not measured."""
    cold = {(row.tag, row.memory_mb): statistics.median(row.cold) for row in rows}
    return "\n".join(
        f"- cold at {memory:,} MB: x {ms / cold[TAG_BEFORE, memory]:.2f} the release before "
        "(wanted: at most 0.60)"
        for (tag, memory), ms in cold.items()
        if tag == TAG and (TAG_BEFORE, memory) in cold
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print. Exit status 1: nothing could be measured."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks.receipt",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--model", type=Path, metavar="FILE",
                   help="a .tflite (default: the image's own)")  # fmt: skip
    p.add_argument("--sizes", default=SIZES, help="memory sizes in MB (default: %(default)s)")
    p.add_argument("--photos", type=Path, default=ROOT / "samples", metavar="DIR",
                   help="JPEGs that the requests carry as base64 (default: samples/)")  # fmt: skip
    p.add_argument(
        "--quick", action="store_true", help="1 container of 10 requests each, not 3 of 60"
    )
    p.add_argument("--docs", action="store_true", help="write the table to docs/cost.md")
    args = p.parse_args(argv)
    bodies = [
        json.dumps({"image": base64.b64encode(path.read_bytes()).decode()}).encode()
        for path in sorted(args.photos.glob("*.jp*g"))
    ]
    sizes = [int(size) for size in args.sizes.split(",")]
    if not bodies or not all(128 <= size <= 10_240 for size in sizes):
        p.error(f"no JPEG in {args.photos}, or a size that is not 128 to 10240")
    containers, warm = (1, 10) if args.quick else (3, 60)
    measured = [Measured(TAG, size, args.model) for size in sizes]
    try:
        docker("build", "-q", "-t", TAG, ".", timeout_s=900)
        if not args.model and (folder := before()):
            docker("build", "-q", "-t", TAG_BEFORE, str(folder), timeout_s=900)
            measured += [Measured(TAG_BEFORE, size) for size in sizes]
        for _ in range(containers):  # in turns, so that the machine's drift meets all rows
            for row in measured:
                print(f"{row.name}, {row.memory_mb} MB", file=sys.stderr)
                measure(row, bodies, warm)
    except BoxError as error:
        print(f"receipt: {error}", file=sys.stderr)
        return 1
    print(table(measured))
    print(f"\n{compared(measured)}")
    if args.docs:
        machine = f"{platform.processor() or platform.machine()}, {time.strftime('%Y-%m-%d')}"
        put(
            "sizes",
            f"{machine}; {containers} containers of {warm} warm requests:\n\n{table(measured)}"
            f"\n\n{compared(measured)}".rstrip(),
            DOCS / "cost.md",
        )
        # The estimate there counts with these milliseconds.
        subprocess.run([sys.executable, DOCS / "generate.py"], cwd=ROOT, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
