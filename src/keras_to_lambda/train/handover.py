"""Handover: from a trained model to a verified `.tflite`, and to an endpoint."""

from __future__ import annotations

import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from keras_to_lambda.project import ROOT
from keras_to_lambda.train.data import unpack
from keras_to_lambda.train.data.dataset import DataError

if TYPE_CHECKING:
    from keras_to_lambda.train.data.dataset import Dataset

SAMPLES = 200  # validation pictures that the conversion is verified on, at most


def free(port: int) -> None:
    """See that a port can be served at.

    Raises:
        DataError: it is taken.
    """
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise DataError(f"port {port} cannot be had: say --serve {port + 1}") from error


def convert(model: Path, data: Dataset) -> Path | None:
    """Write the `.tflite` beside a trained model, verified on validation pictures.

    Labels and preprocessing come from the card beside the model. A few test pictures are written
    to `samples/` beside it, for the playground and for later conversions.

    Returns:
        The file; None if it was not written, with what to do on standard error.
    """
    folder, name = model.parent, model.name.removesuffix(".keras")
    output, examples = folder / f"{name}.tflite", folder / "samples"
    unpack.examples(data, examples)
    print(f"\nconverting {model.name}, verified on validation pictures", flush=True)
    with tempfile.TemporaryDirectory(prefix="samples-") as held_out:
        unpack.split(data, "validation", Path(held_out), SAMPLES)
        # Labels and scaling are those of this training: an accuracy near chance says that it was
        # short, and the report says so.
        status = subprocess.run(  # noqa: S603  # our own command, no shell
            [sys.executable, "-m", "keras_to_lambda", "convert", model.absolute(),
             "--samples", held_out, "-o",
             output.absolute(), "--accept-accuracy"],
            cwd=ROOT,
            check=False,
        ).returncode  # fmt: skip
    if status == 0:
        return output
    again = shlex.join(
        ["k2l", "convert", str(model), "--samples", str(examples), "-o",
         str(output)]
    )  # fmt: skip
    print(
        f"{model} is trained and saved, but it was not converted, for the reason above; when that "
        f"is solved:\n  {again}",
        file=sys.stderr,
    )
    return None


def serve(tflite: Path, port: int) -> int:
    """Serve a converted model until Ctrl-C. Returns the exit status."""
    print(
        f"\nserving {tflite.name}; Ctrl-C ends it, and make run MODEL={tflite} serves it again",
        flush=True,
    )
    tflite = tflite.absolute()
    command = [
        sys.executable,
        "-m",
        "keras_to_lambda",
        "serve",
        "--port",
        str(port),
        "--model",
        str(tflite),
    ]
    server = subprocess.Popen(command, cwd=ROOT)  # noqa: S603
    # Ctrl-C reaches both: the server ends by itself, and so does this.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    terminate = signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        return server.wait()
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, terminate)
