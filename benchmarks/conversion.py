"""How long `k2l convert --quantize auto` takes, and how much memory, for well-known networks.

    .venv-tf/bin/python -m benchmarks.conversion [NETWORK ...]

The networks have random weights, which take as long to convert as trained ones; whether their
answers agree is another matter, and not looked at here. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = {
    "MobileNetV2": "mobilenet_v2",
    "DenseNet121": "densenet121",
    "Xception": "xception",
}
BUILD = """
import keras, sys
keras.utils.set_random_seed(1)
model = getattr(keras.applications, sys.argv[1])(weights=None, classifier_activation=None)
model.save(sys.argv[2])
"""


def measure(network: str, folder: Path) -> list[str]:
    """Convert one network; a row of the table."""
    model, labels = folder / f"{network}.keras", folder / "labels.txt"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(
        [sys.executable, "-P", "-c", BUILD, network, str(model)],
        check=True,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    labels.write_text("".join(f"class {n}\n" for n in range(1000)), encoding="utf-8")
    start = time.perf_counter()
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "keras_to_lambda",
                "convert",
                str(model),
                "-o",
                str(folder / "out.tflite"),
            ),
            *("--labels", str(labels), "--preprocess", NETWORKS[network], "--samples", "samples"),
            *("--quantize", "auto", "--json", "--quiet"),
        ],
        cwd=ROOT,
        check=False,
        env=environment,
        capture_output=True,
        text=True,
    )
    total = time.perf_counter() - start
    found = json.loads(done.stdout)
    keras = found["keras"]
    seconds = keras["seconds"]
    return [
        network,
        f"{keras['parameters'] / 1e6:.1f} M",
        *(f"{seconds[name]:.1f}" for name in ("load", "none", "float16", "weights", "dynamic")),
        f"{seconds['int8']:.1f}",
        f"{total:.0f}",
        f"{keras['peak_mb']:.0f}",
        f"{max(c['peak_mb'] for c in found['candidates']):.0f}",
    ]


def main() -> None:
    """Print the table."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("networks", nargs="*", choices=[*NETWORKS, []], help=", ".join(NETWORKS))
    args = p.parse_args()
    head = ["network", "parameters", "load, s", "none, s", "float16", "weights", "dynamic", "int8"]
    head += ["all and verified, s", "peak MB, converting", "peak MB, serving"]
    print("| " + " | ".join(head) + " |")
    print("| --- |" + " ---: |" * (len(head) - 1))
    with tempfile.TemporaryDirectory() as name:
        for network in args.networks or NETWORKS:
            print("| " + " | ".join(measure(network, Path(name))) + " |", flush=True)


if __name__ == "__main__":
    main()
