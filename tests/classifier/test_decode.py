"""Bytes to pixels: formats, channels, orientation, limits and damage."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from classifier.card import Preprocessing
from classifier.decode import decode
from classifier.errors import TooManyPixels, UndecodableImage, UnsupportedFormat

STEPS = Preprocessing()
LIMIT = 50_000_000


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_each_format_decodes_as_pillow_does(format, picture, encoded):
    data = encoded(picture, format)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    image = decode(data, STEPS, 3, LIMIT)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), expected)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "CMYK"])
def test_each_mode_becomes_rgb_or_greyscale(mode, picture, encoded):
    data = encoded(picture.convert(mode), "JPEG" if mode == "CMYK" else "PNG")
    assert decode(data, STEPS, 3, LIMIT).mode == "RGB"
    assert decode(data, STEPS, 1, LIMIT).mode == "L"


def test_the_first_frame_of_an_animation_is_taken(encoded):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data, STEPS, 3, LIMIT).getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_only_if_the_card_says_so(orientation, picture, encoded):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture, "PNG", exif=exif)
    ignored = decode(data, STEPS, 3, LIMIT)
    np.testing.assert_array_equal(np.asarray(ignored), np.asarray(picture))
    # What each value means: TIFF 6.0, "Orientation"; (transpose, flip rows, flip columns).
    turns = [(0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0), (1, 0, 0), (1, 0, 1), (1, 1, 1), (1, 1, 0)]
    transpose, rows, columns = turns[orientation - 1]
    upright = np.asarray(picture)
    upright = upright.transpose(1, 0, 2) if transpose else upright
    upright = upright[:: -1 if rows else 1, :: -1 if columns else 1]
    applied = decode(data, Preprocessing(exif="apply"), 3, LIMIT)
    np.testing.assert_array_equal(np.asarray(applied), upright)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("drop", (255, 0, 0)), ("white", (255, 127, 127)), ("black", (128, 0, 0))],
)
def test_alpha_is_treated_as_the_card_says(policy, expected, encoded):
    data = encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 128)), "PNG")
    image = decode(data, Preprocessing(alpha=policy), 3, LIMIT)
    assert image.getpixel((0, 0)) == expected


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_truncated_image_is_refused(format, picture, encoded):
    data = encoded(picture, format)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(UndecodableImage):
            decode(data[: int(len(data) * share)], STEPS, 3, LIMIT)


def test_a_header_alone_is_refused():
    for data in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM"):
        with pytest.raises(UndecodableImage):
            decode(data, STEPS, 3, LIMIT)


def test_a_100_megapixel_png_is_refused_before_a_pixel_is_decoded(encoded):
    bomb = encoded(Image.new("1", (10_000, 10_000)), "PNG")
    assert len(bomb) < 20_000
    # Also without its pixels: had one been looked at, it would be an UndecodableImage.
    for data in (bomb, bomb[:64]):
        with pytest.raises(TooManyPixels, match="10000 x 10000"):
            decode(data, STEPS, 3, LIMIT)


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "HTML page"),
        (b"\n <html>", "HTML page"),
        (b"<svg xmlns=''>", "SVG"),
        (b'{"url": 1}', "JSON"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x20ftypheic\0", "HEIC"),
        (b"II*\0", "no image format"),
        (b"hello", "no image format"),
    ],
)
def test_what_is_no_accepted_image_is_told_what_it_looks_like(data, seen):
    with pytest.raises(UnsupportedFormat, match=seen):
        decode(data, STEPS, 3, LIMIT)
