"""Bytes to pixels: formats, channels, orientation, limits and damage."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from keras_to_lambda.runtime.common.errors import TooManyPixels, UndecodableImage
from keras_to_lambda.runtime.image.budget import Limits
from keras_to_lambda.runtime.image.decode import decode, opened
from keras_to_lambda.runtime.model_file.card import Preprocessing
from tests.runtime.made import chunk, encoded, exif_of

STEPS = Preprocessing()
LIMIT = 50_000_000


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "CMYK"])
def test_each_mode_becomes_rgb_or_greyscale(mode, picture):
    data = encoded(picture.convert(mode), "JPEG" if mode == "CMYK" else "PNG")
    assert decode(data, STEPS, 3, LIMIT).mode == "RGB"
    assert decode(data, STEPS, 1, LIMIT).mode == "L"
    if mode == "1":
        assert set(np.asarray(decode(data, STEPS, 3, LIMIT)).ravel()) == {0, 255}


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
def test_16_bits_are_read_as_keras_reads_them(interpolation, channels, mode, expected):
    data = encoded(levels(0, 255, 256, 32768, 65535), "PNG")
    assert Image.open(io.BytesIO(data)).mode == "I;16"
    image = decode(data, Preprocessing(interpolation=interpolation), channels, LIMIT)
    assert image.mode == mode
    assert np.asarray(image).reshape(5, channels)[:, 0].tolist() == expected


def test_16_bits_of_colour_keep_their_high_byte_too():
    row = b"\0" + struct.pack(">6H", 0x1234, 0xABCD, 0, 0xFFFF, 0x00FF, 0x8000)
    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
    data += chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    assert np.asarray(decode(data, STEPS, 3, LIMIT)).tolist() == [[[18, 171, 0], [255, 0, 128]]]


GREY = Image.fromarray(np.array([[[200, 0], [200, 255]]], np.uint8), "LA")
RED = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
PALETTE = Image.new("P", (2, 1), 1)
PALETTE.putpalette([0, 0, 0, 10, 20, 30])


@pytest.mark.parametrize(
    ("image", "policy", "expected"),
    [
        (GREY, "drop", [200, 200]),
        (GREY, "white", [255, 200]),
        (GREY, "black", [0, 200]),
        (RED, "drop", [255, 0, 0]),
        (RED, "white", [255, 127, 127]),
        (RED, "black", [128, 0, 0]),
        (PALETTE, "drop", [10, 20, 30]),
        (PALETTE, "white", [255] * 3),
        (PALETTE, "black", [0] * 3),
    ],
)
def test_transparency_is_treated_as_the_card_says(image, policy, expected):
    options = {"transparency": 1} if image is PALETTE else {}
    for kind in ("PNG", "GIF") if image is PALETTE else ("PNG",):
        data = encoded(image, kind, **options)
        found = decode(data, Preprocessing(alpha=policy), 1 if image is GREY else 3, LIMIT)
        first = np.asarray(found)[0]
        assert (first if image is GREY else first[0]).tolist() == expected


def test_cmyk_becomes_rgb_as_load_img_has_it(picture):
    """keras.utils.load_img converts without looking at the profile, so training saw that."""
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for options in ({}, {"icc_profile": profile}):
        data = encoded(picture.convert("CMYK"), "JPEG", **options)
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        np.testing.assert_array_equal(np.asarray(decode(data, STEPS, 3, LIMIT)), expected)


def test_a_phones_two_pictures_in_one_file_are_its_first(picture):
    data = encoded(picture, "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert decode(data, STEPS, 3, LIMIT).size == picture.size


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_no_more_than_the_first_frame_is_looked_at(format):
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue", "green")]
    whole = encoded(frames[0], format, save_all=True, append_images=frames[1:], lossless=True)
    assert decode(whole, STEPS, 3, LIMIT).getpixel((4, 4)) == (255, 0, 0)


def test_a_second_frame_that_is_a_bomb_is_never_opened():
    """A GIF's second frame may claim any size: here 65,535 x 65,535, and no data."""
    first = encoded(Image.new("P", (8, 8), 3), "GIF")
    assert first.endswith(b";")
    frame = b"," + b"\0\0\0\0" + b"\xff\xff\xff\xff" + b"\0" + b"\x02" + b"\x02\x4c\x01\0;"
    assert decode(first[:-1] + frame, STEPS, 3, LIMIT).size == (8, 8)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)),
        (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(5_000_000))),
        (b"tEXt", b"Comment\0" + b"a" * 2_000_000),
        (b"iCCP", b"any\0\0" + zlib.compress(bytes(5_000_000))),
        (b"eXIf", b"garbage"),
        (b"noPe", bytes(100)),
    ],
    ids=lambda value: value.decode() if len(value) == 4 else "",
)
@pytest.mark.parametrize("where", [33, -12], ids=["before the pixels", "after them"])
def test_what_a_png_holds_besides_pixels_is_never_unpacked(kind, content, where, picture):
    whole = encoded(picture, "PNG")
    data = whole[:where] + chunk(kind, content) + whole[where:]
    np.testing.assert_array_equal(np.asarray(decode(data, STEPS, 3, LIMIT)), np.asarray(picture))


@pytest.mark.parametrize(
    ("size", "target", "decoded"),
    [
        ((1600, 1200), (100, 100), (400, 300)),  # the height stays 300, at least 2 x 100
        ((1600, 1200), (160, 160), (800, 600)),
        ((1600, 1200), (700, 500), (1600, 1200)),
        ((1600, 300), (100, 100), (1600, 300)),  # the shorter side decides
    ],
)
def test_scaled_decoding_keeps_twice_the_target(size, target, decoded):
    data = encoded(Image.new("RGB", size, "teal"))
    scaled = Preprocessing(decode="scaled")
    assert decode(data, scaled, 3, LIMIT, target).size == decoded
    assert decode(data, STEPS, 3, LIMIT, target).size == size
    png = encoded(Image.new("RGB", size, "teal"), "PNG")
    assert decode(png, scaled, 3, LIMIT, target).size == size


@pytest.mark.parametrize(
    ("orientation", "target", "upright"),
    [
        (1, (400, 100), (1200, 600)),
        (3, (400, 100), (1200, 600)),
        (6, (100, 400), (600, 1200)),  # lying, it is 2400 x 1200: 800 of its width are needed
        (8, (100, 100), (300, 600)),
    ],
)
def test_scaled_decoding_knows_the_sides_of_a_photo_that_is_turned(orientation, target, upright):
    data = encoded(Image.new("RGB", (2400, 1200), "teal"), exif=exif_of(orientation))
    steps = Preprocessing(decode="scaled", exif="apply")
    assert decode(data, steps, 3, LIMIT, target).size == upright


# Where the red quarter of a picture comes to lie: TIFF 6.0, "Orientation".
TOP_LEFT, TOP_RIGHT, BOTTOM_RIGHT, BOTTOM_LEFT = (9, 9), (30, 9), (30, 20), (9, 20)
RED_IS_AT = [None, *(TOP_LEFT, TOP_RIGHT, BOTTOM_RIGHT, BOTTOM_LEFT) * 2]


def quarters():
    """40 x 30 pixels, red at the top left, then green, blue, white, in the order of reading."""
    image = Image.new("RGB", (40, 30), "white")
    for colour, at in (("red", (0, 0)), ("lime", (20, 0)), ("blue", (0, 15))):
        image.paste(colour, (*at, at[0] + 20, at[1] + 15))
    return image


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_only_if_the_card_says_so(orientation, format):
    data = encoded(quarters(), format, exif=exif_of(orientation))
    plain = Image.open(io.BytesIO(data)).convert("RGB")
    np.testing.assert_array_equal(np.asarray(decode(data, STEPS, 3, LIMIT)), np.asarray(plain))
    for how in ("exact", "scaled"):
        steps = Preprocessing(exif="apply", decode=how)
        applied = decode(data, steps, 3, LIMIT, (40, 40))
        # Another implementation's answer, to the last bit; and the place, in words.
        theirs = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        np.testing.assert_array_equal(np.asarray(applied), np.asarray(theirs))
        assert applied.size == ((40, 30) if orientation < 5 else (30, 40))
        x, y = RED_IS_AT[orientation]
        x, y = (x, y) if orientation < 5 else (9 if x == 9 else 20, 9 if y == 9 else 30)
        red, green, blue = applied.getpixel((x, y))
        assert red > 200
        assert max(green, blue) < 60


def tiff(order, kind=3, value=6, count=1, entries=1):
    """An EXIF block with an orientation in it."""
    e = "<" if order == b"II" else ">"
    content = struct.pack(e + {1: "B3x", 3: "H2x", 4: "I"}[kind], value)
    entry = struct.pack(e + "HHI", 0x0112, kind, count) + content
    return order + struct.pack(e + "HIH", 42, 8, entries) + entry + bytes(4)


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize(
    ("options", "turned"),
    [
        ({"exif": tiff(b"II")}, True),
        ({"exif": tiff(b"MM")}, True),
        ({"exif": tiff(b"MM", kind=4)}, True),
        ({"exif": tiff(b"II", entries=65535)}, True),
        ({"exif": tiff(b"II", count=2)}, True),
        ({"exif": tiff(b"II", kind=1)}, False),
        ({"exif": tiff(b"II", value=0)}, False),
        ({"exif": tiff(b"II", value=9)}, False),
        ({"exif": tiff(b"II")[:14]}, False),
        ({"exif": b"garbage!"}, False),
        ({"exif": b"II*\0\xff\xff\xff\xff"}, False),
        ({"xmp": XMP}, True),
        ({"xmp": XMP, "exif": tiff(b"II", value=1)}, False),
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Metadata Warning")
def test_odd_and_damaged_metadata_are_read_as_pillow_reads_them(format, options, turned):
    if format == "PNG" and "xmp" in options:
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options = {key: value for key, value in options.items() if key != "xmp"}
        options["pnginfo"] = text
    if "exif" in options and format == "JPEG":
        options = {**options, "exif": b"Exif\0\0" + options["exif"]}
    data = encoded(quarters(), format, **options)
    applied = decode(data, Preprocessing(exif="apply"), 3, LIMIT)
    assert applied.size == ((30, 40) if turned else (40, 30))
    try:
        theirs = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size
    except SyntaxError:  # what Pillow raises of garbage
        theirs = (40, 30)
    assert applied.size == theirs


def test_an_exif_profile_of_imagemagick_and_one_behind_the_pixels_are_read():
    text = PngInfo()
    block = tiff(b"II")
    text.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n", zip=True)
    data = encoded(quarters(), "PNG", pnginfo=text)
    assert decode(data, Preprocessing(exif="apply"), 3, LIMIT).size == (30, 40)
    whole = encoded(quarters(), "PNG")
    late = whole[:-12] + chunk(b"eXIf", tiff(b"MM")) + whole[-12:]
    assert decode(late, Preprocessing(exif="apply"), 3, LIMIT).size == (30, 40)


def test_a_grey_picture_of_16_bits_is_turned_too():
    data = encoded(levels(0, 256, 65535), "PNG", exif=exif_of(8))
    for library, expected in (("pillow", [[65535], [256], [0]]), ("tf", [[255], [1], [0]])):
        steps = Preprocessing(exif="apply", interpolation=f"{library}:nearest")
        assert np.asarray(decode(data, steps, 1, LIMIT)).tolist() == expected


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_truncated_image_is_refused(format, picture):
    data = encoded(picture, format)
    for share in (13 / len(data), 0.3, 0.6, 0.9):
        with pytest.raises(UndecodableImage, match="truncated or damaged") as caught:
            decode(data[: int(len(data) * share)], STEPS, 3, LIMIT)
        assert (caught.value.code, caught.value.status) == ("undecodable_image", 422)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_the_most_pixels_that_are_accepted_are_those_of_the_setting(format):
    data = encoded(Image.new("RGB", (100, 60)), format)
    assert decode(data, STEPS, 3, 6_000).size == (100, 60)
    with pytest.raises(TooManyPixels, match="100 x 60 pixels, more than the 5,999 accepted"):
        decode(data, STEPS, 3, 5_999)


@pytest.mark.parametrize("size", [(65_536, 1), (1, 65_536)])
@pytest.mark.parametrize("format", ["PNG", "BMP"])
def test_a_side_that_no_jpeg_could_have_is_refused(format, size):
    with pytest.raises(TooManyPixels, match="no side may be longer than 65,535"):
        decode(encoded(Image.new("L", size), format), STEPS, 3, LIMIT)


def test_a_100_megapixel_png_is_refused_before_a_pixel_is_decoded():
    bomb = encoded(Image.new("1", (10_000, 10_000)), "PNG")
    assert len(bomb) < 20_000
    # Also without its pixels: had one been looked at, it would be an UndecodableImage.
    for data in (bomb, bomb[:64]):
        with pytest.raises(TooManyPixels, match="10000 x 10000"):
            decode(data, STEPS, 3, LIMIT)


@pytest.mark.parametrize(
    ("mode", "channels", "steps", "orientation"),
    [
        *(("RGB", 3, {}, orientation) for orientation in (1, 4, 7, 8)),
        ("RGB", 1, {}, 8),
        ("L", 3, {}, 8),
        ("P", 3, {"alpha": "white"}, 8),
        ("RGBA", 3, {"alpha": "white"}, 8),
        ("RGBA", 4, {}, 8),
        ("RGBA", 4, {"alpha": "black"}, 8),
        ("LA", 1, {"alpha": "black"}, 8),
        ("I;16", 1, {}, 8),
        ("I;16", 3, {"interpolation": "tf:bilinear"}, 8),
        ("1", 3, {}, 8),
    ],
)
def test_a_picture_in_bands_is_the_picture_to_the_bit(
    mode, channels, steps, orientation, monkeypatch
):
    noise = np.random.default_rng(3).integers(0, 255, (67, 41, 4), dtype=np.uint8)
    image = Image.fromarray(noise)
    if mode == "I;16":
        image = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    elif mode != "RGBA":
        image = image.convert("RGB" if mode == "P" else mode).convert(mode)
    options = {"transparency": 3} if mode == "P" else {}
    data = encoded(image, "PNG", exif=exif_of(orientation), **options)
    steps = Preprocessing(exif="apply", **steps)
    whole = decode(data, steps, channels, LIMIT)
    box = (2.5, 3.25, whole.width - 1.75, whole.height - 4.5)
    ways = [
        (size, method, part)
        for method in Image.Resampling
        for size, part in [
            ((13, 29), None),
            ((13, 29), box),
            ((whole.width, 90), None),
            ((90, whole.height), None),
        ]
    ]
    expected = [whole, *(whole.resize(*way) for way in ways)]
    monkeypatch.setattr("keras_to_lambda.runtime.image.decode.BAND", 300)
    monkeypatch.setattr("keras_to_lambda.runtime.image.decode.WHOLE", 300)
    picture = opened(data, steps, channels, Limits())
    found = [picture.whole(), *(picture.resize(*way) for way in ways)]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.mode == theirs.mode
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
