"""The decision tree: its graph walks as scikit-learn does, pixel for pixel."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from keras_to_lambda.train import tree
from keras_to_lambda.train.data.arrays import Pictures
from keras_to_lambda.train.data.dataset import Dataset


@pytest.fixture(scope="module")
def data():
    """Three kinds of noisy 28 x 28 pictures, some alike, so that the tree is deep."""
    rng = np.random.default_rng(3)
    targets = (np.arange(600) % 3).astype(np.int32)
    images = rng.integers(0, 200, (600, 28, 28)).astype(np.uint8)
    images[:, 5:9, 5:9] += (targets * 20).astype(np.uint8)[:, np.newaxis, np.newaxis]
    split = Pictures(targets, images, np.arange(600))
    return Dataset(("0", "1", "2"), dict.fromkeys(("train", "validation", "test"), split), (), "x")


def test_the_tflite_graph_answers_as_scikit_learn_on_every_picture(data, tmp_path):
    fitted = tree.fit(data, seed=1)
    tables = tree.Tables.of(fitted)
    assert tables.depth > 4
    tree.save(tables, 28, 28, tmp_path / "saved")
    model = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved")).convert()
    runner = Interpreter(model_content=model).get_signature_runner()
    unseen = np.random.default_rng(9).integers(0, 256, (300, 28, 28)).astype(np.uint8)
    images = np.concatenate([data.splits["train"].images, unseen])
    got = runner(image=images[..., np.newaxis].astype(np.float32))["logits"]
    flat = images.reshape(len(images), -1)
    assert np.array_equal(got, tables.logits[fitted.apply(flat)])
    # Laplace's one more of each evens a tie out the same way: the first label wins in both.
    assert np.array_equal(got.argmax(axis=1), fitted.predict(flat))


def test_missing_files_are_told_without_a_traceback(tmp_path, capsys):
    assert tree.main([str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "idx3-ubyte" in capsys.readouterr().err
