"""The engine as a process of its own environment."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-localstack" / "bin" / "python"
START_S = 180
REGION = "us-east-1"


class EngineError(Exception):
    """It does not start."""


class Engine:
    """LocalStack on a free port, its files in a temporary folder, from `start` to `stop`."""

    def __init__(self, invoke_url: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True)
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = Path(self._folder.name, "log")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [PYTHON, "-m", "tests.cloud.engine"],
                cwd=ROOT,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": self._folder.name,
                    "PYTHONPATH": str(ROOT),
                    "INVOKE_URL": invoke_url,
                    "GATEWAY_LISTEN": f"127.0.0.1:{self.port}",
                    "LOCALSTACK_HOST": f"127.0.0.1:{self.port}",
                    "FILESYSTEM_ROOT": self._folder.name,
                    "GATEWAY_SERVER": "hypercorn",
                    "OVERRIDE_IN_DOCKER": "0",  # this is no container
                    # No call to the network: no telemetry, no certificate, no name server.
                    "DISABLE_EVENTS": "1",
                    "SKIP_SSL_CERT_DOWNLOAD": "1",
                    "DNS_ADDRESS": "0",
                    "SQS_ENDPOINT_STRATEGY": "path",  # a queue's URL without a host name
                    # Its poller of a queue waits longer after each fault, and where nothing comes.
                    "LAMBDA_EVENT_SOURCE_MAPPING_MAX_BACKOFF_ON_ERROR_SEC": "1",
                    "LAMBDA_EVENT_SOURCE_MAPPING_MAX_BACKOFF_ON_EMPTY_POLL_SEC": "1",
                    # CodeDeploy and the dashboard, which it does not have, are taken as made.
                    "CFN_IGNORE_UNSUPPORTED_RESOURCE_TYPES": "1",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Until it answers.

        Raises:
            EngineError: it ended, or does not answer.
        """
        give_up = time.monotonic() + START_S
        while self._process.poll() is None and time.monotonic() < give_up:
            try:
                if requests.get(f"{self.url}/_localstack/health", timeout=5).ok:
                    return
            except requests.RequestException:
                time.sleep(0.2)
        raise EngineError(f"the engine does not start: {self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        self._process.kill()  # there is nothing to save
        self._process.wait()
        self._folder.cleanup()
