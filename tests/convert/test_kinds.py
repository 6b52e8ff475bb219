"""The kinds of networks that people have, as today's Keras writes them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

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


def tensor(photo, channels=3):
    """40 x 40 pixels, scaled to -1..1, by Keras."""
    mode = {1: "grayscale", 3: "rgb", 4: "rgba"}[channels]
    image = keras.utils.load_img(photo, color_mode=mode, target_size=(40, 40))
    return keras.utils.img_to_array(image)[np.newaxis] / 127.5 - 1


@pytest.fixture
def photo(samples):
    return sorted(samples.iterdir())[3]


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(3)


@pytest.fixture
def same(convert, tmp_path, photo):
    """Convert a model; it has to answer for the photo as it does in Keras. Its card."""

    def check(model, *options, expected=None, atol=1e-5, **changes):
        model.save(tmp_path / "net.keras")
        status, output = convert(tmp_path / "net.keras", *options, **changes)
        assert status == 0
        expected = model(tensor(photo)) if expected is None else expected
        np.testing.assert_allclose(served(output, photo), np.ravel(expected), atol=atol)
        return cards.load(output)

    return check


def body(image, filters=8):
    x = layers.Conv2D(filters, 3, strides=2, activation="relu")(image)
    return layers.Flatten()(layers.AveragePooling2D(4)(x))


def head(classes=5, activation=None, name=None):
    return layers.Dense(classes, activation, kernel_initializer="he_normal", name=name)


def test_layers_that_scale_and_augment_are_part_of_the_network(same, photo):
    normalization = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3])
    image = keras.Input((None, None, 3))
    x = layers.Resizing(40, 40)(image)
    x = layers.RandomRotation(0.2)(layers.RandomFlip()(x))
    x = layers.RandomContrast(0.3)(layers.RandomZoom(0.2)(x))
    x = normalization(layers.Rescaling(1 / 255)(x))
    model = keras.Model(image, head()(body(x)))
    pixels = keras.utils.img_to_array(keras.utils.load_img(photo, target_size=(64, 48)))
    expected = model(pixels[np.newaxis], training=False)
    same(model, "--size", "64x48", preprocess="raw", expected=expected)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_colour_and_transparent_pictures(channels, same, photo):
    image = keras.Input((40, 40, channels))
    model = keras.Model(image, head()(body(image)))
    assert same(model, expected=model(tensor(photo, channels))).channels == channels


@pytest.mark.parametrize(("activation", "kind"), [("sigmoid", "keras"), (None, "saved_model")])
def test_one_output_becomes_two(activation, kind, convert, tmp_path, photo):
    names = tmp_path / "two.txt"
    names.write_text("cat\ndog\n", encoding="utf-8")
    image = keras.Input((40, 40, 3))
    model = keras.Model(image, head(1, activation)(body(image)))
    path = tmp_path / ("net.keras" if kind == "keras" else "net")
    model.save(path) if kind == "keras" else model.export(path, verbose=False)
    status, output = convert(path, names=names)
    assert status == 0
    card = cards.load(output)
    assert card.labels == ("cat", "dog")
    second = float(model(tensor(photo))[0, 0])
    first = 1 - second if activation else 0.0
    assert card.output == ("probabilities" if activation else "logits")
    np.testing.assert_allclose(served(output, photo), [first, second], atol=1e-5)


def test_one_of_several_outputs_is_chosen(convert, refused, tmp_path, photo):
    image = keras.Input((40, 40, 3))
    x = body(image)
    model = keras.Model(image, [head(2, "sigmoid", "tags")(x), head(5, None, "kind")(x)])
    model.save(tmp_path / "net.keras")
    model.export(tmp_path / "net", verbose=False)
    for path, options, words in (
        ("net.keras", (), "2 outputs ("),
        ("net.keras", (), "choose one with --head NAME"),
        ("net.keras", ("--head", "colour"), "no output 'colour'; it has tags, kind"),
        ("net", (), "choose one with --head"),
    ):
        assert words in refused(tmp_path / path, *options)
    expected = np.asarray(model(tensor(photo))[1])[0]
    for path, chosen in (("net.keras", "kind"), ("net.keras", "1"), ("net", "output_1")):
        status, output = convert(tmp_path / path, "--head", chosen)
        assert status == 0
        np.testing.assert_allclose(served(output, photo), expected, atol=1e-5)


def test_outputs_in_a_dict_are_distinguished(same, refused, tmp_path, photo):
    """Keras sorts them by key; here the sizes tell which is which."""
    image = keras.Input((40, 40, 3))
    x = body(image)
    model = keras.Model(image, {"zoo": head(2, None, "z")(x), "art": head(5, None, "a")(x)})
    model.save(tmp_path / "net.keras")
    line = refused(tmp_path / "net.keras")
    name = "art" if "art (" in line else "a"
    same(model, "--head", name, expected=model(tensor(photo))["art"])


def test_a_nested_backbone_is_followed_to_its_ending(convert, tmp_path):
    image = keras.Input((64, 64, 3))
    base = keras.Model(image, body(image), name="backbone")
    model = keras.Sequential(
        [base, keras.Sequential([layers.Dropout(0.3), head(5, "softmax")], name="top")]
    )
    model.save(tmp_path / "net.keras")
    status, output = convert(tmp_path / "net.keras")
    assert status == 0
    card = cards.load(output)
    assert (card.height, card.output) == (64, "probabilities")


def test_a_fixed_batch_is_served_one_by_one(same, photo):
    image = keras.Input(batch_shape=(8, 40, 40, 3))
    x = layers.Reshape((-1,))(body(image))
    model = keras.Model(image, head()(x))
    same(model, expected=model(np.repeat(tensor(photo), 8, axis=0))[0])


def test_a_savedmodel_of_a_fixed_batch_is_explained(refused, tmp_path):
    plain = tf.Module()
    signature = tf.TensorSpec((8, 40, 40, 3), tf.float32)
    plain.serve = tf.function(lambda x: tf.reduce_mean(x, (1, 2)), input_signature=[signature])
    tf.saved_model.save(plain, str(tmp_path / "net"), signatures=plain.serve)
    assert "exported for batches of 8" in refused(tmp_path / "net")


def test_mixed_precision_is_computed_in_float32(same, tmp_path, photo, capsys):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        image = keras.Input((40, 40, 3))
        x = layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2)(image))
        x = layers.Flatten()(layers.AveragePooling2D(4)(x))
        model = keras.Model(image, layers.Dense(5, dtype="float32")(x))
    finally:
        keras.config.set_dtype_policy("float32")
    same(model, atol=2e-2)
    assert "mixed precision" in capsys.readouterr().out
    scores = served(tmp_path / "out" / "net.tflite", photo)
    assert scores.argmax() == np.argmax(model(tensor(photo)))


def test_channels_first_is_turned(same, photo, capsys):
    first = {"data_format": "channels_first"}
    image = keras.Input((3, 40, 48))
    x = layers.Conv2D(8, 3, strides=2, activation="relu", **first)(image)
    x = layers.BatchNormalization(axis=1)(x)
    x = layers.Concatenate(axis=1)([x, layers.Conv2D(4, 3, padding="same", **first)(x)])
    x = layers.Flatten()(layers.MaxPooling2D(4, **first)(x))
    model = keras.Model(image, head()(x))
    pixels = keras.utils.img_to_array(keras.utils.load_img(photo, target_size=(40, 48)))
    turned = (pixels[np.newaxis] / 127.5 - 1).transpose(0, 3, 1, 2)
    card = same(model, expected=model(turned))
    assert "channels first" in capsys.readouterr().out
    assert (card.height, card.width, card.channels) == (40, 48, 3)


CUSTOM = """
import keras

class Halve(keras.layers.Layer):
    def call(self, x):
        return x / 2

def squared(x):
    return x * x
"""


def test_layers_of_ones_own_come_from_a_file(same, refused, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(CUSTOM, encoding="utf-8")
    own = {}
    exec(compile(CUSTOM, str(file), "exec"), own)
    image = keras.Input((40, 40, 3))
    model = keras.Model(image, head(5, own["squared"])(own["Halve"]()(body(image))))
    model.save(tmp_path / "net.keras")
    assert "--custom" in refused(tmp_path / "net.keras")
    same(model, "--custom", str(file), atol=1e-4)


def test_a_lambda_layer_is_run_for_those_who_trust_it(same, network):
    same(network(extra=layers.Lambda(lambda x: x * 0.5)), "--trust")


def test_a_plain_tensorflow_savedmodel(convert, tmp_path, photo):
    class Plain(tf.Module):
        def __init__(self):
            random = np.random.default_rng(3)
            self.weights = tf.Variable(random.normal(size=(4800, 5)).astype(np.float32) / 20)

        @tf.function(input_signature=[tf.TensorSpec((None, 40, 40, 3), tf.float32, "photo")])
        def serve(self, photo):
            return {"scores": tf.reshape(photo, (-1, 4800)) @ self.weights}

    plain = Plain()
    tf.saved_model.save(plain, str(tmp_path / "net"), signatures=plain.serve)
    status, output = convert(tmp_path / "net")
    assert status == 0
    expected = np.asarray(plain.serve(tf.constant(tensor(photo)))["scores"])[0]
    np.testing.assert_allclose(served(output, photo), expected, atol=1e-4)


def test_a_network_that_answers_with_nan_is_refused(network, refused, tmp_path):
    model = network()
    model.get_layer("logits").set_weights(
        [np.full_like(w, np.nan) for w in model.get_layer("logits").get_weights()]
    )
    model.save(tmp_path / "net.keras")
    assert "NaN or infinity" in refused(tmp_path / "net.keras")
