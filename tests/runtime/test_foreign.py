"""Files of other programs with a card beside them: their shapes, their outputs, their numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.model.interpreter import Classifier
from keras_to_lambda.runtime.model_file.card import ModelCard, Preprocessing
from tests.small_tflite import network

pytestmark = pytest.mark.engine


@pytest.fixture
def classifier(tmp_path):
    """The classifier of a network and a card that is beside it."""

    def made(flatbuffer, *, num_threads=1, labels=("a", "b", "c"), scaling="raw", **changes):
        steps = Preprocessing(scaling=scaling)
        size = {"height": 8, "width": 8, **changes}
        card = ModelCard("net", labels, preprocessing=steps, **size)
        (tmp_path / "net.tflite").write_bytes(flatbuffer)
        (tmp_path / "net.card.json").write_text(json.dumps(card.to_json()))
        return Classifier(tmp_path / "net.tflite", num_threads)

    return made


@pytest.mark.parametrize("num_threads", [1, 2])
def test_an_input_without_a_channel_axis_is_served(classifier, num_threads):
    flatbuffer = network(shape=(1, 3, 8), axes=(2,), softmax=False)
    model = classifier(flatbuffer, num_threads=num_threads, height=3, width=8, channels=1)
    image = np.arange(24, dtype=np.float32).reshape(3, 8, 1)
    np.testing.assert_allclose(model.logits(image), [3.5, 11.5, 19.5])
    np.testing.assert_allclose(model.batch(np.stack([image, image + 1]))[1], [4.5, 12.5, 20.5])


@pytest.mark.parametrize(
    ("last", "output", "expected"),
    [
        ("LOGISTIC", "probabilities", [0.2689414, 0.7310586]),  # 1 - p and p of 1 / (1 + e^-1)
        (None, "logits", [0, 1]),
    ],
)
@pytest.mark.parametrize("num_threads", [1, 2])
def test_one_output_tells_two_labels_apart(classifier, last, output, expected, num_threads):
    flatbuffer = network(shape=(1, 8, 8, 1), softmax=bool(last), last=last or "SOFTMAX")
    model = classifier(
        flatbuffer, num_threads=num_threads, labels=("no", "yes"), channels=1, output=output
    )
    images = np.ones((2, 8, 8, 1), np.float32)
    np.testing.assert_allclose(model.logits(images[0]), expected, rtol=1e-6)
    np.testing.assert_allclose(model.batch(images), [expected] * 2, rtol=1e-6)


def test_a_convolutional_head_is_served(classifier):
    model = classifier(network(softmax=False, keep_axes=True))
    image = np.zeros((8, 8, 3), np.float32) + np.float32([1, 2, 3])
    np.testing.assert_array_equal(model.logits(image), [1, 2, 3])


@pytest.mark.parametrize(
    ("flatbuffer", "changes", "message"),
    [
        (network(), {"labels": ("a", "b")}, r"an output of shape \(1, 3\), its card has 2 labels"),
        (network(shape=(1, 8, 8, 1)), {"channels": 1}, r"shape \(1, 1\), its card has 3 labels"),
        (network(shape=(1, 8, 8), axes=(2,)), {"labels": tuple("abcdefgh")}, "its card says"),
        (network(axes=(2,)), {"labels": [*"abcdefghijklmnopqrstuvwx"]}, r"\(1, 8, 3\)"),
        (network(), {"height": 9}, r"shape \(1, 8, 8, 3\), its card says \(1, 9, 8, 3\)"),
        (network(), {"dtype": "uint8"}, "takes float32, its card says uint8"),
        (b"\x1c\0\0\0TFL3" + bytes(64), {}, "interpreter cannot load"),
    ],
    ids=["labels", "one output", "no channels", "a segmentation", "size", "dtype", "no model"],
)
def test_a_network_that_its_card_contradicts_is_refused(classifier, flatbuffer, changes, message):
    with pytest.raises(SetupError, match=message):
        classifier(flatbuffer, **changes)


HALF, WHOLE = 1 / 127.5, 1 / 255
# dtype, scale, zero point -> the presets that make such numbers of pixels
QUANTIZED = [
    ("uint8", HALF, 127, {"mobilenet"}),
    ("uint8", 0.0078125, 128, {"mobilenet"}),
    ("int8", HALF, -1, {"mobilenet"}),
    ("uint8", WHOLE, 0, {"rescale"}),
    ("int8", WHOLE, -128, {"rescale"}),
    ("int8", 0.8 * WHOLE, -128, {"rescale"}),  # calibrated on photos without white
    ("uint8", 1.0, 0, {"raw"}),
    ("int8", 1.0, -128, {"raw"}),
    ("uint8", 0.0187, 114, {"densenet"}),
    ("uint8", 1.0774, 115, {"vgg16"}),
    ("uint8", WHOLE, 128, set()),  # -0.5..0.5
    ("int8", 1.0, 0, {"vgg16"}),  # -128..127, and caffe's are -123.7..151.1
]


@pytest.mark.parametrize("preset", ["mobilenet", "rescale", "raw", "densenet", "vgg16"])
@pytest.mark.parametrize(("dtype", "scale", "zero_point", "fitting"), QUANTIZED)
def test_a_scaling_must_fit_the_inputs_scale_and_zero_point(
    classifier, preset, dtype, scale, zero_point, fitting
):
    flatbuffer = network(dtype, steps=(scale, zero_point))
    if preset in fitting:
        assert classifier(flatbuffer, scaling=preset, dtype=dtype).card.dtype == dtype
        return
    with pytest.raises(SetupError, match=r"its input has a scale of .*; preprocessing\.scaling in"):
        classifier(flatbuffer, scaling=preset, dtype=dtype)
