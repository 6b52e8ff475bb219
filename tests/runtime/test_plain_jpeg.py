"""The common JPEG by Pillow's C core: the pixels of PIL.Image to the bit, and the same limits."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.runtime.common.errors import DeadlineExceeded, TooManyPixels, UndecodableImage
from keras_to_lambda.runtime.image import pixels, plain_jpeg
from keras_to_lambda.runtime.image.budget import Limits
from keras_to_lambda.runtime.image.decode import Picture
from keras_to_lambda.runtime.model_file.card import ModelCard, Preprocessing
from tests.runtime.made import encoded

NOISE = np.random.default_rng(5).integers(0, 255, (7, 9, 3), dtype=np.uint8)
PHOTO = Image.fromarray(NOISE).resize((211, 147), Image.Resampling.BICUBIC)
UPRIGHT, ON_ITS_SIDE = (
    b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([turn]) + bytes(6)
    for turn in (1, 6)
)


def card(channels=3, side=64, **steps):
    steps.setdefault("interpolation", "pillow:bilinear")
    return ModelCard("m", ("a", "b"), side, side, channels, "uint8", Preprocessing(**steps))


def jpeg(mode="RGB", **options):
    return encoded(PHOTO.convert(mode), **options)


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {}),
        ("RGB", {"subsampling": 0, "quality": 98}),
        ("RGB", {"subsampling": 2, "quality": 20}),
        ("RGB", {"progressive": True}),
        ("RGB", {"optimize": True, "restart_marker_blocks": 3}),
        ("RGB", {"keep_rgb": True}),
        ("RGB", {"exif": UPRIGHT, "comment": b"a comment", "icc_profile": bytes(200)}),
        ("L", {}),
        ("L", {"progressive": True}),
    ],
)
@pytest.mark.parametrize("name", pixels.FILTERS)
def test_pixels_are_those_of_pillow(mode, options, name):
    data = jpeg(mode, **options)
    model = card(len(mode), exif="apply", interpolation=name)
    photo = pixels.opened(data, model, Limits())
    assert isinstance(photo, plain_jpeg.Photo)
    whole = Image.open(io.BytesIO(data))
    expected = whole.resize((64, 64), pixels.FILTERS[name]).tobytes()
    assert pixels.prepare(photo, model) == expected


def test_a_photo_of_the_models_size_is_not_resized():
    data = jpeg()
    model = card(side=147)
    square = encoded(Image.open(io.BytesIO(data)).crop((0, 0, 147, 147)))
    photo = pixels.opened(square, model, Limits())
    assert pixels.prepare(photo, model) == Image.open(io.BytesIO(square)).tobytes()


@pytest.mark.parametrize(("side", "size"), [(8, (27, 19)), (30, (106, 74)), (90, (211, 147))])
def test_a_scaled_photo_is_decoded_at_pillows_fraction(side, size):
    data = jpeg()
    model = card(side=side, decode="scaled")
    photo = pixels.opened(data, model, Limits())
    whole = Image.open(io.BytesIO(data))
    whole.draft(None, (2 * side, 2 * side))
    assert (photo.width, photo.height) == whole.size == size
    expected = whole.resize((side, side), Image.Resampling.BILINEAR).tobytes()
    assert pixels.prepare(photo, model) == expected


TABLE = jpeg().index(b"\xff\xdb")


def with_header(content):
    return jpeg()[:TABLE] + content + jpeg()[TABLE:]


@pytest.mark.parametrize(
    ("data", "model"),
    [
        (jpeg("CMYK"), card()),
        (jpeg("L"), card()),
        (jpeg(), card(1)),
        (jpeg(exif=ON_ITS_SIDE), card(exif="apply")),
        (with_header(b"\0"), card()),
        (with_header(jpeg()[TABLE : TABLE + 69] * 1000), card()),
        (with_header(b"\xff\xcc\0\2"), card()),
    ],
    ids=["CMYK", "L", "RGB", "on its side", "a byte between", "a long header", "arithmetic coding"],
)
def test_what_is_not_common_is_left_to_pillows_python(data, model):
    assert plain_jpeg.opened(data, model, Limits()) is None


@pytest.mark.parametrize(
    "model",
    [card(resize="crop"), card(interpolation="tf:nearest"), card(1, drawing="mnist")],
    ids=["crop", "tf", "drawing"],
)
def test_models_that_want_more_than_a_resize_get_a_picture(model):
    assert isinstance(pixels.opened(jpeg(), model, Limits()), Picture)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_photo_cut_short_anywhere_is_refused(progressive):
    data = jpeg(progressive=progressive)
    begin = data.index(b"\xff\xda") + 20
    for end in range(begin, len(data) - 2, (len(data) - begin) // 7):
        with pytest.raises(UndecodableImage, match="truncated or damaged"):
            pixels.prepare(pixels.opened(data[:end], card(), Limits()), card())


def test_limits_hold():
    data = jpeg()
    with pytest.raises(TooManyPixels, match="211 x 147 pixels, more than the 31,016 accepted"):
        pixels.opened(data, card(), Limits(pixels=211 * 147 - 1))
    with pytest.raises(TooManyPixels, match="more than is left of the function's memory"):
        pixels.opened(data, card(), Limits(reserve=lambda needs: needs < 4 * 211 * 147))


def test_the_deadline_is_looked_at_before_each_block(monkeypatch):
    monkeypatch.setattr(plain_jpeg, "BLOCK", 1000)
    data = jpeg(quality=98)
    looks = []

    def check(_seconds):
        looks.append(1)
        if len(looks) == 6:
            raise DeadlineExceeded("late")

    with pytest.raises(DeadlineExceeded):
        pixels.opened(data, card(), Limits(check=check))
    assert len(data) > 6000
