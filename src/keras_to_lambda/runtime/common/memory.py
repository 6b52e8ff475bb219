"""Memory: how many bytes this process may still take.

Lambda kills a function that takes more than it is given, and so does a container's kernel: what a
picture needs is compared with what is left before it is decoded.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from keras_to_lambda.runtime.common.record import Any, Self

# Contiguous memory: bytes, or an array.
Buffer = Any

# Kept back for the interpreter's work, the answer, and the runtime's other processes.
RESERVE = 40_000_000
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
# cgroup version 1 writes "no limit" as the largest multiple of a page.
UNLIMITED = 1 << 60
# glibc's malloc.h; a single block may have 32 MB at the most.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
KEPT, KEPT_BLOCK = 64 << 20, 32 << 20
# What the heap grows by once: less than KEPT, which would be returned; and always.
RESERVED, TOP_PAD = 48 << 20, 128 << 10
# Linux's mman.h; and the size of a huge page.
MADV_HUGEPAGE, HUGE = 14, 2 << 20
# What is reserved without a look at the memory that is left, in bytes.
SMALL = 16_000_000


class Room:
    """Memory that threads share: each reserves bytes before it takes them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.reserved = 0


class Share:
    """What one thread reserved, until the end of a `with`."""

    def __init__(self, room: Room) -> None:
        self._room, self._bytes = room, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._room.lock:
            self._room.reserved -= self._bytes
            self._bytes = 0
            self._room.changed.notify_all()

    def reserve(self, needs: int, left: Callable[[], int], wait_s: float) -> bool:
        """Reserve bytes as soon as they are left beside what others have reserved.

        What others have both reserved and taken counts twice, until they have ended.

        Returns:
            Whether they are reserved: False where they are not left to this thread alone.

        Raises TimeoutError: others have them for longer than `wait_s`.
        """
        room = self._room
        with room.lock:
            if needs > SMALL:

                def decided() -> bool:
                    return not room.reserved or needs <= left() - room.reserved

                if not room.changed.wait_for(decided, max(0.0, wait_s)):
                    raise TimeoutError
                if needs > left() - room.reserved:
                    return False
            room.reserved += needs
            self._bytes += needs
            return True


def limit(environ: Mapping[str, str] = os.environ, root: str = "") -> int | None:
    """The bytes that this process is given: Lambda's, or its cgroup's; None: no limit."""
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
    """The bytes that this process may still take; the largest number where no limit is found."""
    found = [UNLIMITED]
    if limit is not None and (pages := _read(root + "/proc/self/statm").split()):
        found.append(limit - int(pages[1]) * PAGE)
    _, _, text = _read(root + "/proc/meminfo").partition("MemAvailable:")
    if text:
        found.append(int(text.split(None, 1)[0]) << 10)
    return min(found) - RESERVE


def keep() -> None:
    """Let the C library keep memory that is free for the next picture, in huge pages, where it can.

    Weights and pictures then take fewer page faults.
    """
    with suppress(OSError, AttributeError):  # glibc has it, others do not
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK)
        library.mallopt(M_TRIM_THRESHOLD, KEPT)
        _reserve(library)


def give_back() -> None:
    """Return to the system what is free inside of the C library's heap, where it can."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.malloc_trim(0)
        _reserve(library)


def _reserve(library: ctypes.CDLL) -> None:
    """Let the heap grow, and lie in huge pages there: addresses, which take no memory yet."""
    library.sbrk.restype = library.malloc.restype = ctypes.c_void_p
    begin = -(-library.sbrk(None) // HUGE) * HUGE
    library.mallopt(M_TOP_PAD, RESERVED)
    library.free(ctypes.c_void_p(library.malloc(HUGE)))
    library.mallopt(M_TOP_PAD, TOP_PAD)  # of threads' heaps, too
    size = library.sbrk(None) - begin
    if size > 0:
        library.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(size), MADV_HUGEPAGE)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123  # pathlib costs 3 ms
            return file.read()
    except OSError:
        return ""
