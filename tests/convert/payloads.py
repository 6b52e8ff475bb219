"""What the code in a hostile model file would try, one function for each attempt.

Each returns what it gained; a refusal is its OSError. `place` is a folder of the user's, `victim` a
process of the user's, `port` and `socket` listen.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket as sockets
import subprocess
import sys
import time
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)


def called(number, *arguments):
    """A system call by its number."""
    typed = [ctypes.c_long(x) if isinstance(x, int) else x for x in arguments]
    result = LIBC.syscall(ctypes.c_long(number), *typed)
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return f"{number} gave {result}"


def read_a_key(place, **_):
    return (place / "home" / ".ssh" / "id_rsa").read_text("utf-8")


def read_a_system_secret(**_):
    return Path("/etc/passwd").read_text("utf-8")


def list_a_folder(place, **_):
    return list(place.iterdir())


def read_by_descriptor_of_a_folder(place, **_):
    folder = os.open(place / "home", os.O_PATH)
    return os.read(os.open(".ssh/id_rsa", os.O_RDONLY, dir_fd=folder), 10)


def read_by_a_link(place, **_):
    link = Path("link")
    link.symlink_to(place / "home" / ".ssh" / "id_rsa")
    return link.read_text("utf-8")


def read_by_a_second_name(place, **_):
    Path("name").hardlink_to(place / "home" / ".ssh" / "id_rsa")
    return Path("name").read_text("utf-8")


def read_by_own_root(place, **_):
    return Path(f"/proc/self/root{place}/home/.ssh/id_rsa").read_text("utf-8")


def write_a_module(place, **_):
    return (place / "argparse.py").write_text("payload", "utf-8")


def write_over_a_file(place, **_):
    return (place / "model.keras").write_text("payload", "utf-8")


def empty_a_file(place, **_):
    return os.truncate(place / "model.keras", 0)


def empty_what_may_be_read(place, **_):
    return os.open(place / "model.keras", os.O_RDONLY | os.O_TRUNC)


def write_into_the_packages(place, **_):
    site = Path(next(path for path in sys.path if path.endswith("site-packages")))
    planted = site / "planted_by_a_test.py"
    planted.write_text("", "utf-8")
    planted.unlink()


def move_a_file_out(place, **_):
    Path("mine").write_text("payload", "utf-8")
    Path("mine").replace(place / "json.py")


def remove_a_file(place, **_):
    (place / "model.keras").unlink()


def make_readable_by_all(place, **_):
    (place / "home" / ".ssh" / "id_rsa").chmod(0o666)


def change_times(place, **_):
    os.utime(place / "model.keras", (1, 1))


def make_a_pipe(place, **_):
    os.mkfifo("pipe")


def open_a_socket(port, **_):
    sockets.create_connection(("127.0.0.1", port), timeout=5).close()


def listen(**_):
    sockets.create_server(("127.0.0.1", 0)).close()


def connect_to_an_abstract_socket(socket, **_):
    with sockets.socket(sockets.AF_UNIX) as client:
        client.connect("\0" + socket)


def run_a_shell(**_):
    os.execv("/bin/sh", ["/bin/sh", "-c", "exit 0"])


def run_a_program(**_):
    subprocess.run(["/bin/sh", "-c", "exit 0"], check=True)


def stay_in_the_background(place, **_):
    if os.fork() == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                time.sleep(0.2)
                (place / "later").write_text("payload", "utf-8")
        finally:
            os._exit(0)


def signal_a_process(victim, **_):
    os.kill(victim, 0)


def signal_by_a_pipe(victim, **_):
    """The kernel sends it for us, when there is something to read."""
    import fcntl

    reader, _ = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETOWN, victim)


def outlive_the_parent(**_):
    if LIBC.prctl(1, 0) != 0:  # PR_SET_PDEATHSIG
        raise OSError(ctypes.get_errno(), "refused")


def debug_a_process(victim, **_):
    if LIBC.ptrace(0x4206, victim, None, None) != 0:  # PTRACE_SEIZE
        raise OSError(ctypes.get_errno(), "refused")


def read_a_process_memory(victim, **_):
    return os.open(f"/proc/{victim}/mem", os.O_RDONLY)


def read_a_process_environment(victim, **_):
    return Path(f"/proc/{victim}/environ").read_bytes()


def read_the_parents_environment(**_):
    return Path(f"/proc/{os.getppid()}/environ").read_bytes()


def use_io_uring(**_):
    return called(425, 8, bytes(120))


def make_a_namespace(**_):
    return called({"x86_64": 272, "aarch64": 97}[os.uname().machine], 0x10000000)  # CLONE_NEWUSER


def raise_the_limits(**_):
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))


def type_into_the_terminal(**_):
    import fcntl

    fcntl.ioctl(os.open("/dev/ptmx", os.O_RDWR), 0x5413, bytes(8))


ATTEMPTS = {
    name: function
    for name, function in list(globals().items())
    if getattr(function, "__module__", "") == __name__ and name != "called"
}


def attempt(*, name, place, victim, port, socket):
    """Be one attempt: what came of it."""
    try:
        ATTEMPTS[name](place=Path(place), victim=victim, port=port, socket=socket)
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
