"""Every repair of a Keras file has a file that needs it: without the repair it fails or differs."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.load import repairs
from keras_to_lambda.convert.network import keras_model

# Both Keras warn of the `.h5` file.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
OLD = Path(__file__).parent / "saved_by" / "files"
PICTURE = np.random.default_rng(8).uniform(-1, 1, (32, 32, 3)).astype(np.float32)


def augmented(image):
    return keras.layers.Flatten()(keras.layers.RandomShear(0.1, 0.1)(image))


def operations(image):
    return keras.ops.mean((image + 3.0) / 6.0, axis=(1, 2))


def of_tensorflow(image):
    return keras.layers.Dense(4, activation=tf.nn.softmax)(keras.layers.Flatten()(image))


def with_a_space_in_a_name(image):
    return keras.layers.Flatten(name="my layer é")(keras.layers.Conv2D(2, 3, name="_c")(image))


# A file that needs the repair: one of an old version, or the body of a network of today's Keras
# and the kind of file that it is saved as.
NEEDED_BY = {
    "keras-1": "keras-1.2.2/vgg.h5",
    "tensorflow-names": (of_tensorflow, "h5"),
    "augmentation": (augmented, "keras"),
    "operations": (operations, "h5"),
    "moved-weights": "tensorflow-2.13/zipped_mobilenet.keras",
    "mixed-precision": "tensorflow-2.13/mixed_precision.h5",
    "fixed-batch": "tensorflow-2.13/fixed_batch.h5",
    "layer-names": (with_a_space_in_a_name, "keras"),
    "theano-kernels": "keras-2.2.4/vgg.h5",
}


@pytest.fixture
def path(name, tmp_path):
    needed_by = NEEDED_BY[name]
    if isinstance(needed_by, str):
        return OLD / needed_by
    body, kind = needed_by
    image = keras.Input((32, 32, 3))
    path = tmp_path / f"net.{kind}"
    keras.Model(image, keras.layers.Dense(3)(body(image))).save(path)
    return path


def converted(path):
    """A file's answer to a picture, and the notes; None: it cannot be loaded."""
    try:
        model = keras_model.load(path)
        picture = PICTURE[: model.height, : model.width, : model.channels]
        return keras_model.predict(model.concrete(), picture).tolist(), model.notes
    except (ConvertError, KeyError):
        return None


@pytest.mark.parametrize("name", repairs.REPAIRS)
def test_without_a_repair_its_file_fails_or_answers_otherwise(name, path, monkeypatch):
    repaired = converted(path)
    assert repaired is not None
    monkeypatch.delitem(repairs.REPAIRS, name)
    assert converted(path) != repaired


def test_weights_are_moved_by_their_numbers_and_none_is_lost():
    old = {"conv2d_10": "d", "conv2d_9": "c", "conv2d": "a", "conv2d_0": "b", "_x": "e"}
    found = dict(repairs._renumbered(old))
    assert found == {"conv2d": "a", "conv2d_1": "b", "conv2d_2": "c", "conv2d_3": "d", "_x": "e"}


def test_every_repair_has_a_file_that_needs_it():
    assert set(repairs.REPAIRS) - set(NEEDED_BY) == set(), "name a file in NEEDED_BY"
