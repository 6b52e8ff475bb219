"""What the sandbox's tests run inside it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from keras_to_lambda.cli import progress
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.sandbox.sandbox import within
from keras_to_lambda.runtime.common.errors import SetupError


def double(*, number):
    return {"twice": 2 * number}


def complain(*, kind):
    if kind == "library":
        import h5py

        h5py.File("none.h5", "r")
    raise {"convert": ConvertError, "setup": SetupError, "bug": KeyError}[kind]("the reason")


def compute(*, path, folder):
    """What every job does: read, write, move, use threads and the clock."""
    draft = Path(folder) / "parts"
    draft.mkdir()
    np.save(draft / "made.npy", np.array([1.0, 2.0]))
    (draft / "made.npy").replace(Path(folder) / "made.npy")
    draft.rmdir()
    with tempfile.TemporaryFile() as file, ThreadPoolExecutor(8) as pool:
        file.write(b"more")
        barrier = threading.Barrier(8, timeout=60)
        threads = set(pool.map(lambda _: (barrier.wait(), threading.get_ident())[1], range(8)))
    return {
        "sample": Path(path).read_text(encoding="utf-8"),
        "threads": len(threads),
        "time": time.localtime().tm_year > 2000,
    }


def environment():
    return dict(os.environ)


def leave_a_process():
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid


def plant_a_link(*, folder):
    (Path(folder) / "planted").symlink_to("/etc/passwd")


def answer_itself():
    """Leave an answer and end, before the sandbox writes it."""
    (Path(os.environ["HOME"]) / "answer.json").write_bytes(b"[" * 1_000_000)
    os._exit(0)


def send_escapes():
    progress.step("\33[2Jall is well")
    os.write(progress._parent, b"\33[2J\n[1]\n" + b"x" * 100_000 + b"\n")


def take_memory(*, gigabytes):
    return int(np.ones(int(gigabytes * 1e9), np.uint8).sum())


def never_end(*, path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    draft = Path(path).with_suffix(".part")
    draft.write_text(f"{os.getpid()} {child.pid}", encoding="utf-8")
    draft.rename(path)
    time.sleep(600)


def hang(*, seconds):
    with within(seconds):
        libc = ctypes.PyDLL(None)  # holds the interpreter: no Python signal handler gets a turn
        libc.sleep(600)


def load(*, model, wanted, folder):
    from keras_to_lambda.convert.network import keras_model

    keras_model.load(Path(model), keras_model.Wanted(**wanted))


def fill_the_log():
    os.ftruncate(2, 1 << 30)
    os.lseek(2, 0, os.SEEK_END)
    os.write(2, b"\nthe last words\n")
    os._exit(3)


def crash():
    ctypes.string_at(0)


def chatter():
    os.write(2, b"a library's chatter\n")
    os.write(1, b"more of it\n")
    progress.step("working")
