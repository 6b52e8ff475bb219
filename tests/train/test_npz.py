"""Arrays in .npz files: those that keras publishes, and what is wrong with others."""

from __future__ import annotations

import numpy as np
import pytest

from keras_to_lambda.train.data import npz
from keras_to_lambda.train.data.dataset import DataError


def part(count, shape=(8, 8), seed=0, labels=3):
    images = np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)
    return images, (np.arange(count) % labels).astype(np.uint8)


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def sizes(data):
    return {name: len(split) for name, split in data.splits.items()}


@pytest.mark.parametrize(
    ("shape", "stored", "channels"),
    [((8, 8), (8, 8), 1), ((8, 6), (8, 6, 1), 1), ((8, 6, 3), (8, 6, 3), 3)],
)
def test_pictures_and_labels_come_as_they_were_saved(shape, stored, channels, tmp_path):
    (x, y), (x_test, y_test) = part(30, shape), part(6, shape, seed=1)
    path = saved(
        tmp_path / "a.npz",
        x_train=x.reshape(30, *stored),
        y_train=y[:, np.newaxis],
        x_test=x_test.reshape(6, *stored),
        y_test=y_test.astype(np.int64),
    )
    data = npz.load(path, seed=1)
    assert data.labels == ("0", "1", "2")
    assert data.shape == (*shape[:2], channels)
    assert sizes(data) == {"train": 27, "validation": 3, "test": 6}
    assert np.array_equal(data.splits["test"].images, x_test)
    for name in ("train", "validation"):
        split = data.splits[name]
        assert np.array_equal(split.images, x[split.rows])
        assert np.array_equal(split.targets, y[split.rows])
    assert sorted([*data.splits["train"].rows, *data.splits["validation"].rows]) == list(range(30))


@pytest.mark.parametrize("name", ["valid", "val", "validation"])
def test_a_validation_of_its_own_is_kept(name, tmp_path):
    (x, y), (x_valid, y_valid) = part(40), part(5, seed=1)
    arrays = {"x_train": x, "y_train": y, f"x_{name}": x_valid, f"y_{name}": y_valid}
    data = npz.load(saved(tmp_path / "a.npz", **arrays), seed=1)
    # 0.15 of 14, 13 and 13: two each.
    assert sizes(data) == {"train": 34, "validation": 5, "test": 6}
    assert np.array_equal(data.splits["validation"].images, x_valid)


X, Y = part(30)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "lacks x_train; it has no arrays"),
        ({"images": X, "labels": Y}, "lacks x_train; it has images, labels"),
        ({"x_train": X}, "lacks y_train; it has x_train"),
        ({"x_train": X, "y_train": Y, "y_test": Y}, "lacks x_test"),
        (
            {"x_train": X, "y_train": Y, "x_val": X, "y_val": Y, "x_valid": X, "y_valid": Y},
            "has both x_valid and x_val: keep one",
        ),
        ({"x_train": X / 255, "y_train": Y}, "train: images are float64 .* expected uint8"),
        ({"x_train": X[:, 0], "y_train": Y}, r"train: images are uint8 \(30, 8\)"),
        ({"x_train": np.stack([X] * 4, -1), "y_train": Y}, r"images are uint8 \(30, 8, 8, 4\)"),
        ({"x_train": X, "y_train": Y[:-1]}, r"labels \(29,\): each picture needs one label"),
        ({"x_train": X, "y_train": np.eye(3)[Y]}, r"labels \(30, 3\): each picture needs"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "there must be pictures"),
        ({"x_train": X, "y_train": Y / 2}, "labels are float64; expected whole numbers"),
        ({"x_train": X, "y_train": Y.astype(int) - 1}, "numbered -1 to 1; expected whole"),
        ({"x_train": X, "y_train": Y * 0}, "no picture to train on of a second label"),
        ({"x_train": X, "y_train": Y * 2}, "no picture to train on of 1, 3"),
        ({"x_train": X, "y_train": Y + np.int64(10**6)}, "numbered 1000000 to 1000002"),
        (
            {"x_train": X, "y_train": Y, "x_test": X[:, 1:], "y_test": Y},
            r"test has pictures of \(7, 8\), but train of \(8, 8\)",
        ),
        ({"x_train": X, "y_train": Y.astype(object)}, "holds objects and not only numbers"),
        ({"x_train": X, "y_train": Y.astype(str)}, "expected whole numbers from 0"),
    ],
)
def test_arrays_of_another_kind_are_told(arrays, message, tmp_path):
    with pytest.raises(DataError, match=message) as told:
        npz.load(saved(tmp_path / "a.npz", **arrays), seed=1)
    assert "\n" not in str(told.value)


def test_a_damaged_file_is_told(tmp_path):
    whole = saved(tmp_path / "a.npz", x_train=X, y_train=Y).read_bytes()
    flipped = bytearray(whole)
    flipped[300] ^= 0xFF  # a pixel: its checksum tells
    for content in (b"", b"<html>", whole[:-100], bytes(flipped)):
        (tmp_path / "b.npz").write_bytes(content)
        with pytest.raises(DataError, match="is damaged"):
            npz.load(tmp_path / "b.npz", seed=1)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        npz.load(tmp_path / "c.npz", seed=1)


def test_a_single_array_is_told(tmp_path):
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, X)
    with pytest.raises(DataError, match="a single array: save images and labels"):
        npz.load(tmp_path / "a.npz", seed=1)
