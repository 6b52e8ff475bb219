"""Pixels to tensor, against literal numbers; tests/convert compares with Keras and TensorFlow."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.runtime.image.preprocess import (
    matches_helper,
    prepare,
    resize,
    scale,
    tf_bilinear,
    unscale,
)
from keras_to_lambda.runtime.model_file.card import (
    CHOICES,
    PRESETS,
    Affine,
    ModelCard,
    Preprocessing,
)

pytestmark = pytest.mark.engine

CARD = ModelCard("c", ("a", "b"), height=1, width=2, preprocessing=Preprocessing(scaling="raw"))


def with_steps(height=1, width=2, **steps):
    return dataclasses.replace(
        CARD, height=height, width=width, preprocessing=Preprocessing(**steps)
    )


def pixels():
    values = np.array([[[0, 51, 255], [127.5, 102, 204]]], np.float32)
    values.setflags(write=False)  # so that working in place could not go unseen
    return values


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ("raw", [[[0, 51, 255], [127.5, 102, 204]]]),
        ("rescale", [[[0, 0.2, 1], [0.5, 0.4, 0.8]]]),
        ("mobilenet_v2", [[[-1, -0.6, 1], [0, -0.2, 0.6]]]),
        ("resnet50", [[[151.061, -65.779, -123.68], [100.061, -14.779, 3.82]]]),
        ("densenet121", [[[-2.117904, -1.142857, 2.64], [0.0655022, -0.25, 1.7511111]]]),
        (Affine((2.0, 1.0, 0.5), (1.0, 0.0, -1.0)), [[[1, 51, 126.5], [256, 102, 101]]]),
    ],
)
def test_each_scaling_gives_its_published_numbers(scaling, expected):
    result = scale(pixels(), with_steps(scaling=scaling))
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    np.testing.assert_allclose(result, expected, rtol=2e-6, atol=1e-6)
    reversed_ = scale(pixels(), with_steps(scaling=scaling, color_order="bgr"))
    np.testing.assert_array_equal(
        reversed_, scale(pixels()[..., ::-1], with_steps(scaling=scaling))
    )


def test_tensorflow_bilinear_has_half_pixel_centres_and_no_antialiasing():
    # tf.image.resize([[0, 100, 200, 300 % 256]], (1, 2)) and (1, 8), computed by hand.
    row = np.array([[[0], [100], [200], [44]]], np.uint8)
    assert tf_bilinear(row, 1, 2).ravel().tolist() == [50, 122]
    assert tf_bilinear(row, 1, 8).ravel().tolist() == [0, 25, 75, 125, 175, 161, 83, 44]


def test_pillow_bilinear_is_pillows():
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    expected = np.asarray(image.resize((2, 1), Image.Resampling.BILINEAR), np.float32)
    np.testing.assert_array_equal(
        resize(image, with_steps(interpolation="pillow:bilinear")), expected
    )


@pytest.mark.parametrize("interpolation", ["pillow:nearest", "tf:bilinear"])
@pytest.mark.parametrize("mode", ["stretch", "crop", "pad"])
def test_crop_keeps_the_centre_and_pad_adds_black_around_it(interpolation, mode):
    # A wide picture, white but for a red third in the middle, to a square.
    card = with_steps(30, 30, interpolation=interpolation, resize=mode)
    picture = Image.new("RGB", (90, 30), "white")
    picture.paste((255, 0, 0), (30, 0, 60, 30))
    result = resize(picture, card)
    assert result.shape == (30, 30, 3)
    np.testing.assert_array_equal(result[15, 15], [255, 0, 0])
    left = {"stretch": [255, 255, 255], "crop": [255, 0, 0], "pad": [255, 255, 255]}[mode]
    top = {"stretch": [255, 0, 0], "crop": [255, 0, 0], "pad": [0, 0, 0]}[mode]
    np.testing.assert_array_equal(result[15, 1], left)
    np.testing.assert_array_equal(result[1, 15], top)
    grey = dataclasses.replace(card, channels=1)
    assert prepare(picture.convert("L"), grey).shape == (30, 30, 1)


@pytest.mark.parametrize(
    ("scaling", "same"),
    [
        *[(preset, True) for preset in ("xception", "mobilenet_v2", "resnet50", "vgg16")],
        *[(other, None) for other in ("densenet121", "raw", Affine((1.0,) * 3, (0.0,) * 3))],
    ],
)
def test_the_scaling_is_keras_image_helpers_to_the_last_bit(scaling, same):
    assert matches_helper(with_steps(scaling=scaling)) is same


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize(
    "scaling",
    [*PRESETS, Affine((2.0, -0.5, 1 / 255), (-1.0, 3.0, 0.0))],
)
def test_a_tensor_tells_the_picture_that_it_is_of(scaling, order):
    pixels = np.random.default_rng(5).integers(0, 256, (16, 16, 3)).astype(np.float32)
    pixels[0, 0], pixels[0, 1] = 0, 255
    card = with_steps(scaling=scaling, color_order=order)
    assert np.array_equal(unscale(scale(pixels, card), card), pixels)


def test_a_channel_that_the_scaling_loses_is_black():
    card = with_steps(scaling=Affine((0.0, 1.0, 1.0), (7.0, 0.0, 0.0)))
    seen = unscale(np.full((2, 2, 3), 7.0, np.float32), card)
    assert seen.tolist() == [[[0, 7, 7]] * 2] * 2


@pytest.mark.parametrize("interpolation", ["tf:bilinear", "tf:nearest", "tf:bicubic"])
@pytest.mark.parametrize("mode", CHOICES["resize"])
@pytest.mark.parametrize("size", [(90, 31), (5, 3), (400, 2), (2, 400)])
def test_tensorflows_pixels_row_by_row_are_those_of_the_whole(
    size, mode, interpolation, monkeypatch
):
    noise = np.random.default_rng(6).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    card = with_steps(24, 36, interpolation=interpolation, resize=mode)
    whole = resize(Image.fromarray(noise), card)
    monkeypatch.setattr("keras_to_lambda.runtime.image.preprocess.BAND", 1)
    np.testing.assert_array_equal(resize(Image.fromarray(noise), card), whole)


def test_padding_a_long_picture_takes_no_memory_for_the_border():
    """12,000 x 10 pixels, padded to 12,000 x 12,000, would be 432 MB of black."""
    card = with_steps(24, 24, interpolation="tf:bilinear", resize="pad")
    picture = Image.new("RGB", (12_000, 10), "white")
    tracemalloc.start()
    result = resize(picture, card)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000
    # 12,000 rows are 24: each is of two that are 500 apart, and none hits the ten in the middle.
    assert result.max() == 0
    card = dataclasses.replace(card, height=25, width=25)  # the 13th is of the middle two
    result = resize(picture, card)
    assert result[12].min() == 255
    assert result[11].max() == result[13].max() == 0


@pytest.mark.parametrize("size", [(1, 500), (500, 1), (1, 1)])
@pytest.mark.parametrize("interpolation", ["pillow:bilinear", "tf:bilinear", "tf:nearest"])
@pytest.mark.parametrize("mode", CHOICES["resize"])
def test_a_picture_of_a_pixels_width_has_a_tensor(mode, interpolation, size):
    card = with_steps(224, 320, interpolation=interpolation, resize=mode)
    result = resize(Image.new("RGB", size, "white"), card)
    assert result.shape == (224, 320, 3)
    assert mode == "pad" or result.min() == 255
