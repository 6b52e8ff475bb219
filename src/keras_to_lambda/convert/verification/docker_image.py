"""Container: the function's image run by Docker, with the model that is to be proven."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.runtime.common.aws_lambda import INVOCATIONS_PATH

MODEL = "/model.tflite"
STARTS_WITHIN_S = 60


@contextlib.contextmanager
def running(image: str, model: Path) -> Iterator[str]:
    """Run an image that was built by the project's Dockerfile; the URL that invokes its function.

    The model is copied in, so that it works with an engine on another machine too.
    """
    if shutil.which("docker") is None:
        raise ConvertError("--container needs Docker, and there is no docker command")
    name = _docker("create", "-p", "127.0.0.1::8080", "-e", f"MODEL_PATH={MODEL}", image)
    try:
        _docker("cp", str(model), f"{name}:{MODEL}")
        _docker("start", name)
        url = f"http://{_docker('port', name, '8080/tcp').split()[0]}{INVOCATIONS_PATH}"
        _wait(url, name)
        yield url
    finally:
        subprocess.run(["docker", "rm", "-f", name], capture_output=True, check=False)


def _docker(*arguments: str) -> str:
    done = subprocess.run(
        ["docker", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if arguments[0] == "logs" else subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConvertError(f"docker {arguments[0]}: {reason}")
    return done.stdout.strip()


def _wait(url: str, name: str) -> None:
    """Until the function answers: Docker's proxy accepts connections before there is a server."""
    give_up = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < give_up:
        try:
            # An event without an image: any answer is one.
            requests.post(url, data=json.dumps({}), timeout=STARTS_WITHIN_S)
        except requests.RequestException:
            if _docker("inspect", "-f", "{{.State.Running}}", name) != "true":
                break
            time.sleep(0.1)
        else:
            return
    raise ConvertError(f"the container does not answer: {_docker('logs', '--tail', '5', name)}")
