"""Files with standard metadata and no card: served as it says, and never believed beyond it."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.image.preprocess import prepare
from keras_to_lambda.runtime.model.interpreter import Classifier
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.model_file import tflite_metadata
from keras_to_lambda.runtime.model_file.card import Affine, ModelCard, Preprocessing

pytestmark = pytest.mark.engine

# What writes the files that are read here comes with ai-edge-litert; not beside tflite-runtime.
flatbuffers = pytest.importorskip("flatbuffers", reason="no ai-edge-litert here")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="no ai-edge-litert here")

from keras_to_lambda.convert.quantize.metadata_writer import attach  # noqa: E402
from tests.small_tflite import network, third_party  # noqa: E402

CARD = ModelCard(
    name="colours",
    labels=("red", "green", "blue"),
    height=8,
    width=8,
    preprocessing=Preprocessing(scaling="mobilenet"),
)


@pytest.fixture
def write(tmp_path):
    def to(data):
        path = tmp_path / "colours.tflite"
        path.write_bytes(data)
        return path

    return to


def test_the_card_is_what_the_metadata_says(write):
    card = cards.load(write(third_party(attach(network(), CARD))))
    assert (card.labels, card.name) == (("red", "green", "blue"), "colours")
    assert (card.height, card.width, card.channels, card.dtype) == (8, 8, 3, "float32")
    assert card.output == "probabilities"
    assert card.preprocessing.interpolation == "tf:bilinear"
    scaling = card.preprocessing.scaling
    np.testing.assert_allclose((scaling.scale, scaling.offset), ([1 / 127.5] * 3, [-1.0] * 3))


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
def test_it_classifies(dtype, write):
    classifier = Classifier(write(third_party(attach(network(dtype), CARD))))
    for index, colour in enumerate(((250, 5, 5), (5, 250, 5), (5, 5, 250))):
        scores = classifier.logits(prepare(Image.new("RGB", (9, 7), colour), classifier.card))
        assert np.argmax(scores) == index
        # softmax of 0.96, -0.96, -0.96
        np.testing.assert_allclose(scores[index], 0.773, atol=0.01)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize(
    ("end", "output", "activation"),
    [
        ("SOFTMAX", "probabilities", "softmax"),
        ("LOGISTIC", "probabilities", "sigmoid"),
        (None, "logits", "softmax"),
    ],
)
def test_what_comes_out_is_seen_from_the_network(dtype, end, output, activation, write):
    model = network(dtype, softmax=end is not None, last=end or "SOFTMAX")
    card = cards.load(write(third_party(attach(model, CARD))))
    assert (card.output, card.activation) == (output, activation)


def test_labels_that_stand_twice_get_their_index(write):
    path = write(third_party(attach(network(), CARD), "crane\r\nbird\r\ncrane\r\n\r\n"))
    assert cards.load(path).labels == ("crane [0]", "bird", "crane [2]")


def test_the_card_in_the_file_comes_first_and_then_the_one_beside(write):
    described = attach(network(), CARD)
    assert cards.load(write(cards.join(described, CARD))).preprocessing.scaling == "mobilenet"
    path = write(third_party(described))
    beside = replace(CARD, name="beside")
    path.with_name("colours.card.json").write_text(json.dumps(beside.to_json()))
    assert cards.load(path) == beside


def test_without_metadata_there_is_no_card(write):
    path = write(third_party(network()))
    assert tflite_metadata.read(path) is None
    with pytest.raises(
        SetupError, match=r"no card in it.*; get the whole file, or .*colours\.card\.json"
    ):
        cards.load(path)


def test_missing_labels_are_named_with_the_command_that_adds_them(write):
    path = write(attach(network(), CARD))
    with pytest.raises(SetupError) as caught:
        cards.load(path)
    message = str(caught.value)
    assert (
        "its metadata names 'labels.txt', which is not in the file; get the whole file, or write"
        in message
    )
    assert "`k2l convert colours.tflite --labels FILE --preprocess NAME" in message
    assert "damaged" not in message
    found = tflite_metadata.read(path)
    assert (found["labels"], found["label_file"]) == (None, "labels.txt")


def test_scaling_for_another_number_of_channels_is_not_guessed(write):
    card = replace(CARD, preprocessing=Preprocessing(scaling=Affine((1, 2, 3), (0, 0, 0))))
    data = bytearray(attach(network(), card))
    # The lengths of both vectors of three floats: two would be left over.
    for number in (1.0, 0.5, 1 / 3):
        assert np.float32(number).tobytes() in data
    at = data.index(np.array([1, 0.5, 1 / 3], "<f4").tobytes()) - 4
    data[at : at + 4] = (2).to_bytes(4, "little")
    with pytest.raises(SetupError, match="does not say how pixels are scaled for 3 channels"):
        cards.load(write(third_party(bytes(data))))


def test_a_label_file_that_is_a_bomb_is_refused(write):
    buffer = io.BytesIO(attach(network(), CARD))
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", bytes(tflite_metadata.MAX_LABEL_BYTES + 1))
    with pytest.raises(SetupError, match="larger than"):
        cards.load(write(buffer.getvalue()))


WHOLE = third_party(attach(network("uint8"), CARD))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(flips=st.lists(st.integers(8 * 8, 8 * len(WHOLE) - 1), min_size=1, max_size=12))
def test_flipped_bits_give_a_card_or_our_error_and_a_file_cut_short_our_error(flips, write):
    data = bytearray(WHOLE)
    for bit in flips:
        data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SetupError):
        cards.load(write(bytes(data[: flips[0] // 8])))
    path = write(bytes(data))
    for read in (tflite_metadata.read, cards.load):
        try:
            assert isinstance(read(path), ModelCard | dict | None)
        except SetupError as error:
            assert str(error)  # noqa: PT017
