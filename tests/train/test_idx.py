"""idx files: read, split, unpacked; damaged ones named."""

from __future__ import annotations

import gzip
import json
import struct

import numpy as np
import pytest
from PIL import Image

from train import idx
from train.photos import DataError


def write(path, values, zipped=False):
    values = np.asarray(values, np.uint8)
    data = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    data += values.tobytes()
    path.write_bytes(gzip.compress(data) if zipped else data)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    rng = np.random.default_rng(0)
    write(root / "t10k-images-idx3-ubyte", rng.integers(0, 256, (60, 28, 28)))
    write(root / "t10k-labels-idx1-ubyte.gz", np.arange(60) % 3, zipped=True)
    return root


def test_one_file_is_split_each_label_by_itself_and_nothing_is_in_two_splits(folder):
    data = idx.load(folder, seed=1)
    assert data.labels == ("0", "1", "2")
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 45,
        "validation": 6,
        "test": 9,
    }
    rows = [image.tobytes() for split in data.splits.values() for image in split.images]
    assert len(set(rows)) == 60
    assert np.bincount(data.splits["test"].targets).tolist() == [3, 3, 3]
    again = idx.load(folder, seed=1)
    assert np.array_equal(again.splits["test"].images, data.splits["test"].images)
    other = idx.load(folder, seed=2)
    assert not np.array_equal(other.splits["test"].images, data.splits["test"].images)


def test_a_test_file_beside_the_training_file_is_the_test(folder):
    write(folder / "train-images-idx3-ubyte", np.zeros((30, 28, 28)))
    write(folder / "train-labels-idx1-ubyte", np.arange(30) % 3)
    data = idx.load(folder, seed=1)
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 27,
        "validation": 3,
        "test": 60,
    }


def test_unpacked_pictures_are_the_same_pixels_below_their_label(folder, tmp_path, capsys):
    out = tmp_path / "png"
    assert idx.main([str(folder), "-o", str(out)]) == 0
    assert "45 pictures" in capsys.readouterr().out
    split = idx.load(folder, seed=1).splits["validation"]
    for row, (image, target) in enumerate(zip(split.images, split.targets, strict=True)):
        with Image.open(out / "validation" / str(target) / f"{row:05}.png") as saved:
            assert np.array_equal(np.asarray(saved), image)
    assert idx.main([str(folder), "-o", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data[:-1], "cut short"),
        (lambda data: b"PK" + data[2:], "not an idx file"),
        (lambda data: data[:2] + b"\x0d" + data[3:], "not an idx file of bytes"),
        (lambda data: b"\x1f\x8b" + data, "damaged"),
    ],
)
def test_damaged_files_are_named(folder, damage, told):
    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=told):
        idx.load(folder, seed=1)


def test_images_without_labels_are_told(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte"):
        idx.load(folder, seed=1)


def test_idx_files_are_trained_on_by_the_recipe_of_the_digits(tmp_path, capfd):
    """One epoch on squares, dark or light: the whole way to a grey model and its record."""
    from classifier.card import ModelCard
    from train.__main__ import main

    root = tmp_path / "data"
    root.mkdir()
    targets = np.arange(240) % 2
    write(
        root / "t10k-images-idx3-ubyte", np.full((240, 28, 28), 40) + 160 * targets[:, None, None]
    )
    write(root / "t10k-labels-idx1-ubyte", targets)
    out = tmp_path / "squares"
    assert main([str(root), "-o", str(out), "--epochs", "1", "--batch-size", "16"]) == 0
    assert "test accuracy" in capfd.readouterr().out
    card = ModelCard.from_json(json.loads((out / "squares.card.json").read_text()))
    assert (card.labels, card.height, card.width, card.channels) == (("0", "1"), 28, 28, 1)
    import keras

    model = keras.models.load_model(out / "squares.keras")
    assert model.input_shape == (None, 28, 28, 1)
    assert model.output_shape == (None, 2)
    record = json.loads((out / "training.json").read_text())
    assert record["results"]["test"]["photos"] == 36
    assert record["recipe"]["augmentation"]["mirror"] is False
