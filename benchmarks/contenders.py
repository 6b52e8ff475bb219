"""Who is measured: the handler, the same work by hand, and what people otherwise write.

Each is a program of its own process: code that defines `call(source)`, where source is an image's
base64 text or its URL, and answers with scores by label. All have one thread and the same network,
and preprocess alike: where the card turns phone photos upright, so does who works by hand.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.material import ROOT, before, floats, python
from keras_to_lambda.runtime.model_file import card as cards

# By hand, with nothing that is not needed: the floor.
_BY_HAND = """
import base64, io
import numpy as np
from PIL import Image, ImageOps
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=MODEL, num_threads=1)
interpreter.allocate_tensors()
source_, target_ = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

def infer(data):
    image = Image.open(io.BytesIO(data))
    if UPRIGHT:
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode != "RGB":  # a needless copy of the photo would cost a millisecond
        image = image.convert("RGB")
    image = image.resize((SIZE, SIZE), Image.Resampling[FILTER])
    interpreter.set_tensor(source_["index"], np.asarray(image, np.float32)[None] / 127.5 - 1)
    interpreter.invoke()
    return named(interpreter.get_tensor(target_["index"])[0].tolist())
"""
_BODY = "\ndef call(text):\n    return infer(base64.b64decode(text))\n"
_URL = (
    "\nimport urllib.request\ndef call(url):\n"
    "    with urllib.request.urlopen(url) as answer:\n        return infer(answer.read())\n"
)
_HANDLER = """
import os
os.environ["MODEL_PATH"] = MODEL
import lambda_function
def call(source):
    return lambda_function.lambda_handler({KEY: source})
"""
# The default model's handler as it was in the release before, with the file that it served.
_BEFORE = """
import sys
sys.path.insert(0, BEFORE)
MODEL = BEFORE + "/models/clothing/clothing.tflite"
"""
# AWS's runtime client, which has imported much of the standard library when a handler is imported.
_CLIENT = "import awslambdaric.bootstrap\n"
# What no program that decodes the whole JPEG can be faster than: fetching, libjpeg's entropy
# decoding (at an eighth it computes one value of each block, and decodes all of its codes), and
# the inference.
_LIMIT = """
from PIL import Image
Image.init()
def decoded(data):
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (1, 1))
    image.load()
def infer(data):
    decoded(data)
    interpreter.invoke()
    return named([0.0])
"""
# What courses and notebooks of this field teach.
_CLASSIC = """
import tflite_runtime.interpreter as tflite
from keras_image_helper import create_preprocessor
preprocessor = create_preprocessor("xception", target_size=(SIZE, SIZE))

def load():
    interpreter = tflite.Interpreter(model_path=MODEL, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter

def infer(interpreter, url):
    X = preprocessor.from_url(url)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], X)
    interpreter.invoke()
    return named(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].tolist())
"""
_AT_IMPORT = "interpreter = load()\ndef call(url):\n    return infer(interpreter, url)\n"
_EACH_CALL = "def call(url):\n    return infer(load(), url)\n"
_ONNX = """
import onnxruntime
from keras_image_helper import create_preprocessor
preprocessor = create_preprocessor("xception", target_size=(SIZE, SIZE))
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(ONNX, options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name

def call(url):
    return named(session.run(None, {name: preprocessor.from_url(url)})[0][0].tolist())
"""
_KERAS = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import io, urllib.request
import numpy as np
import keras, tensorflow as tf
from PIL import Image
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
model = keras.models.load_model(KERAS, compile=False)

def call(url):
    with urllib.request.urlopen(url) as answer:
        image = Image.open(io.BytesIO(answer.read())).convert("RGB")
    image = image.resize((SIZE, SIZE), Image.Resampling.NEAREST)
    tensor = np.asarray(image, np.float32)[None] / 127.5 - 1
    return named(model(tensor, training=False)[0].numpy().tolist())
"""
# A contender's process: reads what to do, answers once, tells when, then measures warm calls.
_HEAD = """
import sys, json
globals().update(json.loads(sys.argv[1]))
def named(scores):
    return dict(zip(LABELS, scores))
"""
_TAIL = """
import time
_sources = sys.stdin.read().split()
_first = call(_sources[0])
_answered = time.clock_gettime(time.CLOCK_MONOTONIC)
_processor = time.process_time() * 1000
_warm, _busy = [], []
for _source in _sources:
    call(_source)
    _times, _used = [], []
    for _ in range(CALLS):
        _began, _start = time.process_time(), time.perf_counter()
        call(_source)
        _times.append((time.perf_counter() - _start) * 1000)
        _used.append((time.process_time() - _began) * 1000)
    _warm.append(sorted(_times)[len(_times) // 2] if _times else None)
    _busy.append(sorted(_used)[len(_used) // 2] if _used else None)
try:
    with open("/proc/self/status") as _file:
        _peak = [int(l.split()[1]) * 1024 / 1e6 for l in _file if l.startswith("VmHWM")][0]
except OSError:
    _peak = None
print(json.dumps({"cold_ms": _answered * 1000, "processor_ms": _processor, "warm_ms": _warm,
                  "busy_ms": _busy, "first": [*_first.values()], "peak_mb": _peak}))
"""


@dataclass(frozen=True)
class Run:
    """cold_ms: from the process's start to its first answer. warm_ms: a median for each source.

    processor_ms, busy_ms: the processor time of the same.
    """

    cold_ms: float
    processor_ms: float
    warm_ms: list[float]
    busy_ms: list[float]
    first: list[float]
    peak_mb: float | None


class ContenderError(Exception):
    """A contender's process failed."""


@dataclass(frozen=True)
class Contender:
    """A way to answer.

    takes: "image" (base64 text) or "url". pixels: whether its model scales pixels itself.
    """

    name: str
    environment: str
    code: str
    takes: str
    pixels: bool = False

    @property
    def missing(self) -> str:
        """Why it cannot be run here; or nothing."""
        if "BEFORE" in self.code and before() is None:
            return "this clone does not have the release before"
        python = ROOT / self.environment / "bin" / "python"
        return "" if python.exists() else f"there is no {self.environment}"

    def run(self, sources: list[str], model: Path, size: int, calls: int = 0, **more: Any) -> Run:
        """A fresh process: the first answer to the first source, then `calls` warm ones to each.

        Raises:
            ContenderError: it failed.
        """
        do = {
            "MODEL": str(model if self.pixels else floats(model)),
            "ONNX": str(model.with_suffix(".onnx")),
            "KERAS": str(model.with_suffix(".keras")),
            "SIZE": size,
            "CALLS": calls,
            "KEY": self.takes,
            "FILTER": "NEAREST",
            "UPRIGHT": False,
            "BEFORE": str(before() or ""),
            "LABELS": cards.load(model).labels,
            **more,
        }
        hosts = {source.split("/")[2] for source in sources if source.startswith("http://")}
        start = time.clock_gettime(time.CLOCK_MONOTONIC)
        done = python(
            self.environment,
            *("-c", _HEAD + self.code + _TAIL, json.dumps(do)),
            input="\n".join(sources),
            FETCH_PRIVATE_HOSTS=",".join(hosts),
        )
        if done.returncode:
            raise ContenderError(f"{self.name}: {done.stderr.strip()[-400:]}")
        result = json.loads(done.stdout.splitlines()[-1])
        return Run(**{**result, "cold_ms": result["cold_ms"] - start * 1000})


FLOOR = Contender("by hand", ".venv", _BY_HAND + _BODY, "image")
FLOOR_URL = Contender("by hand, urllib", ".venv", _BY_HAND + _URL, "url")
HANDLER = Contender("handler", ".venv", _HANDLER, "image", pixels=True)
BEFORE = Contender("handler, the release before", ".venv", _BEFORE + _HANDLER, "image")
FLOOR_CLIENT = Contender(
    "by hand, runtime client first", ".venv", _CLIENT + _BY_HAND + _BODY, "body"
)
HANDLER_CLIENT = Contender(
    "handler, runtime client first", ".venv", _CLIENT + _HANDLER, "image", pixels=True
)
LIMIT = Contender("limit: fetch, entropy decoding, inference", ".venv",
                  _BY_HAND + _LIMIT + _URL, "url")  # fmt: skip
HANDLER_URL = Contender("handler, URL", ".venv", _HANDLER, "url", pixels=True)
CLASSIC = Contender(
    "tflite-runtime + keras-image-helper", ".venv-tflite", _CLASSIC + _AT_IMPORT, "url"
)
CLASSIC_EACH = Contender(
    "the same, model loaded in each call", ".venv-tflite", _CLASSIC + _EACH_CALL, "url"
)
ONNX = Contender("onnxruntime + keras-image-helper", ".venv-bench", _ONNX, "url")
KERAS = Contender("TensorFlow and Keras", ".venv-tf", _KERAS, "url")
