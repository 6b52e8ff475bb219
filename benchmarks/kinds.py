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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.inference.telemetry import Stopwatch
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.sources.images import Raw

ROOT = Path(__file__).resolve().parent.parent
FILES = ROOT / "tests" / "convert" / "saved_by" / "files"


def models() -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """Folder, name and facts of each file."""
    for index in sorted(FILES.glob("*/index.json")):
        for name, facts in json.loads(index.read_text(encoding="utf-8"))["models"].items():
            yield index.parent, name, facts


def row(folder: Path, facts: dict[str, Any]) -> list[str]:
    """A row of the table."""
    head = [folder.name.replace("-", " "), Path(facts["file"]).suffix or "folder", facts["about"]]
    pictures = sorted(folder.glob(f"images/{facts['channels']}-*.png"))
    expected = np.array(facts.get("answers", [[0] * 4]))
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
                *(
                    sys.executable,
                    "-m",
                    "keras_to_lambda",
                    "convert",
                    str(folder / facts["file"]),
                    "--quiet",
                ),
                *("-o", str(place / "net.tflite"), "--samples", str(place / "samples")),
                *("--labels", str(place / "labels.txt"), "--preprocess", "mobilenet_v2", *options),
            ],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            reason = done.stderr.strip().partition(": ")[2].replace(str(FILES) + "/", "")
            return [*head, f"refused: {reason[:110]}", "", ""]
        handler = Handler(
            Settings(model_path=str(place / "net.tflite"), num_threads=1, log_level="FATAL")
        )
        served = np.stack(
            [
                handler.pipeline.logits(Raw(p.read_bytes()), Deadline(60), Stopwatch())
                for p in pictures
            ]
        )
        loaded = str(cards.load(place / "net.tflite").provenance["loaded_by"])
    if expected.shape[1] == 1:
        expected = np.concatenate([1 - expected, expected], axis=1)
    agreement = (served.argmax(axis=1) == expected.argmax(axis=1)).mean()
    return [*head, loaded, f"{agreement:.0%}", f"{np.abs(served - expected).max():.1e}"]


def main() -> None:
    """Print the table."""
    head = ["written by", "kind", "what is in it", "loaded by", "top-1 agreement", "largest diff"]
    print("| " + " | ".join(head) + " |\n| --- | --- | --- | --- | ---: | ---: |")
    with ThreadPoolExecutor(2) as pool:
        for cells in pool.map(lambda found: row(found[0], found[2]), list(models())):
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
