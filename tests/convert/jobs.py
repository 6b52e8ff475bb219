"""What the sandbox's tests run inside it."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from classifier.errors import SetupError
from convert import terminal
from convert.errors import ConvertError
from convert.sandbox import within


def double(*, number):
    return {"twice": 2 * number}


def complain(*, kind):
    raise {"convert": ConvertError, "setup": SetupError, "bug": KeyError}[kind]("the reason")


def connect(*, port):
    """How Python, a child process and the C library fare with a socket."""
    found = {}
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
        found["python"] = "connected"
    except OSError as error:
        found["python"] = type(error).__name__
    code = f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=2)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    found["child"] = "connected" if child.returncode == 0 else "refused"
    libc = ctypes.CDLL(None, use_errno=True)
    found["c"] = (
        "connected" if libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0) >= 0 else "refused"
    )
    return found


def take_memory(*, gigabytes):
    return int(np.ones(int(gigabytes * 1e9), np.uint8).sum())


def never_end(*, trace):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(trace).write_text(f"{os.getpid()} {child.pid}", encoding="utf-8")
    time.sleep(600)


def hang(*, seconds):
    with within(seconds):
        libc = ctypes.PyDLL(None)  # holds the interpreter: no Python signal handler gets a turn
        libc.sleep(600)


def crash():
    ctypes.string_at(0)


def chatter():
    os.write(2, b"a library's chatter\n")
    os.write(1, b"more of it\n")
    terminal.step("working")
