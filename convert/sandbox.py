"""Sandbox: work on a model file in a child process that can do little harm.

A model file is a program: loading one can run what its author wrote, take all memory, never end
or crash the interpreter. The child has no network and bounded memory and time (confinement.py); it
gets JSON and gives JSON, and whatever becomes of it, the parent answers with a sentence.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifier.errors import ClassifierError, SetupError
from convert import terminal
from convert.errors import ConvertError

ROOT = Path(__file__).resolve().parent.parent
# What the C++ libraries write when an allocation fails, before they abort.
OUT_OF_MEMORY = ("bad_alloc", "Cannot allocate memory", "out of memory", "MemoryError", "OOM when")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Where work is done.

    memory_gb: address space of the child, in 10^9 bytes (Linux).
    minutes: wall-clock time of one call.
    python: the interpreter that the child runs in; None: this one.
    """

    memory_gb: float = 12.0
    minutes: float = 60.0
    python: Path | None = None

    def call(self, target: str, **arguments: Any) -> Any:
        """Run `module:function` with JSON arguments in a child, and return its JSON result.

        Raises:
            ConvertError: what the function raised of that kind; or the child was ended by its
                limits, or died.
        """
        with tempfile.TemporaryDirectory(prefix="convert-") as folder:
            job = {
                "target": target,
                "arguments": arguments,
                "memory_bytes": int(self.memory_gb * 1e9),
                "quiet": terminal.is_quiet(),
            }
            (Path(folder) / "job.json").write_text(json.dumps(job), encoding="utf-8")
            status = self._run(folder)
            with contextlib.suppress(FileNotFoundError):
                answer = json.loads((Path(folder) / "answer.json").read_text(encoding="utf-8"))
                if "crash" in answer:
                    crash = terminal.plain_lines(answer["crash"])
                    raise RuntimeError(f"in the child process:\n{crash}")
                if "error" in answer:
                    raise ConvertError(answer["error"])
                return answer["result"]
            log = ""
            with contextlib.suppress(FileNotFoundError):
                log = (Path(folder) / "log").read_bytes()[-4000:].decode(errors="replace")
        raise ConvertError(self._obituary(status, log))

    def _run(self, folder: str) -> int:
        python = str(self.python or sys.executable)
        try:
            child = subprocess.Popen(
                [python, "-m", "convert.sandbox", folder],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
                start_new_session=True,
            )
        except OSError as error:
            raise ConvertError(f"{python} cannot be run: {error.strerror}") from error
        try:
            return child.wait(timeout=self.minutes * 60)
        except subprocess.TimeoutExpired:
            raise ConvertError(
                f"stopped after {self.minutes:g} minutes: the file is too large for this machine, "
                "or made to waste its time; --max-minutes gives more"
            ) from None
        finally:
            if child.poll() is None:
                # The whole session: what the file's code may have started as well.
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()

    def _obituary(self, status: int, log: str) -> str:
        if status == -signal.SIGALRM:
            return "the file could not be read in time: it is damaged, or made to waste it"
        last = next((line for line in reversed(log.splitlines()) if line.strip()), "")
        if any(sign in log for sign in OUT_OF_MEMORY):
            return _too_large(self.memory_gb)
        how = f"exit status {status}"
        if status < 0:
            how = signal.Signals(-status).name
        return (
            f"the process that worked on it died ({how}): the file is damaged, or crashes whoever "
            f"loads it{f'; its last words: {last[:300]}' if last else ''}"
        )


@contextlib.contextmanager
def within(seconds: int) -> Iterator[None]:
    """End the process, in a sandbox, if a block takes longer: C code that hangs hears nothing less.

    HDF5's does so on some damaged files.
    """
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def main(folder: str) -> None:
    """Be the child: one job, from job.json to answer.json."""
    from convert.confinement import confine

    job = json.loads((Path(folder) / "job.json").read_text(encoding="utf-8"))
    _divert(Path(folder) / "log", quiet=job["quiet"])
    confine(job["memory_bytes"])
    module, _, function = job["target"].partition(":")
    try:
        result = getattr(importlib.import_module(module), function)(**job["arguments"])
        answer = {"result": result}
    except (ConvertError, SetupError, ClassifierError) as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": _too_large(job["memory_bytes"] / 1e9)}
    except ImportError as error:
        if "failed to map" in str(error):  # the loader's words for too little address space
            answer = {"error": _too_large(job["memory_bytes"] / 1e9)}
        else:
            answer = {"error": f"{sys.executable} cannot run this: {error}"}
    except Exception:  # noqa: BLE001
        answer = {"crash": traceback.format_exc()}
    draft = Path(folder) / "answer.part"
    draft.write_text(json.dumps(answer), encoding="utf-8")
    draft.replace(Path(folder) / "answer.json")
    # Past the libraries' own farewells: their threads and destructors have nothing left to do.
    os._exit(0)


def _divert(log: Path, *, quiet: bool) -> None:
    """Send what libraries write to stderr into a file; steps and progress still reach the user."""
    user = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
    with log.open("wb") as file:
        os.dup2(file.fileno(), 2)
    terminal.use(user, quiet=quiet)


def _too_large(memory_gb: float) -> str:
    return (
        f"it takes more than {memory_gb:g} GB of memory; --max-memory gives more, if you trust the "
        "file"
    )


if __name__ == "__main__":
    main(sys.argv[1])
