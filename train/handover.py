"""Handover: from a trained model to an endpoint. Convert, verify, serve."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from classifier import card as cards
from train.data.dataset import DataError

if TYPE_CHECKING:
    from train.data.dataset import Dataset

ROOT = Path(__file__).resolve().parent.parent
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
    """Write the `.tflite` beside a trained `.keras`, verified on validation pictures.

    Labels and preprocessing come from the card beside the model: nobody has to know them.

    Returns:
        The file; None if the two do not agree, of which the converter has told.
    """
    output = model.with_suffix(".tflite")
    with tempfile.TemporaryDirectory(prefix="samples-") as folder:
        samples(data, cards.load_json(cards.beside(model)), Path(folder))
        told = subprocess.run(  # noqa: S603  # our own command, no shell
            [sys.executable, "-m", "convert", model, "--samples", folder, "-o", output],
            cwd=ROOT,
            check=False,
        )
    return output if told.returncode == 0 else None


def samples(data: Dataset, card: cards.ModelCard, folder: Path) -> None:
    """Write validation pictures into class folders: files as they are, rows of arrays as PNG."""
    split = data.splits["validation"]
    # Every so many: all labels are among them, as pictures are sorted by label or shuffled.
    rows = range(0, len(split), max(1, -(-len(split) // SAMPLES)))
    for row in rows:
        label = folder / data.labels[split.targets[row]].replace("/", "_")
        label.mkdir(exist_ok=True)
        ending = Path(split.name(row)).suffix or ".png"
        (label / f"{row:06}{ending}").write_bytes(split.file(row, card))


def serve(model: Path, data: Dataset, port: int) -> int:
    """Convert a trained model, and serve it until Ctrl-C. Returns the exit status."""
    print(f"\nconverting {model.name}, verified on validation pictures", flush=True)
    tflite = convert(model.resolve(), data)
    if tflite is None:
        return 1
    print(
        f"\nserving {tflite.name}; Ctrl-C ends it, and make run MODEL={tflite} serves it again",
        flush=True,
    )
    command = [sys.executable, "-m", "serve", "--port", str(port), "--model", str(tflite)]
    server = subprocess.Popen(command, cwd=ROOT)  # noqa: S603
    # Ctrl-C reaches both: the server ends by itself, and so does this.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    terminate = signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        return server.wait()
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, terminate)
