"""The data: found, split, checked; and what is said when it cannot be trained on."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.runtime.model.card import ModelCard, Preprocessing
from keras_to_lambda.train.data import photos
from keras_to_lambda.train.data.ahead import AHEAD, ahead
from keras_to_lambda.train.data.dataset import DataError, completed, stratified


def load(root, seed=1):
    return photos.load(root, seed)


def card(size=32, **steps):
    return ModelCard("any", ("a", "b"), size, size, preprocessing=Preprocessing(**steps))


def test_a_split_takes_a_tenth_of_each_class():
    members = [(Path(f"{label}/{n}"), label) for label in (0, 1, 2) for n in range(20 + 30 * label)]
    splits = stratified(members, 1)
    assert {name: Counter(t for _, t in split) for name, split in splits.items()} == {
        "train": {0: 16, 1: 40, 2: 64},
        "validation": {0: 2, 1: 5, 2: 8},
        "test": {0: 2, 1: 5, 2: 8},
    }
    assert sorted(itertools.chain.from_iterable(splits.values())) == sorted(members)


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    members = [(Path(f"{n:02}"), 0) for n in range(30)]
    first = stratified(members, 1)
    assert stratified(members[::-1], 1) == first
    assert stratified(members, 2) != first
    assert [path.name for path, _ in first["test"]] == TEST_OF_SEED_1


# Python's random.Random promises the same sequence of shuffles for a string seed.
TEST_OF_SEED_1 = ["09", "00", "02"]


def test_class_folders_alone_are_split(pictures, tmp_path):
    data = load(pictures(tmp_path / "data", each=10))
    assert data.labels == ("disc", "plain", "stripes")
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 24,
        "validation": 3,
        "test": 3,
    }
    assert data.splits["test"].targets.tolist() == [0, 1, 2]
    assert data.broken == ()
    assert data.sha256 == load(tmp_path / "data", seed=2).sha256


def test_a_given_split_is_kept(pictures, tmp_path):
    for seed, (name, each) in enumerate((("train", 4), ("validation", 2), ("test", 1))):
        pictures(tmp_path / name, each=each, seed=seed)
    data = load(tmp_path)
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 12,
        "validation": 6,
        "test": 3,
    }
    assert {path.parts[-3] for path in data.splits["validation"].paths} == {"validation"}


def test_a_broken_photo_is_left_out_with_its_reason(pictures, tmp_path):
    root = pictures(tmp_path / "data", each=10)
    good = (root / "disc" / "000.png").read_bytes()
    (root / "disc" / "cut.png").write_bytes(good[: len(good) // 2])
    (root / "plain" / "page.jpg").write_bytes(b"<html>gone</html>")
    (root / "plain" / ".DS_Store").write_bytes(b"hidden")
    data = load(root)
    assert [name for name, _ in data.broken] == ["disc/cut.png", "plain/page.jpg"]
    assert "truncated or damaged" in data.broken[0][1]
    assert "HTML page" in data.broken[1][1]
    assert sum(len(split) for split in data.splits.values()) == 30


def test_pixels_and_tensors_are_of_the_card(pictures, tmp_path):
    split = load(pictures(tmp_path / "data", each=10)).splits["test"]
    steps = card(interpolation="pillow:bilinear", scaling="mobilenet_v2")
    originals = []
    for path in split.paths:
        with Image.open(path) as image:
            originals.append(image.convert("RGB"))
    pixels = list(split.pixels(steps, 40))
    bilinear = Image.Resampling.BILINEAR
    assert [p.tolist() for p in pixels] == [
        np.asarray(image.resize((40, 40), bilinear)).tolist() for image in originals
    ]
    assert {p.dtype for p in pixels} == {np.dtype(np.uint8)}
    batches = list(split.tensors(steps, 2))
    assert [batch.shape for batch in batches] == [(2, 32, 32, 3), (1, 32, 32, 3)]
    expected = np.stack([np.asarray(image.resize((32, 32), bilinear)) for image in originals])
    np.testing.assert_allclose(np.concatenate(batches), expected / 127.5 - 1, atol=1e-6)
    assert {batch.dtype for batch in batches} == {np.dtype(np.float32)}
    assert [image.tobytes() for image in split.each(steps)] == [i.tobytes() for i in originals]


def test_work_ahead_keeps_the_order_and_is_bounded():
    taken = []

    class Watched(list):
        def __iter__(self):
            for item in super().__iter__():
                taken.append(item)
                yield item

    def square(number):
        return number * number

    results = ahead(square, Watched(range(10 * AHEAD)))
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert taken == list(range(AHEAD + 2))
    assert list(results) == [number * number for number in range(3, 10 * AHEAD)]
    assert list(ahead(square, range(2))) == [0, 1]
    assert list(ahead(square, [])) == []


def test_an_error_ahead_comes_where_its_result_would_be():
    results = ahead(lambda number: 6 // (number - 2), range(5))
    assert [next(results), next(results)] == [-3, -6]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize(
    ("validation", "test", "sizes"),
    [
        (None, None, (24, 3, 3)),
        ("val", None, (27, 6, 3)),
        ("valid", None, (27, 6, 3)),
        ("dev", None, (27, 6, 3)),
        ("Validation", None, (27, 6, 3)),
        (None, "test", (27, 3, 6)),
        (None, "testing", (27, 3, 6)),
        ("val", "test", (30, 6, 6)),
    ],
)
def test_a_missing_split_is_set_aside_from_train(validation, test, sizes, pictures, tmp_path):
    pictures(tmp_path / "train", each=10, seed=1)
    for number, name in enumerate((validation, test)):
        if name:
            pictures(tmp_path / name, each=2, seed=2 + number)
    data = load(tmp_path)
    assert tuple(len(data.splits[name]) for name in ("train", "validation", "test")) == sizes
    for split, name in (("train", "train"), ("validation", validation), ("test", test)):
        folders = {path.parts[-3] for path in data.splits[split].paths}
        assert folders == {name or "train"}
    paths = [path for split in data.splits.values() for path in split.paths]
    assert len(paths) == len(set(paths)) == sum(sizes)


def test_a_class_too_small_to_split_is_in_no_two_splits():
    given = {"train": [(Path("a/0"), 0), (Path("a/1"), 0)]}
    splits = completed(given, 1, 0.1, 0.1)
    assert splits["train"] == []
    assert sorted(splits["validation"] + splits["test"]) == given["train"]


def one_class(root, pictures):
    pictures(root, classes=("disc",))


def no_train(root, pictures):
    pictures(root / "test")


def a_split_under_two_names(root, pictures):
    for name in ("train", "val", "valid"):
        pictures(root / name)


def an_unknown_class(root, pictures):
    pictures(root / "train", classes=("disc", "plain"))
    pictures(root / "validation", classes=("disc", "plain"))
    pictures(root / "test", classes=("disc", "stripes"))


def a_class_that_is_all_broken(root, pictures):
    pictures(root)
    for path in (root / "plain").iterdir():
        path.write_bytes(b"")


def a_class_of_two(root, pictures):
    pictures(root, classes=("disc", "plain"))
    pictures(root, classes=("stripes",), each=2)


def an_empty_split(root, pictures):
    pictures(root / "train")
    (root / "test").mkdir()


def a_split_of_empty_folders(root, pictures):
    pictures(root / "train")
    (root / "val" / "disc").mkdir(parents=True)


def a_split_that_is_all_broken(root, pictures):
    pictures(root / "train")
    pictures(root / "val", each=1)
    for path in (root / "val").glob("*/*"):
        path.write_bytes(b"GIF89a")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda root, pictures: None, "is not a folder"),
        (lambda root, pictures: root.mkdir(), "holds 0 class folders"),
        (one_class, "holds 1 class folders"),
        (no_train, "has test/ but lacks train/"),
        (a_split_under_two_names, "has both val/ and valid/: keep one"),
        (an_unknown_class, "classes that train/ lacks: stripes"),
        (a_class_that_is_all_broken, "no photo of 'plain' to train on can be read"),
        (a_class_of_two, "no photo of 'stripes' to train on .* needs at least three"),
        (an_empty_split, "test has no class folders with photos: put some there, or remove it"),
        (a_split_of_empty_folders, "val has no class folders with photos"),
        (a_split_that_is_all_broken, "no photo for validation can be read"),
    ],
)
def test_data_that_cannot_be_trained_on_is_told(fault, message, pictures, tmp_path):
    fault(tmp_path / "data", pictures)
    with pytest.raises(DataError, match=message) as told:
        load(tmp_path / "data")
    assert "\n" not in str(told.value)
