"""idx files: read, split, unpacked; damaged ones named."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.train.data import idx
from keras_to_lambda.train.data.dataset import DataError
from tests.train.published import idx_file


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    rng = np.random.default_rng(0)
    idx_file(root / "t10k-images-idx3-ubyte", rng.integers(0, 256, (60, 28, 28)))
    idx_file(root / "t10k-labels-idx1-ubyte.gz", np.arange(60) % 3, zipped=True)
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
    idx_file(folder / "train-images-idx3-ubyte", np.zeros((30, 28, 28)))
    idx_file(folder / "train-labels-idx1-ubyte", np.arange(30) % 3)
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


@pytest.mark.parametrize("name", ["fashion-mnist", "Fashion"])
def test_fashion_mnist_is_known_by_its_folders_name(name, tmp_path, capsys):
    root = tmp_path / name
    root.mkdir()
    idx_file(root / "t10k-images-idx3-ubyte", np.arange(40)[:, None, None] * np.ones((1, 3, 3)))
    idx_file(root / "t10k-labels-idx1-ubyte", np.arange(40) % 10)
    data = idx.load(root, seed=1)
    assert (data.labels[0], data.labels[6], data.labels[9]) == (
        "T-shirt/top",
        "Shirt",
        "Ankle boot",
    )
    assert idx.load(root, 1, [f"{n}th" for n in range(10)]).labels[3] == "3th"
    assert idx.main([str(root), "-o", str(tmp_path / "png")]) == 0
    assert "20 pictures" in capsys.readouterr().out
    folders = {path.name for path in (tmp_path / "png" / "train").iterdir()}
    assert folders == {label.replace("/", "-") for label in data.labels}
