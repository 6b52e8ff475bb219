"""How long `k2l convert --quantize auto` takes, and how much memory, for well-known networks.

    .venv-tf/bin/python -m benchmarks.conversion [NETWORK ...]

The networks have random weights, which take as long to convert as trained ones; whether their
answers agree is another matter, and not looked at here. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.material import ROOT
from benchmarks.table import markdown

# A network, and its name for --preprocess.
NETWORKS = {"MobileNetV2": "mobilenet_v2", "DenseNet121": "densenet121", "Xception": "xception"}
BUILD = """
import keras, sys
keras.utils.set_random_seed(1)
model = getattr(keras.applications, sys.argv[1])(weights=None, classifier_activation=None)
model.save(sys.argv[2])
"""
HEAD = (
    *("network", "parameters", "load, s", "none, s", "float16", "weights", "dynamic", "int8"),
    *("all and verified, s", "peak MB, converting", "peak MB, serving"),
)


def measure(network: str, folder: Path) -> list[str]:
    """Convert one network; a row of the table."""
    model, labels = folder / f"{network}.keras", folder / "labels.txt"
    build = [sys.executable, "-P", "-c", BUILD, network, str(model)]
    subprocess.run(build, check=True, stderr=subprocess.DEVNULL)
    labels.write_text("".join(f"class {n}\n" for n in range(1000)), encoding="utf-8")
    start = time.perf_counter()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "keras_to_lambda", "convert", str(model)),
            *("-o", str(folder / "out.tflite"), "--labels", str(labels), "--samples", "samples"),
            *("--preprocess", NETWORKS[network], "--quantize", "auto", "--json", "--quiet"),
        ],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    total = time.perf_counter() - start
    report = json.loads(done.stdout)
    keras = report["keras"]
    steps = ("load", "none", "float16", "weights", "dynamic", "int8")
    return [
        network,
        f"{keras['parameters'] / 1e6:.1f} M",
        *(f"{keras['seconds'][step]:.1f}" for step in steps),
        *(f"{total:.0f}", f"{keras['peak_mb']:.0f}"),
        f"{max(candidate['peak_mb'] for candidate in report['candidates']):.0f}",
    ]


def main() -> None:
    """Print the table."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("networks", nargs="*", choices=[*NETWORKS, []], help=", ".join(NETWORKS))
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(markdown(HEAD, [measure(n, Path(name)) for n in args.networks or NETWORKS]))


if __name__ == "__main__":
    main()
