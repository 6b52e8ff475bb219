"""(d) What the image adds above its base, and which files an invocation really reads."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.contenders import FLOOR
from benchmarks.material import CLOTHING, python
from benchmarks.receipt import BoxError, docker
from benchmarks.table import markdown, number

TAG = "keras-to-lambda:bench"
# Every file that Python opens, and every library that is mapped, by package.
_READ = """
import sys, os, json, base64
opened = set()
sys.addaudithook(lambda event, args: opened.add(str(args[0])) if event == "open" else None)
import lambda_function
text = base64.b64encode(open("samples/t-shirt.jpg", "rb").read()).decode()
lambda_function.lambda_handler({"image": text})
with open("/proc/self/maps") as file:
    opened |= {line.split(maxsplit=5)[5].strip() for line in file if line.count("/")}
sizes = {}
for path in opened:
    if "site-packages/" in path and os.path.isfile(path):
        package = path.partition("site-packages/")[2].split("/")[0]
        sizes[package] = sizes.get(package, 0) + os.path.getsize(path)
    elif path.endswith(".tflite") or "/keras_to_lambda/" in path and os.path.isfile(path):
        name = "model" if path.endswith(".tflite") else "classifier"
        sizes[name] = sizes.get(name, 0) + os.path.getsize(path)
print(json.dumps(sizes))
"""


def size(_: bool, results: dict[str, Any]) -> str:
    """Layers and packages of the image, if Docker is here; files read, where /proc is."""
    try:
        docker("build", "-q", "-t", TAG, ".", timeout_s=900)
    except BoxError as error:
        parts = [f"Skipped: the image's layers: {error}.\n"]
    else:
        history = docker("history", "--format", "{{.Size}}\t{{.CreatedBy}}", "--no-trunc", TAG)
        rows = []
        for layer in history.splitlines():
            amount, made = layer.split("\t", 1)
            if "ENTRYPOINT" in made:  # the base image ends with it
                break
            if amount != "0B":
                copied = "/packages/" in made or made.split()[-1] == "/"
                rows.append(["packages" if copied else "function, page and models", amount])
        parts = ["The image, above its base:\n", markdown(("layer", "size"), rows), ""]
        results["layers"] = rows
    done = python(FLOOR.environment, "-c", _READ, MODEL_PATH=str(CLOTHING))
    read = json.loads(done.stdout.splitlines()[-1])
    results["read"] = read
    rows = [
        [package, number(amount / 1e6, 1)]
        for package, amount in sorted(read.items(), key=lambda item: -item[1])
        if amount > 20_000
    ]
    rows.append(["in all", number(sum(read.values()) / 1e6, 1)])
    parts += ["Files that one invocation opens or maps, each with its whole size:\n"]
    return "\n".join([*parts, markdown(("package", "MB"), rows)])
