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
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data.dataset import DataError

FOLDER = Path(".train-demo")
EACH = 250  # pictures of each digit


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
    source = args.data
    if source is None:
        shutil.rmtree(ROOT / FOLDER, ignore_errors=True)
        (ROOT / FOLDER).mkdir()
        source, given = str(FOLDER / "digits.npz"), ["--epochs", "20", *given]
        draw(ROOT / source)
    elif Path(source).exists():
        source = str(Path(source).absolute())
    name = sources.name_of(source)
    model = FOLDER / name / name
    _run("Explore", "explore", source, "-o", f"{FOLDER / name}.exploration.html")
    server = _start(
        "Train, convert, verify, serve", "train", source, "-o", str(model.parent), "--logs",
        str(FOLDER / "runs"), "--serve", str(args.port), *given,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{args.port}"
        _wait(server, url)
        _run(
            "Evaluate the served model on test pictures", "evaluate", f"{url}/predict", "--data",
            source, "--against", f"{model}.keras", "-o", f"{model}.evaluation.html",
        )  # fmt: skip
    finally:
        server.terminate()
        server.wait()
    print(f"\nfinished in {time.monotonic() - start:.0f} s")
    return 0


def draw(path: Path) -> None:
    """Write an .npz file of EACH pictures of each digit."""
    from samples import digits

    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(10, dtype=np.uint8), EACH)
    images = np.stack([np.asarray(digits.varied(str(label), random)) for label in labels])
    np.savez_compressed(path, x_train=images, y_train=labels)


def _start(about: str, *words: str) -> subprocess.Popen[bytes]:
    print(f"\n{about}\n  k2l {shlex.join(words)}\n", flush=True)
    quiet = {**os.environ, "LOG_LEVEL": "ERROR"}  # no line for each request
    return subprocess.Popen([*convert_and_serve.K2L, *words], cwd=ROOT, env=quiet)  # noqa: S603


def _run(about: str, *words: str) -> None:
    if status := _start(about, *words).wait():
        raise DataError(f"k2l {words[0]} ended with exit status {status}")


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
