"""Networks: what is built, frozen, started from weights; and how their pixels are scaled."""

from __future__ import annotations

import dataclasses
import importlib
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_to_lambda.runtime.image.preprocess import scale
from keras_to_lambda.runtime.model import card as cards
from keras_to_lambda.train import augment, backbones, networks
from keras_to_lambda.train.command import card
from keras_to_lambda.train.data.dataset import DataError
from keras_to_lambda.train.recipe import DIGITS, TRANSFER, Backbone, Head, Perceptron, Recipe
from tests.convert import attacks

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT.parent / "shared" / "data" / "keras_home"
IMAGENET = ROOT.parent / "shared" / "data" / "models" / "mobilenet_v2_imagenet.keras"
needs_weights = pytest.mark.skipif(not HOME.exists(), reason="no ../shared/data/keras_home here")


@pytest.mark.parametrize("name", backbones.names())
def test_every_network_of_keras_applications_has_its_own_scaling(name):
    """Against the module's own preprocess_input, on random pixels."""
    function = getattr(keras.applications, name)
    module = importlib.import_module(function.__module__)
    described = cards.ModelCard(
        name="any", labels=("a", "b"), height=5, width=4,
        preprocessing=cards.Preprocessing(scaling=backbones.scaling(name)),
    )  # fmt: skip
    pixels = np.random.default_rng(1).integers(0, 256, (5, 4, 3)).astype(np.float32)
    theirs = module.preprocess_input(pixels.copy())
    np.testing.assert_allclose(scale(pixels, described), np.asarray(theirs), atol=1e-5)


@pytest.mark.parametrize("scaling", ["mobilenet_v2", "resnet50", "densenet", "efficientnet"])
def test_crops_are_scaled_as_the_function_scales(scaling):
    described = cards.ModelCard(
        name="any", labels=("a", "b"), height=5, width=4,
        preprocessing=cards.Preprocessing(scaling=scaling),
    )  # fmt: skip
    pixels = np.random.default_rng(1).integers(0, 256, (2, 5, 4, 3)).astype(np.float32)
    made = augment.served(tf.constant(pixels / 127.5 - 1.0), described).numpy()
    wanted = np.stack([scale(each, described) for each in pixels])
    np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize("name", ["MobileNet", "MobileNetV2", "MobileNetV3Small", "EfficientNetB0"])
@pytest.mark.parametrize("inner", [(), (12, 7)])
def test_a_backbone_has_a_head_with_logits(name, inner):
    recipe = dataclasses.replace(
        TRANSFER, network=Backbone(name, None), head=Head(inner, dropout=0.5)
    )
    network = networks.build(recipe, 5, 64)
    assert network.model.output_shape == (None, 5)
    assert network.model.layers[-1].activation is keras.activations.linear
    widths = [layer.units for layer in network.model.layers if hasattr(layer, "units")]
    assert widths == [*inner, 5]
    pictures = tf.random.stateless_uniform((2, 64, 64, 3), (1, 2), -1, 1)
    through = network.head(network.base(pictures))
    np.testing.assert_allclose(network.model(pictures), through, rtol=1e-4, atol=1e-5)


def test_names_are_found_in_any_case_and_others_are_told():
    assert backbones.found("mobilenetv2") == "MobileNetV2"
    with pytest.raises(DataError, match="no model named resnet51; there are residual, mlp"):
        backbones.found("resnet51")
    with pytest.raises(DataError, match="Xception has no width"):
        backbones.build(Backbone("Xception", None, 0.5), 96)
    with pytest.raises(DataError, match="Xception at 40 pixels"):
        backbones.build(Backbone("Xception", None), 40)


def test_a_residual_net_takes_any_size_with_the_same_weights_and_a_perceptron_one():
    small = networks.build(Recipe(), 3, 64).model
    large = networks.build(Recipe(), 3, 160).model
    large.set_weights(small.get_weights())
    assert networks.build(Recipe(), 3, None).model.input_shape == (None, None, None, 3)
    digits = dataclasses.replace(DIGITS, network=Perceptron((30,)))
    network = networks.build(digits, 10, 28)
    assert network.model.count_params() == 28 * 28 * 30 + 30 + 30 * 10 + 10


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A small trained network: random weights of MobileNetV2 that are told by their values."""
    keras.utils.set_random_seed(7)
    base = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(64, 64, 3), alpha=0.35
    )
    return base, tmp_path_factory.mktemp("weights")


def started(source, weights):
    network = Backbone("MobileNetV2", str(weights), 0.35)
    model = backbones.build(network, 96)
    backbones.load(network, 96, model)
    return model.get_weights()


def test_weights_come_from_a_weights_file_or_from_within_a_model(source):
    base, folder = source
    base.save_weights(folder / "base.weights.h5")
    x = keras.layers.GlobalAveragePooling2D()(base.output)
    flat = keras.Model(base.input, keras.layers.Dense(4)(x))
    flat.save(folder / "flat.keras")
    picture = keras.Input((64, 64, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(base(picture, training=False))
    nested = keras.Model(picture, keras.layers.Dense(4)(pooled))
    nested.save(folder / "nested.keras")
    for name in ("base.weights.h5", "flat.keras", "nested.keras"):
        for mine, theirs in zip(started(source, folder / name), base.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_weights_that_do_not_fit_are_told(source, tmp_path):
    other = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    other.save(tmp_path / "other.keras")
    with pytest.raises(DataError, match=r"other.keras has no MobileNetV2 in it.*--model"):
        started(source, tmp_path / "other.keras")
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(DataError, match=r"other\.weights\.h5 does not fit MobileNetV2"):
        started(source, tmp_path / "other.weights.h5")
    (tmp_path / "page.keras").write_text("<html>")
    with pytest.raises(DataError, match=r"page\.keras cannot be loaded"):
        started(source, tmp_path / "page.keras")
    with pytest.raises(DataError, match=r"no weights at gone\.h5"):
        started(source, "gone.h5")


@pytest.mark.parametrize(
    ("reason", "tries"),
    [("-3 -- Temporary failure in name resolution", 1), ("404 -- Not Found", 5)],
)
def test_a_failed_download_is_one_short_line_and_other_sizes_are_tried_only_if_a_file_is_absent(
    reason, tries, monkeypatch
):
    wanted = []

    def refuse(backbone, size, weights):
        wanted.append(size)
        host = "https://storage.example/" + 200 * "x"
        raise Exception(f"URL fetch failure on {host}/mobilenet_{size}.h5: {reason}")  # noqa: TRY002

    monkeypatch.setattr(backbones, "_made", refuse)
    with pytest.raises(DataError) as caught:
        backbones.fetch(Backbone("MobileNetV2", "imagenet", 1.0), 160)
    assert len(wanted) == tries
    message = str(caught.value)
    assert f"could not be downloaded ({reason.partition(' -- ')[2]})" in message
    assert f"put the file mobilenet_{wanted[-1]}.h5 into" in message
    assert "or leave out --model: the residual network needs no weights" in message
    assert "https" not in message


@needs_weights
def test_imagenets_weights_come_from_keras_home_at_any_size():
    """In a process of its own: Keras reads KERAS_HOME when it is imported."""
    told = subprocess.run(
        [sys.executable, "-c", LOADS], cwd=ROOT, text=True, capture_output=True, timeout=200,
        env={**os.environ, "KERAS_HOME": str(HOME)}, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    lines = [line for line in told.stdout.splitlines() if not line.startswith("Downloading")]
    one, narrow, failed = lines
    assert one == narrow == "trained"
    assert "ImageNet's weights for Xception could not be downloaded" in failed
    assert "KERAS_HOME" in failed


LOADS = """
import keras, numpy as np
from keras_to_lambda.train import backbones
from keras_to_lambda.train.data.dataset import DataError
from keras_to_lambda.train.recipe import Backbone

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


@pytest.mark.skipif(not IMAGENET.exists(), reason="no ../shared/data/models here")
def test_the_backbone_of_a_real_imagenet_classifier_is_found_in_its_file():
    model = backbones.build(Backbone("MobileNetV2"), 96)
    backbones.load(Backbone("MobileNetV2", str(IMAGENET)), 96, model)
    whole = keras.saving.load_model(IMAGENET, compile=False)
    pictures = np.random.default_rng(1).uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32)
    large = backbones.build(Backbone("MobileNetV2"), 224)
    large.set_weights(model.get_weights())
    maps = [layer.output for layer in whole.layers if len(layer.output.shape) == 4]
    front = keras.Model(whole.input, maps[-1])
    np.testing.assert_allclose(
        large(pictures), np.asarray(front(pictures)).reshape(large.output_shape[1:])[np.newaxis],
        atol=1e-4,
    )  # fmt: skip


def test_the_card_of_a_run_says_what_the_network_wants():
    recipe = dataclasses.replace(TRANSFER, scaling=backbones.scaling("ResNet50"), enlarge=299)
    described = card("any", ("a", "b"), recipe)
    assert (described.height, described.width) == (299, 299)
    assert cards.PRESETS[described.preprocessing.scaling] == "caffe"


@pytest.mark.parametrize(
    "name", ["lambda.h5", "HDF5 behind a zip's head", "a Lambda layer, .keras"]
)
def test_weights_from_a_file_that_carries_code_are_refused(name, source, tmp_path):
    trace = tmp_path / "trace"
    makers = {**attacks.ATTACKS, "a Lambda layer, .keras": attacks.keras_with(attacks.with_lambda)}
    path = makers[name](tmp_path, trace)
    trace.unlink(missing_ok=True)
    # Of an .h5 only numbers are read, and of this one none fits.
    with pytest.raises(DataError, match=r"is refused|does not fit|is not a file of weights"):
        started(source, path)
    assert not trace.exists()
