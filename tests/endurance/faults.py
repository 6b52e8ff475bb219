"""Each fault for real, what callers see of it, and that it is over when it is over.

    make faults
    python -m tests.endurance.faults --docs

The function is the real one: in AWS's emulator, several of them behind one port
(tests.emulator.fleet), or in its container. A fault that this machine cannot have is skipped, with
the reason; without a Docker engine REQUIRE_CONTAINER=1 makes that a failure. --docs writes the
table to docs/faults.md. Only what callers see is asserted; seconds are printed, and asserted
nowhere.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import io
import logging
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import requests
from moto.server import ThreadedMotoServer
from PIL import Image

from benchmarks.receipt import BoxError, docker, running
from benchmarks.table import markdown, put
from keras_to_lambda.deploy.emulator import EmulatorError
from keras_to_lambda.runtime.common.aws_lambda import INVOCATIONS_PATH as INVOKE
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from tests.emulator.fleet import Fleet
from tests.http_host import Tcp

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "faults.md"
PHOTO = (ROOT / "samples" / "t-shirt.jpg").read_bytes()
EVENT = {"image": base64.b64encode(PHOTO).decode()}
IMAGE = "keras-to-lambda:faults"
WAIT_S = 60  # longer than this is a hang
SMALLEST_MB = 512  # MemorySize's MinValue in template.yaml


class Seen(NamedTuple):
    """What became of a fault: a row of the table. recovered_s: seconds to the next right answer."""

    callers: str
    recovered_s: float
    held: str


class Skipped(Exception):
    """The fault cannot be had here, for want of a Docker engine."""


class Fault(NamedTuple):
    """A fault by its name; `quick` ones are in `make test` too, `slow` ones only with --docs."""

    name: str
    run: Callable[[], Seen]
    quick: bool
    slow: bool


FAULTS: list[Fault] = []


def fault(
    name: str, *, quick: bool = False, slow: bool = False
) -> Callable[[Callable[[], Seen]], Callable[[], Seen]]:
    """Enter a function into the table."""

    def enter(run: Callable[[], Seen]) -> Callable[[], Seen]:
        FAULTS.append(Fault(name, run, quick, slow))
        return run

    return enter


# What callers do


class Answer(NamedTuple):
    """What a caller got: status, JSON, and Lambda's header for a function that failed."""

    status: int
    body: Any
    failed: str | None

    @property
    def code(self) -> str | None:
        """The function's own error code, or the errorType of a direct invocation."""
        if not isinstance(self.body, dict):
            return None
        error = self.body.get("error")
        return error["code"] if isinstance(error, dict) else self.body.get("errorType")


def call(url: str, event: Any) -> Answer:
    """POST JSON, or an image's bytes; an answer that takes WAIT_S fails."""
    sent = {"data": event} if isinstance(event, bytes) else {"json": event}
    response = requests.post(url, timeout=WAIT_S, **sent)
    return Answer(
        response.status_code, response.json(), response.headers.get("X-Amz-Function-Error")
    )


@contextlib.contextmanager
def calling(*calls: tuple[str, Any]) -> Iterator[list[Answer]]:
    """Calls that are under way in the block; their answers are there after it, in order."""
    answers: list[Answer] = []
    with ThreadPoolExecutor(len(calls)) as pool:
        asked = [pool.submit(call, *each) for each in calls]
        yield answers
        answers += [each.result() for each in asked]


@functools.cache
def expected() -> dict[str, float]:
    """The scores of PHOTO, by the handler in this process."""
    return Handler(Settings(num_threads=1, log_level="FATAL")).handle(EVENT)


def is_right(scores: Any) -> bool:
    """Whether these are PHOTO's scores."""
    return (
        isinstance(scores, dict)
        and scores.keys() == expected().keys()
        and all(abs(scores[label] - score) < 1e-3 for label, score in expected().items())
    )


def right(answer: Answer) -> None:
    """The answer is 200 with PHOTO's scores."""
    assert answer.status == 200, answer
    assert is_right(answer.body), answer


def recovered(url: str, event: Any = EVENT) -> float:
    """Seconds until the next caller has a right answer; no caller has to try twice."""
    start = time.monotonic()
    right(call(url, event))
    return time.monotonic() - start


def alive(pid: int) -> bool:
    """Whether a process runs: one that has ended and waits for its parent does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


# What goes wrong


class Silent(Tcp):
    """A host that accepts connections and says nothing, until the block ends."""

    def __init__(self) -> None:
        super().__init__()
        self._came, self._over = threading.Semaphore(0), threading.Event()
        # A request that takes as long as the function lets it.
        self.event = {"url": f"http://{self.address}/photo.jpg"}

    def finish_request(self, request: Any, client_address: Any) -> None:
        self._came.release()
        self._over.wait()

    def wait(self, connections: int = 1) -> None:
        """Until so many more have connected: requests are then in the middle."""
        for _ in range(connections):
            assert self._came.acquire(timeout=WAIT_S)

    def end(self) -> None:
        """Close every connection; those who waited then have their failure."""
        self._over.set()

    def __exit__(self, *_: object) -> None:
        self.end()
        super().__exit__()


class Wire(Tcp):
    """A TCP connection to a server that can be cut: `pass`, `silent`, `reset`, or `half`.

    half: the far side's answer breaks off after some bytes, as when it dies in the middle.
    """

    how = "pass"

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def finish_request(self, request: Any, client_address: Any) -> None:
        with socket.create_connection(("127.0.0.1", self._port)) as far:
            answers = threading.Thread(target=self._carry, args=(far, request, True), daemon=True)
            answers.start()
            self._carry(request, far, answer=False)
            answers.join()

    def _carry(self, source: socket.socket, to: socket.socket, answer: bool) -> None:
        with contextlib.suppress(OSError):
            while self.how != "reset" and (data := source.recv(65536)) and self.how != "reset":
                if self.how == "half" and answer:
                    to.sendall(data[: len(data) // 2])
                    break
                if self.how != "silent":
                    to.sendall(data)
        for end in (source, to):
            with contextlib.suppress(OSError):
                # Without lingering, closing sends a reset (socket(7)).
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
                end.close()


@contextlib.contextmanager
def s3() -> Iterator[tuple[Wire, dict[str, str]]]:
    """A real S3 server (moto's, over HTTP) with PHOTO as s3://photos/photo.jpg, behind a wire."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        port = server.get_host_and_port()[1]
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        client.create_bucket(Bucket="photos")
        client.put_object(Bucket="photos", Key="photo.jpg", Body=PHOTO)
        client.close()
        with Wire(port) as wire:
            yield (
                wire,
                {
                    "AWS_ACCESS_KEY_ID": "test",
                    "AWS_SECRET_ACCESS_KEY": "test",
                    "AWS_DEFAULT_REGION": "us-east-1",
                    "AWS_ENDPOINT_URL_S3": f"http://{wire.address}",
                    "S3_ALLOWED_BUCKETS": "photos",
                    "FETCH_TIMEOUT_S": "2",
                },
            )
    finally:
        server.stop()


S3_PHOTO = {"url": "s3://photos/photo.jpg"}


def plain(width: int, height: int, kind: str, mode: str = "RGB", **options: Any) -> str:
    """A picture of one colour, few bytes and many pixels, as base64."""
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, kind, **{"lossless": True, **options})
    return base64.b64encode(file.getvalue()).decode()


# The faults: processes


@fault("an environment is killed in the middle of a request", quick=True)
def killed_in_the_middle() -> Seen:
    with Silent() as host, Fleet(2, env={"FETCH_PRIVATE_HOSTS": host.address}) as fleet:
        predict, invoke = fleet.url + "/predict", fleet.url + INVOKE
        shown = []
        for url in (predict, invoke):
            with calling((url, host.event)) as answers:
                host.wait()
                right(call(predict, PHOTO))  # the other one answers
                [busy] = [each for each in fleet.environments if each.is_busy]
                [function] = busy.functions()
                os.kill(function, signal.SIGKILL)
            shown += answers
        gateway, direct = shown
        assert (gateway.status, gateway.body) == (502, {"message": "Internal server error"})
        assert (direct.status, direct.failed) == (200, "Unhandled")
        assert direct.code == "Runtime.ExitError"
        seconds = recovered(invoke)
        right(call(invoke, EVENT))
    return Seen(
        "that one: HTTP 502; direct 200, `Runtime.ExitError`",
        seconds,
        "the other environment answered meanwhile",
    )


@fault("one is killed between two requests", quick=True)
def killed_between() -> Seen:
    with Fleet(1) as fleet:
        [environment] = fleet.environments
        [function] = environment.functions()
        os.kill(function, signal.SIGKILL)
        while environment.functions():
            time.sleep(0.01)
        seconds = recovered(fleet.url + "/predict", PHOTO)
    return Seen("nothing but a cold start", seconds, "every request")


@fault("the emulator itself is killed: the machine is lost", quick=True)
def machine_lost() -> Seen:
    with Silent() as host, Fleet(1, env={"FETCH_PRIVATE_HOSTS": host.address}) as fleet:
        [environment] = fleet.environments
        with calling((fleet.url + INVOKE, host.event)) as answers:
            host.wait()
            [function] = environment.functions()
            assert environment.emulator_pid
            os.kill(environment.emulator_pid, signal.SIGKILL)
        assert answers[0].code == "Runtime.ExitError"
        seconds = recovered(fleet.url + INVOKE)
        assert not alive(function)
    return Seen("that one: 200, `Runtime.ExitError`", seconds, "no process is left behind")


@fault("an environment freezes past the function's time-out", quick=True)
def frozen() -> Seen:
    with (
        Silent() as host,
        Fleet(1, timeout_s=2, env={"FETCH_PRIVATE_HOSTS": host.address}) as fleet,
    ):
        shown = []
        for path in ("/predict", INVOKE):
            with calling((fleet.url + path, host.event)) as answers:
                host.wait()
                [function] = fleet.environments[0].functions()
                os.kill(function, signal.SIGSTOP)
            shown += answers
        assert (shown[0].status, shown[0].code) == (502, None)
        assert (shown[1].failed, shown[1].code) == ("Unhandled", "Sandbox.Timedout")
        assert "2.00 seconds" in shown[1].body["errorMessage"]
        seconds = recovered(fleet.url + INVOKE)
    return Seen(
        "that one: HTTP 502; direct 200, `Sandbox.Timedout`", seconds, "a new environment answers"
    )


@fault("more requests at a time than environments", quick=True)
def throttled() -> Seen:
    with Silent() as host, Fleet(2, env={"FETCH_PRIVATE_HOSTS": host.address}) as fleet:
        predict, invoke = fleet.url + "/predict", fleet.url + INVOKE
        with calling((predict, host.event), (invoke, host.event)) as answers:
            host.wait(2)
            by_gateway, direct = call(predict, PHOTO), call(invoke, EVENT)
            host.end()
        assert (by_gateway.status, by_gateway.code) == (500, None)
        assert direct.status == 429
        assert direct.body["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
        assert [(each.status, each.code) for each in answers] == [
            (424, "fetch_failed"),
            (200, "FetchFailed"),
        ]
        seconds = recovered(invoke)
    return Seen(
        "those beyond: at once, HTTP 500; direct 429 `TooManyRequestsException`",
        seconds,
        "those under way were answered",
    )


@fault("a photo takes more memory than there is", quick=True)
def memory_exhausted() -> Seen:
    with Fleet(1, env={"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "200"}) as fleet:
        large = {"image": plain(7000, 7000, "PNG")}
        before = fleet.environments[0].functions()
        direct = call(fleet.url + INVOKE, large)
        assert (direct.failed, direct.code) == ("Unhandled", "TooManyPixels")
        seconds = recovered(fleet.url + INVOKE)
        http = call(fleet.url + "/predict", large)
        assert (http.status, http.code) == (413, "too_many_pixels")
        assert fleet.environments[0].functions() == before
    return Seen(
        "that one: HTTP 413 `too_many_pixels`, before it is decoded",
        seconds,
        "the same environment answers",
    )


# The faults: the network


def _s3_cut(how: str, code: str) -> Seen:
    with s3() as (wire, env), Fleet(2, timeout_s=8, env=env) as fleet:
        url = fleet.url + "/predict"
        right(call(url, S3_PHOTO))
        right(call(url, S3_PHOTO))  # both environments now hold a connection
        wire.how = how
        with calling((url, S3_PHOTO)) as cut:
            right(call(url, PHOTO))
        mixed = call(url, {"images": [EVENT, S3_PHOTO]})
        assert (cut[0].code, cut[0].status in {424, 504}) == (code, True), cut
        assert mixed.status == 200
        assert is_right(mixed.body[0])
        assert mixed.body[1]["error"]["code"] == code
        wire.how = "pass"
        seconds = recovered(url, S3_PHOTO)
        right(call(url, S3_PHOTO))
        right(call(url, S3_PHOTO))
    return Seen(
        f"HTTP {cut[0].status} `{cut[0].code}`, before the function's time-out",
        seconds,
        "other images answered meanwhile, also of the same list",
    )


for name, how, code in (
    ("S3 is silent", "silent", "deadline_exceeded"),
    ("S3 resets connections", "reset", "fetch_failed"),
    # Never undecodable_image: that is an error for ever, and a queue would not try again.
    ("S3 breaks off in the middle of its answers", "half", "fetch_failed"),
):
    fault(name)(functools.partial(_s3_cut, how, code))


# The faults: what only a container can have


@functools.cache
def image() -> str:
    """The image, built from the working tree; layers are the engine's to cache.

    Raises:
        Skipped: there is no Docker engine.
    """
    if not shutil.which("docker"):
        raise Skipped("docker is not installed")
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        raise Skipped("no Docker engine answers")
    docker("build", "-q", "-t", IMAGE, ".", timeout_s=900)
    return IMAGE


@contextlib.contextmanager
def container(*options: str) -> Iterator[tuple[str, str]]:
    """The function in its container, warm: its id and where it is invoked."""
    with running(image(), *options) as box:
        right(call(box.url, EVENT))
        yield box.name, box.url


# Kinds of pictures: format, mode, options, and about how many bytes a pixel of each takes.
KINDS: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "JPEG": ("JPEG", "RGB", {"optimize": True}, 4),
    "progressive 4:2:0": ("JPEG", "RGB", {"progressive": True}, 7),
    "progressive 4:4:4": ("JPEG", "RGB", {"progressive": True, "subsampling": 0}, 10),
    "progressive CMYK": ("JPEG", "CMYK", {"progressive": True}, 12),
    "PNG with alpha": ("PNG", "RGBA", {"compress_level": 9}, 4),
    "WebP": ("WEBP", "RGB", {"method": 0, "quality": 0}, 20),
}
SIDE_STEP = 250  # pixels between two sizes that are tried


def largest(url: str, name: str, memory_mb: int) -> int:
    """The longest side of a square picture that scores; one SIDE_STEP longer is refused."""
    kind, mode, options, each = KINDS[name]
    expected = int((memory_mb * 2**20 / each) ** 0.5) // SIDE_STEP
    low, high = expected // 2, expected + 1
    while high - low > 1:
        middle = (low + high) // 2
        side = middle * SIDE_STEP
        answer = call(url, {"image": plain(side, side, kind, mode, **options), "top_k": 1})
        assert answer.code in {None, "TooManyPixels"}, f"{name}, {side}: {answer}"
        low, high = (middle, high) if answer.code is None else (low, middle)
    return low * SIDE_STEP


def largest_pictures(memory_mb: int) -> Seen:
    options = (
        f"--memory={memory_mb}m",
        f"--memory-swap={memory_mb}m",
        *("-e", f"AWS_LAMBDA_FUNCTION_MEMORY_SIZE={memory_mb}"),
        *("-e", "MAX_IMAGE_PIXELS=1000000000", "-e", "LOAD_MODELS=all"),
    )
    with container(*options) as (_, url):
        found = {name: largest(url, name, memory_mb) for name in KINDS}
        seconds = recovered(url)
    sizes = ", ".join(f"{name} {side * side / 1e6:.0f}" for name, side in found.items())
    return Seen(
        f"megapixels that score: {sizes}; {SIDE_STEP} pixels more a side: `TooManyPixels`",
        seconds,
        "the environment",
    )


for size in (SMALLEST_MB, 1024, 1769):
    fault(f"the largest pictures in {size} MB, by the kernel's count", slow=size > SMALLEST_MB)(
        functools.partial(largest_pictures, size)
    )


@fault("/tmp is full")
def tmp_full() -> Seen:
    with container("--read-only", "--tmpfs=/tmp:size=1m") as (name, url):
        fill = "import os,sys\ntry:\n open('/tmp/x','wb').write(bytes(2**21))\nexcept OSError: pass"
        docker("exec", name, "python", "-c", fill)
        right(call(url, EVENT))
        seconds = recovered(url)
    return Seen("nothing", seconds, "every request")


@fault("no processor to speak of: a quarter of one, for 16 photos")
def cpu_starved() -> Seen:
    with container("-e", "AWS_LAMBDA_FUNCTION_TIMEOUT=3") as (name, url):
        docker("update", "--cpus=0.25", name)
        right(call(url, EVENT))
        photo = {"image": plain(4000, 3000, "JPEG")}
        answer = call(url, {"images": [photo] * 16, "top_k": 1})
        # A list, and so an answer in time: not the text of an environment that was killed.
        assert isinstance(answer.body, list), answer
        codes = [each.get("error", {}).get("code") for each in answer.body]
        assert len(codes) == 16
        assert set(codes) <= {None, "deadline_exceeded"}, codes
        assert codes == sorted(codes, key=lambda code: code is not None), codes
        seconds = recovered(url)
    late = codes.count("deadline_exceeded")
    return Seen(
        f"200 in time: {16 - late} scores, {late} `deadline_exceeded`", seconds, "the environment"
    )


# The command


def attempted(each: Fault) -> tuple[list[str], bool]:
    """The table's row of a fault, with what is printed on the way; whether it went as it should."""
    start = time.monotonic()
    try:
        seen = each.run()
    except Skipped as skipped:
        print(f"  SKIPPED: {skipped}")
        wanted = os.environ.get("REQUIRE_CONTAINER") == "1"
        print("  FAILED: REQUIRE_CONTAINER=1" * wanted)
        return [each.name, f"skipped: {skipped}", "", ""], not wanted
    except (AssertionError, requests.RequestException, EmulatorError, BoxError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        print(f"  FAILED: {Path(last.filename).name}:{last.lineno}: {error!r}", flush=True)
        return [], False
    ms = f"{seen.recovered_s * 1000:,.0f} ms"
    print(f"  {seen.callers}; right again after {ms}")
    print(f"  held: {seen.held}  ({time.monotonic() - start:.1f} s)", flush=True)
    return [each.name, seen.callers, ms, seen.held], True


def main(argv: Sequence[str] | None = None) -> int:
    """Run every fault and print the table. Exit status 1: a caller saw what none should."""
    p = argparse.ArgumentParser(prog="python -m tests.endurance.faults", description=__doc__)
    p.add_argument("--docs", action="store_true", help="write the table to docs/faults.md")
    p.add_argument("--only", metavar="TEXT", default="", help="faults whose name has this")
    args = p.parse_args(argv)
    if sys.platform != "linux":
        print("faults: skipped: AWS's emulator is a Linux binary")
        return 0
    chosen = [each for each in FAULTS if args.only in each.name]
    if not chosen or (args.docs and args.only):
        p.error(f"no fault has {args.only!r} in its name, or --docs, which takes the whole table")
    rows, failed = [], 0
    for each in chosen:
        if each.slow and not (args.docs or args.only):
            print(f"{each.name}\n  takes minutes: with --docs or --only")
            continue
        print(each.name, flush=True)
        row, good = attempted(each)
        rows.append(row)
        failed += not good
    if image.cache_info().currsize:
        docker("rmi", IMAGE)
    print(f"{len(rows)} faults, {failed} failed")
    if args.docs and not failed:
        head = ("fault", "callers saw", "right again after", "what held")
        put("faults", markdown(head, rows, words=(0, 1, 3)), DOCUMENT)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
