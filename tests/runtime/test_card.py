"""The card: in the file and out of it, unchanged; and every fault of it named."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from pathlib import Path

import pytest

from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.image import decode, pixels, preprocess
from keras_to_lambda.runtime.model.interpreter import ONE_UNIT
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.model_file.card import (
    CHOICES,
    PRESETS,
    Affine,
    ModelCard,
    Preprocessing,
)
from tests.runtime.made import CLOTHING

pytestmark = pytest.mark.engine

FLATBUFFER = b"\x1c\0\0\0TFL3" + bytes(range(200))
BINS = [{"low": 0.0, "high": 1.0, "pictures": 5, "right": 4}]
CARD = ModelCard(
    name="pets",
    labels=("cat", "d\u00f6g"),
    height=32,
    width=48,
    preprocessing=Preprocessing(interpolation="tf:bilinear", scaling=Affine((1, 2, 3), (0, 0, 1))),
    provenance={"keras_version": "3"},
    calibration={"temperature": 0.7, "bins": BINS},
)


def test_a_card_survives_the_file(tmp_path):
    path = tmp_path / "pets.tflite"
    path.write_bytes(cards.join(FLATBUFFER, CARD))
    card = cards.load(path)
    assert card.model_bytes == len(FLATBUFFER)
    assert dataclasses.replace(card, model_bytes=None, model_sha256=None) == CARD
    cards.check_hash(path, card)
    assert path.read_bytes().startswith(FLATBUFFER)


def test_a_card_without_an_activation_has_a_softmax_and_says_nothing_of_it():
    body = dataclasses.replace(CARD, calibration={}).to_json()
    assert not {"activation", "calibration"} & set(body)
    assert ModelCard.from_json(body).activation == "softmax"
    other = dataclasses.replace(CARD, activation="sigmoid")
    assert other.to_json()["activation"] == "sigmoid"
    assert ModelCard.from_json(other.to_json()) == other
    with pytest.raises(SetupError, match="activation is 'relu', not one of softmax, sigmoid"):
        dataclasses.replace(CARD, activation="relu")


STEPS = CARD.to_json()["preprocessing"]
PIXELS = dataclasses.replace(
    CARD, schema_version=2, dtype="uint8", preprocessing=Preprocessing(resize="pad", alpha="white")
)


def test_a_card_of_pixels_has_neither_scaling_nor_colour_order():
    body = PIXELS.to_json()
    assert body["schema_version"] == 2
    assert body["preprocessing"] == {
        "resize": "pad", "interpolation": "pillow:nearest", "exif": "ignore", "alpha": "white",
        "decode": "exact", "drawing": "none",
    }  # fmt: skip
    assert ModelCard.from_json(body) == PIXELS


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"dtype": "int8"}, "schema 2 takes pixels, in uint8 or float32"),
        ({"scaling": "raw"}, "unknown preprocessing.scaling"),
        ({"color_order": "rgb"}, "unknown preprocessing.color_order"),
    ],
)
def test_a_card_of_pixels_that_contradicts_itself_is_refused(change, named):
    body = PIXELS.to_json()
    place = body if "dtype" in change else body["preprocessing"]
    place.update(change)
    with pytest.raises(SetupError, match=named):
        ModelCard.from_json(body)
    with pytest.raises(SetupError, match="colour order and scaling in the graph"):
        dataclasses.replace(PIXELS, preprocessing=Preprocessing(scaling="rescale"))


def test_the_archive_is_one_that_any_zip_tool_reads():
    data = cards.join(FLATBUFFER, CARD)
    assert data == cards.join(FLATBUFFER, CARD)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode() == "cat\nd\u00f6g\n"
        assert json.loads(archive.read("card.json"))["name"] == "pets"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_file_cut_short_is_refused(share, tmp_path):
    model_bytes = Path(CLOTHING).read_bytes()
    path = tmp_path / "model.tflite"
    path.write_bytes(model_bytes[: int(len(model_bytes) * share)])
    with pytest.raises(SetupError, match=r"cut short|not a \.tflite"):
        cards.load(path)


def test_a_flatbuffer_of_another_length_or_hash_is_refused(tmp_path):
    data = cards.join(FLATBUFFER, CARD)
    path = tmp_path / "model.tflite"
    path.write_bytes(FLATBUFFER + b"more" + data[len(FLATBUFFER) :])
    with pytest.raises(SetupError, match="212 bytes of model, its card says 208"):
        cards.load(path)
    path.write_bytes(data[:100] + b"x" + data[101:])
    with pytest.raises(SetupError, match="altered"):
        cards.check_hash(path, cards.load(path))
    with pytest.raises(SetupError, match="cannot read the model"):
        cards.load(tmp_path / "absent.tflite")


def test_a_third_party_model_takes_the_card_beside_it(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(FLATBUFFER)
    with pytest.raises(SetupError, match=r"model\.card\.json"):
        cards.load(path)
    (tmp_path / "model.card.json").write_text(json.dumps(CARD.to_json()))
    assert cards.load(path) == CARD


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"schema_version": 3}, "schema_version is 3, this release reads 1, 2"),
        ({"schema_version": None}, "schema_version"),
        ({"colour": "blue"}, "unknown colour"),
        ({"labels": None}, "missing labels"),
        ({"labels": "cat"}, "not a list"),
        ({"labels": ["cat"]}, "fewer than two"),
        ({"labels": ["cat", "cat"]}, "duplicate labels: cat; make each label unique"),
        ({"labels": ["cat", ""]}, "label is empty"),
        ({"labels": ["cat", 5]}, "not a string"),
        ({"height": 0}, "height is 0"),
        ({"width": "48"}, "width is '48'"),
        ({"dtype": "float64"}, "dtype is 'float64'"),
        ({"channels": 2}, "channels is 2"),
        ({"output": "loss"}, "output is 'loss'"),
        ({"calibration": [1]}, "calibration is not a JSON object"),
        ({"calibration": {"temperature": 0}}, "calibration.temperature is 0"),
        ({"calibration": {"temperature": 1.2}}, "calibration.bins is not a list"),
        (
            {"calibration": {"temperature": 1, "bins": [], "energy": ["1", 2]}},
            r"calibration.energy is \['1', 2\], not two numbers",
        ),
        (
            {"calibration": {"temperature": 1.2, "bins": [{**BINS[0], "right": 6}]}},
            "calibration.bins is not a list",
        ),
        ({"preprocessing": []}, "not a JSON object"),
        ({"preprocessing": {}}, "missing preprocessing.interpolation"),
        *(
            ({"preprocessing": {**STEPS, step: value}}, step)
            for step, value in {
                "interpolation": "bilinear",
                "resize": "squash",
                "color_order": "grb",
                "exif": "maybe",
                "decode": "fast",
            }.items()
        ),
        *(
            ({"preprocessing": {**STEPS, "scaling": value}}, "scaling")
            for value in (
                "imagenet",
                {"scale": [1], "offset": [0]},
                {"scale": [1, 1, float("nan")], "offset": [0, 0, 0]},
            )
        ),
    ],
)
def test_a_wrong_card_is_refused_by_name(change, named):
    data = CARD.to_json()
    for key, value in change.items():
        if value is None:
            del data[key]
        else:
            data[key] = value
    with pytest.raises(SetupError, match=named):
        ModelCard.from_json(data)


@pytest.mark.parametrize(
    ("choices", "table"),
    [
        (CHOICES["channels"], decode.MODES),
        (CHOICES["exif"], decode.EXIF),
        (CHOICES["alpha"], decode.ALPHA),
        (CHOICES["decode"], decode.DECODE),
        (CHOICES["resize"], pixels.RESIZE),
        (CHOICES["interpolation"], {**pixels.FILTERS, **preprocess.TENSORFLOW}),
        ({name.split(":")[0] for name in CHOICES["interpolation"]}, decode.SIXTEEN_BITS),
        (CHOICES["color_order"], preprocess.COLOR_ORDER),
        (PRESETS.values(), preprocess.CONVENTIONS),
        (CHOICES["output"], ONE_UNIT),
    ],
)
def test_every_choice_of_a_card_is_implemented(choices, table):
    assert set(table) == set(choices)
