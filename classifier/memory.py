"""Memory: how many bytes this process may still take.

Lambda kills a function that takes more than it is given, and so does a container's kernel: what a
picture needs is compared with what is left before it is decoded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

# Kept back for the interpreter's work, the answer, and the runtime's other processes.
RESERVE = 40_000_000
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
# cgroup version 1 writes "no limit" as the largest multiple of a page.
UNLIMITED = 1 << 60


def limit(environ: Mapping[str, str] = os.environ, root: str = "") -> int | None:
    """The bytes that this process is given: Lambda's, or its cgroup's; None: no limit.

    Args:
        environ: the environment.
        root: in front of /proc and /sys, for tests.
    """
    found = []
    configured = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    if configured.isdecimal():
        found.append(int(configured) << 20)
    for line in _read(root + "/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        folder, name = (
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            if controllers
            else ("/sys/fs/cgroup", "memory.max")
        )
        # In a container the path may be the host's, and its own group the root.
        while True:
            text = _read(f"{root}{folder}{path.rstrip('/')}/{name}").strip()
            if text.isdecimal() and int(text) < UNLIMITED:
                found.append(int(text))
            if path in ("/", ""):
                break
            path = os.path.dirname(path)  # noqa: PTH120
    return min(found, default=None)


def left(limit: int | None, root: str = "") -> int:
    """The bytes that this process may still take; the largest number where nothing tells."""
    found = [UNLIMITED]
    if limit is not None and (pages := _read(root + "/proc/self/statm").split()):
        found.append(limit - int(pages[1]) * PAGE)
    _, _, text = _read(root + "/proc/meminfo").partition("MemAvailable:")
    if text:
        found.append(int(text.split(None, 1)[0]) << 10)
    return min(found) - RESERVE


def give_back() -> None:
    """Return to the system what is free inside of the C library's heap, where it can."""
    import ctypes

    with suppress(OSError, AttributeError):  # glibc has it, others do not
        ctypes.CDLL(None).malloc_trim(0)


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123  # pathlib costs 3 ms
            return file.read()
    except OSError:
        return ""
