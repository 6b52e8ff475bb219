"""Confinement: what a process takes from itself before it touches a file that is not its own."""

from __future__ import annotations

import ctypes
import errno
import platform
import signal
import struct
import sys
from typing import Any

# Classic BPF over struct seccomp_data {int nr; u32 arch; u64 ip; u64 args[6]}
# (linux/bpf_common.h, linux/seccomp.h): load a word, jump if equal, return a verdict.
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38  # linux/prctl.h
_SECCOMP_MODE_FILTER = 2
# AUDIT_ARCH_* (linux/audit.h); the numbers of socket and io_uring_setup (asm/unistd.h).
# A socket can also come of io_uring, which no filter sees.
_ARCHITECTURES = {
    "x86_64": (0xC000003E, (41, 425)),
    "aarch64": (0xC00000B7, (198, 425)),
}
# x86-64 kernels also take the x32 calls: the same numbers with this bit.
_X32 = 0x40000000


def confine(memory_bytes: int | None) -> None:
    """Give up the network, core dumps, and memory beyond a limit, for good, children included.

    On Linux (x86-64, arm64) a seccomp filter refuses every new socket, whoever asks, RLIMIT_AS
    bounds the address space, and the process ends with its parent. Elsewhere only Python's own
    sockets are refused, by an audit hook, and the memory is not bounded.
    """
    _limit(memory_bytes)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if not _refuse_sockets():
        sys.addaudithook(_refuse_python_sockets)


def _limit(memory_bytes: int | None) -> None:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # macOS accepts the call and does nothing.
    if memory_bytes is not None and sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _refuse_sockets() -> bool:
    """Whether the kernel took the filter."""
    known = _ARCHITECTURES.get(platform.machine()) if sys.platform == "linux" else None
    if known is None:
        return False
    architecture, numbers = known
    refused = [number | bit for number in numbers for bit in (0, _X32)]
    program = [
        _instruction(_LOAD, k=_ARCHITECTURE_AT),
        _instruction(_JUMP_IF_EQUAL, k=architecture, if_true=1),
        _instruction(_RETURN, k=_KILL_PROCESS),
        _instruction(_LOAD, k=_NUMBER_AT),
        # Each jumps over what is left of the list, and over the line that allows.
        *(
            _instruction(_JUMP_IF_EQUAL, k=number, if_true=len(refused) - index)
            for index, number in enumerate(refused)
        ),
        _instruction(_RETURN, k=_ALLOW),
        _instruction(_RETURN, k=_ERRNO | errno.EACCES),
    ]
    code = ctypes.create_string_buffer(b"".join(program))
    # struct sock_fprog {unsigned short len; struct sock_filter *filter;}, natively aligned.
    fprog = struct.pack("HP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, fprog, 0, 0) == 0)


def _instruction(code: int, *, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, k)


def _refuse_python_sockets(event: str, _: tuple[Any, ...]) -> None:
    if event in ("socket.__new__", "socket.connect", "socket.getaddrinfo"):
        raise PermissionError(errno.EACCES, "this process has no network")
