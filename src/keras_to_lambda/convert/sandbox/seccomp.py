"""Seccomp: the system calls that a process may make, as a list of what computing needs.

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

# name x86_64/aarch64 (asm/unistd.h); - where the architecture has no such call. What only changes
# a file's owner, mode, times or attributes is left out: Landlock does not see those calls.
_CALLS = """
read 0/63 write 1/64 readv 19/65 writev 20/66 pread64 17/67 pwrite64 18/68 preadv 295/69
pwritev 296/70 preadv2 327/286 pwritev2 328/287 lseek 8/62 sendfile 40/71 copy_file_range 326/285
open 2/- openat 257/56 creat 85/- close 3/57 close_range 436/436 dup 32/23 dup2 33/- dup3 292/24
fcntl 72/25 ioctl 16/29 flock 73/32 pipe 22/- pipe2 293/59 stat 4/- fstat 5/80 lstat 6/-
newfstatat 262/79 statx 332/291 statfs 137/43 fstatfs 138/44 access 21/- faccessat 269/48
faccessat2 439/439 readlink 89/- readlinkat 267/78 getdents 78/- getdents64 217/61 getcwd 79/17
chdir 80/49 fchdir 81/50 umask 95/166 mkdir 83/- mkdirat 258/34 rmdir 84/- unlink 87/-
unlinkat 263/35 rename 82/- renameat 264/38 renameat2 316/276 ftruncate 77/46 fallocate 285/47
fadvise64 221/223 fsync 74/82 fdatasync 75/83 sync_file_range 277/84
poll 7/- ppoll 271/73 select 23/- pselect6 270/72 epoll_create 213/- epoll_create1 291/20
epoll_ctl 233/21 epoll_wait 232/- epoll_pwait 281/22 epoll_pwait2 441/441 eventfd 284/-
eventfd2 290/19 timerfd_create 283/85 timerfd_settime 286/86 timerfd_gettime 287/87
wait4 61/260 waitid 247/95
brk 12/214 mmap 9/222 munmap 11/215 mprotect 10/226 mremap 25/216 madvise 28/233 msync 26/227
mincore 27/232 mlock 149/228 mlock2 325/284 munlock 150/229 membarrier 324/283
memfd_create 319/279 mbind 237/235 get_mempolicy 239/236 set_mempolicy 238/237
clone 56/220 futex 202/98 futex_waitv 449/449 set_robust_list 273/99 get_robust_list 274/100
rseq 334/293 set_tid_address 218/96 gettid 186/178 exit 60/93 exit_group 231/94
sched_yield 24/124 sched_getaffinity 204/123 sched_getparam 143/121 sched_getscheduler 145/120
sched_get_priority_max 146/125 sched_get_priority_min 147/126 getcpu 309/168 arch_prctl 158/-
prctl 157/167
rt_sigaction 13/134 rt_sigprocmask 14/135 rt_sigreturn 15/139 rt_sigpending 127/136
rt_sigsuspend 130/133 rt_sigtimedwait 128/137 sigaltstack 131/132 restart_syscall 219/128
pause 34/- alarm 37/- setitimer 38/103 getitimer 36/102 kill 62/129 tgkill 234/131
clock_gettime 228/113 clock_getres 229/114 clock_nanosleep 230/115 nanosleep 35/101
gettimeofday 96/169 time 201/- times 100/153
getpid 39/172 getppid 110/173 getuid 102/174 geteuid 107/175 getgid 104/176 getegid 108/177
getresuid 118/148 getresgid 120/150 getgroups 115/158 getpgrp 111/- getpgid 121/155 getsid 124/156
getpriority 140/141 capget 125/90 uname 63/160 sysinfo 99/179 getrusage 98/165 getrlimit 97/163
prlimit64 302/261 getrandom 318/278
"""
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
    """Leave this thread, and those that it starts, the calls of `_CALLS`, for good.

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
    words = _CALLS.split()
    pairs = zip(words[::2], (both.split("/")[column] for both in words[1::2]), strict=True)
    return {name: int(number) for name, number in pairs if number != "-"}


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
