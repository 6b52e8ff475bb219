"""The child process in which model files are worked on: what it can do, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convert import terminal
from convert.errors import ConvertError
from convert.sandbox import Sandbox

linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux gives up sockets and memory for good"
)
# Importable in the child, whose path is the project's root.
JOBS = "tests.convert.jobs"
ROOT = Path(__file__).parents[2]


def test_json_goes_in_and_comes_out():
    assert Sandbox().call(f"{JOBS}:double", number=21) == {"twice": 42}


@pytest.mark.parametrize("kind", ["convert", "setup"])
def test_an_error_of_ours_arrives_as_it_was_said(kind):
    with pytest.raises(ConvertError, match=r"^the reason$"):
        Sandbox().call(f"{JOBS}:complain", kind=kind)


def test_a_bug_arrives_with_its_traceback():
    with pytest.raises(RuntimeError, match="KeyError: 'the reason'"):
        Sandbox().call(f"{JOBS}:complain", kind="bug")


@linux
def test_nobody_in_it_gets_a_socket():
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = Sandbox().call(f"{JOBS}:connect", port=server.getsockname()[1])
    assert found == {"python": "PermissionError", "child": "refused", "c": "refused"}


@linux
def test_more_memory_than_it_may_have_is_told():
    assert Sandbox(memory_gb=2).call(f"{JOBS}:take_memory", gigabytes=0.1) == 100_000_000
    with pytest.raises(ConvertError, match="takes more than 2 GB of memory; --max-memory"):
        Sandbox(memory_gb=2).call(f"{JOBS}:take_memory", gigabytes=4)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie answers too.
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")


@linux
def test_what_never_ends_is_ended_with_all_that_it_started(tmp_path):
    trace = tmp_path / "pids"
    with pytest.raises(ConvertError, match=r"stopped after 0\.05 minutes"):
        Sandbox(minutes=0.05).call(f"{JOBS}:never_end", trace=str(trace))
    pids = [int(pid) for pid in trace.read_text(encoding="utf-8").split()]
    give_up = time.monotonic() + 10
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < give_up, "still running"
        time.sleep(0.05)


def test_a_crash_is_a_sentence():
    with pytest.raises(ConvertError, match=r"died .*the file is damaged, or crashes whoever loads"):
        Sandbox().call(f"{JOBS}:crash")


def test_c_code_that_hangs_is_ended():
    with pytest.raises(ConvertError, match="could not be read in time"):
        Sandbox().call(f"{JOBS}:hang", seconds=1)


def test_libraries_are_silent_and_steps_are_heard(capfd):
    Sandbox().call(f"{JOBS}:chatter")
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err == "convert: working ...\n"


@linux
def test_ctrl_c_ends_the_command_and_its_child_and_leaves_nothing(tmp_path):
    model = ROOT / "models" / "clothing" / "clothing.keras"
    output = tmp_path / "out" / "net.tflite"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "convert", str(model), "-o", str(output)),
            *("--samples", str(ROOT / "samples")),
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job, as a test run may be, has SIGINT ignored, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    assert "loading the model" in process.stderr.readline()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("utf-8").split()
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=20)[1]
    assert process.returncode == 130
    assert told.strip() == "convert: stopped"
    assert not list(output.parent.iterdir())
    assert len(children) == 1
    assert not any(alive(int(pid)) for pid in children)


def test_quiet_is_quiet_in_there_too(capfd):
    terminal.use(quiet=True)
    try:
        Sandbox().call(f"{JOBS}:chatter")
    finally:
        terminal.use()
    assert capfd.readouterr() == ("", "")
