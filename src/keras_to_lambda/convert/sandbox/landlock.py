"""Landlock: the files that a process may read and write, enforced by the kernel (Linux 5.13)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

# linux/landlock.h. The numbers of the three calls are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION, _RULE_PATH_BENEATH, _PR_SET_NO_NEW_PRIVS = 1, 1, 38
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
# What each ABI of the kernel can refuse: file accesses, uses of TCP ports (bind, connect), and
# reaching processes outside (abstract unix sockets, signals).
_HANDLED = {
    1: ((1 << 13) - 1, 0, 0),
    2: ((1 << 14) - 1, 0, 0),  # REFER: moving a file to another folder
    3: ((1 << 15) - 1, 0, 0),  # TRUNCATE
    4: ((1 << 15) - 1, 3, 0),
    5: ((1 << 16) - 1, 3, 0),  # IOCTL_DEV: commands to devices
    6: ((1 << 16) - 1, 3, 3),
}
# Nothing may be executed, and no device, socket, pipe or symbolic link be made.
_READ = _READ_FILE | _READ_DIR
_WRITE = (
    _READ | _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER
)
_OF_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE


def abi() -> int:
    """The version of the kernel's Landlock; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, _syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION))


def restrict(reads: Iterable[str | Path], writes: Iterable[str | Path]) -> bool:
    """Leave this thread, and those that it starts, some files, for good.

    reads: files, and folders with all below them, that can be read; links are followed, missing
    ones passed over. writes: those that can be read and written. Returns False where the kernel has
    no Landlock; raises OSError where it has, and refused.
    """
    version = abi()
    if version == 0:
        return False
    handled = _HANDLED[min(version, max(_HANDLED))]
    # struct landlock_ruleset_attr; older kernels take it too, if the fields new to them are 0.
    attributes = struct.pack("=QQQ", *handled)
    ruleset = _checked(_syscall(_CREATE_RULESET, attributes, len(attributes), 0))
    try:
        for paths, access in ((reads, _READ), (writes, _WRITE)):
            for path in paths:
                _allow(ruleset, path, access & handled[0])
        _checked(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(_syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return True


def _allow(ruleset: int, path: str | Path, access: int) -> None:
    # What cannot be opened here could not be read there.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                access &= _OF_FILES
            # struct landlock_path_beneath_attr, packed.
            rule = struct.pack("=Qi", access, descriptor)
            _checked(_syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0))
        finally:
            os.close(descriptor)


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    typed = [ctypes.c_long(x) if isinstance(x, int) else x for x in arguments]
    return int(libc.syscall(ctypes.c_long(number), *typed))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result
