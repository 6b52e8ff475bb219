"""A real server on a free port, with the real models."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.serve.gateway import Gateway
from tests import aws_signature
from tests.http_host import wsgi

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def running(*arguments, **environ):
    """`k2l serve`, as people start it: its URL, with no slash at the end, and the process."""
    with subprocess.Popen(
        [sys.executable, "-m", "keras_to_lambda", "serve", "--port", "0", *arguments],
        cwd=ROOT,
        env={**os.environ, "LOG_LEVEL": "ERROR", **environ},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            url = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
            yield url, process
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def server():
    with running() as (url, _):
        yield url


@pytest.fixture(scope="session")
def handler():
    return Handler(Settings(num_threads=1, log_level="FATAL"))


@pytest.fixture(scope="session")
def guarded(handler):
    """The function behind a gateway that a key or a signature opens: its URL."""
    with wsgi(aws_signature.guarded(Gateway(handler.handle))) as url:
        yield url
