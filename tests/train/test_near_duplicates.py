"""Near-duplicates: the same picture in two splits or under two labels, as it is or altered."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from keras_to_lambda.train.data import near_duplicates
from keras_to_lambda.train.data.dataset import SPLITS, Dataset, Split
from tests.train.conftest import scene


def found(train, validation=(), test=()):
    members = dict(zip(SPLITS, (train, validation, test), strict=True))
    splits = {
        name: Split(np.array([target for _, target in own], np.int32), (), ())
        for name, own in members.items()
    }
    prints = [near_duplicates.fingerprint(image) for own in members.values() for image, _ in own]
    return near_duplicates.find(Dataset(("a", "b"), splits, (), "x"), prints)


def others(first, count=20):
    return [(scene(seed), seed % 2) for seed in range(first, first + count)]


def jpeg(image):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=30)
    return Image.open(buffer).convert("RGB")


CHANGES = {
    "JPEG": jpeg,
    "larger": lambda image: image.resize((192, 160)),
    "stretched": lambda image: image.resize((96, 160)),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "pale": lambda image: ImageEnhance.Color(image).enhance(0.6),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "mirrored": ImageOps.mirror,
    "cropped": lambda image: image.crop((2, 2, 94, 78)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_altered_picture_in_another_split_is_a_near_duplicate(change):
    [pair] = found(others(0), others(100), [(CHANGES[change](scene(3)), 1)])
    assert (pair.first, pair.second) == (("train", 3), ("test", 0))
    assert 0.7 < pair.similarity < 1.0
    assert pair.leak


def test_different_pictures_are_no_near_duplicates():
    assert found(others(0, 60), others(100, 60), others(200, 60)) == []


def test_equal_pictures_are_found_in_two_splits_or_under_two_labels_and_nowhere_else():
    pairs = found(
        [*others(0), (scene(3), 1), (scene(4), 1)],  # 3 has label 1, 4 has label 0
        [*others(100), (scene(103), 1)],
        [(scene(5), 1)],
    )
    assert [(pair.first, pair.second, pair.similarity, pair.leak) for pair in pairs] == [
        (("train", 4), ("train", 21), 1.0, False),
        (("train", 5), ("test", 0), 1.0, True),
    ]


def test_pictures_of_one_colour_are_duplicates_only_if_equal():
    blank = [Image.new("RGB", (40, 30), colour) for colour in ("white", "black", "black")]
    [pair] = found([(blank[0], 0), (blank[1], 0)], [(blank[2], 0)])
    assert (pair.first, pair.second) == (("train", 1), ("validation", 0))


def test_a_mirrored_grey_drawing_is_another_picture():
    drawing = scene(7).convert("L")
    darker = drawing.point(lambda value: int(0.8 * value))
    [pair] = found([(drawing, 0)], [(darker, 0)], [(ImageOps.mirror(drawing), 0)])
    assert pair.second == ("validation", 0)
