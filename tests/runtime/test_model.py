"""The model: what is refused at start."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.common.settings import MODELS
from keras_to_lambda.runtime.model.interpreter import Classifier
from keras_to_lambda.runtime.model_file import card as cards

pytestmark = pytest.mark.engine

CLOTHING = f"{MODELS}/clothing/clothing.tflite"


def rewritten(tmp_path, **changes):
    """The default model with another card."""
    path = tmp_path / "model.tflite"
    size = cards.load(CLOTHING).model_bytes
    card = dataclasses.replace(cards.load(CLOTHING), **changes)
    path.write_bytes(cards.join(Path(CLOTHING).read_bytes()[:size], card))
    return path


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"labels": ("a", "b", "c")}, r"output of shape \(1, 10\), its card has 3 labels"),
        ({"height": 128}, r"shape \(1, 160, 160, 3\)"),
        ({"dtype": "float32"}, "takes uint8, its card says float32"),
    ],
)
def test_a_card_that_is_not_the_models_is_refused(tmp_path, changes, named):
    with pytest.raises(SetupError, match=named):
        Classifier(rewritten(tmp_path, **changes))


def test_a_model_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "model.tflite"
    card = cards.load(CLOTHING)
    path.write_bytes(cards.join(b"\x1c\0\0\0TFL3" + bytes(64), card))
    with pytest.raises(SetupError, match="interpreter cannot load"):
        Classifier(path)
    with pytest.raises(SetupError, match="cannot read the model"):
        Classifier(tmp_path / "absent.tflite")


def test_logits_do_not_depend_on_what_was_asked_before():
    model = Classifier(CLOTHING)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 160, 160, 3)).astype(np.float32)
    images.setflags(write=False)
    first = model.logits(images[0])
    kept = first.copy()
    model.logits(images[1])
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(model.logits(images[0]), kept)
