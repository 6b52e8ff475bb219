"""A small classifier and generated pictures; TensorFlow is imported once, on two cores or fewer."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from PIL import Image

# TensorFlow 2.21's EagerTensor.__array__ has no `copy` keyword, which NumPy 2 deprecates: every
# np.array(variable) inside Keras warns.
# tf.lite warns of float inputs to an int8 network, which are meant so, although it then calibrates.
TENSORFLOW_WARNINGS = (
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning",
    "ignore:Statistics for quantized inputs were expected:UserWarning",
)

LABELS = ("red", "green", "blue", "grey", "none of them")
SIZE = 40


def pytest_configure(config):
    for line in TENSORFLOW_WARNINGS:
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture(autouse=True)
def heard():
    """A command chooses whether steps are said, for its process; here many run in one."""
    from keras_to_lambda.cli import progress

    progress.use("convert")


@pytest.fixture(scope="session")
def shared_data():
    """The photos and models that are not in the repository."""
    folder = Path(os.environ.get("SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("shared/data is not here")
    return folder


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """Twelve colourful pictures of different sizes, JPEG and PNG."""
    folder = tmp_path_factory.mktemp("samples")
    random = np.random.default_rng(5)
    for number in range(12):
        coarse = random.integers(0, 256, (4, 3, 3), dtype=np.uint8)
        size = (61 + 17 * number, 190 - 9 * number)
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        image.save(folder / f"{number:02}.{'png' if number % 3 == 0 else 'jpg'}")
    return folder


@pytest.fixture(scope="session")
def network():
    """Make a convolutional classifier of fixed random weights, with logits far apart."""
    import keras

    def make(*, softmax=False, extra=None, size=SIZE, classes=5):
        keras.utils.set_random_seed(3)
        image = keras.Input((size, size, 3), name="image")
        x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image)
        x = keras.layers.Conv2D(24, 3, strides=2, activation="relu")(x)
        if extra is not None:
            x = extra(x)
        x = keras.layers.Flatten()(keras.layers.AveragePooling2D(4)(x))
        x = keras.layers.Dense(classes, kernel_initializer="he_normal", name="logits")(x)
        model = keras.Model(image, keras.layers.Softmax()(x) if softmax else x)
        head = model.get_layer("logits")
        head.set_weights([8 * weights for weights in head.get_weights()])
        return model

    return make


@pytest.fixture(scope="session")
def labels(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.txt"
    path.write_text("".join(f"{label}\n" for label in LABELS), encoding="utf-8")
    return path


def write_h5(model, path):
    """What keras.Model.save writes for .h5, without its advice to use .keras instead."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_model_to_hdf5(model, file)
    return path


@pytest.fixture(scope="session")
def models(tmp_path_factory, network):
    """The same network as each kind of file, by kind."""
    folder = tmp_path_factory.mktemp("models")
    model = network()
    model.save(folder / "net.keras")
    write_h5(model, folder / "net.h5")
    model.export(folder / "net_saved", verbose=False)
    return {
        "keras": folder / "net.keras",
        "h5": folder / "net.h5",
        "saved_model": folder / "net_saved",
    }


def call_here(sandbox, target, *, reads=(), into=None, **arguments):
    """What Sandbox.call does, without the child: TensorFlow is imported already."""
    if into is not None:
        arguments["folder"] = str(into)
    from keras_to_lambda.convert.common.conversion_errors import ConvertError
    from keras_to_lambda.runtime.common.errors import SetupError

    module, _, function = target.partition(":")
    job = getattr(importlib.import_module(module), function)
    try:
        return json.loads(json.dumps(job(**json.loads(json.dumps(arguments)))))
    except SetupError as error:
        raise ConvertError(str(error)) from error


@pytest.fixture(scope="session")
def converted(models, samples, labels, tmp_path_factory):
    """The network, converted once."""
    from keras_to_lambda.convert.convert import main
    from keras_to_lambda.convert.sandbox.sandbox import Sandbox

    output = tmp_path_factory.mktemp("converted") / "net.tflite"
    options = ["--labels", str(labels), "--samples", str(samples), "--preprocess", "mobilenet_v2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sandbox, "call", call_here)
        assert main([str(models["keras"]), "-o", str(output), *options]) == 0
    return output


@pytest.fixture
def in_process(monkeypatch):
    """Without the sandbox, for speed; test_sandbox.py and `in_sandbox` have the real one."""
    from keras_to_lambda.convert.sandbox.sandbox import Sandbox

    monkeypatch.setattr(Sandbox, "call", call_here)


@pytest.fixture
def convert(in_process, in_sandbox):
    """Run the command: the exit status, and where the model would be."""
    return in_sandbox


@pytest.fixture
def in_sandbox(tmp_path, samples, labels):
    """Run the command, sandbox and all: the exit status, and where the model would be."""
    from keras_to_lambda.convert.convert import main

    def run(model, *options, photos=samples, names=labels, preprocess="mobilenet_v2"):
        output = tmp_path / "out" / "net.tflite"
        arguments = [str(model), "-o", str(output), "--samples", str(photos)]
        if names:
            arguments += ["--labels", str(names)]
        if names and preprocess:
            arguments += ["--preprocess", preprocess]
        return main([*arguments, *options]), output

    return run


@pytest.fixture
def refused(convert, tmp_path, capfd):
    """Run the command, which must exit with 2 and one line; that line."""

    def run(model, *options, **changes):
        status, output = convert(model, *options, **changes)
        error = capfd.readouterr().err
        assert status == 2
        assert "Traceback" not in error
        assert not output.parent.exists()
        last = error.strip().splitlines()[-1]
        assert last.startswith("k2l convert: ")
        return last

    return run


@pytest.fixture
def write_json():
    def write(path, value):
        path.write_text(json.dumps(value), encoding="utf-8")
        return path

    return write
