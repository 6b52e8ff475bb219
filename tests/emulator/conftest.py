"""The real emulator with the real handler and model, and a server for the images it fetches."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keras_to_lambda.deploy.emulator import ROOT, Emulator
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from tests.http_host import HttpHost, QuietFiles

SAMPLES = ROOT / "samples"


@pytest.fixture(scope="session", autouse=True)
def linux() -> None:
    if sys.platform != "linux":
        pytest.skip("AWS's emulator is a Linux binary")


@pytest.fixture(scope="session")
def image_host() -> Iterator[str]:
    """host:port of a server that has samples/ at its root."""
    with HttpHost(QuietFiles.of(SAMPLES)) as server:
        yield server.address


@pytest.fixture(scope="session")
def emulator(image_host: str) -> Iterator[Emulator]:
    with Emulator(env={"FETCH_PRIVATE_HOSTS": image_host}) as running:
        yield running


@pytest.fixture(scope="session")
def read_event(image_host: str) -> Callable[[Path], Any]:
    """Read one of events/, with the address of our own image server in it."""

    def read(path: Path) -> Any:
        return json.loads(path.read_text("utf-8").replace("127.0.0.1:8000", image_host))

    return read


@pytest.fixture(scope="session")
def local_scores() -> Callable[[bytes], Any]:
    """The handler in this process: what the emulator has to answer too."""
    handler = Handler(Settings.from_environ({"LOG_LEVEL": "ERROR"}))

    def scores(image: bytes) -> Any:
        answer = handler.handle({"image": base64.b64encode(image).decode()})
        return pytest.approx(answer, rel=1e-4, abs=1e-5)

    return scores
