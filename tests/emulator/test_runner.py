"""The emulator's runner: it starts, says what is wrong, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from keras_to_lambda.deploy.emulator import ROOT, Emulator, EmulatorError, FunctionError
from keras_to_lambda.function_defaults import ARCHITECTURE, MEMORY_MB, PYTHON
from keras_to_lambda.runtime.common.aws_lambda import TIMEOUT_S
from tests.endurance.faults import Silent, alive

MODEL = ROOT / "models" / "clothing" / "clothing.tflite"


def descendants(pid: int) -> set[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = {int(child) for task in tasks for child in task.read_text().split()}
    return children.union(*(descendants(child) for child in children))


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_a_curl_that_works_and_leaves_nothing(end):
    command = subprocess.Popen(
        [sys.executable, "-m", "keras_to_lambda.deploy.emulator", "--port", "0"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with command:
        try:
            line = next(line for line in command.stdout if "curl" in line)
            body, url = re.search(r"curl -d @(\S+) (\S+)$", line).groups()
            scores = requests.post(url, data=(ROOT / body).read_bytes(), timeout=60).json()
            started = descendants(command.pid)
            command.send_signal(end)
            assert command.wait(60) == 0
        finally:
            command.kill()  # or leaving the block would wait for ever
    assert "t-shirt" in scores
    assert len(started) >= 2  # the emulator and the function
    assert not any(alive(pid) for pid in started)


def test_what_cannot_start_says_why(monkeypatch, tmp_path):
    (tmp_path / "cut.tflite").write_bytes(MODEL.read_bytes()[:100_000])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for options, message in (
            ({"port": taken.getsockname()[1]}, r"cannot listen on .*--port"),
            ({"model": tmp_path / "cut.tflite"}, r"does not start: SetupError: .*cut short"),
            ({"env": {"MAX_IMAGES": "many"}}, "MAX_IMAGES='many'"),
        ):
            with pytest.raises(EmulatorError, match=message), Emulator(**options):
                pass
    monkeypatch.setattr("keras_to_lambda.deploy.emulator.ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmulatorError, match="pipx install aws-sam-cli"), Emulator():
        pass


def test_a_silent_image_host_is_answered_before_the_function_is_killed():
    # A second emulator on this machine, beside the session's.
    with (
        Silent() as host,
        Emulator(env={"FETCH_PRIVATE_HOSTS": host.address}, timeout_s=2) as emulator,
        pytest.raises(FunctionError) as raised,
    ):
        emulator.invoke(host.event)
    assert raised.value.type == "DeadlineExceeded"


def test_threads_that_invoke_at_once_take_turns(emulator):
    event = json.loads((ROOT / "events" / "direct-image.json").read_text("utf-8"))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(emulator.invoke, [event] * 8))
    assert answers == [answers[0]] * 8
    assert "t-shirt" in answers[0]


def test_the_environment_of_the_function_is_lambdas(emulator):
    environs = []
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):  # a neighbour that has ended since it was listed
            environs.append(Path(f"/proc/{pid}/environ").read_text().split("\0"))
    [environ] = [each for each in environs if any("AWS_LAMBDA_RUNTIME_API=" in x for x in each)]
    assert {
        f"AWS_LAMBDA_FUNCTION_MEMORY_SIZE={MEMORY_MB}",
        f"LAMBDA_TASK_ROOT={ROOT}",
        "OPENBLAS_NUM_THREADS=1",
    } <= set(environ)


def test_time_memory_architecture_and_python_are_those_that_ship():
    template = (ROOT / "template.yaml").read_text("utf-8")
    time, memory, architecture = (
        re.search(rf"  {name}:\n(?: {{4}}.*\n)*? {{4}}Default: (\w+)\n", template)[1]
        for name in ("Timeout", "MemorySize", "Architecture")
    )

    assert (int(time), int(memory), architecture) == (TIMEOUT_S, MEMORY_MB, ARCHITECTURE)
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert f"ARG PYTHON_VERSION={PYTHON}\n" in dockerfile
