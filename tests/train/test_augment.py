"""Augmentation: any crop is a picture of the right kind, and the seed decides which."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_to_lambda.train import augment

BATCH, SIDE, SIZE = 16, 40, 32


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(2)
    images = random.integers(0, 256, (BATCH, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.eye(4, dtype=np.float32)[random.integers(0, 4, BATCH)]
    return tf.constant(images), tf.constant(labels)


def crops(batch, *seed, mix=0.5):
    made, truth = augment.augment(*batch, tf.constant(seed, tf.int32), SIZE, mix)
    return made.numpy(), truth.numpy()


@pytest.mark.parametrize("seed", [(1, 0), (1, 1), (7, 123_456), (2**31 - 1, 9)])
@pytest.mark.parametrize("mix", [0.0, 0.5, 1.0])
def test_shape_type_and_range_are_the_networks(batch, seed, mix):
    made, truth = crops(batch, *seed, mix=mix)
    assert (made.shape, made.dtype) == ((BATCH, SIZE, SIZE, 3), np.float32)
    assert (truth.shape, truth.dtype) == ((BATCH, 4), np.float32)
    assert np.isfinite(made).all()
    assert -1 <= made.min() < made.max() <= 1
    np.testing.assert_allclose(truth.sum(axis=1), 1, atol=1e-5)
    assert (truth >= 0).all()


def test_the_same_seed_gives_the_same_crops_and_another_seed_others(batch):
    first, again, other = crops(batch, 1, 5), crops(batch, 1, 5), crops(batch, 1, 6)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).mean() > 0.9


def test_without_blending_labels_stay_as_they_are(batch):
    np.testing.assert_array_equal(crops(batch, 1, 0, mix=0.0)[1], batch[1].numpy())


def test_with_blending_for_all_most_labels_are_shared(batch):
    _, truth = crops(batch, 1, 0, mix=1.0)
    shared = (batch[1].numpy() != batch[1].numpy()[::-1]).any(axis=1)
    assert (truth[shared].max(axis=1) < 1).mean() > 0.5


def test_a_plain_picture_stays_plain_before_the_boxes(batch):
    grey = tf.fill([BATCH, SIDE, SIDE, 3], tf.constant(128, tf.uint8))
    seed = tf.constant((1, 2), tf.int32)
    turned = augment.geometry(grey, seed, SIZE).numpy()
    np.testing.assert_allclose(turned, 128 / 127.5 - 1, atol=1e-5)
    coloured = augment.colour(tf.constant(turned), seed).numpy()
    assert np.ptp(coloured, axis=(1, 2)).max() < 1e-5


def test_about_half_of_the_crops_get_a_grey_box():
    white = tf.ones([400, SIZE, SIZE, 3])
    boxed = augment.erase(white, tf.constant((1, 2), tf.int32)).numpy()
    assert set(np.unique(boxed)) == {0.0, 1.0}
    assert 0.4 < (boxed.min(axis=(1, 2, 3)) == 0).mean() < 0.6
