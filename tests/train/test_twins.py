"""Twins: the same picture in two splits or under two labels, as it is, altered, or in part."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from keras_to_lambda.train.data import photos, sources, twins
from keras_to_lambda.train.data.arrays import Pictures
from keras_to_lambda.train.data.dataset import SPLITS, Dataset

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def scene(seed, size=(96, 80)):
    """A picture of soft coloured shapes with some grey texture, like no other seed's."""
    random = np.random.default_rng(seed)
    image = np.zeros((size[1], size[0], 3))
    for cells, weight in ((3, 0.5), (9, 0.3), (24, 0.2)):
        values = random.integers(0, 256, (cells, cells, 3 if cells == 3 else 1))
        values = np.broadcast_to(values, (cells, cells, 3)).astype(np.uint8)
        small = Image.fromarray(values)
        image += weight * np.asarray(small.resize(size, Image.Resampling.BICUBIC), float)
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def dataset(**splits):
    """Of lists of (picture, target), by split; pictures are brought to one size."""
    made = {}
    for name in SPLITS:
        images = [image.resize((96, 80)) for image, _ in splits[name]]
        targets = np.array([target for _, target in splits[name]], np.int32)
        made[name] = Pictures(targets, np.stack(images), np.arange(len(images)))
    return Dataset(("a", "b"), made, (), "x", (80, 96, 3))


def others(first, count=8):
    return [(scene(seed), seed % 2) for seed in range(first, first + count)]


def found(data):
    return {(twin.first, twin.second) for twin in twins.find(data)}


def encoded(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return Image.open(buffer).convert("RGB")


def test_pictures_that_differ_have_no_twins():
    assert twins.find(dataset(train=others(0, 60), validation=others(100), test=others(200))) == []


def test_an_equal_picture_in_two_splits_is_a_twin_of_similarity_1():
    data = dataset(
        train=others(0),
        validation=[*others(100), (scene(3), 1)],
        test=[(scene(5), 0), *others(200), (scene(102), 0)],
    )
    assert twins.find(data) == [
        twins.Twin(("train", 3), ("validation", 8), 1.0, same_label=True),
        twins.Twin(("train", 5), ("test", 0), 1.0, same_label=False),
        twins.Twin(("validation", 2), ("test", 9), 1.0, same_label=True),
    ]


def test_within_train_only_two_labels_matter_and_within_test_nothing():
    data = dataset(
        train=[*others(0), (scene(2), 0), (scene(3), 0)],
        validation=others(100),
        test=[*others(200), (scene(201), 0), (scene(202), 0)],
    )
    assert twins.find(data) == [twins.Twin(("train", 3), ("train", 9), 1.0, same_label=False)]


def test_all_pairs_of_equal_pictures_are_found():
    data = dataset(
        train=[*others(0), *[(scene(50), 0)] * 12],
        validation=others(100),
        test=[*others(200), *[(scene(50), 0)] * 10],
    )
    pairs = found(data)
    assert pairs == {(("train", 8 + i), ("test", 8 + j)) for i in range(12) for j in range(10)}


ALTERED = {
    "JPEG at quality 30": lambda image: encoded(image, quality=30),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "less colour": lambda image: ImageEnhance.Color(image).enhance(0.6),
    "small": lambda image: image.resize((40, 33)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "cut left and above": lambda image: image.crop((7, 6, 96, 80)),
    "cut right": lambda image: image.crop((0, 0, 88, 80)),
}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("change", ALTERED.values(), ids=ALTERED)
def test_an_altered_picture_is_a_twin_below_1(change, turned):
    train, test = scene(900), change(scene(900))
    if turned:
        train, test = test, train
    data = dataset(
        train=[*others(0, 30), (train, 0)],
        validation=others(100),
        test=[(test, 1), *others(200)],
    )
    (twin,) = twins.find(data)
    assert (twin.first, twin.second) == (("train", 30), ("test", 0))
    assert twins.COLOUR <= twin.similarity < 1
    assert not twin.same_label


def test_the_same_arrangement_with_other_details_is_no_twin():
    """Two garments laid out in the same way on the same cloth."""
    light = np.linspace(0.6, 1, 96)[np.newaxis, :, np.newaxis]
    cloth = Image.fromarray((np.full((80, 96, 3), (200, 40, 60)) * light).astype(np.uint8))
    shirt, dress = cloth.copy(), cloth.copy()
    outline = [(20, 25), (38, 12), (58, 12), (76, 25), (66, 36), (62, 70), (34, 70), (30, 36)]
    ImageDraw.Draw(shirt).polygon(outline, fill=(220, 220, 225))
    ImageDraw.Draw(shirt).rectangle((40, 30, 56, 42), fill=(20, 40, 90))
    outline = [(32, 10), (64, 10), (60, 34), (76, 68), (20, 68), (36, 34)]
    ImageDraw.Draw(dress).polygon(outline, fill=(220, 215, 220))
    small = [np.asarray(image.resize((16, 16)), float).ravel() for image in (shirt, dress)]
    assert np.corrcoef(small)[0, 1] > 0.75
    data = dataset(
        train=[*others(0), (shirt, 0)], validation=others(100), test=[(dress, 0), *others(200)]
    )
    assert twins.find(data) == []
    data.splits["test"].images[0] = shirt.crop((2, 3, 93, 80)).resize((96, 80))
    assert found(data) == {(("train", 8), ("test", 0))}


def test_flat_pictures_are_twins_only_if_equal():
    def flat(value):
        return Image.new("RGB", (96, 80), (value, value, value + 20))

    noise = np.random.default_rng(1).integers(0, 3, (80, 96, 3)).astype(np.uint8) + 90
    data = dataset(
        train=[*others(0), (flat(100), 0), (Image.fromarray(noise), 0)],
        validation=[(flat(101), 0)],
        test=[(flat(100), 0), (Image.fromarray(noise + 1), 0)],
    )
    assert found(data) == {(("train", 8), ("test", 0))}


def test_a_trace_of_texture_makes_no_twin():
    texture = np.random.default_rng(3).integers(0, 16, (24, 24, 3)) + 90
    trace = np.asarray(Image.fromarray(texture.astype(np.uint8)).resize((96, 80)))
    data = dataset(
        train=[*others(10), (Image.fromarray(trace), 0)],
        validation=others(100),
        test=[(Image.fromarray(trace + 1), 0)],
    )
    assert twins.find(data) == []


def test_equal_thumbnails_of_other_pixels_are_not_of_similarity_1():
    """A checkered pixel more: the thumbnail rounds it away."""
    picture = np.array(scene(7))
    picture[40, 40] ^= 1
    data = dataset(
        train=[*others(0), (scene(7), 1)],
        validation=others(100),
        test=[(Image.fromarray(picture), 1)],
    )
    data.splits["train"].targets[7] = 1
    similarities = [twin.similarity for twin in twins.find(data)]
    assert len(similarities) == 2
    assert all(0.999 < similarity < 1 for similarity in similarities)


def strokes(seed, shift=0):
    """A grey 28 x 28 picture of a few strokes, like a digit."""
    random = np.random.default_rng(seed)
    image = np.zeros((28, 28), np.uint8)
    for _ in range(3):
        x, y = random.integers(5, 18, 2)
        image[y : y + random.integers(2, 8), x + shift : x + shift + 2] = 255
        image[y : y + 2, x + shift : x + shift + random.integers(2, 8)] = 200
    return image


def test_grey_pictures_are_neither_moved_nor_mirrored():
    train = np.stack([strokes(seed) for seed in range(40)])
    changed = [
        train[5],
        (train[6] * 0.6).astype(np.uint8),
        train[7][:, ::-1],
        strokes(8, shift=1),
        strokes(500),
    ]
    splits = {
        "train": Pictures(np.zeros(40, np.int32), train, np.arange(40)),
        "validation": Pictures(np.zeros(1, np.int32), strokes(600)[np.newaxis], np.arange(1)),
        "test": Pictures(np.zeros(5, np.int32), np.stack(changed), np.arange(5)),
    }
    data = Dataset(("0", "1"), splits, (), "x", (28, 28, 1))
    assert found(data) == {(("train", 5), ("test", 0)), (("train", 6), ("test", 1))}


def test_the_nearest_that_matter_are_those_of_all_pairs():
    """Of 60 pictures the axes lose nothing: the plain correlations of all pairs are the judge."""
    random = np.random.default_rng(4)
    small = np.zeros((60, twins.SIDE, twins.SIDE, 3), np.uint8)
    for picture in small:
        colours = random.integers(0, 256, (2, 1, 3)).astype(np.uint8)
        picture[:] = np.asarray(Image.fromarray(colours).resize((twins.SIDE, twins.SIDE)))
    splits = np.repeat([0, 1, 2], [40, 8, 12]).astype(np.int8)
    targets = random.integers(0, 3, 60).astype(np.int32)
    pictures = twins._Pictures(small, splits, (0, 40, 48), targets)
    half = [np.asarray(Image.fromarray(x).resize((16, 16), Image.Resampling.BOX)) for x in small]
    likeness = np.corrcoef(np.stack(half).reshape(60, -1).astype(float))
    expected = set()
    for i in range(60):
        able = [
            j
            for j in range(60)
            if (splits[i] != splits[j] and splits[i] > 0)
            or (splits[i] == splits[j] == 0 and targets[i] != targets[j])
        ]
        near = sorted(
            (j for j in able if likeness[i, j] >= twins.ALIKE), key=lambda j: -likeness[i, j]
        )
        expected |= {(min(i, j), max(i, j)) for j in near[: twins.NEAREST]}
    assert len(expected) > 60
    got = twins._alike(pictures, mirrored=False)
    assert {tuple(pair) for pair in got.tolist()} == expected
    assert len(got) == len(expected)
    values = likeness[got[:, 0], got[:, 1]]
    assert (np.diff(values) < 0.01).all()  # thumbnails are rounded


def test_a_fit_finds_how_a_picture_was_moved():
    side = 32

    def picture(scale, shift):
        y, x = np.meshgrid(*[np.linspace(-1, 1, side)] * 2, indexing="ij")
        x, y = (1 + scale) * x + shift, (1 - scale) * y - 2 * shift
        return 100 + 60 * np.sin(4 * x + y) + 40 * np.cos(3 * y - x)

    moves = [(0.0, 0.0), (0.08, 0.03), (-0.12, -0.04), (0.05, 0.1)]
    first = np.stack([0.8 * picture(*move) + 5 for move in moves]).astype(np.float32)
    second = np.stack([picture(0, 0)] * len(moves)).astype(np.float32)
    start = np.zeros((len(moves), 4), np.float32)
    got = twins._fit(first, second, start, 12)
    expected = [(scale, shift, -scale, -2 * shift) for scale, shift in moves]
    np.testing.assert_allclose(got, expected, atol=0.01)
    back = twins._fit(second, first, twins._inverse(got), 3)
    np.testing.assert_allclose(back, twins._inverse(np.array(expected)), atol=0.02)


def test_thumbnails_are_pillows(pictures, tmp_path):
    split = photos.load(pictures(tmp_path / "data", each=10), seed=1).splits["train"]
    got = twins.thumbnails(split, 24)
    assert (got.shape, got.dtype) == ((24, 24, 24, 3), np.float32)
    with Image.open(split.paths[7]) as image:
        expected = image.convert("RGB").resize((24, 24), Image.Resampling.BILINEAR)
    assert np.array_equal(got[7], np.asarray(expected))


def test_mnist_has_no_twins():
    if not (DATA / "mnist").is_dir():
        pytest.skip("MNIST is not on this machine")
    assert twins.find(sources.load(str(DATA / "mnist"), 1)) == []


def test_the_shorts_that_are_also_a_skirt_are_found(tmp_path):
    """The one near-duplicate of the small clothing data set, among 349 photos of its two labels."""
    train = DATA / "clothing-dataset-small" / "train"
    if not train.is_dir():
        pytest.skip("the clothing photos are not on this machine")
    for label in ("shorts", "skirt"):
        (tmp_path / label).symlink_to(train / label)
    data = photos.load(tmp_path, seed=1)
    (twin,) = twins.find(data)
    names = {data.splits[split].name(index)[:13] for split, index in (twin.first, twin.second)}
    assert names == {"shorts/6075b4", "skirt/637a56e"}
    assert 0.99 < twin.similarity < 1
    assert not twin.same_label
