"""Seccomp: the system calls that a process may make, those of system_calls.txt.

The kernel refuses everything else: new processes and programs, sockets,
signals to others, debugging, mounts, io_uring, and calls that do not exist yet.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from importlib import resources

_CALLS = resources.files(__package__).joinpath("system_calls.txt").read_text("utf-8")
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # AUDIT_ARCH_*, column
# From here on the numbers are the same everywhere, and C libraries fall back from calls that the
# kernel lacks: from clone3, whose flags no filter sees, to clone.
_RECENT = 424

# Classic BPF over struct seccomp_data {int nr; u32 arch; u64 ip; u64 args[6]}
# (linux/bpf_common.h, linux/seccomp.h).
_LOAD, _AND, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2  # linux/prctl.h
_ALL = 0xFFFFFFFF


def _conditions(pid: int) -> dict[str, tuple[tuple[int, int, tuple[int, ...]], ...]]:
    """What arguments must be: a 32-bit word of them, and-ed with a mask, is one of the values.

    Both architectures are little-endian: word 2 * i is the low half of argument i.
    """
    # O_TRUNC with neither O_WRONLY nor O_RDWR would empty a file that Landlock, before ABI 3, only
    # lets be read.
    opened = (0x203, (0, 1, 2, 3, 0x201, 0x202, 0x203))
    return {
        "clone": ((0, 0x10000, (0x10000,)),),  # CLONE_THREAD: threads, no processes
        # Itself alone, as abort() does.
        "kill": ((0, _ALL, (pid,)),),
        "tgkill": ((0, _ALL, (pid,)),),
        # PR_SET_NAME, PR_GET_NAME, PR_SET_VMA: names of threads and of memory; not
        # PR_SET_PDEATHSIG, by which it ends with its parent.
        "prctl": ((0, _ALL, (15, 16, 0x53564D41)),),
        # F_DUPFD to F_SETLKW, F_OFD_*, F_DUPFD_CLOEXEC, F_ADD_SEALS, F_GET_SEALS; not F_SETOWN
        # and F_SETSIG, which send signals to others.
        "fcntl": ((2, _ALL, (*range(8), 36, 37, 38, 1030, 1033, 1034)),),
        # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: what isatty() and files need.
        "ioctl": ((2, _ALL, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),),
        # The address of new limits is null: limits are read, and not set.
        "prlimit64": ((4, _ALL, (0,)), (5, _ALL, (0,))),
        "open": ((2, *opened),),
        "openat": ((4, *opened),),
    }


def restrict() -> bool:
    """Leave this thread, and those that it starts, the calls of system_calls.txt, for good.

    Returns:
        False where there is no such filter: not Linux on x86-64 or arm64, or the kernel refused.
    """
    known = _ARCHITECTURES.get(platform.machine()) if sys.platform == "linux" else None
    if known is None:
        return False
    program = _program(*known, os.getpid())
    code = ctypes.create_string_buffer(b"".join(program))
    # struct sock_fprog {unsigned short len; struct sock_filter *filter;}, natively aligned.
    fprog = struct.pack("HP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, fprog, 0, 0) == 0)


def numbers(column: int) -> dict[str, int]:
    """The calls that are allowed, by name; column 0: x86_64, 1: aarch64."""
    rows = [line.split() for line in _CALLS.splitlines() if not line.startswith("#")]
    return {name: int(both[column]) for name, *both in rows if both[column] != "-"}


def _program(architecture: int, column: int, pid: int) -> list[bytes]:
    program = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_IF_EQUAL, architecture, if_true=1),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER_AT),
    ]
    conditions = _conditions(pid)
    for name, number in numbers(column).items():
        checks = [part for condition in conditions.get(name, ()) for part in _check(*condition)]
        block = [*checks, _instruction(_RETURN, _ALLOW)]
        program += [_instruction(_IF_EQUAL, number, if_false=len(block)), *block]
    return [
        *program,
        # x32's calls as well: their numbers have a bit that is far beyond.
        _instruction(_IF_AT_LEAST, _RECENT, if_false=1),
        _instruction(_RETURN, _ERRNO | errno.ENOSYS),
        _instruction(_RETURN, _ERRNO | errno.EACCES),
    ]


def _check(word: int, mask: int, values: tuple[int, ...]) -> list[bytes]:
    """Refuse, unless a 32-bit word of the arguments is one of the values."""
    return [
        _instruction(_LOAD, _ARGUMENTS_AT + 4 * word),
        _instruction(_AND, mask),
        # A match jumps over the other values and the refusal.
        *(
            _instruction(_IF_EQUAL, value, if_true=len(values) - index)
            for index, value in enumerate(values)
        ),
        _instruction(_RETURN, _ERRNO | errno.EACCES),
    ]


def _instruction(code: int, k: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, k)
