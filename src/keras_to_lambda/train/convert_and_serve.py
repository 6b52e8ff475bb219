"""The next steps of a training: a verified `.tflite`, and an endpoint."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from keras_to_lambda.train.data import unpack
from keras_to_lambda.train.data.dataset import DataError, Dataset

SAMPLES = 200  # validation pictures that the conversion is verified on, at most
K2L = [sys.executable, "-m", "keras_to_lambda"]


def check_port(port: int) -> None:
    """Check that a server can listen on a port."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise DataError(f"port {port} is not available: use --serve {port + 1}") from error


def convert(model: Path, data: Dataset) -> Path | None:
    """Write the `.tflite` beside a trained model, verified on validation pictures.

    Labels and preprocessing come from the card beside the model. A few test pictures are written
    to `samples/` beside it, for the playground and for later conversions.

    Returns:
        The file; None if it was not written.
    """
    folder, name = model.parent, model.name.removesuffix(".keras")
    output, examples = folder / f"{name}.tflite", folder / "samples"
    unpack.examples(data, examples)
    print(f"\nconverting {model.name}, verified on validation pictures", flush=True)
    with tempfile.TemporaryDirectory(prefix="samples-") as held_out:
        unpack.split(data, "validation", Path(held_out), SAMPLES)
        # A low accuracy is the result of a short training here, not of wrong labels or scaling.
        command = [*K2L, "convert", str(model), "--samples", held_out, "-o", str(output)]
        done = subprocess.run([*command, "--accept-accuracy"], check=False)  # noqa: S603
    if done.returncode == 0:
        print(f"next: k2l serve --model {shlex.quote(str(output))}")
        return output
    again = ["k2l", "convert", str(model), "--samples", str(examples), "-o", str(output)]
    print(
        f"{model} is trained and saved, but not converted, for the reason above. To repeat the "
        f"conversion:\n  {shlex.join(again)}",
        file=sys.stderr,
    )
    return None


def serve(tflite: Path, port: int) -> NoReturn:
    """Serve a converted model until Ctrl-C, in place of this process."""
    print(
        f"\nserving {tflite.name}; Ctrl-C ends it; to start it again:\n"
        f"  k2l serve --model {shlex.quote(str(tflite))}",
        flush=True,
    )
    command = [*K2L, "serve", "--port", str(port), "--model", str(tflite)]
    os.execv(command[0], command)  # noqa: S606
