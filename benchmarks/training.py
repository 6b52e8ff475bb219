"""How accurate each way of training comes to be, and how long it takes.

    .venv-tf/bin/python -m benchmarks.training --clothing DIR --mnist DIR [--docs] [ROW ...]

Each row is a command, run as it is printed, on a machine that does nothing else: the wall clock's
minutes include decoding and evaluation. --docs puts the table into docs/training.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import table

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs" / "training.md"
TRANSFER = ("--model", "MobileNetV2")
TUNED = (*TRANSFER, "--fine-tune", "60", "--fine-tune-epochs", "8", "--fine-tune-rate", "0.0002")
# Description, data, verb, options.
ROWS = {
    "frozen": ("MobileNetV2, frozen, and a small head", "clothing", "train", TRANSFER),
    "tuned": ("the same, its last 60 layers tuned", "clothing", "train", TUNED),
    "scratch": ("the residual net, from scratch", "clothing", "train", ()),
    "digits": ("the residual net", "mnist", "train", ()),
    "mlp": ("a perceptron of 256 and 128", "mnist", "train", ("--model", "mlp")),
    "tree": ("a decision tree", "mnist", "tree", ()),
}
HEAD = (
    "| network | data | test accuracy (95 %) | validation | minutes | command |\n"
    "| --- | --- | --- | ---: | ---: | --- |"
)


def measure(name: str, folders: dict[str, Path], output: Path) -> str:
    """Run one command; its row."""
    about, data, verb, options = ROWS[name]
    model = output / name
    tracking = ("--track", "none") if verb == "train" else ()
    start = time.perf_counter()
    command = [sys.executable, "-m", "keras_to_lambda", verb, str(folders[data]), "-o", str(model)]
    subprocess.run([*command, *options, *tracking], cwd=ROOT, check=True)
    minutes = (time.perf_counter() - start) / 60
    card = json.loads((model / f"{name}.card.json").read_text(encoding="utf-8"))
    accuracy = card["provenance"]["test_accuracy"]
    low, high = card["provenance"]["test_interval_95"]
    validation = ""
    if (record := model / "training.json").exists():
        results = json.loads(record.read_text(encoding="utf-8"))["results"]
        validation = f"{results['validation']['accuracy']:.3f}"
    shown = " ".join(("k2l", verb, "DATA", *options))
    return (
        f"| {about} | {data} | **{accuracy:.3f}** ({low:.3f} to {high:.3f}) | {validation} "
        f"| {minutes:.1f} | `{shown}` |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and, if asked, put it into the docs."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    p.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; default: all")
    p.add_argument("--clothing", type=Path, required=True, help="clothing-dataset-small")
    p.add_argument("--mnist", type=Path, required=True, help="MNIST's idx files")
    p.add_argument("--keep", type=Path, metavar="DIR", help="keep the models")
    p.add_argument("--docs", action="store_true", help="renew the table in docs/training.md")
    args = p.parse_args(arguments)
    folders = {"clothing": args.clothing.absolute(), "mnist": args.mnist.absolute()}
    output = Path(args.keep.absolute() if args.keep else tempfile.mkdtemp(prefix="training-"))
    rows = [measure(name, folders, output) for name in args.rows or ROWS]
    text = "\n".join((HEAD, *rows))
    print(text)
    if args.docs:
        table.put("training", text, DOCS)
    if not args.keep:
        shutil.rmtree(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
