"""Backbones: the networks of keras.applications, their scaling, their weights from any file."""

from __future__ import annotations

import dataclasses
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.legacy.saving import legacy_h5_format

from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.runtime.image.preprocess import scale
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.train import recipe_options, train
from keras_to_lambda.train.data.dataset import DataError
from keras_to_lambda.train.fit import backbones, batches, networks
from keras_to_lambda.train.fit.recipe import TRANSFER, Backbone
from tests.convert import attacks

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT.parent / "shared" / "data" / "keras_home"
needs_weights = pytest.mark.skipif(not HOME.exists(), reason="no ../shared/data/keras_home here")


def card_of(scaling):
    return cards.ModelCard(
        name="any", labels=("a", "b"), height=5, width=4,
        preprocessing=cards.Preprocessing(scaling=scaling),
    )  # fmt: skip


@pytest.mark.parametrize("name", backbones.names())
def test_every_network_is_trained_with_its_own_scaling(name):
    """Against the module's own preprocess_input, on random pixels."""
    module = importlib.import_module(getattr(keras.applications, name).__module__)
    card = card_of(backbones.scaling(name))
    pixels = np.random.default_rng(1).integers(0, 256, (2, 5, 4, 3)).astype(np.float32)
    theirs = np.asarray(module.preprocess_input(pixels.copy()))
    np.testing.assert_allclose(batches.scaling(card)(tf.constant(pixels)), theirs, atol=2e-4)
    np.testing.assert_allclose(scale(pixels[0], card), theirs[0], atol=1e-5)


def test_a_backbone_has_a_head_with_logits():
    inner = (12, 7)
    recipe = dataclasses.replace(
        TRANSFER, network=Backbone("MobileNetV3Small", None), inner=inner, dropout=0.5
    )
    network = networks.build(recipe, 5, 64)
    assert network.model.layers[-1].activation is keras.activations.linear
    widths = [layer.units for layer in network.model.layers if hasattr(layer, "units")]
    assert widths == [*inner, 5]
    pictures = tf.random.stateless_uniform((2, 64, 64, 3), (1, 2), 0, 255)
    through = network.head(network.base(pictures))
    np.testing.assert_allclose(network.model(pictures), through, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mobilenet_v2", "MobileNetV2"),
        ("ResNet-50", "ResNet50"),
        ("resnet50_v2", "ResNet50V2"),
        ("keras.applications.Xception", "Xception"),
        ("tf.keras.applications.efficientnet.EfficientNetB0", "EfficientNetB0"),
        ("MLP", "mlp"),
    ],
)
def test_names_are_found_in_any_spelling(text, name):
    assert recipe_options.READERS["model"](text) == name


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--model=resnet51", "no model named resnet51"),
        ("--weights=gone.h5", "no weights at gone.h5"),
        ("--weights=export", r"export is a folder; .*model\.save"),
        ("--weights=cp.ckpt", r"checkpoint of TensorFlow; .*load_weights\('cp.ckpt'\)"),
        ("--weights=cp.ckpt.index", r"checkpoint of TensorFlow; .*load_weights\('cp.ckpt'\)"),
    ],
)
def test_models_and_weights_are_looked_for_before_any_data(option, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("export").mkdir()
    Path("cp.ckpt.index").touch()
    with pytest.raises(DataError, match=message):
        train.parser().parse_args(["DATA", option])


def test_a_width_or_size_that_a_network_lacks_is_named():
    with pytest.raises(DataError, match="Xception has no width"):
        backbones.build(Backbone("Xception", None, 0.5), 96)
    with pytest.raises(DataError, match="Xception at 40 pixels"):
        backbones.build(Backbone("Xception", None), 40)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A small MobileNet of random weights, in files of every kind."""
    folder = tmp_path_factory.mktemp("weights")
    keras.utils.set_random_seed(7)
    base = keras.applications.MobileNet(
        include_top=False, weights=None, input_shape=(64, 64, 3), alpha=0.25
    )
    # No two alike, so that none is taken for another.
    base.set_weights([np.random.default_rng(7).random(w.shape) for w in base.get_weights()])
    base.save_weights(folder / "base.weights.h5")
    flat = keras.Model(
        base.input, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(base.output))
    )
    flat.save(folder / "flat.keras")
    save_as_keras_2(flat, folder / "flat_w.h5")
    picture = keras.Input((64, 64, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(base(picture, training=False))
    nested = keras.Model(picture, keras.layers.Dense(4)(pooled))
    nested.save(folder / "nested.keras")
    nested.save(folder / "nested.h5")
    nested.save_weights(folder / "nested.weights.h5")
    save_as_keras_2(nested, folder / "nested_w.h5")
    keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Lambda(abs), base]).save(
        folder / "lambda.keras"
    )
    for layer in base.layers[:-20]:
        layer.trainable = False
    save_as_keras_2(nested, folder / "partly_frozen_w.h5")
    return base, folder


def save_as_keras_2(model, path):
    """What Keras 2's save_weights writes."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


def started(weights):
    """The weights of a network that starts from a file, which the sandbox reads."""
    network = Backbone("MobileNet", str(weights), 0.25)
    model = backbones.build(network, 96)
    backbones.load(network, 96, model)
    return model.get_weights()


def read(weights, folder):
    """What the sandbox reads, in this process."""
    network = dataclasses.asdict(Backbone("MobileNet", str(weights), 0.25))
    backbones.read(file=str(weights), network=network, size=96, folder=str(folder))
    with np.load(folder / "weights.npz") as arrays:
        return [arrays[name] for name in sorted(arrays)]


@pytest.mark.parametrize(
    "name",
    [
        *("base.weights.h5", "nested.weights.h5", "flat_w.h5", "nested_w.h5"),
        *("partly_frozen_w.h5", "flat.keras", "nested.keras", "lambda.keras", "nested.h5"),
    ],
)
def test_weights_come_from_a_weights_file_or_from_a_whole_model(name, source, tmp_path):
    base, folder = source
    got = started(folder / name) if name == "nested.h5" else read(folder / name, tmp_path)
    for mine, theirs in zip(got, base.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_weights_of_another_network_are_refused(tmp_path):
    other = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    other.save(tmp_path / "other.h5")
    other.save_weights(tmp_path / "other.weights.h5")
    for name in ("other.h5", "other.weights.h5"):
        message = rf"{name} does not fit MobileNet of width 0\.25: .*--model, .*--width"
        with pytest.raises(ConvertError, match=message):
            read(tmp_path / name, tmp_path)


def test_weights_of_theano_are_refused(source, tmp_path):
    shutil.copy(source[1] / "flat_w.h5", tmp_path / "theano.h5")
    with h5py.File(tmp_path / "theano.h5", "r+") as file:
        file.attrs["backend"] = b"theano"
    with pytest.raises(ConvertError, match="Theano"):
        read(tmp_path / "theano.h5", tmp_path)


def test_the_code_in_a_file_never_runs(tmp_path):
    trace = tmp_path / "trace"
    path = attacks.keras_with(attacks.with_lambda)(tmp_path, trace)
    trace.unlink(missing_ok=True)
    with pytest.raises(ConvertError):
        started(path)
    assert not trace.exists()


def test_a_failed_download_is_one_line_and_the_weights_for_224_pixels_are_tried(monkeypatch):
    wanted, reason = [], "404 -- Not Found"

    def refuse(backbone, size, weights):
        wanted.append(size)
        host = "https://storage.example/" + 200 * "x"
        raise Exception(f"URL fetch failure on {host}/mobilenet_{size}.h5: {reason}")  # noqa: TRY002

    monkeypatch.setattr(backbones, "build", refuse)
    with pytest.raises(DataError) as caught:
        backbones.fetch(Backbone("MobileNetV2", "imagenet", 1.0), 160)
    assert wanted == [160, 224]
    message = str(caught.value)
    assert f"could not be downloaded ({reason.partition(' -- ')[2]})" in message
    assert f"put the file mobilenet_{wanted[-1]}.h5 into" in message
    assert "https" not in message


def test_that_weights_are_for_another_size_is_said_once(monkeypatch, capsys):
    def build(backbone, size, weights):
        return SimpleNamespace(get_weights=lambda: [size])

    monkeypatch.setattr(backbones, "build", build)
    for name in ("ResNet50", "ResNet101") * 2:  # trials of a search
        assert backbones.fetch(Backbone(name, "imagenet"), 150) == [224]
    backbones._imagenet.cache_clear()
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{name}: ImageNet's weights are those for 224 pixels" for name in ("ResNet50", "ResNet101")
    ]


@needs_weights
def test_imagenet_s_weights_come_from_keras_home_at_any_size():
    """In a process of its own: Keras reads KERAS_HOME when it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", LOADS], cwd=ROOT, text=True, capture_output=True, timeout=300,
        env={**os.environ, "KERAS_HOME": str(HOME)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [
        line
        for line in done.stdout.splitlines()
        if not line.startswith(("Downloading", "MobileNetV2: "))
    ]
    assert lines[:2] == ["trained", "trained"]
    assert "ImageNet's weights for Xception could not be downloaded" in lines[2]
    assert "KERAS_HOME" in lines[2]


LOADS = """
import keras, numpy as np
from keras_to_lambda.train.fit import backbones
from keras_to_lambda.train.data.dataset import DataError
from keras_to_lambda.train.fit.recipe import Backbone

for network, size in ((Backbone("MobileNetV2"), 160), (Backbone("MobileNet", width=0.25), 96)):
    model = backbones.build(network, size)
    before = model.get_weights()
    backbones.load(network, size, model)
    direct = getattr(keras.applications, network.name)(
        include_top=False, input_shape=(224, 224, 3), alpha=network.width
    ).get_weights()
    same = all(np.array_equal(a, b) for a, b in zip(model.get_weights(), direct))
    moved = any(not np.array_equal(a, b) for a, b in zip(before, direct))
    print("trained" if same and moved else "wrong", flush=True)
try:
    network = Backbone("Xception")
    backbones.load(network, 96, backbones.build(network, 96))
except DataError as error:
    print(error)
"""
