"""The operators in front of a converted network: Keras's own scaling, to the last bit."""

from __future__ import annotations

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from keras_to_lambda.convert import verify
from keras_to_lambda.convert.inspection.tflite_file import graph as graph_of
from keras_to_lambda.convert.quantize import flatbuffer, pixel_front
from keras_to_lambda.convert.quantize.quantization import QUANTIZATIONS
from keras_to_lambda.runtime.image.preprocess import prepare
from keras_to_lambda.runtime.model.interpreter import Classifier
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.model_file.card import Affine, ModelCard, Preprocessing

# Every pixel value in every channel, in a picture of two columns.
EVERY = np.stack([np.roll(np.arange(256, dtype=np.uint8), 85 * k) for k in range(4)], axis=-1)
EVERY = np.stack([EVERY, EVERY[::-1]], axis=1)


def card(channels=3, height=256, width=2, **steps):
    return ModelCard("x", ("a", "b"), height, width, channels, preprocessing=Preprocessing(**steps))


@pytest.fixture(scope="module")
def tensor():
    """What a network of so many channels gets: one that answers with its input."""
    made = {}

    def run(described, pixels, dtype="uint8"):
        channels = described.channels
        if channels not in made:
            spec = tf.TensorSpec((1, 256, 2, channels), tf.float32)
            graph = tf.function(lambda x: tf.reshape(x, (1, -1))).get_concrete_function(spec)
            made[channels] = flatbuffer.build(graph, "none", ())
        return answer(pixel_front.attach(made[channels], described, dtype), pixels[np.newaxis])

    return run


def answer(data, batch):
    interpreter = Interpreter(model_content=data)
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(source["index"], batch.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], batch)
    interpreter.invoke()
    return interpreter.get_tensor(target["index"]).reshape(len(batch), -1)


def by_keras(module):
    original = importlib.import_module(f"keras.applications.{module}").preprocess_input
    return lambda pixels: np.asarray(original(pixels[np.newaxis].copy()))[0]


def by_hand(scale, offset):
    return lambda pixels: pixels * np.float32(scale) + np.float32(offset)


UNEVEN = Affine((0.017, 1 / 3, -2.0), (-2.1, 0.0, 7.5))


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("scaling", "channels", "expected"),
    [
        ("mobilenet_v2", 3, by_keras("mobilenet_v2")),
        ("xception", 1, by_keras("xception")),
        ("resnet50", 3, by_keras("resnet")),
        ("densenet", 3, by_keras("densenet")),
        ("rescale", 3, lambda pixels: pixels / np.float32(255)),
        ("rescale", 1, lambda pixels: pixels / np.float32(255)),
        ("raw", 4, lambda pixels: pixels),
        (UNEVEN, 3, by_hand(UNEVEN.scale, UNEVEN.offset)),
        (Affine((1 / 127.5,), (-1.0,)), 1, by_hand(1 / 127.5, -1)),
    ],
)
def test_the_network_gets_what_keras_gives_it_to_the_last_bit(
    order, scaling, channels, expected, tensor
):
    pixels = EVERY[..., :channels]
    turned = pixels[..., ::-1] if order == "bgr" else pixels
    found = tensor(card(channels, scaling=scaling, color_order=order), pixels)
    np.testing.assert_array_equal(found[0], expected(turned.astype(np.float32)).ravel())


def test_pixels_between_whole_numbers_are_scaled_as_they_are(tensor):
    pixels = EVERY[..., :3].astype(np.float32) * 0.37 - 12.3
    found = tensor(card(scaling="resnet50"), pixels, "float32")
    np.testing.assert_array_equal(found[0], by_keras("resnet")(pixels).ravel())


def test_a_network_of_raw_floats_has_nothing_in_front():
    assert pixel_front.attach(b"any", card(scaling="raw"), "float32") == b"any"


@pytest.fixture(scope="module")
def keras_graph():
    """A network's function, and pixels with the tensors that they become."""
    keras.utils.set_random_seed(3)
    image = keras.Input((40, 40, 3))
    x = keras.layers.Conv2D(24, 3, strides=2, activation="relu")(image)
    x = keras.layers.Conv2D(40, 3, strides=2, activation="relu")(x)
    x = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    spec = tf.TensorSpec((1, 40, 40, 3), tf.float32)
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(spec)
    pixels = np.random.default_rng(2).integers(0, 256, (20, 40, 40, 3), dtype=np.uint8)
    return graph, pixels, pixels / np.float32(127.5) - np.float32(1)


WORDS = {
    "none": "float32 (none)",
    "float16": "float16 weights, turned into float32 when the model loads (float16)",
    "weights": "int8 weights; turned into float32 when the model loads (weights)",
    "dynamic": "int8 weights; activations float32, quantized as they come (dynamic)",
    "int8": "int8 weights; int8 activations (int8)",
}


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_every_quantization_answers_as_without_the_front_and_takes_batches(
    quantization, keras_graph, tmp_path
):
    graph, pixels, scaled = keras_graph
    built = flatbuffer.build(graph, quantization, scaled)
    fronted = pixel_front.attach(built, card(3, 40, 40, scaling="mobilenet"), "uint8")
    singly = [answer(built, scaled[i : i + 1])[0] for i in range(3)]
    np.testing.assert_array_equal([answer(fronted, pixels[i : i + 1])[0] for i in range(3)], singly)
    np.testing.assert_allclose(answer(fronted, pixels[:3]), singly, rtol=0, atol=1e-4)
    interpreter = Interpreter(model_content=fronted)
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert source["dtype"] is np.uint8
    assert source["quantization"] == (0.0, 0)
    assert target["dtype"] is np.float32
    (tmp_path / "net.tflite").write_bytes(fronted)
    assert graph_of(tmp_path / "net.tflite")["quantization"] == WORDS[quantization]


def alignments(data):
    """Where each buffer begins, modulo 64."""
    model = schema.Model.GetRootAs(data, 0)
    tables = [model.Buffers(i) for i in range(model.BuffersLength())]
    return [t._tab.Vector(t._tab.Offset(4)) % 64 for t in tables if t.DataLength()]


def test_weights_stay_aligned_as_they_were(keras_graph):
    built = flatbuffer.build(keras_graph[0], "none", ())
    fronted = pixel_front.attach(built, card(3, 40, 40, scaling="mobilenet"), "uint8")
    before, after = alignments(built), alignments(fronted)
    assert after[: len(before)] == before
    assert [start % 16 for start in after[len(before) :]] == [0, 0]


@pytest.mark.parametrize(
    ("interpolation", "deep", "channels", "drawing", "dtype"),
    [
        ("pillow:bilinear", False, 3, "none", "uint8"),
        ("pillow:nearest", True, 3, "none", "uint8"),
        ("pillow:nearest", True, 1, "none", "float32"),
        ("pillow:nearest", False, 1, "none", "uint8"),
        ("pillow:bilinear", True, 1, "mnist", "uint8"),
        ("tf:nearest", True, 1, "none", "uint8"),
        ("tf:bilinear", False, 3, "none", "float32"),
        ("tf:bicubic", False, 1, "none", "float32"),
    ],
)
def test_floats_are_taken_where_bytes_would_lose_something(
    interpolation, deep, channels, drawing, dtype
):
    described = card(channels, interpolation=interpolation, drawing=drawing)
    assert pixel_front.dtype_of(described, deep=deep) == dtype


GREY = np.random.default_rng(6).integers(0, 65536, (50, 44), dtype=np.uint16)


@pytest.mark.parametrize(("kind", "dtype"), [("8 bits", "uint8"), ("16 bits", "float32")])
def test_a_grey_network_takes_sixteen_bits_as_its_samples_had_them(kind, dtype, convert, tmp_path):
    keras.utils.set_random_seed(3)
    image = keras.Input((40, 40, 1))
    x = keras.layers.AveragePooling2D(4)(image)
    model = keras.Model(image, keras.layers.Dense(5)(keras.layers.Flatten()(x)))
    model.save(tmp_path / "net.keras")
    (tmp_path / "photos").mkdir()
    for number in range(3):
        pixels = np.roll(GREY, 13 * number, axis=0)
        pixels = pixels if kind == "16 bits" else (pixels >> 8).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    scale = "scale=1/65535" if kind == "16 bits" else "rescale"
    status, output = convert(tmp_path / "net.keras", photos=tmp_path / "photos", preprocess=scale)
    assert status == 0
    described = cards.load(output)
    assert described.dtype == dtype
    deep = Image.fromarray(np.roll(GREY, 7, axis=1))
    classifier = Classifier(output)
    found = classifier.logits(prepare(deep, described))
    # keras.utils.load_img's default filter.
    small = np.asarray(deep.resize((40, 40), Image.Resampling.NEAREST))
    small = small / np.float32(65535) if kind == "16 bits" else (small >> 8) / np.float32(255)
    expected = np.asarray(model(small.astype(np.float32)[np.newaxis, ..., np.newaxis]))[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_card_leaves_the_scaling_to_the_graph_and_records_it(convert, models, samples):
    numbers = "mean=120,110,100 std=60,50,40"
    status, output = convert(models["keras"], "--interpolation", "tf:bilinear", preprocess=numbers)
    assert status == 0
    body = cards.load(output).to_json()
    assert (body["schema_version"], body["dtype"]) == (2, "float32")
    assert sorted(body["preprocessing"]) == [
        *("alpha", "decode", "drawing", "exif", "interpolation", "resize")
    ]
    assert body["provenance"]["color_order"] == "rgb"
    assert body["provenance"]["scaling"] == {
        "scale": [1 / 60, 1 / 50, 1 / 40],
        "offset": [-120 / 60, -110 / 50, -100 / 40],
    }
    arguments = [str(output), "--against", str(models["keras"]), "--samples", str(samples)]
    assert verify.main(arguments) == 0
