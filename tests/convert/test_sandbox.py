"""The child process in which model files are worked on: what it can do, and how it ends."""

from __future__ import annotations

import base64
import functools
import inspect
import json
import marshal
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
import types
from pathlib import Path

import h5py
import pytest

from keras_to_lambda.cli import progress
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.sandbox import confinement, landlock, sandbox, untrusted_results
from keras_to_lambda.convert.sandbox.sandbox import Sandbox
from tests.convert import payloads

linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux gives up sockets and memory for good"
)
# Importable in the child, whose path is the project's root.
JOBS = "tests.convert.jobs"
ROOT = Path(__file__).parents[2]
LAMBDA = Path(__file__).parent / "saved_by" / "files" / "tensorflow-2.13" / "lambda.h5"


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("convert", ConvertError, "^the reason$"),
        ("setup", ConvertError, "^the reason$"),
        ("bug", RuntimeError, "KeyError: 'the reason'"),
        ("library", ConvertError, "^h5py failed on this file: .*Save it again"),
    ],
)
def test_an_error_arrives_as_a_sentence_and_a_bug_with_its_traceback(kind, error, words):
    with pytest.raises(error, match=words):
        Sandbox().call(f"{JOBS}:complain", kind=kind)


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("/none/python", "^/none/python cannot be run: No such file or program"),
        ("/bin/false", r"crashed \(exit status 1\)"),
    ],
)
def test_an_interpreter_that_cannot_be_run_is_named(python, words):
    with pytest.raises(ConvertError, match=words):
        Sandbox(python=Path(python)).call(f"{JOBS}:double", number=1)


# What the kernel answers: not allowed, no such call, not to another folder.
REFUSALS = {f"refused: {name}" for name in ("EACCES", "EPERM", "ENOSYS", "EXDEV")}
# The attempts that Landlock would refuse by itself: the first layer, without seccomp.
BY_LANDLOCK = {
    *("read_a_key", "read_a_system_secret", "list_a_folder", "read_by_descriptor_of_a_folder"),
    *("read_by_a_link", "read_by_a_second_name", "read_by_own_root", "write_a_module"),
    *("write_over_a_file", "empty_a_file", "empty_what_may_be_read", "write_into_the_packages"),
    *("move_a_file_out", "remove_a_file", "make_a_pipe", "open_a_socket", "listen"),
    *("connect_to_an_abstract_socket", "run_a_shell", "run_a_program"),
    *("signal_a_process", "debug_a_process", "read_a_process_memory", "type_into_the_terminal"),
    *("read_a_process_environment", "read_the_parents_environment"),
}


def home(place):
    """Files that a payload would like to reach; the place."""
    secret = place / "home" / ".ssh" / "id_rsa"
    secret.parent.mkdir(parents=True)
    secret.write_text("a key", encoding="utf-8")
    (place / "model.keras").write_text("a model", encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def others():
    """A process and servers that a payload would like to reach."""
    name = f"test-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as victim,
    ):
        abstract.bind("\0" + name)
        abstract.listen()
        port = server.getsockname()[1]
        yield {"victim": victim.pid, "port": port, "socket": name}
        victim.kill()


@pytest.fixture(scope="module")
def inside(others, tmp_path_factory):
    """The outcomes of all attempts in the sandbox.

    The files are in the current folder, and modules are imported from there, which must not matter.
    """
    place = home(tmp_path_factory.mktemp("inside"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.syspath_prepend(place)
        found = Sandbox().call("tests.convert.payloads:attempts", place=str(place), **others)
    assert (place / "model.keras").read_text("utf-8") == "a model"
    assert sorted(path.name for path in place.iterdir()) == ["home", "model.keras"]
    return found


@pytest.fixture(scope="module")
def outside(others, tmp_path_factory):
    """The outcomes of all attempts by processes of no sandbox, with Landlock or with nothing."""

    @functools.cache
    def run(layer):
        place = tmp_path_factory.mktemp(layer)
        for name in payloads.ATTEMPTS:
            (home(place / name) / "work").mkdir()
        program = [sys.executable, "-m", "tests.convert.payloads", layer, str(place)]
        subprocess.run([*program, json.dumps(others)], cwd=ROOT, check=True)
        found = {name: place / name / "work" / "found" for name in payloads.ATTEMPTS}
        # A program that took the process' place wrote nothing.
        return {k: v.read_text("utf-8") if v.exists() else "done" for k, v in found.items()}

    return run


@pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")
@pytest.mark.parametrize("name", payloads.ATTEMPTS)
def test_what_a_payload_would_try_is_refused(name, inside):
    assert inside[name] in REFUSALS


@linux
@pytest.mark.parametrize("name", payloads.ATTEMPTS)
def test_without_the_sandbox_the_same_attempt_succeeds(name, outside):
    found = outside("nothing")[name]
    if found != "done":
        assert found in REFUSALS
        pytest.skip(f"this machine refuses it to everyone: {found}")


@pytest.mark.skipif(landlock.abi() < 6, reason="this kernel's Landlock is older than ABI 6")
@pytest.mark.parametrize("name", payloads.ATTEMPTS)
def test_landlock_alone_refuses_what_reaches_files_and_processes(name, outside):
    assert outside("landlock")[name] in (REFUSALS if name in BY_LANDLOCK else {"done"})


@linux
def test_more_memory_than_it_may_have_is_reported():
    assert Sandbox(memory_gb=2).call(f"{JOBS}:take_memory", gigabytes=0.1) == 100_000_000
    with pytest.raises(ConvertError, match="takes more than 2 GB of memory: use a machine"):
        Sandbox(memory_gb=2).call(f"{JOBS}:take_memory", gigabytes=4)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie answers too.
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")


def wait_for_the_end_of(*pids):
    give_up = time.monotonic() + 60
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < give_up, "still running"
        time.sleep(0.05)


# A child in which one of the two layers is missing, as on other systems.
WITHOUT_SECCOMP = "import keras_to_lambda.convert.sandbox.seccomp as s; s.restrict = lambda: True; "
WITHOUT_LANDLOCK = (
    "import keras_to_lambda.convert.sandbox.landlock as l; l.restrict = lambda *_: False; "
)


@pytest.fixture
def without(monkeypatch):
    def remove(*layers):
        path, start = sandbox.BOOT.split("from keras_to_lambda.convert.sandbox.sandbox", 1)
        monkeypatch.setattr(
            sandbox,
            "BOOT",
            path + "".join(layers) + "from keras_to_lambda.convert.sandbox.sandbox" + start,
        )

    return remove


@linux
def test_what_never_ends_is_ended_with_all_that_it_started(without, tmp_path, monkeypatch):
    without(WITHOUT_LANDLOCK, WITHOUT_SECCOMP)
    path = tmp_path / "pids"
    # An hour has passed as soon as both processes are there.
    clock = types.SimpleNamespace(monotonic=lambda: 3600.0 * path.exists(), sleep=time.sleep)
    monkeypatch.setattr(sandbox, "time", clock)
    with pytest.raises(ConvertError, match=r"stopped after 30 minutes; the file may be damaged"):
        Sandbox(minutes=30).call(f"{JOBS}:never_end", path=str(path))
    pids = [int(word) for word in path.read_text(encoding="utf-8").split()]
    assert len(pids) == 2
    wait_for_the_end_of(*pids)


@linux
def test_json_goes_in_and_out_and_the_group_is_killed_while_its_number_is_the_childs(monkeypatch):
    kill, killed = os.killpg, []

    def record(pid, number):
        # Of a process that was waited for, the system may have given the number to another.
        assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG).si_pid == pid
        killed.append(number)
        kill(pid, number)

    monkeypatch.setattr(os, "killpg", record)
    assert Sandbox().call(f"{JOBS}:double", number=21) == {"twice": 42}
    with pytest.raises(ConvertError, match=r"^the model process crashed \(SIGSEGV\); the file may"):
        Sandbox().call(f"{JOBS}:crash")
    assert killed == [signal.SIGKILL] * 2


@pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")
def test_the_folder_of_an_environment_is_not_readable_beside_its_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert not [path for path in confinement.interpreter() if path == str(tmp_path)]


@linux
def test_what_a_normal_end_leaves_behind_is_ended(without):
    without(WITHOUT_LANDLOCK, WITHOUT_SECCOMP)
    wait_for_the_end_of(Sandbox().call(f"{JOBS}:leave_a_process"))


@linux
def test_computing_works(tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "elsewhere.txt").write_text("a sample", encoding="utf-8")
    link = tmp_path / "samples" / "link.txt"
    link.symlink_to(tmp_path / "elsewhere.txt")
    found = Sandbox().call(f"{JOBS}:compute", reads=[link], into=tmp_path, path=str(link))
    assert found == {"sample": "a sample", "threads": 8, "time": True}
    assert untrusted_results.array((tmp_path / "made.npy").read_bytes()).tolist() == [1.0, 2.0]


def test_no_credential_reaches_it_and_its_folders_are_its_own(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = Sandbox().call(f"{JOBS}:environment")
    assert not [name for name in found if "AWS" in name or name in ("PATH", "USER", "PWD")]
    assert found["OMP_NUM_THREADS"] == "3"
    for name in ("HOME", "TMPDIR", "KERAS_HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        assert found[name].startswith(found["HOME"])
        assert not Path(found[name]).exists()


def test_what_is_no_plain_file_is_not_taken(without, tmp_path):
    without(WITHOUT_LANDLOCK, WITHOUT_SECCOMP)
    with pytest.raises(ConvertError, match="invalid result file from the model process: 'planted'"):
        Sandbox().call(f"{JOBS}:plant_a_link", into=tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_answer_that_is_none_is_a_sentence():
    with pytest.raises(ConvertError, match="invalid answer from the model process: not JSON"):
        Sandbox().call(f"{JOBS}:answer_itself")


def test_a_terminal_obeys_nothing_that_it_sends(capfd):
    Sandbox().call(f"{JOBS}:send_escapes")
    assert capfd.readouterr().err == "convert: \\x1b[2Jall is well ...\n"


def test_a_folder_of_links_names_the_one_that_leads_out(tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "blob").write_bytes(b"a graph")
    (tmp_path / "saved" / "saved_model.pb").symlink_to(tmp_path / "blob")
    with pytest.raises(ConvertError, match=r"saved_model\.pb in it is a link .* cp -rL "):
        sandbox.model_files(tmp_path / "saved")


def test_a_system_without_landlock_is_named_once(monkeypatch, capfd):
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    sandbox._note_what_is_missing.cache_clear()
    for _ in range(2):
        Sandbox().call(f"{JOBS}:double", number=1)
    assert capfd.readouterr().err.count("this system has no Landlock") == 1
    sandbox._note_what_is_missing.cache_clear()


def test_of_a_long_log_only_the_end_is_read():
    tracemalloc.start()
    with pytest.raises(ConvertError, match="the last words"):
        Sandbox().call(f"{JOBS}:fill_the_log")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 100_000_000


def test_c_code_that_hangs_is_ended():
    with pytest.raises(ConvertError, match="could not be read in time"):
        Sandbox().call(f"{JOBS}:hang", seconds=1)


@pytest.mark.parametrize("quiet", [False, True])
def test_libraries_are_silent_and_steps_are_heard_unless_quiet(quiet, capfd):
    progress.use(quiet=quiet)
    try:
        Sandbox().call(f"{JOBS}:chatter")
    finally:
        progress.use()
    printed = capfd.readouterr()
    assert (printed.out, printed.err.count("working ...")) == ("", 0 if quiet else 1)
    assert len(printed.err.splitlines()) == (0 if quiet else 1)


@linux
def test_ctrl_c_ends_the_command_and_its_child_and_leaves_nothing(tmp_path):
    model = ROOT / "models" / "clothing" / "clothing.keras"
    output = tmp_path / "out" / "net.tflite"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "keras_to_lambda", "convert", str(model), "-o", str(output)),
            *("--samples", str(ROOT / "samples")),
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job, as a test run may be, has SIGINT ignored, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    assert "starting TensorFlow" in process.stderr.readline()
    task = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    give_up = time.monotonic() + 60
    while not (children := task.read_text("utf-8").split()):
        assert time.monotonic() < give_up, "no child"
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert printed.strip() == "k2l convert: stopped"
    assert not output.parent.exists()
    assert len(children) == 1
    wait_for_the_end_of(*map(int, children))


def payload(x):
    """What the code in a model file may try; `x` is a tensor."""
    import os
    import time
    from pathlib import Path

    def leave_a_process():
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)

    for attempt in (
        lambda: Path("HERE/argparse.py").touch(),
        lambda: Path("taken").write_text(Path("HERE/key").read_text("utf-8"), "utf-8"),
        lambda: os.execv("/bin/sh", ["/bin/sh", "-c", "touch HERE/started"]),
        leave_a_process,
    ):
        try:
            attempt()
        except OSError:
            with (Path.home() / "out" / "tried").open("a") as file:
                file.write("x")
    return x


def test_code_that_was_trusted_reaches_nothing_and_leaves_nothing(tmp_path):
    """A real file, with code in its Lambda layer that runs when it is loaded."""
    (tmp_path / "key").write_text("a key", encoding="utf-8")
    (tmp_path / "into").mkdir()
    source = inspect.getsource(payload).replace("HERE", str(tmp_path))
    exec(source, space := {})
    model = shutil.copy(LAMBDA, tmp_path)
    with h5py.File(model, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        layers = {layer["class_name"]: layer["config"] for layer in config["config"]["layers"]}
        code = base64.b64encode(marshal.dumps(space["payload"].__code__)).decode()
        layers["Lambda"]["function"] = [code, None, None]
        file.attrs["model_config"] = json.dumps(config)
    options = {"model": str(model), "wanted": {"trust": True}}
    Sandbox().call(f"{JOBS}:load", reads=[model], into=tmp_path / "into", **options)
    assert (tmp_path / "into" / "tried").read_text("utf-8").startswith("xxxx")
    assert {path.name for path in tmp_path.iterdir()} == {"into", "key", "lambda.h5"}
