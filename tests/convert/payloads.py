"""What the code in a hostile model file would try: a table of attempts.

A refusal is an OSError. `place` is a folder of the user's, `victim` a process of the user's, `port`
and `socket` listen.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import socket as sockets
import subprocess
import sys
import time
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
UNSHARE = {"x86_64": 272, "aarch64": 97}


def checked(result):
    """What a function of the C library gave."""
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def called(number, *arguments):
    """A system call by its number."""
    typed = [ctypes.c_long(x) if isinstance(x, int) else x for x in arguments]
    checked(LIBC.syscall(ctypes.c_long(number), *typed))


def key(place):
    return place / "home" / ".ssh" / "id_rsa"


def made(name, make, then):
    """Make a file of one's own by a method of its path, and use it."""
    path = Path(name)
    make(path)
    return then(path)


def write_into_the_packages(place, **_):
    site = Path(next(path for path in sys.path if path.endswith("site-packages")))
    made(site / "planted_by_a_test.py", Path.touch, Path.unlink)


def connect_to_an_abstract_socket(socket, **_):
    with sockets.socket(sockets.AF_UNIX) as client:
        client.connect("\0" + socket)


def stay_in_the_background(place, **_):
    if os.fork() == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                time.sleep(0.2)
                (place / "later").write_text("payload", "utf-8")
        finally:
            os._exit(0)


ATTEMPTS = {
    "read_a_key": lambda place, **_: key(place).read_text("utf-8"),
    "read_a_system_secret": lambda **_: Path("/etc/passwd").read_text("utf-8"),
    "list_a_folder": lambda place, **_: list(place.iterdir()),
    "read_by_descriptor_of_a_folder": lambda place, **_: os.open(
        ".ssh/id_rsa", os.O_RDONLY, dir_fd=os.open(place / "home", os.O_PATH)
    ),
    "read_by_a_link": lambda place, **_: made(
        "link", lambda path: path.symlink_to(key(place)), Path.read_bytes
    ),
    "read_by_a_second_name": lambda place, **_: made(
        "name", lambda path: path.hardlink_to(key(place)), Path.read_bytes
    ),
    "read_by_own_root": lambda place, **_: Path(f"/proc/self/root{key(place)}").read_bytes(),
    "write_a_module": lambda place, **_: (place / "argparse.py").write_text("payload", "utf-8"),
    "write_over_a_file": lambda place, **_: (place / "model.keras").write_text("payload", "utf-8"),
    "empty_a_file": lambda place, **_: os.truncate(place / "model.keras", 0),
    "empty_what_may_be_read": lambda place, **_: os.open(
        place / "model.keras", os.O_RDONLY | os.O_TRUNC
    ),
    "write_into_the_packages": write_into_the_packages,
    "move_a_file_out": lambda place, **_: made(
        "mine", Path.touch, lambda path: path.replace(place / "json.py")
    ),
    "remove_a_file": lambda place, **_: (place / "model.keras").unlink(),
    "make_readable_by_all": lambda place, **_: key(place).chmod(0o666),
    "change_times": lambda place, **_: os.utime(place / "model.keras", (1, 1)),
    "make_a_pipe": lambda **_: os.mkfifo("pipe"),
    "open_a_socket": lambda port, **_: sockets.create_connection(("127.0.0.1", port), 5).close(),
    "listen": lambda **_: sockets.create_server(("127.0.0.1", 0)).close(),
    "connect_to_an_abstract_socket": connect_to_an_abstract_socket,
    "run_a_shell": lambda **_: os.execv("/bin/sh", ["/bin/sh", "-c", "exit 0"]),
    "run_a_program": lambda **_: subprocess.run(["/bin/sh", "-c", "exit 0"], check=True),
    "stay_in_the_background": stay_in_the_background,
    "signal_a_process": lambda victim, **_: os.kill(victim, 0),
    # The kernel sends it for us, when there is something to read.
    "signal_by_a_pipe": lambda victim, **_: fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, victim),
    "outlive_the_parent": lambda **_: checked(LIBC.prctl(1, 0)),  # PR_SET_PDEATHSIG
    "debug_a_process": lambda victim, **_: checked(  # PTRACE_SEIZE
        LIBC.ptrace(0x4206, victim, None, None)
    ),
    "read_a_process_memory": lambda victim, **_: os.open(f"/proc/{victim}/mem", os.O_RDONLY),
    "read_a_process_environment": lambda victim, **_: Path(f"/proc/{victim}/environ").read_bytes(),
    "read_the_parents_environment": lambda **_: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "use_io_uring": lambda **_: called(425, 8, bytes(120)),
    "make_a_namespace": lambda **_: called(UNSHARE[os.uname().machine], 0x10000000),
    "raise_the_limits": lambda **_: resource.setrlimit(
        resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)
    ),
    "type_into_the_terminal": lambda **_: fcntl.ioctl(
        os.open("/dev/ptmx", os.O_RDWR), 0x5413, bytes(8)
    ),
}


def attempt(*, name, place, **orders):
    """Be one attempt: what came of it."""
    try:
        ATTEMPTS[name](place=Path(place), **orders)
    except OSError as error:
        return f"refused: {errno.errorcode[error.errno]}"
    return "done"


def attempts(**orders):
    """Be all attempts, one after the other: what came of each."""
    return {name: attempt(name=name, **orders) for name in ATTEMPTS}


if __name__ == "__main__":
    # Without confinement, or with Landlock alone.
    import json

    from keras_to_lambda.convert.sandbox import confinement, landlock

    layer, place, orders = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    for name in ATTEMPTS:
        os.chdir(place / name / "work")
        # A program that takes the process' place writes nothing, and ends well.
        if os.fork() == 0:
            if layer == "landlock":
                reads = [*confinement.SYSTEM, *confinement.interpreter()]
                landlock.restrict([*reads, Path(__file__).parent], [Path.cwd()])
            found = attempt(name=name, place=place / name, **orders)
            Path("found").write_text(found, "utf-8")
            os._exit(0)
        os.wait()
