"""The check that ends an image's build: it passes what is sound, and finds each difference."""

from __future__ import annotations

import json

import pytest

from keras_to_lambda.runtime import check
from keras_to_lambda.runtime.image import plain_jpeg, preprocess
from keras_to_lambda.runtime.model import litert
from keras_to_lambda.runtime.model_file.card import ModelCard, Preprocessing
from tests.runtime.made import served
from tests.small_tflite import network

pytestmark = pytest.mark.engine


@pytest.fixture
def model(tmp_path):
    """A file of a network that takes pixels, with a card beside it."""
    card = ModelCard(
        "net", ("a", "b", "c"), 8, 8, 3, "uint8", Preprocessing(interpolation="pillow:bilinear")
    )
    (tmp_path / "net.tflite").write_bytes(network("uint8", steps=(1.0, 0)))
    (tmp_path / "net.card.json").write_text(json.dumps(card.to_json()))
    return str(tmp_path)


def checked(path, *, compare=True):
    return check.check(served(path), compare=compare)


def test_a_sound_model_passes_each_comparison(model):
    assert checked(model) == (
        "net (default): 3 labels, hash and inference checked, answers as LiteRT's Interpreter's"
    )


def test_the_shipped_models_pass(capsys, monkeypatch):
    monkeypatch.delenv("MODEL_PATH", raising=False)
    assert check.main(["--compare"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "clothing (default)",
        "digits",
        "digits-tree",
    ]
    assert all("answers as LiteRT's Interpreter's" in line for line in lines)


def test_an_engine_that_answers_otherwise_is_found(model, monkeypatch, capsys):
    monkeypatch.setattr(litert.CompiledModel, "__call__", lambda *_: b"\x01\x02\x03")
    assert "3 labels" in checked(model, compare=False)
    monkeypatch.setenv("MODEL_PATH", model)
    assert check.main(["--compare"]) == 2
    assert "LiteRT's Interpreter gives other answers" in capsys.readouterr().err


def test_a_core_of_pillow_that_gives_other_pixels_is_found(model, monkeypatch, capsys):
    monkeypatch.setattr(plain_jpeg.Photo, "resized", lambda *_: bytes(8 * 8 * 3))
    monkeypatch.setenv("MODEL_PATH", model)
    assert check.main(["--compare"]) == 2
    assert "other pixels than PIL.Image" in capsys.readouterr().err


def test_a_scaling_that_is_not_keras_image_helpers_is_found(tmp_path, monkeypatch, capsys):
    card = ModelCard("net", ("a", "b", "c"), 8, 8, preprocessing=Preprocessing(scaling="xception"))
    (tmp_path / "net.tflite").write_bytes(network("float32"))
    (tmp_path / "net.card.json").write_text(json.dumps(card.to_json()))
    assert "scaling as keras-image-helper's" in checked(tmp_path)
    monkeypatch.setitem(preprocess.CONVENTIONS, "tf", (128.0, 1.0, 1.0))
    assert "scaling" not in checked(tmp_path, compare=False)
    monkeypatch.setenv("MODEL_PATH", str(tmp_path))
    assert check.main(["--compare"]) == 2
    assert "its scaling is not keras-image-helper's" in capsys.readouterr().err
