"""Bytes to pixels: formats, channels, orientation, limits and damage."""

from __future__ import annotations

import base64
import importlib.util
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifier.card import CHOICES, Preprocessing
from classifier.decode import ALPHA, DECODE, EXIF, MODES, SIXTEEN_BITS, decode
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


def levels(*values, dtype=np.uint16):
    return Image.fromarray(np.array([values], dtype))


@pytest.mark.parametrize(
    ("interpolation", "channels", "mode", "expected"),
    [
        # tf.io.decode_image, by which image_dataset_from_directory reads
        ("tf:bilinear", 1, "L", [0, 0, 1, 128, 255]),
        ("tf:nearest", 3, "RGB", [0, 0, 1, 128, 255]),
        # load_img: all 16 bits for one channel, Image.convert's clipping for three
        ("pillow:nearest", 1, "I;16", [0, 255, 256, 32768, 65535]),
        ("pillow:bilinear", 3, "RGB", [0, 255, 255, 255, 255]),
    ],
)
def test_16_bits_are_read_as_keras_reads_them(interpolation, channels, mode, expected, encoded):
    data = encoded(levels(0, 255, 256, 32768, 65535), "PNG")
    assert Image.open(io.BytesIO(data)).mode == "I;16"
    image = decode(data, Preprocessing(interpolation=interpolation), channels, LIMIT)
    assert image.mode == mode
    assert np.asarray(image).reshape(5, channels)[:, 0].tolist() == expected


def test_16_bits_of_colour_keep_their_high_byte_too():
    import struct
    import zlib

    def chunk(kind, content):
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    row = b"\0" + struct.pack(">6H", 0x1234, 0xABCD, 0, 0xFFFF, 0x00FF, 0x8000)
    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
    data += chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    assert np.asarray(decode(data, STEPS, 3, LIMIT)).tolist() == [[[18, 171, 0], [255, 0, 128]]]


def test_one_bit_is_black_and_white(encoded):
    data = encoded(Image.fromarray(np.array([[True, False]])), "PNG")
    assert np.asarray(decode(data, STEPS, 3, LIMIT)).tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize(
    ("policy", "expected"), [("drop", [200, 200]), ("white", [255, 200]), ("black", [0, 200])]
)
def test_grey_with_alpha_is_treated_as_the_card_says(policy, expected, encoded):
    data = encoded(Image.fromarray(np.array([[[200, 0], [200, 255]]], np.uint8), "LA"), "PNG")
    image = decode(data, Preprocessing(alpha=policy), 1, LIMIT)
    assert np.asarray(image)[0].tolist() == expected


@pytest.mark.parametrize(
    ("policy", "expected"), [("drop", (10, 20, 30)), ("white", (255,) * 3), ("black", (0,) * 3)]
)
def test_a_palettes_transparent_colour_is_treated_as_the_card_says(policy, expected, encoded):
    image = Image.new("P", (2, 1), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    for kind in ("PNG", "GIF"):
        data = encoded(image, kind, transparency=1)
        decoded = decode(data, Preprocessing(alpha=policy), 3, LIMIT)
        assert decoded.getpixel((0, 0)) == expected


@pytest.mark.parametrize("profile", [False, True], ids=["without a profile", "with a profile"])
def test_cmyk_becomes_rgb_as_load_img_has_it(profile, picture, encoded):
    """keras.utils.load_img converts without looking at the profile, so training saw that."""
    options = {}
    if profile:
        from PIL import ImageCms

        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        options["icc_profile"] = srgb.tobytes()
    data = encoded(picture.convert("CMYK"), "JPEG", **options)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(decode(data, STEPS, 3, LIMIT)), expected)


def test_a_phones_two_pictures_in_one_file_are_its_first(picture, encoded):
    data = encoded(picture, "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert decode(data, STEPS, 3, LIMIT).size == picture.size


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_no_more_than_the_first_frame_is_looked_at(format, encoded):
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue", "green")]
    whole = encoded(frames[0], format, save_all=True, append_images=frames[1:], lossless=True)
    assert decode(whole, STEPS, 3, LIMIT).getpixel((4, 4)) == (255, 0, 0)


def test_a_second_frame_that_is_a_bomb_is_never_opened(encoded):
    """A GIF's second frame may claim any size: here 65,535 x 65,535, and no data."""
    first = encoded(Image.new("P", (8, 8), 3), "GIF")
    assert first.endswith(b";")
    frame = b"," + b"\0\0\0\0" + b"\xff\xff\xff\xff" + b"\0" + b"\x02" + b"\x02\x4c\x01\0;"
    assert decode(first[:-1] + frame, STEPS, 3, LIMIT).size == (8, 8)


def test_a_text_that_unpacks_into_a_gigabyte_is_refused(picture, encoded):
    import struct
    import zlib

    whole = encoded(picture, "PNG")
    text = b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)
    crc = struct.pack(">I", zlib.crc32(b"zTXt" + text))
    bomb = whole[:33] + struct.pack(">I", len(text)) + b"zTXt" + text + crc + whole[33:]
    with pytest.raises(UndecodableImage):
        decode(bomb, STEPS, 3, LIMIT)


@pytest.mark.parametrize(
    ("size", "target", "decoded"),
    [
        ((1600, 1200), (100, 100), (400, 300)),  # the height stays 300, at least 2 x 100
        ((1600, 1200), (160, 160), (800, 600)),
        ((1600, 1200), (700, 500), (1600, 1200)),
        ((1600, 300), (100, 100), (1600, 300)),  # the shorter side decides
    ],
)
def test_scaled_decoding_keeps_twice_the_target(size, target, decoded, encoded):
    data = encoded(Image.new("RGB", size, "teal"))
    scaled = Preprocessing(decode="scaled")
    assert decode(data, scaled, 3, LIMIT, target).size == decoded
    assert decode(data, STEPS, 3, LIMIT, target).size == size
    png = encoded(Image.new("RGB", size, "teal"), "PNG")
    assert decode(png, scaled, 3, LIMIT, target).size == size


def test_scaled_decoding_of_a_photo_on_its_side_knows_its_sides(encoded):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (2400, 1200), "teal"), exif=exif)
    steps = Preprocessing(decode="scaled", exif="apply")
    # Upright it is 1200 x 2400; a target of 100 x 400 needs 800 of the longer side.
    assert decode(data, steps, 3, LIMIT, (100, 400)).size == (1200, 2400)
    assert decode(data, steps, 3, LIMIT, (100, 100)).size == (300, 600)


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


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_truncated_image_is_refused(format, picture, encoded):
    data = encoded(picture, format)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(UndecodableImage):
            decode(data[: int(len(data) * share)], STEPS, 3, LIMIT)


def test_a_header_alone_is_refused():
    for data in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM"):
        with pytest.raises(UndecodableImage):
            decode(data, STEPS, 3, LIMIT)


def test_a_webp_may_have_half_the_pixels_as_it_takes_twice_the_memory(encoded):
    webp = encoded(Image.new("RGB", (100, 60)), "WEBP")
    with pytest.raises(TooManyPixels, match="the 5,999 accepted of a WEBP"):
        decode(webp, STEPS, 3, 11_999)
    assert decode(webp, STEPS, 3, 12_000).size == (100, 60)
    assert decode(encoded(Image.new("RGB", (100, 60)), "PNG"), STEPS, 3, 6_000).size == (100, 60)


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


PEAK = """
import sys, lambda_function
with open(sys.argv[1], encoding="ascii") as file:
    event = {"image": file.read(), "top_k": 1}
for _ in range(3):
    answer = lambda_function.lambda_handler(event)
with open("/proc/self/status", encoding="ascii") as file:
    [peak] = [line.split()[1] for line in file if line.startswith("VmHWM")]
print(len(answer), int(peak) * 1024)
"""


def test_a_photo_of_12_megapixels_needs_less_than_128_mb(tmp_path, encoded):
    """The default model, the event as base64 in memory included."""
    if not Path("/proc/self/status").exists():
        pytest.skip("/proc is needed, which only Linux has")
    noise = np.random.default_rng(2).integers(0, 255, (750, 1000, 3), dtype=np.uint8)
    photo = encoded(Image.fromarray(noise).resize((4000, 3000), Image.Resampling.BICUBIC))
    assert len(photo) > 2_000_000
    (tmp_path / "photo").write_bytes(base64.b64encode(photo))
    environ = {"PATH": "", "NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LOG_LEVEL": "FATAL"}
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "photo")],
        capture_output=True, text=True, check=True, env=environ,
    )  # fmt: skip
    answers, peak = map(int, done.stdout.split())
    assert answers == 1
    # The drop-in's library is larger: 125 MB on a quiet machine, 128 on a busy one.
    drop_in = importlib.util.find_spec("ai_edge_litert") is None
    assert peak < (140e6 if drop_in else 128e6)


@pytest.mark.parametrize(
    ("choice", "table"),
    [("channels", MODES), ("exif", EXIF), ("alpha", ALPHA), ("decode", DECODE)],
)
def test_every_choice_of_a_card_is_implemented(choice, table):
    assert set(table) == set(CHOICES[choice])


def test_every_resizing_library_has_its_16_bits():
    assert set(SIXTEEN_BITS) == {name.split(":")[0] for name in CHOICES["interpolation"]}
