"""The main job in one go: `make demo`.

Convert the clothing model, prove that it answers as Keras does, serve it by the real handler in the
real Lambda emulator, and ask for a photo by its URL.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import requests

from keras_to_lambda.cli import frame
from keras_to_lambda.deploy import file_host
from keras_to_lambda.deploy.emulator import Emulator
from keras_to_lambda.project import ROOT
from keras_to_lambda.runtime.common.aws_lambda import INVOCATIONS_PATH
from keras_to_lambda.runtime.common.errors import UserError

MODEL = ROOT / "models" / "clothing" / "clothing.keras"
SAMPLES = ROOT / "samples"
OUTPUT = ROOT / ".demo" / "clothing.tflite"
PYTHON_TF = ROOT / ".venv-tf" / "bin" / "python"
PHOTO = "t-shirt.jpg"
WARM_CALLS = 20


@frame.command("demo", refused=frame.FAILED)
def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo. Exit status 1: a step failed, and said why."""
    p = frame.Parser("python -m keras_to_lambda.deploy.serving_demo", __doc__)
    p.add_argument("--port", type=int, default=9000, help="of the emulator (default: %(default)s)")
    args = p.parse_args(argv)
    try:
        with socket.socket() as probe:  # before minutes of work, not after
            probe.bind(("127.0.0.1", args.port))
    except OSError as error:
        raise UserError(f"port {args.port} is in use; make demo PORT={args.port + 1}") from error
    _convert()
    with file_host.serving(SAMPLES) as host, _function(args.port, host) as (url, invoke):
        _classify(host, url, invoke)
    print(
        "\nThe servers of this demo have ended. To stay: make run MODEL=.demo/clothing.tflite\n"
        "With a page to try it in a browser: make run. Your own model: README.md"
    )
    return 0


def _convert() -> None:
    print("1. Convert the Keras model, and prove that the two agree\n", flush=True)
    # A process of its own: TensorFlow is in another environment, and never in the function's.
    done = subprocess.run(  # noqa: S603  # our own command, no shell
        [PYTHON_TF, "-m", "keras_to_lambda", "convert", MODEL, "--samples", SAMPLES, "-o", OUTPUT],
        cwd=ROOT,
        check=False,
    )
    if done.returncode:
        raise UserError("the conversion failed; its error is above")


@contextmanager
def _function(port: int, image_host: str) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """The function: in AWS's emulator, or by `serve` where that Linux binary does not run."""
    settings = {"FETCH_PRIVATE_HOSTS": image_host}
    if sys.platform == "linux":
        print(f"\n2. Serve it in AWS's Lambda emulator on port {port}", flush=True)
        with Emulator(port, model=OUTPUT, env=settings) as emulator:
            yield emulator.url, emulator.invoke
        return
    print(f"\n2. Serve it on port {port} (AWS's emulator is a Linux binary)", flush=True)
    from keras_to_lambda.runtime.common.settings import Settings
    from keras_to_lambda.runtime.handler import Handler
    from keras_to_lambda.serve import http_server
    from keras_to_lambda.serve.gateway import Gateway

    handler = Handler(Settings.from_environ({**settings, "MODEL_PATH": str(OUTPUT)}))
    server = http_server.create(Gateway(handler.handle), "127.0.0.1", port)
    threading.Thread(target=server.run, daemon=True).start()
    url = f"http://127.0.0.1:{port}{INVOCATIONS_PATH}"
    # Its thread ends with the process, which ends with the demo.
    yield url, lambda event: requests.post(url, json=event, timeout=30).json()


def _classify(image_host: str, url: str, invoke: Callable[[Any], Any]) -> None:
    event = {"url": f"http://{image_host}/{PHOTO}"}
    print("\n3. Ask for a photo by its URL, as any client does\n")
    print(f"  curl {url} \\\n    -d '{json.dumps(event)}'\n")
    # Not by way of `invoke`: this is the line that people have in their own programs.
    print(json.dumps(requests.post(url, json=event, timeout=30).json(), indent=2))
    print("\n4. Every sample\n")
    for photo in sorted(SAMPLES.glob("*.jpg")):
        scores = invoke({"url": f"http://{image_host}/{photo.name}", "top_k": 2})
        best = ", ".join(f"{label} {score:.2f}" for label, score in scores.items())
        print(f"  {photo.name:<16} {best}")
    start = time.perf_counter()
    for _ in range(WARM_CALLS):
        invoke(event)
    mean_ms = (time.perf_counter() - start) / WARM_CALLS * 1000
    print(f"\n  {mean_ms:.1f} ms a call, warm, download included (mean of {WARM_CALLS})")


if __name__ == "__main__":
    sys.exit(main())
