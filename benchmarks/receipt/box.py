"""The function in its container with a share of the processor, as Lambda gives it by memory.

Lambda gives a whole vCPU at 1,769 MB and in proportion below and above
(https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html). Here that share is a quota
of the kernel's CFS scheduler: so many microseconds in each period. Lambda does not document its
period. With Docker's, 100 ms, a request of 10 ms mostly gets a whole processor and sometimes waits
for 70 ms; a period of 20 ms spreads the same share, so that shorter runs tell it.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_to_lambda.runtime.settings import MB_PER_VCPU

ROOT = Path(__file__).resolve().parents[2]
TAG = "keras-to-lambda:receipt"
INVOCATIONS = "/2015-03-31/functions/function/invocations"
PERIOD_US = 20_000
# Where the model is put; a folder that every user may read.
INSIDE = "/tmp/receipt.tflite"  # noqa: S108  # in the container

_REPORT = re.compile(r"^REPORT .*?\tDuration: ([\d.]+) ms\tBilled Duration: (\d+) ms", re.MULTILINE)


class BoxError(Exception):
    """The container cannot be built, started or asked; the message says why."""


@dataclass(frozen=True)
class Report:
    """What the emulator reports of an invocation; a first one's time includes the start."""

    ms: float
    billed_ms: int


def cpus(memory_mb: int) -> float:
    """The vCPUs that Lambda gives for memory."""
    return memory_mb / MB_PER_VCPU


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
    except subprocess.TimeoutExpired as error:
        raise BoxError(f"docker {arguments[0]} did not end in {timeout_s:.0f} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise BoxError(f"docker {arguments[0]}: {said[-1]}")
    return done.stdout


def require_docker() -> int:
    """The processors of the engine's machine.

    Raises:
        BoxError: there is no engine, or it cannot limit processors.
    """
    if not shutil.which("docker"):
        raise BoxError(
            "docker is not installed, and without a container a share of a processor cannot be "
            "enforced; install Docker, or measure whole processors with make bench"
        )
    engine = json.loads(docker("info", "--format", "{{json .}}"))
    if engine.get("ServerErrors") or not engine.get("NCPU"):
        raise BoxError("no Docker engine answers; start it (docker info says why it does not)")
    if not engine.get("CpuCfsQuota"):
        raise BoxError("this Docker engine cannot limit processors (docker info: CpuCfsQuota)")
    return int(engine["NCPU"])


def build() -> None:
    """Build the image from the working tree.

    Raises:
        BoxError: it cannot be built.
    """
    docker("build", "-q", "-t", TAG, ".", timeout_s=900)


class Box:
    """A running container; made by `opened`."""

    def __init__(self, name: str, address: str) -> None:
        self._name = name
        self._address = address

    def invoke(self, body: bytes) -> tuple[float, Any]:
        """Milliseconds until the answer is here, and the answer.

        Raises:
            BoxError: there is no answer, or it is an error.
        """
        connection = http.client.HTTPConnection(self._address, timeout=120)
        start = time.perf_counter()
        try:
            connection.request("POST", INVOCATIONS, body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise BoxError(f"the function did not answer: {self._last_words()}") from error
        finally:
            connection.close()
        ms = (time.perf_counter() - start) * 1000
        if isinstance(answer, dict) and "errorType" in answer:
            raise BoxError(f"the function failed: {answer['errorType']}: {answer['errorMessage']}")
        return ms, answer

    def reports(self, expected: int) -> list[Report]:
        """The emulator's report of each invocation so far.

        Raises:
            BoxError: there are not as many as expected.
        """
        give_up = time.monotonic() + 5
        while True:
            found = [Report(float(a), int(b)) for a, b in _REPORT.findall(self.said())]
            if len(found) == expected:
                return found
            if time.monotonic() > give_up:  # the log is written after the answer
                raise BoxError(f"the emulator reported {len(found)} of {expected} invocations")
            time.sleep(0.05)

    def said(self) -> str:
        """What the emulator and the function wrote to standard output: what Lambda would log."""
        return docker("logs", self._name)

    def peak_mb(self) -> float | None:
        """Memory at the peak, without files; None where the engine does not tell."""
        try:
            text = docker(
                "exec", self._name, "sh", "-c",
                "cat /proc/[0-9]*/status 2>/dev/null | grep VmHWM",
            )  # fmt: skip
        except BoxError:
            return None
        found = re.findall(r"VmHWM:\s*(\d+) kB", text)
        return max(map(int, found)) * 1024 / 1e6 if found else None

    def _last_words(self) -> str:
        try:
            words = docker("logs", "--tail", "2", self._name).strip().splitlines()
        except BoxError:
            words = []
        return " | ".join(words)[-300:] or "the container says nothing"


@contextmanager
def opened(
    memory_mb: int, model: Path | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[Box]:
    """A container whose function has not started: the emulator starts it with the first request.

    Raises:
        BoxError: it does not start.
    """
    quota = max(1000, round(cpus(memory_mb) * PERIOD_US))
    environ = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb), **(settings or {})}
    if model:
        environ["MODEL_PATH"] = INSIDE
    name = docker(
        "create", f"--cpu-period={PERIOD_US}", f"--cpu-quota={quota}",
        f"--memory={memory_mb}m", f"--memory-swap={memory_mb}m", "-p", "127.0.0.1::8080",
        *(f"--env={key}={value}" for key, value in environ.items()), TAG,
    ).strip()  # fmt: skip
    try:
        if model:
            docker("cp", str(model), f"{name}:{INSIDE}")
        docker("start", name)
        box = Box(name, docker("port", name, "8080/tcp").split()[0])
        _wait(box, name)
        yield box
    finally:
        docker("rm", "-f", name)


def _wait(box: Box, name: str) -> None:
    """Until the emulator listens; a GET starts no function."""
    give_up = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection(box._address, timeout=5)  # noqa: SLF001
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            running = docker("inspect", "-f", "{{.State.Running}}", name).strip()
            if running != "true" or time.monotonic() > give_up:
                raise BoxError(f"the container does not start: {box._last_words()}") from error  # noqa: SLF001
            time.sleep(0.05)
        else:
            return
        finally:
            connection.close()
