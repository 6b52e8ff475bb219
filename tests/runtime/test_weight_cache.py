"""XNNPACK's weight cache: the same answers, never another model's."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from keras_to_lambda.runtime.common.settings import MODELS
from keras_to_lambda.runtime.model.interpreter import Classifier
from keras_to_lambda.runtime.model_file import card as cards

pytestmark = pytest.mark.engine

CLOTHING = f"{MODELS}/clothing/clothing.tflite"

pytest.importorskip(
    "ai_edge_litert.compiled_model", reason="tflite-runtime has no weight cache; nothing to test"
)


@pytest.fixture(scope="module")
def tensor():
    card = cards.load(CLOTHING)
    shape = (card.height, card.width, card.channels)
    return np.random.default_rng(1).uniform(0, 255, shape).astype(np.float32)


def twin(path):
    """A model of the same shapes with other weights, whose card gives the first model's hash."""
    card = cards.load(CLOTHING)
    flatbuffer = Path(CLOTHING).read_bytes()[: card.model_bytes]
    # Halve every weight of the largest buffers: floats' exponents, one less.
    floats = np.frombuffer(flatbuffer, "<f4", len(flatbuffer) // 4).copy()
    weights = floats[len(floats) // 10 : len(floats) * 9 // 10]
    usual = (np.abs(weights) > 1e-6) & (np.abs(weights) < 10)
    weights[usual] /= 2
    path.write_bytes(floats.tobytes() + flatbuffer[len(floats) * 4 :])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("card.json", json.dumps(card.to_json()))
    return path


def test_answers_are_the_same_with_a_fresh_cache_a_written_one_and_a_damaged_one(tmp_path, tensor):
    expected = Classifier(CLOTHING).logits(tensor)
    folder = tmp_path / "cache"
    for _ in range(2):
        cached = Classifier(CLOTHING, 1, weight_cache=str(folder))
        np.testing.assert_allclose(cached.logits(tensor), expected, atol=1e-5)
        [file] = folder.iterdir()
        assert file.stat().st_size > 4_000_000
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"nonsense", b""):
        file.write_bytes(damaged)
        cached = Classifier(CLOTHING, 1, weight_cache=str(folder))
        np.testing.assert_allclose(cached.logits(tensor), expected, atol=1e-5)


def test_a_card_that_lies_about_its_models_hash_gets_no_foreign_cache(tmp_path, tensor):
    path = twin(tmp_path / "twin.tflite")
    folder = tmp_path / "cache"
    Classifier(CLOTHING, 1, weight_cache=str(folder))
    cached = Classifier(path, 1, weight_cache=str(folder))
    np.testing.assert_allclose(cached.logits(tensor), Classifier(path).logits(tensor), atol=1e-5)
    assert len(list(folder.iterdir())) == 2


def test_another_version_of_litert_gets_a_cache_of_its_own(monkeypatch):
    from keras_to_lambda.runtime.model import weight_cache as module

    card = cards.load(CLOTHING)
    before = module.name(CLOTHING, card)
    monkeypatch.setattr(module.litert, "version", lambda _: "99.0.0")
    assert module.name(CLOTHING, card) != before
