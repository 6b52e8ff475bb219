"""From pictures to an endpoint in one go: `make train-demo`.

Explore the data, train, convert, verify, serve, evaluate: each step is a command, printed as it
runs.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import requests

from keras_to_lambda.cli import frame
from keras_to_lambda.project import ROOT
from keras_to_lambda.train import convert_and_serve
from keras_to_lambda.train.convert_and_serve import K2L
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data.dataset import DataError

FOLDER = Path(".train-demo")
EACH = 250  # pictures of each digit
OWN = ("--epochs", "20")


@frame.command("make train-demo", refused=frame.FAILED)
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. Exit status 1: a step failed."""
    parser = frame.Parser("make train-demo", __doc__)
    parser.add_argument(
        "data", metavar="DATA", nargs="?",
        help="data, as k2l train takes it (default: digits that the demo draws)",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=9000, help="default: %(default)s")
    args, given = parser.parse_known_args(arguments)
    start = time.monotonic()
    convert_and_serve.check_port(args.port)  # before minutes of work, not after
    _steps(args.data, given, args.port)
    print(f"\nfinished in {time.monotonic() - start:.0f} s")
    return 0


def _steps(source: str | None, given: list[str], port: int) -> None:
    if source is None:
        shutil.rmtree(ROOT / FOLDER, ignore_errors=True)
        (ROOT / FOLDER).mkdir()
        source = str(FOLDER / "digits.npz")
        print(f"1. Draw pictures: {10 * EACH} digits in many hands\n", flush=True)
        draw(ROOT / source)
        given = [*OWN, *given]
    else:
        source = str(Path(source).absolute()) if Path(source).exists() else source
        print(f"1. The pictures of {source}\n", flush=True)
    name = sources.name_of(source)
    model = FOLDER / name / name
    print("2. Explore them before the training", flush=True)
    _run("explore", source, "-o", f"{FOLDER / name}.exploration.html")
    print("\n3. Train, convert, verify, serve", flush=True)
    command = ["train", source, "-o", str(FOLDER / name), "--logs", str(FOLDER / "runs")]
    command += ["--serve", str(port), *given]
    quiet = {**os.environ, "LOG_LEVEL": "ERROR"}  # no line for each request
    server = subprocess.Popen([*K2L, *command], cwd=ROOT, env=quiet)  # noqa: S603
    print(f"  k2l {shlex.join(command)}\n", flush=True)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(server, url)
        print("\n4. Evaluate the served model over HTTP, on test pictures", flush=True)
        _run(
            "evaluate", f"{url}/predict", "--data", source, "--against", f"{model}.keras",
            "-o", f"{model}.evaluation.html",
        )  # fmt: skip
    finally:
        server.terminate()
        server.wait()


def draw(path: Path) -> None:
    """Write an .npz file of EACH pictures of each digit."""
    from samples import digits

    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(10, dtype=np.uint8), EACH)
    images = np.stack([np.asarray(digits.varied(str(label), random)) for label in labels])
    np.savez_compressed(path, x_train=images, y_train=labels)


def _run(verb: str, *arguments: str) -> None:
    print(f"  k2l {verb} {shlex.join(arguments)}\n", flush=True)
    done = subprocess.run([*K2L, verb, *arguments], cwd=ROOT, check=False)  # noqa: S603
    if done.returncode:
        raise DataError(f"k2l {verb} ended with exit status {done.returncode}")


def _wait(server: subprocess.Popen[bytes], url: str) -> None:
    """Until the server answers, however long the training takes."""
    while server.poll() is None:
        try:
            requests.get(f"{url}/models", timeout=5).raise_for_status()
        except requests.RequestException:
            time.sleep(0.3)
        else:
            return
    raise DataError(f"k2l train ended with exit status {server.returncode}")


if __name__ == "__main__":
    sys.exit(main())
