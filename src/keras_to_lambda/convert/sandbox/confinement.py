"""Confinement: a process gives up its rights before it opens a file of unknown origin."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import site
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from keras_to_lambda.convert.sandbox import landlock, seccomp

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Files of the system that the C library, Python and TensorFlow read. /proc/self is this process.
SYSTEM = (
    *("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib"),
    *("/nix/store", "/gnu/store"),
    *("/etc/ld.so.cache", "/etc/localtime", "/usr/share/locale", "/usr/share/zoneinfo"),
    *("/dev/urandom", "/dev/random", "/dev/zero"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm"),
    "/sys/devices/system",
)
DEVICES = ("/dev/null",)  # written to as well


def confine(
    memory_bytes: int, reads: Iterable[str | Path], writes: Iterable[str | Path], parent: int
) -> None:
    """Give up all rights that computing does not need, for good.

    On Linux (x86-64, arm64) seccomp leaves no network, no other processes and no programs, and
    Landlock leaves the files that are named here. The memory is bounded, and the process ends with
    its parent. Elsewhere only Python's own sockets are refused, by an audit hook. Raises OSError
    where the kernel has Landlock, and refused.

    Args:
        memory_bytes: address space, and the size of the largest file that can be written.
        reads, writes: files and folders, beside those of the system and of this interpreter.
        parent: the process that this one ends with.
    """
    _limit(memory_bytes)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before
            os._exit(1)
    landlock.restrict([*SYSTEM, *interpreter(), *reads], [*DEVICES, *writes])
    if not seccomp.restrict():
        sys.addaudithook(_refuse_python_sockets)


def interpreter() -> list[str]:
    """The folders of this Python's libraries, and of those that it is given.

    Not all that modules are imported from: the current folder and PYTHONPATH hold other files too.
    """
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    installed = [sysconfig.get_path(x) for x in ("stdlib", "platstdlib", "purelib", "platlib")]
    prefixes = (sys.base_prefix, sys.base_exec_prefix)  # conda has C libraries there
    own = [str(Path(prefix, "lib")) for prefix in prefixes]
    return [path for path in (*installed, *site.getsitepackages(), *own, *libraries) if path]


def _limit(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (memory_bytes, memory_bytes))
    # macOS accepts the call and does nothing.
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _refuse_python_sockets(event: str, _: tuple[Any, ...]) -> None:
    if event in ("socket.__new__", "socket.connect", "socket.getaddrinfo"):
        raise PermissionError(errno.EACCES, "this process has no network")
