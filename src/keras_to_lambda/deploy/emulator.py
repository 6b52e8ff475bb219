"""Emulator: the function in AWS's own Runtime Interface Emulator (RIE), on this machine, no Docker.

    python -m keras_to_lambda.deploy.emulator [--port 9000] [--model PATH]

The binary comes with aws-sam-cli. It is the one in Lambda's base images, and speaks Lambda's Invoke
API at one URL (https://github.com/aws/aws-lambda-runtime-interface-emulator). Where it differs from
Lambda: a function's error has status 200 and no X-Amz-Function-Error header, so the body tells;
a payload over 6 MB is cut where Lambda refuses it; overlapping requests crash it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Self

import requests

from keras_to_lambda.cli import frame
from keras_to_lambda.function_defaults import MEMORY_MB, PYTHON
from keras_to_lambda.project import ROOT
from keras_to_lambda.runtime.common.aws_lambda import INVOCATIONS_PATH, TIMEOUT_S
from keras_to_lambda.runtime.common.errors import UserError

HANDLER = "lambda_function.lambda_handler"
HOST = "127.0.0.1"
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
# A CORS preflight: the one event that every model answers without an image.
PREFLIGHT = {
    "version": "2.0",
    "rawPath": "/predict",
    "requestContext": {"http": {"method": "OPTIONS", "path": "/predict"}},
}


class EmulatorError(UserError):
    """The emulator cannot run or answer; the message says what to do."""


class FunctionError(UserError):
    """The function failed: `type` and `message` as Lambda reports them to the caller."""

    def __init__(self, type: str, message: str) -> None:
        super().__init__(f"{type}: {message}")
        self.type = type
        self.message = message


def find_binary() -> Path:
    """The emulator's binary for this machine: the one beside `sam`.

    Raises:
        EmulatorError: there is none, or none for this system.
    """
    if sys.platform != "linux":
        raise EmulatorError(
            "AWS's emulator is a Linux binary; here `make run` serves the same handler at the same "
            "URL, and `docker run` runs it in its container"
        )
    name = f"aws-lambda-rie-{'arm64' if platform.machine() == 'aarch64' else 'x86_64'}"
    sam = shutil.which("sam")
    homes = [ROOT / ".venv-aws", *([Path(sam).resolve().parent.parent] if sam else [])]
    for home in homes:
        for path in home.glob(f"lib/python*/site-packages/samcli/local/rapid/{name}"):
            return path
    raise EmulatorError(
        f"no emulator for a {platform.machine()} processor; it comes with aws-sam-cli: "
        "`pipx install aws-sam-cli`"
    )


def find_python() -> Path:
    """A Python that has the function's packages and awslambdaric: this one, or `.venv`'s.

    Raises:
        EmulatorError: neither has them.
    """
    if importlib.util.find_spec("awslambdaric"):
        return Path(sys.executable)
    python = ROOT / ".venv" / "bin" / "python"
    if python.exists():
        return python
    raise EmulatorError(
        "the function's environment is missing; run `make emulator`, which makes it, or install "
        "requirements.txt and awslambdaric"
    )


class Emulator:
    """A running emulator, from `with` to the end of its block.

        with Emulator() as emulator:
            scores = emulator.invoke({"url": "https://example.com/t-shirt.jpg"})

    Args:
        port: where it listens; 0 picks a free port.
        model: a `.tflite` file in place of the default model.
        env: settings of the function, over those of this process.
        quiet: keep the function's output in `log()` instead of passing it on.

    Raises:
        EmulatorError: it cannot start, or the function cannot.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        model: Path | str | None = None,
        env: dict[str, str] | None = None,
        quiet: bool = True,
        timeout_s: int = TIMEOUT_S,
    ) -> None:
        self.port = self._wanted_port = port
        self._timeout_s = timeout_s
        self._env = {
            **os.environ,
            # Lambda's, https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
            "AWS_LAMBDA_FUNCTION_NAME": "function",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            # What ships, whichever Python runs here: the runtime's client answers by it.
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{PYTHON}",
            "LAMBDA_TASK_ROOT": str(ROOT),
            "TZ": ":UTC",
            # The emulator's own.
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout_s),
            # The image's.
            "OPENBLAS_NUM_THREADS": "1",
            **({"MODEL_PATH": str(Path(model).resolve())} if model else {}),
            **(env or {}),
        }
        self._quiet = quiet
        self._log: IO[bytes] | None = None
        self._said = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._one_at_a_time = threading.Lock()

    @property
    def endpoint(self) -> str:
        """What boto3 takes as `endpoint_url`; the function's name there is `function`."""
        return f"http://{HOST}:{self.port}"

    @property
    def url(self) -> str:
        return self.endpoint + INVOCATIONS_PATH

    def __enter__(self) -> Self:
        if self._quiet:
            self._log = tempfile.TemporaryFile()  # stop() closes it
        try:
            for _ in range(3):  # a port that was free may be taken by then
                self.port = _free_port(self._wanted_port)
                if self._start():
                    break
            else:
                raise EmulatorError(f"the emulator ended as it started: {self._last_words()}")
            # Load the model now: the emulator starts the function only with its first event.
            self.invoke(PREFLIGHT)
        except FunctionError as error:
            self.stop()
            raise EmulatorError(f"the function does not start: {error}") from error
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> bool:
        """Start it and wait until it listens; False when it ended instead."""
        self._process = subprocess.Popen(  # noqa: S603  # our own command, no shell
            [
                find_binary(),
                # Said aloud, as RIE would otherwise take the function's LOG_LEVEL for its own.
                *("--log-level", "error"),
                *("--runtime-interface-emulator-address", f"{HOST}:{self.port}"),
                # Its default, 127.0.0.1:9001, would allow only one emulator on a machine.
                *("--runtime-api-address", f"{HOST}:{_free_port()}"),
                *(find_python(), "-m", "awslambdaric", HANDLER),
            ],
            cwd=ROOT,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            # Ctrl-C is for this process, which then ends the other in order.
            start_new_session=True,
        )
        give_up = time.monotonic() + 10
        while self._process.poll() is None:
            try:
                socket.create_connection((HOST, self.port), timeout=1).close()
            except OSError:
                if time.monotonic() > give_up:
                    raise EmulatorError("the emulator does not listen after 10 s") from None
                time.sleep(0.01)
            else:
                return True
        return False

    def stop(self) -> None:
        """End the emulator and the function. Does nothing when they have ended."""
        process, self._process = self._process, None
        if process:
            process.terminate()  # RIE ends its runtime's process, then itself
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._said = self.log()
        if self._log:
            self._log.close()
            self._log = None

    def wait(self) -> int:
        """Wait until the emulator ends by itself; its exit code."""
        return self._process.wait() if self._process else 0

    def invoke(self, event: Any) -> Any:
        """Invoke the function as boto3 would, and return its answer.

        Raises:
            FunctionError: the function raised, or ran out of time.
            EmulatorError: the emulator could not carry the event.
        """
        payload = json.dumps(event).encode()
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise EmulatorError("the event is over 6 MB: Lambda refuses it, the emulator cuts it")
        with self._one_at_a_time, requests.Session() as session:
            session.trust_env = False  # it would ask the environment for a proxy
            try:
                response = session.post(self.url, payload, timeout=self._timeout_s + 10)
            except requests.RequestException as error:
                raise EmulatorError(f"no answer from {self.url}: {self._last_words()}") from error
        try:
            answer = response.json()
        except ValueError:
            # "Task timed out after 28.00 seconds", or nothing at all when the process died.
            status = response.status_code
            text = response.text or f"status {status}; {self._last_words()}"
            raise FunctionError("Sandbox.Failure" if status != 200 else "Timeout", text) from None
        if isinstance(answer, dict) and isinstance(answer.get("errorType"), str):
            raise FunctionError(answer["errorType"], str(answer.get("errorMessage", "")))
        return answer

    def log(self) -> str:
        """What the emulator and the function have printed so far; empty unless `quiet`."""
        if self._log is None:
            return self._said
        # By its path: the descriptor's position is the writers'.
        return Path(f"/proc/self/fd/{self._log.fileno()}").read_text(errors="replace")

    def _last_words(self) -> str:
        return " | ".join(self.log().splitlines()[-5:]) or "see its output above"


def _free_port(wanted: int = 0) -> int:
    """The wanted port, or any for 0.

    Raises:
        EmulatorError: it is in use.
    """
    try:
        with socket.create_server((HOST, wanted)) as server:
            return int(server.getsockname()[1])
    except OSError as error:
        raise EmulatorError(
            f"cannot listen on {HOST}:{wanted}: end what uses it, or choose another with --port"
        ) from error


@frame.command("emulator", refused=frame.FAILED)
def main(argv: Sequence[str] | None = None) -> int:
    parser = frame.Parser(
        "python -m keras_to_lambda.deploy.emulator",
        "The function in AWS's Runtime Interface Emulator, without Docker.",
    )
    parser.add_argument("--port", type=int, default=9000, help="0 for any (default: %(default)s)")
    parser.add_argument(
        "--model", type=Path, help="a .tflite file, or a folder of them (default: all in models/)"
    )
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.port <= 65535:
        parser.error(f"invalid port: {arguments.port}; use 0 to 65535")
    for name in {"SIGINT", "SIGTERM", "SIGHUP"} & set(signal.Signals.__members__):
        # Leaves the `with`, which ends the rest. SIGINT too: a shell's background job inherits it
        # as ignored, and Python then raises no KeyboardInterrupt.
        signal.signal(signal.Signals[name], lambda *_: sys.exit(0))
    with Emulator(arguments.port, model=arguments.model, quiet=False) as emulator:
        print(
            "the function answers; Ctrl-C ends it. Try:  "
            f"curl -d @events/direct-image.json {emulator.url}",
            flush=True,
        )
        return emulator.wait()


if __name__ == "__main__":
    sys.exit(main())
