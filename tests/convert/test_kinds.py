"""Networks as people have them, converted: the function answers as Keras does."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.inference.telemetry import Stopwatch
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.sources.images import Raw

layers = keras.layers


def served(output, photo):
    """The scores that the function gives."""
    handler = Handler(Settings(model_path=str(output), num_threads=1, log_level="FATAL"))
    return np.array(handler.pipeline.logits(Raw(photo.read_bytes()), Deadline(60), Stopwatch()))


def pixels(photo, size=(40, 40), mode="rgb"):
    image = keras.utils.load_img(photo, color_mode=mode, target_size=size)
    return keras.utils.img_to_array(image)[np.newaxis]


def network(shape, units=5, activation=None, front=lambda x: x):
    keras.utils.set_random_seed(3)
    image = keras.Input(shape)
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(front(image))
    x = layers.Flatten()(layers.AveragePooling2D(4)(x))
    head = layers.Dense(units, activation, kernel_initializer="he_normal")
    return keras.Model(image, head(x))


@pytest.fixture
def photo(samples):
    return sorted(samples.iterdir())[3]


def preparing(image):
    normalization = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3])
    x = layers.RandomRotation(0.2)(layers.RandomFlip()(layers.Resizing(40, 40)(image)))
    x = layers.RandomContrast(0.3)(layers.RandomZoom(0.2)(x))
    return normalization(layers.Rescaling(1 / 255)(x))


def test_layers_that_scale_and_augment_are_part_of_the_network(convert, tmp_path, photo):
    model = network((None, None, 3), front=preparing)
    model.save(tmp_path / "net.keras")
    status, output = convert(tmp_path / "net.keras", "--size", "64x48", preprocess="raw")
    assert status == 0
    expected = np.ravel(model(pixels(photo, (64, 48)), training=False))
    np.testing.assert_allclose(served(output, photo), expected, atol=1e-5)


@pytest.mark.parametrize(("channels", "mode"), [(1, "grayscale"), (4, "rgba")])
def test_grey_and_transparent_pictures(channels, mode, convert, tmp_path, photo):
    model = network((40, 40, channels))
    model.save(tmp_path / "net.keras")
    status, output = convert(tmp_path / "net.keras")
    assert (status, cards.load(output).channels) == (0, channels)
    expected = np.ravel(model(pixels(photo, mode=mode) / 127.5 - 1))
    np.testing.assert_allclose(served(output, photo), expected, atol=1e-5)


def test_one_logit_of_a_savedmodel_becomes_two(convert, tmp_path, photo):
    names = tmp_path / "two.txt"
    names.write_text("cat\ndog\n", encoding="utf-8")
    model = network((40, 40, 3), units=1)
    model.export(tmp_path / "net", verbose=False)
    status, output = convert(tmp_path / "net", names=names)
    assert status == 0
    card = cards.load(output)
    assert (card.labels, card.output) == (("cat", "dog"), "logits")
    expected = [0.0, float(model(pixels(photo) / 127.5 - 1)[0, 0])]
    np.testing.assert_allclose(served(output, photo), expected, atol=1e-5)


def test_a_network_that_answers_with_nan_is_refused(refused, tmp_path):
    model = network((40, 40, 3))
    model.layers[-1].set_weights([np.full_like(w, np.nan) for w in model.layers[-1].get_weights()])
    model.save(tmp_path / "net.keras")
    assert "NaN or infinity" in refused(tmp_path / "net.keras")


STRANGE = """
import keras
import tensorflow as tf

class Strange(keras.layers.Layer):
    def call(self, x):
        return tf.math.erfinv(tf.tanh(x))
"""


def test_an_operator_that_the_interpreter_lacks_is_named_with_its_layer(refused, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(STRANGE, encoding="utf-8")
    exec(compile(STRANGE, str(own), "exec"), names := {})
    network((40, 40, 3), front=names["Strange"](name="strange")).save(tmp_path / "net.keras")
    line = refused(tmp_path / "net.keras", "--custom", str(own))
    assert "lacks an operator" in line
    assert "Erfinv (layer 'strange')" in line
