"""Which old files convert, by which library, and how near to what their writer answered.

    .venv-tf/bin/python -m benchmarks.kinds

For every model in tests/convert/saved_by/files: `k2l convert` on its three pictures, and the
function's answers beside those that the writing version gave. Prints a Markdown table.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.material import ROOT
from benchmarks.table import markdown
from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.inference.telemetry import Stopwatch
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.sources.images import Raw

FILES = ROOT / "tests" / "convert" / "saved_by" / "files"
HEAD = ("written by", "kind", "what is in it", "loaded by", "top-1 agreement", "largest diff")


def row(folder: Path, facts: dict[str, Any]) -> list[str]:
    """A row of the table; facts: of the file, as the folder's index has them."""
    file = folder / facts["file"]
    pictures = sorted(folder.glob(f"images/{facts['channels']}-*.png"))
    expected = np.array(facts.get("answers", [[0] * 4]))
    cells = [folder.name.replace("-", " "), file.suffix or "folder", facts["about"]]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "samples").mkdir()
        for picture in pictures:
            (place / "samples" / picture.name).write_bytes(picture.read_bytes())
        labels = "".join(f"{n}\n" for n in range(max(2, expected.shape[1])))
        (place / "labels.txt").write_text(labels, encoding="utf-8")
        options = [f"--{key}={facts[key]}" for key in ("head", "backend") if key in facts]
        if "custom" in facts:
            options.append(f"--custom={FILES.parent / facts['custom']}")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "keras_to_lambda", "convert", str(file), "--quiet"),
                *("-o", str(place / "net.tflite"), "--samples", str(place / "samples")),
                *("--labels", str(place / "labels.txt"), "--preprocess", "mobilenet_v2", *options),
            ],
            cwd=ROOT, check=False, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            return [*cells, f"refused: {reason(done.stderr, file)}", "", ""]
        model = str(place / "net.tflite")
        handler = Handler(Settings(model_path=model, num_threads=1, log_level="FATAL"))
        served = np.stack([
            handler.pipeline.logits(Raw(picture.read_bytes()), Deadline(60), Stopwatch())
            for picture in pictures
        ])  # fmt: skip
        loaded = str(cards.load(Path(model)).provenance["loaded_by"])
    if expected.shape[1] == 1:
        expected = np.concatenate([1 - expected, expected], axis=1)
    agreement = (served.argmax(axis=1) == expected.argmax(axis=1)).mean()
    difference = np.abs(served - expected).max()
    return [*cells, loaded, f"{agreement:.0%}", f"{difference:.1e}"]


def reason(error: str, file: Path) -> str:
    """The first sentence of an error, in 200 characters at most, with the file's name alone."""
    message = error.strip().partition(": ")[2].replace(str(file), file.name)
    return textwrap.shorten(message.partition(". ")[0], 200, placeholder=" ...")


def main() -> None:
    """Print the table."""
    files = [
        (index.parent, facts)
        for index in sorted(FILES.glob("*/index.json"))
        for facts in json.loads(index.read_text(encoding="utf-8"))["models"].values()
    ]
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda each: row(*each), files))
    print(markdown(HEAD, rows, words=range(4)))


if __name__ == "__main__":
    main()
