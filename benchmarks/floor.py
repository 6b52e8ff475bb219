"""Cold start and warm latency of the handler beside the floor: the same work by hand.

    make bench

Cold: a fresh Python process, from its start to its first answer for the same JPEG as base64; the two
sides in turn, so that the machine's drift meets both. Warm: many calls in one process.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "samples" / "t-shirt.jpg"
MODEL = ROOT / "models" / "clothing" / "clothing.tflite"
SIZE = 160

BY_HAND = f"""
import base64, io
import numpy as np
from PIL import Image
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(model_path={str(MODEL)!r}, num_threads=1)
interpreter.allocate_tensors()
input_, output = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

def call(text):
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    if image.mode != "RGB":  # a needless copy of the photo would cost a millisecond
        image = image.convert("RGB")
    image = image.resize(({SIZE}, {SIZE}), Image.Resampling.BILINEAR)
    interpreter.set_tensor(input_, np.asarray(image, np.float32)[None] / 127.5 - 1)
    interpreter.invoke()
    return interpreter.get_tensor(output)[0].tolist()
"""
HANDLER = """
import lambda_function

def call(text):
    return list(lambda_function.lambda_handler({"image": text}).values())
"""
TAIL = """
import json, sys, time
text = sys.stdin.read()
first = call(text)
answered = time.clock_gettime(time.CLOCK_MONOTONIC)
times = []
for _ in range(int(sys.argv[1])):
    start = time.perf_counter(); call(text); times.append((time.perf_counter() - start) * 1000)
times.sort()
print(json.dumps({"answered": answered, "first": first, "warm": times[len(times) // 2] if times else 0}))
"""


def run(code: str, text: str, warm: int) -> tuple[float, float, list[float]]:
    """A fresh process: milliseconds to its first answer, median warm milliseconds, the answer."""
    start = time.clock_gettime(time.CLOCK_MONOTONIC)
    done = subprocess.run(  # noqa: S603  # our own code
        [sys.executable, "-c", code + TAIL, str(warm)],
        input=text, capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "LOG_LEVEL": "FATAL", "NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    result = json.loads(done.stdout.splitlines()[-1])
    return (result["answered"] - start) * 1000, result["warm"], result["first"]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.floor", description=__doc__)
    p.add_argument("--runs", type=int, default=15, help="fresh processes of each (default: 15)")
    p.add_argument("--calls", type=int, default=200, help="warm calls (default: 200)")
    args = p.parse_args(argv)
    text = base64.b64encode(PHOTO.read_bytes()).decode()
    for code in (BY_HAND, HANDLER):  # not counted: files into memory
        run(code, text, 0)
    cold: dict[str, list[float]] = {"by hand": [], "handler": []}
    for number in range(args.runs):
        print(f"\rcold start {number + 1}/{args.runs}", end="", file=sys.stderr, flush=True)
        hand, _, expected = run(BY_HAND, text, 0)
        ours, _, answer = run(HANDLER, text, 0)
        if max(abs(a - b) for a, b in zip(expected, answer, strict=True)) > 1e-3:
            raise SystemExit("the two sides answer differently: this comparison means nothing")
        cold["by hand"].append(hand)
        cold["handler"].append(ours)
    print(file=sys.stderr)
    warm = {"by hand": [], "handler": []}
    for _ in range(3):
        warm["by hand"].append(run(BY_HAND, text, args.calls)[1])
        warm["handler"].append(run(HANDLER, text, args.calls)[1])
    ratio = statistics.median(b / a for a, b in zip(cold["by hand"], cold["handler"], strict=True))
    more = statistics.median(b - a for a, b in zip(warm["by hand"], warm["handler"], strict=True))
    print(f"{'':<10}{'cold, ms':>12}{'warm, ms':>12}   medians; one thread; {PHOTO.name}")
    for side, times in cold.items():
        print(f"{side:<10}{statistics.median(times):12.1f}{statistics.median(warm[side]):12.2f}")
    print(f"handler / by hand: cold x {ratio:.3f}; warm + {more:.2f} ms")


if __name__ == "__main__":
    main()
