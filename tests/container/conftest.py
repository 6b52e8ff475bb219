"""The image built by the project's Dockerfile, run by Docker and by sam.

Without a Docker engine, or sam, the tests are skipped; REQUIRE_CONTAINER=1 makes that a failure.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from tests.http_host import HttpHost, QuietFiles
from tests.unavailable import unavailable

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
TAG = "keras-to-lambda:test"
INVOCATIONS = "/2015-03-31/functions/function/invocations"
# The name by which a container reaches this machine; Docker Desktop knows it, Linux needs this.
HOST = "host.docker.internal"
ADD_HOST = f"--add-host={HOST}:host-gateway"


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command, by default in the project's folder; an error has its whole output."""
    result = subprocess.run(
        command,
        text=True,
        check=False,
        capture_output=True,
        **{"cwd": ROOT, "env": {**os.environ, "SAM_CLI_TELEMETRY": "0"}, **options},
    )
    if result.returncode:
        raise AssertionError(
            f"{' '.join(map(str, command))}\nended with {result.returncode}\n"
            f"{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
        )
    return result


def _ask(method: str, url: str, **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False  # it would ask the environment for a proxy
        return session.request(method, url, **{"timeout": 60, **options})


def post(url: str, body: bytes, content_type: str = "application/json") -> tuple[int, Any]:
    """Status and JSON of a POST."""
    answer = _ask("POST", url, data=body, headers={"Content-Type": content_type})
    return answer.status_code, answer.json()


def get(url: str) -> tuple[bytes, Mapping[str, str]]:
    """Body and headers of a GET that succeeds."""
    answer = _ask("GET", url)
    assert answer.status_code == 200, answer.text
    return answer.content, answer.headers


def until_it_answers(host: str, what: str, ended: Callable[[], bool]) -> None:
    """Wait for an HTTP server: a proxy of Docker's accepts connections before there is one."""
    give_up = time.monotonic() + 60
    while not ended():
        try:
            _ask("GET", f"http://{host}/", timeout=5)
        except requests.RequestException:
            assert time.monotonic() < give_up, f"{what} does not answer after 60 s"
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"{what} ended as it started")


@pytest.fixture(scope="session")
def docker() -> str:
    if not shutil.which("docker"):
        unavailable("docker is not installed", "REQUIRE_CONTAINER")
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        unavailable("no Docker engine answers", "REQUIRE_CONTAINER")
    return "docker"


@pytest.fixture(scope="session")
def sam() -> str:
    beside = ROOT / ".venv-aws" / "bin" / "sam"
    found = os.environ.get("SAM") or (str(beside) if beside.exists() else shutil.which("sam"))
    if not found:
        unavailable("sam is not installed", "REQUIRE_CONTAINER")
    return found


@pytest.fixture(scope="session")
def image(docker: str) -> Iterator[str]:
    """The image, built from the working tree."""
    run(docker, "build", "-t", TAG, ".", env={**os.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"})
    yield TAG
    run(docker, "rmi", TAG)


@pytest.fixture(scope="session")
def sam_build(docker: str, sam: str) -> Path:
    """The template that `sam build` wrote, where `sam local` looks for it."""
    run(sam, "build")
    return ROOT / ".aws-sam" / "build" / "template.yaml"


@contextlib.contextmanager
def container(image: str, *options: str) -> Iterator[tuple[str, str]]:
    """A running container: its id and the URL that invokes the function in it."""
    name = run("docker", "run", "-d", "-p", "127.0.0.1::8080", *options, image).stdout.strip()
    try:
        address = run("docker", "port", name, "8080/tcp").stdout.split()[0]
        until_it_answers(
            address,
            "the container",
            lambda: "true" not in run("docker", "inspect", "-f", "{{.State.Running}}", name).stdout,
        )
        yield name, f"http://{address}{INVOCATIONS}"
    finally:
        run("docker", "rm", "-f", name)


@pytest.fixture(scope="session")
def image_host(image: str) -> Iterator[str]:
    """host:port, as a container says it, of a server that has samples/ at its root."""
    code = f"import socket; print(socket.gethostbyname('{HOST}'))"
    command = ("docker", "run", "--rm", ADD_HOST, "--entrypoint", "python", image, "-c", code)
    address = run(*command).stdout.strip()
    files = QuietFiles.of(SAMPLES)
    try:
        # Where the engine is this machine's own, its bridge is the one address to listen on.
        server = HttpHost(files, address)
    except OSError:
        server = HttpHost(files)
    with server:
        yield f"{HOST}:{server.server_port}"


@pytest.fixture(scope="session")
def function(image: str, image_host: str) -> Iterator[str]:
    """The URL of the function in a container, with Lambda's limits on it and more.

    A root that is read-only, a user that the image does not know, half a gigabyte.
    """
    limits = ("--read-only", "--tmpfs=/tmp", "--user=12345", "--memory=512m", "--cap-drop=ALL")
    settings = ("-e", f"FETCH_PRIVATE_HOSTS={image_host}", ADD_HOST)
    with container(image, *limits, *settings) as (_, url):
        yield url


@pytest.fixture(scope="session")
def sam_env(image_host: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """events/local.env.json for our own image server."""
    path = tmp_path_factory.mktemp("sam") / "local.env.json"
    path.write_text(json.dumps({"Parameters": {"FETCH_PRIVATE_HOSTS": image_host}}), "utf-8")
    return path


@pytest.fixture(scope="session")
def start_api(sam: str, sam_build: Path, sam_env: Path) -> Iterator[str]:
    """The URL of /predict at `sam local start-api`."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [sam, "local", "start-api", "--port", str(port), "--env-vars", str(sam_env)]
    # Where these tests are a shell's background job, SIGINT is ignored, and sam would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with (sam_env.parent / "start-api.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "SAM_CLI_TELEMETRY": "0"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            until_it_answers(
                f"127.0.0.1:{port}", "sam local start-api", lambda: process.poll() is not None
            )
            yield f"http://127.0.0.1:{port}/predict"
        finally:
            process.send_signal(signal.SIGINT)  # on which sam removes its containers
            try:
                process.wait(60)
            finally:
                process.kill()


@pytest.fixture(scope="session")
def read_event(image_host: str) -> Callable[[Path], str]:
    """Read one of events/ as text, with the address of our own image server in it."""
    return lambda path: path.read_text("utf-8").replace("127.0.0.1:8000", image_host)


@pytest.fixture(scope="session")
def local_scores() -> Callable[[bytes], dict[str, float]]:
    """The handler in this process: what the container has to answer too."""
    handler = Handler(Settings.from_environ({"LOG_LEVEL": "ERROR"}))

    def scores(image: bytes) -> dict[str, float]:
        answer = handler.handle({"image": base64.b64encode(image).decode()})
        assert isinstance(answer, dict)
        return answer

    return scores
