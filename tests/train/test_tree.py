"""The decision tree: its graph walks as scikit-learn does, pixel for pixel."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.train import tree
from keras_to_lambda.train.data.dataset import Dataset, Split


@pytest.fixture(scope="module")
def data():
    """Three kinds of noisy 28 x 28 pictures, some alike, so that the tree is deep."""
    rng = np.random.default_rng(3)
    targets = (np.arange(600) % 3).astype(np.int32)
    images = rng.integers(0, 200, (600, 28, 28)).astype(np.uint8)
    images[:, 5:9, 5:9] += (targets * 20).astype(np.uint8)[:, np.newaxis, np.newaxis]
    split = Split(targets, [""] * 600, images)
    splits = dict.fromkeys(("train", "validation", "test"), split)
    return Dataset(("0", "1", "2"), splits, (), "x", (28, 28, 1))


def test_the_graph_answers_as_scikit_learn_on_every_picture(data, tmp_path):
    card = tree.described("any", data)
    fitted = tree.fit(data, card)
    assert fitted.get_depth() > 4
    tree.save(fitted, card, tmp_path / "saved")
    model = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved")).convert()
    runner = Interpreter(model_content=model).get_signature_runner()
    unseen = np.random.default_rng(9).integers(0, 256, (300, 28, 28)).astype(np.uint8)
    images = np.concatenate([data.splits["train"].items, unseen])
    got = runner(image=images[..., np.newaxis].astype(np.float32))["logits"]
    flat = images.reshape(len(images), -1)
    assert np.array_equal(got, tree.leaf_logits(fitted, 3)[fitted.apply(flat)])
    # Laplace's one more of each leaves a tie to the first label in both.
    assert np.array_equal(got.argmax(axis=1), fitted.predict(flat))


def test_a_tree_of_photos_ends_in_a_verified_tflite(pictures, tmp_path):
    root = pictures(tmp_path / "data", each=20)
    output = tmp_path / "shapes-tree"
    assert tree.main([str(root), "-o", str(output)]) == 0
    card = cards.load(output / "shapes-tree.tflite")
    assert card.verification["passed"] is True
    assert (card.height, card.channels, card.preprocessing.scaling) == (32, 3, "raw")
    assert card.provenance["trained_by"] == "k2l tree"
