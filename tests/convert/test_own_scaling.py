"""What a network does to pixels itself, and a scaling before it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.applications import efficientnet, efficientnet_v2, mobilenet_v3
from PIL import Image

from keras_to_lambda.convert.network import operators, own_scaling
from keras_to_lambda.runtime.model_file.card import Affine, Preprocessing

layers, ops, applications = keras.layers, keras.ops, keras.applications
SHAPE = (32, 32, 3)


def net(first):
    image = keras.Input(SHAPE)
    return keras.Model(image, layers.Conv2D(4, 3)(first(image)))


def nested(*inside):
    return keras.Sequential([layers.Input(SHAPE), *inside])


def found(model, shape=SHAPE):
    spec = tf.TensorSpec((1, *shape), tf.float32, name="image")
    call = tf.function(lambda image: model(image, training=False), autograph=False)
    graph = call.get_concrete_function(spec)
    return own_scaling.find(*operators.of_graph(graph), "image", (1, *shape))


@pytest.mark.parametrize(
    ("first", "low", "high"),
    [
        (layers.Rescaling(1 / 255), 0, 1),
        (nested(layers.RandomFlip(), layers.Rescaling(1 / 127.5, -1)), -1, 1),
        (nested(nested(layers.Rescaling(1 / 255))), 0, 1),
        (lambda x: x / 127.5 - 1, -1, 1),
        (lambda x: ops.subtract(ops.multiply(x, 2 / 255), 1), -1, 1),
        (lambda x: ops.cast(x, "float32") / 255, 0, 1),
        (lambda x: layers.Rescaling(1 / 255)(layers.Resizing(16, 16)(x)), 0, 1),
        (lambda x: layers.ZeroPadding2D(3)(x / 255), 0, 1),
        (applications.mobilenet_v2.preprocess_input, -1, 1),
        (applications.resnet.preprocess_input, -123.68, 151.061),
        (applications.densenet.preprocess_input, -2.1179, 2.64),
        (layers.Normalization(mean=[127.5] * 3, variance=[63.75**2] * 3), -2, 2),
    ],
)
def test_a_scaling_for_bytes_is_found_whatever_does_it(first, low, high):
    scaling = found(net(first))
    assert (scaling.low, scaling.high) == pytest.approx((low, high), abs=1e-3)
    assert scaling.for_bytes


# Of each, the first of its blocks.
SMALL = {"include_top": False, "weights": None, "input_shape": (64, 64, 3)}
B0 = efficientnet.DEFAULT_BLOCKS_ARGS[:1]
V2 = efficientnet_v2.DEFAULT_BLOCKS_ARGS["efficientnetv2-b0"][:1]


@pytest.mark.parametrize(
    ("build", "low", "high"),
    [
        (lambda: efficientnet.EfficientNet(0.1, 0.1, 64, blocks_args=B0, **SMALL), 0, 1),
        (
            lambda: efficientnet_v2.EfficientNetV2(
                0.1, 0.1, 64, blocks_args=V2, name="efficientnetv2-b0", **SMALL
            ),
            -2.1179,
            2.64,
        ),
        (lambda: mobilenet_v3.MobileNetV3(lambda x, *_: x, 64, **SMALL), -1, 1),
    ],
    ids=["EfficientNet", "EfficientNetV2", "MobileNetV3"],
)
def test_applications_that_scale_themselves_are_found_in_another_model(build, low, high):
    head = [layers.GlobalAveragePooling2D(), layers.Dense(3)]
    scaling = found(keras.Sequential([build(), *head]), (64, 64, 3))
    assert (scaling.low, scaling.high) == pytest.approx((low, high), abs=1e-3)
    assert scaling.for_bytes


@pytest.mark.parametrize(
    "first",
    [
        layers.Normalization(mean=[0.5] * 3, variance=[0.09] * 3),
        layers.Rescaling(2, -1),
        lambda x: x / 2,
    ],
)
def test_a_scaling_for_pixels_that_were_scaled_before_is_no_scaling_for_bytes(first):
    assert not found(net(first)).for_bytes


@pytest.mark.parametrize(
    "first",
    [
        lambda x: x,
        layers.BatchNormalization(),
        layers.Normalization(mean=0, variance=1),
        nested(layers.RandomFlip(), layers.RandomRotation(0.1)),
        lambda x: (x - ops.mean(x)) / ops.std(x),
    ],
)
def test_what_is_no_scaling_is_not_taken_for_one(first):
    assert found(net(first)) is None


def test_a_trained_batch_normalization_is_no_scaling():
    model = net(layers.BatchNormalization(name="first"))
    layer = model.get_layer("first")
    layer.set_weights([np.full(3, x, np.float32) for x in (1, 0, 127, 4000)])
    assert found(model) is None


def test_a_card_that_leaves_pixels_alone_scales_nothing():
    assert not own_scaling.scales(Preprocessing(scaling="efficientnet"))
    assert not own_scaling.scales(Preprocessing(scaling=Affine((1.0,) * 3, (0.0,) * 3)))
    assert own_scaling.scales(Preprocessing(scaling=Affine((0.5,) * 3, (0.0,) * 3)))
    assert own_scaling.scales(Preprocessing(scaling="rescale"))


@pytest.fixture
def brightness(tmp_path):
    """Whether a picture is bright: a network that divides by 255 itself, labels, and folders."""
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 1, name="eye")(image / 255))
    model = keras.Model(image, layers.Dense(2, name="head")(x))
    model.get_layer("eye").set_weights([np.eye(3, dtype=np.float32)[None, None], np.zeros(3)])
    model.get_layer("head").set_weights([np.float32([[-9, 9]] * 3), np.float32([13.5, -13.5])])
    model.save(tmp_path / "net.keras")
    (tmp_path / "labels.txt").write_text("dark\nbright\n", encoding="utf-8")
    for number, level in enumerate((20, 60, 90, 160, 200, 240)):
        folder = tmp_path / "photos" / ("bright" if level > 127 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (level, level, level)).save(folder / f"{number}.png")
    return tmp_path / "net.keras", tmp_path / "labels.txt", tmp_path / "photos"


def test_pixels_that_would_be_scaled_twice_are_refused_with_both_remedies(brightness, refused):
    model, labels, _ = brightness
    line = refused(model, names=labels, preprocess="rescale")
    assert "scales pixels itself (pixel x 0.00392 + 0, so that 0..255 becomes 0..1)" in line
    assert "use --preprocess raw, or --accept-scaling if training scaled twice" in line


def test_scaling_twice_can_be_accepted_and_is_no_matter_where_nothing_is_scaled(
    brightness, convert, capsys
):
    model, labels, photos = brightness
    status, _ = convert(model, names=labels, preprocess="raw", photos=photos)
    assert status == 0
    assert "scales pixels itself" not in capsys.readouterr().out
    status, _ = convert(model, "--accept-scaling", names=labels, preprocess="rescale")
    assert status == 0
    assert "accepted by --accept-scaling" in capsys.readouterr().out
