"""First bytes decide: each format is decoded, and what is not decoded is named in the error."""

from __future__ import annotations

import base64
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.runtime.common import formats
from keras_to_lambda.runtime.common.errors import UnsupportedFormat
from keras_to_lambda.runtime.common.formats import FORMATS
from keras_to_lambda.runtime.image import signatures
from keras_to_lambda.runtime.image.decode import decode
from keras_to_lambda.runtime.model_file.card import Preprocessing
from keras_to_lambda.runtime.sources.images import Base64, recognised
from tests.runtime.made import encoded

STEPS = Preprocessing()
LIMIT = 50_000_000


def brand(*brands):
    box = brands[0] + bytes(4) + b"".join(brands[1:])
    return struct.pack(">I", 8 + len(box)) + b"ftyp" + box + bytes(40)


def tiff(*tags, order="<"):
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, 0) for tag in tags)
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(order + "IH", 8, len(tags)) + entries + bytes(100)


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)
def test_each_format_is_decoded_as_pillow_does_and_recognised_as_base64(kind, picture):
    data = encoded(picture, kind.name.upper())
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    image = decode(data, Preprocessing(), 3, 50_000_000)
    np.testing.assert_array_equal(np.asarray(image), expected)
    text = base64.b64encode(data).decode()
    assert recognised(text) == Base64(text)


def test_each_format_is_in_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    [line] = [line for line in page.splitlines() if "recognised by their first bytes" in line]
    assert {each.name for each in FORMATS if each.name not in line} == set(), "not in the list"


def test_no_format_that_is_decoded_is_refused_by_name():
    refused = [first for firsts, _, _ in signatures.IMAGES for first in firsts]
    assert [first for first in refused if formats.of(first + bytes(20))] == []


def bmp(bits=24, compression=0, header=40):
    info = struct.pack("<IiiHHIIiiII", header, 4, 4, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 118 + header, 0, 0, 14 + header) + info + bytes(64)


def teal(kind="JPEG"):
    return encoded(Image.new("RGB", (64, 64), "teal"), kind)


def frame_of(marker, precision):
    """A JPEG whose frame header has another marker and precision."""
    start, _, rest = teal().partition(b"\xff\xc0")
    return start + bytes((0xFF, marker)) + rest[:2] + bytes((precision,)) + rest[3:]


def apples():
    png = teal("PNG")
    return (
        png[:8] + struct.pack(">I4s4sI", 4, b"CgBI", bytes(4), 0) + png[8 : png.index(b"IDAT") - 4]
    )


NAMES = [
    (tiff(), "a TIFF image; convert it to JPEG or PNG"),
    (tiff(0x0100, order=">"), "a TIFF image"),
    (b"II+\0" + bytes(100), "a TIFF image"),
    (tiff(0x00FE, 0xC612), r"a raw photo \(DNG\)"),
    (tiff(0x010F, 0x014A, order=">"), "a camera's raw photo"),
    (b"II*\0\x10\0\0\0CR\2\0" + bytes(100), "CR2"),
    (b"\0\0\2\0\1\0" + bytes(100), "CUR"),
    (b"\xff\x4f\xff\x51" + bytes(100), "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100), "JPEG XL"),
    (b"\xff\x0a" + bytes(100), "JPEG XL"),
    (b"8BPS\0\1" + bytes(100), "Photoshop"),
    (bytes(128) + b"DICM" + bytes(10), "DICOM"),
    (b"\xc5\xd0\xd3\xc6" + bytes(30), "EPS"),
    (b"FLIF" + bytes(100), "FLIF"),
    (b"\x76\x2f\x31\x01" + bytes(100), "OpenEXR"),
    (b"P5 1 1 255 a", "PGM"),
    (b"\xd7\xcd\xc6\x9a" + bytes(100), "WMF"),
    (b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(20), "EMF"),
    (brand(b"heic", b"mif1", b"heic"), "HEIC"),
    (brand(b"mif1", b"mif1", b"heix"), "HEIC"),
    (brand(b"msf1", b"hevc"), "HEIC"),
    (brand(b"mif1", b"miaf"), "HEIF"),
    (brand(b"mif1", b"avif", b"miaf"), "AVIF"),
    (brand(b"avis", b"msf1"), "AVIF"),
    (brand(b"crx ", b"isom"), "CR3"),
    (brand(b"isom", b"mp42"), "video"),
    (brand(b"qt  "), "video"),
    (b"\x1aE\xdf\xa3" + bytes(100), "WebM"),
    (b"RIFF\0\0\0\0AVI LIST", "AVI"),
    (b"PK\x03\x04" + bytes(100), "ZIP"),
    (b"\x1f\x8b\x08" + bytes(100), "gzip"),
    (b"<!DOCTYPE html><html>", "an HTML page; link to the image file"),
    (b"\n <html>", "HTML page"),
    (b"\xef\xbb\xbf<html>", "HTML page"),
    ("<!DOCTYPE html>".encode("utf-16"), "HTML page"),
    (b'<?xml version="1.0"?><html xmlns="x">', "HTML page"),
    (b"<!doctype html><link href='data:image/svg+xml,<svg></svg>'>", "HTML page"),
    (b"<!-- saved --><html><svg>", "HTML page"),
    (b"<!-- by hand --><svg>", "SVG"),
    (b"<svg xmlns=''>", "SVG"),
    (b"{\\rtf1\\ansi photo}", "RTF"),
    (b"OggS" + bytes(100), "an Ogg file"),
    (b"photo.jpg".ljust(257, b"\0") + b"ustar\0", "a tar archive"),
    (b"MZ" + bytes(100), "a program"),
    (b'<?xml version="1.0"?>\n<!-- by hand -->\n<svg>', "SVG"),
    (b'<?xml version="1.0"?><note/>', "an XML document"),
    (b'{"url": 1}', "JSON"),
    (b"https://example.com/a.jpg", "a URL"),
    (b"data:image/png;base64,aaaa", "a data: URL"),
    (base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(60)), "base64"),
    (base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(60)), "base64"),
    (b"", "empty"),
    # Sound pictures of kinds that Pillow lacks are not called damaged.
    (bmp(compression=4), "a rare kind of BMP: .*compression"),  # a JPEG inside
    (bmp(bits=2), "a rare kind of BMP: .*pixel depth"),
    (bmp(bits=64), "a rare kind of BMP: .*pixel depth"),
    (bmp(bits=16, compression=3), "a rare kind of BMP: .*bitfields"),
    (bmp(compression=1 << 20), "a rare kind of BMP: .*compression"),
    (frame_of(0xC1, 12), "a JPEG of 12 bits"),
    (frame_of(0xC5, 8), "hierarchical"),
    (frame_of(0xF7, 8), "JPEG-LS"),
    (apples(), "CgBI"),
    # What Pillow writes.
    *((teal(kind), kind) for kind in ("TIFF", "ICO", "PPM", "TGA", "DDS", "SGI", "PCX", "QOI")),
    *((teal(kind), kind) for kind in ("EPS", "PDF", "AVIF", "ICNS")),
    (teal("JPEG2000"), "JPEG 2000"),
]


@pytest.mark.parametrize(("data", "name"), NAMES, ids=[name for _, name in NAMES])
def test_what_is_refused_is_called_by_its_name(data, name):
    with pytest.raises(UnsupportedFormat, match="^not supported: it is .*" + name):
        decode(data, STEPS, 3, LIMIT)


@pytest.mark.parametrize("data", [b"hello", bytes(200), b"Quick notes, and a text.", b"\xff\xd8"])
def test_what_matches_no_signature_is_not_called_by_a_name(data):
    with pytest.raises(UnsupportedFormat, match="the first bytes match none; send JPEG, PNG"):
        decode(data, STEPS, 3, LIMIT)
