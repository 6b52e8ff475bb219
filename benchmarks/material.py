"""What is measured: well-known networks and photos, made once into .bench/, the same every time.

    .venv-tf/bin/python -m benchmarks.material      the networks, by TensorFlow
    .venv-bench/bin/python -m tf2onnx.convert ...   the same for ONNX Runtime

Weights are random (of a fixed seed): the time of an inference does not depend on what was learnt.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".bench"
CLOTHING = ROOT / "models" / "clothing" / "clothing.tflite"
# Name -> input size. All are fed as keras-image-helper's "xception" does, so that every contender
# can be given the same: nearest neighbour, then -1..1.
NETWORKS = {"MobileNetV2": 224, "DenseNet121": 224, "Xception": 299}
FORMS = {"float32": "none", "int8": "int8"}
# The release before: its handler imported numpy and LiteRT's Python class.
BEFORE = "94bff0e"
# Megapixels -> width and height.
PHOTOS = {0.2: (512, 384), 1.0: (1152, 864), 12.0: (4000, 3000)}


def model(network: str, form: str = "float32") -> Path:
    """A network's `.tflite`."""
    return FOLDER / "models" / f"{network}-{form}.tflite"


def floats(path: Path) -> Path:
    """The same network without the scaling in its graph, for those who scale by hand."""
    return FOLDER / "models" / f"{path.stem}.floats.tflite"


def photo(megapixels: float) -> Path:
    """A picture of so many megapixels, like a camera's in bytes for each of them."""
    path = FOLDER / "photos" / f"{megapixels:g}.jpg"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        width, height = PHOTOS[megapixels]
        random = np.random.default_rng(5)
        coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        fine = random.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
        texture = Image.fromarray(fine).resize((width, height), Image.Resampling.BILINEAR)
        picture = Image.blend(picture, texture.filter(ImageFilter.GaussianBlur(1)), 0.2)
        grain = random.normal(0, 3, (height, width, 1))
        pixels = np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path, quality=88)
    return path


def before() -> Path | None:
    """The release before, from git; None: this clone does not have it."""
    folder = FOLDER / "before"
    if not folder.exists():
        done = subprocess.run(
            ["git", "archive", BEFORE],  # noqa: S607
            cwd=ROOT, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            return None
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(folder, filter="data")
    return folder


def python(
    environment: str, *arguments: str, input: str = "", **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run an environment's Python in the project's folder, with one thread, as the image has it."""
    return subprocess.run(
        [ROOT / environment / "bin" / "python", *arguments],
        cwd=ROOT, input=input, capture_output=True, text=True, check=False,
        env={
            **os.environ,
            "LOG_LEVEL": "FATAL",
            "NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            # In the image bytecode is there; elsewhere writing it may be switched off.
            "PYTHONPYCACHEPREFIX": str(FOLDER / "bytecode"),
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            **settings,
        },
    )  # fmt: skip


def prepare() -> None:
    """Make what is missing; a few minutes the first time.

    Raises:
        SystemExit: an environment lacks something; its words are in the message.
    """
    made = [model(network, form) for network in NETWORKS for form in FORMS]
    if not all(path.exists() for path in (*made, *map(floats, (*made, CLOTHING)))):
        _made(".venv-tf", "benchmarks.material")
    for network in NETWORKS:
        onnx = model(network).with_suffix(".onnx")
        if not onnx.exists():
            paths = ("--tflite", str(floats(model(network))), "--output", str(onnx))
            _made(".venv-bench", "tf2onnx.convert", *paths, "--opset", "17")


def _made(environment: str, module: str, *arguments: str) -> None:
    print(f"{module} (about two minutes, once)", file=sys.stderr, flush=True)
    done = python(environment, "-m", module, *arguments)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])


def _networks() -> None:
    """With TensorFlow: every network in every form, with its card, and as Keras saves it."""
    import keras
    import tensorflow as tf

    from keras_to_lambda.convert.common.source_card import converted
    from keras_to_lambda.convert.quantize import pixel_front
    from keras_to_lambda.convert.quantize.flatbuffer import build
    from keras_to_lambda.runtime.model_file.card import ModelCard, Preprocessing, join

    def graph(network: Any, size: int) -> Any:
        function = tf.function(lambda x: network(x, training=False))
        return function.get_concrete_function(tf.TensorSpec((1, size, size, 3), tf.float32))

    (FOLDER / "models").mkdir(parents=True, exist_ok=True)
    clothing = keras.saving.load_model(CLOTHING.with_suffix(".keras"), compile=False)
    floats(CLOTHING).write_bytes(build(graph(clothing, 160), "none", ()))
    steps = Preprocessing(interpolation="pillow:nearest", scaling="xception")
    labels = tuple(f"class {number}" for number in range(1000))
    random = np.random.default_rng(0)
    for network, size in NETWORKS.items():
        keras.utils.set_random_seed(1)
        made = getattr(keras.applications, network)(
            weights=None, classifier_activation=None, input_shape=(size, size, 3)
        )
        made.save(model(network).with_suffix(".keras"))
        images = random.uniform(-1, 1, (4, size, size, 3)).astype(np.float32)
        card = ModelCard(network, labels, size, size, preprocessing=steps)
        for form, quantization in FORMS.items():
            flatbuffer = build(graph(made, size), quantization, images)
            floats(model(network, form)).write_bytes(flatbuffer)
            whole = join(pixel_front.attach(flatbuffer, card, "uint8"), converted(card, "uint8"))
            model(network, form).write_bytes(whole)


if __name__ == "__main__":
    _networks()
