"""Sandbox: work on a model file in a child process that can do little harm.

Loading a model file can run its author's code, take all memory, never end, or crash the
interpreter. The child has no network, no other processes, few files, bounded memory and time
(confinement.py). It gets JSON and gives JSON and plain files, which are read as if an attacker had
written them (untrusted_results.py); however it ends, the parent answers with a sentence.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import json
import os
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_to_lambda.cli import progress
from keras_to_lambda.convert.common.conversion_errors import ConvertError, reason_of
from keras_to_lambda.convert.sandbox import landlock
from keras_to_lambda.runtime.common.errors import ClassifierError, SetupError
from keras_to_lambda.runtime.model_file import card as cards

# The folder that this package is imported from.
SITE = Path(__file__).resolve().parents[3]
PACKAGE = SITE / "keras_to_lambda"
# The child's first words. Isolated (-I), it takes no module from the current folder or from
# PYTHONPATH; the user's site-packages come behind, where it is the same interpreter.
BOOT = (
    "import sys; sys.path += [p for p in sys.argv[2:] if p not in sys.path]; "
    "from keras_to_lambda.convert.sandbox.sandbox import main; main()"
)
# Of the environment, what a library computes by. No credentials, and no paths of the user's.
ENVIRONMENT = (
    *("LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_ENABLE_ONEDNN_OPTS"),
    *("TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS"),
)
# What the C++ libraries write when an allocation fails, before they abort.
OUT_OF_MEMORY = ("bad_alloc", "Cannot allocate memory", "out of memory", "MemoryError", "OOM when")
LAST_WORDS_BYTES = 4000
# Of address space, which is more than the memory used; on a large machine for large models.
MEMORY_GB = max(12.0, 0.75e-9 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Where work is done.

    memory_gb: address space of the child, in 10^9 bytes (Linux). minutes: wall-clock time of one
    call. python: the interpreter that the child runs in; None: this one.
    """

    memory_gb: float = MEMORY_GB
    minutes: float = 60.0
    python: Path | None = None

    def call(
        self,
        target: str,
        *,
        reads: Iterable[str | Path] = (),
        into: Path | None = None,
        **arguments: Any,
    ) -> Any:
        """Run `module:function` with JSON arguments in a child, and return its JSON result.

        reads: absolute paths of files and folders that it may read; nothing else of the user's.
        into: a folder that gets the files which the function writes to its argument `folder`.
        """
        from keras_to_lambda.convert.sandbox import untrusted_results

        _note_what_is_missing()
        # What `pip install --user` installs into, where this process imports from it; no other of
        # its paths: the child can read all that is in such a folder.
        users = not self.python and site.ENABLE_USER_SITE
        packages = [site.getusersitepackages()] if users else []
        with _job(into) as job:
            work = job / "work"
            for name in ("out", "tmp"):
                (work / name).mkdir(parents=True)
            if into is not None:
                arguments["folder"] = str(work / "out")
            orders = {
                "target": target,
                "arguments": arguments,
                "reads": [*(str(path) for path in reads), *packages],
                "work": str(work),
                "memory_bytes": int(self.memory_gb * 1e9),
                "parent": os.getpid(),
                "quiet": progress.is_quiet(),
            }
            (job / "job.json").write_text(json.dumps(orders), encoding="utf-8")
            homes = [str(Path(folder).parent) for folder in _packages(target.partition(":")[0])]
            status = self._run(job, [*packages, *homes])
            try:
                answer = untrusted_results.read_json(work / "answer.json")
            except FileNotFoundError:
                raise ConvertError(self._obituary(status, job / "log")) from None
            if "crash" in answer:
                crash = progress.plain_lines(str(answer["crash"]))
                raise RuntimeError(f"in the child process:\n{crash}")
            if "error" in answer:
                raise ConvertError(str(answer["error"]))
            if into is not None:
                untrusted_results.collect(work / "out", into)
            return answer.get("result")

    def _run(self, job: Path, packages: list[str]) -> int:
        """Be the child's parent, from its start to its end and that of all that it started."""
        python = shutil.which(self.python or sys.executable)
        if python is None:
            raise ConvertError(f"{self.python} cannot be run: No such file or program")
        read_end, write_end = os.pipe()
        listener = threading.Thread(target=progress.relay, args=(read_end,), daemon=True)
        listener.start()
        deadline = time.monotonic() + self.minutes * 60
        work = job / "work"
        environment = {
            **{name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
            **dict.fromkeys(("HOME", "KERAS_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"), str(work)),
            "TMPDIR": str(work / "tmp"),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "KERAS_BACKEND": "tensorflow",
            "OPENSSL_CONF": os.devnull,
        }
        with (job / "job.json").open("rb") as orders, (job / "log").open("wb") as log:
            try:
                program = [str(Path(python).absolute()), "-I", "-B", "-c", BOOT]
                child = subprocess.Popen(
                    [*program, str(write_end), *packages, str(SITE)],
                    stdin=orders,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    cwd=work,
                    env=environment,
                    pass_fds=[write_end],
                    start_new_session=True,
                )
            except OSError as error:
                raise ConvertError(f"{python} cannot be run: {error.strerror}") from error
            finally:
                os.close(write_end)
        ended = False
        try:
            while not (ended := _has_ended(child)) and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            # The whole session, however its leader ended: nothing that it started goes on. Its
            # leader is not waited for before: the number could by then be another process'.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            status = child.wait()
            listener.join(1)
        if not ended:
            raise ConvertError(
                f"stopped after {self.minutes:g} minutes; the file may be damaged or too large"
            )
        return status

    def _obituary(self, status: int, log: Path) -> str:
        if status == -signal.SIGALRM:
            return "the file could not be read in time; it may be damaged"
        with log.open("rb") as file:  # which may be as large as a disk
            file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_WORDS_BYTES))
            end = file.read(LAST_WORDS_BYTES).decode(errors="replace")
        if any(sign in end for sign in OUT_OF_MEMORY):
            return _too_large(self.memory_gb)
        last = next((line for line in reversed(end.splitlines()) if line.strip()), "")
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return (
            f"the model process crashed ({how}); the file may be damaged"
            f"{f'. Last output: {last[:300]}' if last else ''}"
        )


@contextlib.contextmanager
def _job(folder: Path | None) -> Iterator[Path]:
    """A new folder for one call, where its files are wanted, so that they can be moved there."""
    path = Path(tempfile.mkdtemp(prefix="job-" if folder else "convert-", dir=folder)).resolve()
    try:
        yield path
    finally:
        try:
            shutil.rmtree(path)
        except (OSError, RecursionError):  # the file's code can make folders too deep
            progress.note(f"{path} could not be removed")


def _has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Whether a process has ended; it stays a zombie, so that its number is not given again."""
    if not hasattr(os, "waitid"):  # macOS, before Python 3.13
        return child.poll() is not None
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def model_files(model: Path, custom: str | None = None) -> list[Path]:
    """What the sandbox may read for a model: file or folder, the card beside it, `--custom`."""
    if model.is_dir():
        for path in model.rglob("*"):
            if path.is_symlink() and not path.resolve().is_relative_to(model.resolve()):
                raise ConvertError(
                    f"{model} is refused: {path.relative_to(model)} in it is a link to a file "
                    f"outside of the folder; copy the folder with its files: cp -rL {model} COPY"
                )
    return [model, cards.beside(model), *([Path(custom)] if custom else [])]


@functools.cache
def _note_what_is_missing() -> None:
    """Once in each run of a command."""
    if landlock.abi() == 0:
        progress.note(
            "this system has no Landlock (Linux 5.13 and later have it): the code in a model file "
            "could read and change your files; open only files whose author you trust"
        )


@contextlib.contextmanager
def within(seconds: int) -> Iterator[None]:
    """End the process, in a sandbox, if a block takes longer: HDF5 hangs on some damaged files."""
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def main() -> None:
    """Be the child: one job, from stdin to answer.json."""
    from keras_to_lambda.convert.sandbox.confinement import confine

    job = json.load(sys.stdin)
    progress.report_to(int(sys.argv[1]), quiet=job["quiet"])
    module, _, function = job["target"].partition(":")
    reads = [*job["reads"], PACKAGE, *_packages(module)]
    work = Path(job["work"])
    confine(job["memory_bytes"], reads, [work], job["parent"])
    try:
        result = getattr(importlib.import_module(module), function)(**job["arguments"])
        answer = {"result": result}
    except (ConvertError, SetupError, ClassifierError) as error:
        answer = {"error": str(error)}
    except (MemoryError, ImportError) as error:
        answer = {"error": f"{sys.executable} cannot run this: {error}"}
        # The loader's words for too little address space.
        if isinstance(error, MemoryError) or "failed to map" in str(error):
            answer = {"error": _too_large(job["memory_bytes"] / 1e9)}
    except Exception as error:  # noqa: BLE001
        answer = {"crash": traceback.format_exc()}
        if library := _library(error):
            reason = f"{library} failed on this file: {reason_of(error)}"
            answer = {"error": f"{reason}. Save it again as .keras"}
    draft = work / "answer.part"
    draft.write_text(json.dumps(answer), encoding="utf-8")
    draft.replace(work / "answer.json")
    # Without the libraries' destructors and threads, which have nothing left to do.
    os._exit(0)


def _packages(module: str) -> list[str]:
    """The folders of the package that a job's module is in."""
    spec = importlib.util.find_spec(module.partition(".")[0])
    return list(spec.submodule_search_locations or ()) if spec else []


def _library(error: Exception) -> str | None:
    """The installed package that raised an error; None: our own code did."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        parts = Path(frame.filename).parts
        if "site-packages" in parts:
            return parts[parts.index("site-packages") + 1]
        # Python's own modules and compiled ones are neither.
        if PACKAGE in Path(frame.filename).parents:
            return None
    return None


def _too_large(memory_gb: float) -> str:
    return (
        f"it takes more than {memory_gb:.0f} GB of memory: use a machine with more, if you trust "
        "the file"
    )
