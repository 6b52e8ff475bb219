"""Bytes -> pixels: which formats are decoded, how large they may be, and into which channels.

`keras.utils.load_img` is the reference: `PIL.Image.open(...).convert("RGB" or "L")`, orientation
flag ignored (keras/src/utils/image_utils.py). The card can ask for orientation and alpha.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable
from io import BytesIO

# Read when PIL is imported: the memory of a large photo (16 MB a block) is kept for the next one,
# not given back. A photo of 12 megapixels then takes 20 ms less; the peak is the same, and Lambda
# bills what is configured (https://pillow.readthedocs.io/en/stable/reference/block_allocator.html).
os.environ.setdefault("PILLOW_BLOCKS_MAX", "4")

import numpy as np
from PIL import Image, UnidentifiedImageError

from classifier.card import Preprocessing
from classifier.errors import TooManyPixels, UndecodableImage, UnsupportedFormat
from classifier.orientation import ON_ITS_SIDE, flag, upright

# Of a damaged picture Pillow also warns on standard error; the caller is told by an error.
warnings.filterwarnings("ignore", module=r"PIL\.")

# First bytes -> Pillow's plugin and its class. The content decides, never the name or the declared
# type; and only the plugin that is needed is imported (Image.open would import five).
# Signatures: ISO 10918-1 B.1.1.3; PNG 3rd ed. 5.2; GIF89a 17; RFC 9649 2.4; BITMAPFILEHEADER.
FORMATS: tuple[tuple[bytes, str, str], ...] = (
    (b"\xff\xd8\xff", "JpegImagePlugin", "JpegImageFile"),
    (b"\x89PNG\r\n\x1a\n", "PngImagePlugin", "PngImageFile"),
    (b"GIF87a", "GifImagePlugin", "GifImageFile"),
    (b"GIF89a", "GifImagePlugin", "GifImageFile"),
    (b"BM", "BmpImagePlugin", "BmpImageFile"),
)
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
Step = Callable[[Image.Image], Image.Image]
# By how much smaller a format's pictures have to be. Pillow reads every WebP as an animation:
# libwebp holds two canvases and Pillow two more, 16 bytes a pixel, where others take 8 at most.
SHARES = {"WEBP": 2}
# Greyscale of 16 bits, as PNG has it.
DEEP = ("I;16", "I;16B", "I;16L", "I")


def decode(
    data: bytes,
    steps: Preprocessing,
    channels: int,
    max_pixels: int,
    target: tuple[int, int] | None = None,
) -> Image.Image:
    """Decode the first frame.

    Args:
        data: a JPEG, PNG, WebP, GIF or BMP file.
        steps: the card's exif and alpha policies.
        channels: 1 for greyscale, 3 for RGB, 4 for RGB and alpha.
        max_pixels: checked against the header, before any pixel is decoded; of a WebP, which takes
            twice the memory, half as many.
        target: the width and height that the picture will be resized to. A card of `decode: scaled`
            lets a large JPEG be decoded at a fraction, at least twice this size; None: never.

    Returns:
        An image of mode "L", "RGB" or "RGBA"; or "I;16", 0..65535, for a greyscale picture of 16
        bits that a model of one channel gets as `load_img` reads it.

    Raises:
        UnsupportedFormat: not one of the formats above.
        TooManyPixels: the header announces more than `max_pixels`.
        UndecodableImage: truncated or damaged.
    """
    opener = _opener(data)
    try:
        image: Image.Image = opener(BytesIO(data))
        width, height = image.size
        accepted = max_pixels // SHARES.get(image.format or "", 1)
        if width * height > accepted:
            raise TooManyPixels(
                f"the image has {width} x {height} pixels, more than the {accepted:,} accepted of "
                f"a {image.format}; scale it down first"
            )
        if target is not None:
            DECODE[steps.decode](image, target, steps)
        image.load()
        image = EXIF[steps.exif](image)
        if image.mode in DEEP:
            image = SIXTEEN_BITS[steps.interpolation.partition(":")[0]](image)
        image = ALPHA[steps.alpha](image)
        if channels == 1 and image.mode in DEEP:
            return image
        return image if image.mode == MODES[channels] else image.convert(MODES[channels])
    except TooManyPixels:
        raise
    except UnidentifiedImageError as error:
        raise UndecodableImage("the image is damaged: its header makes no sense") from error
    # Pillow's decoders answer damaged files with any of these.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError) as error:
        raise UndecodableImage(
            "the image is truncated or damaged; check that it opens in a viewer, and that it was "
            "sent whole"
        ) from error
    except (MemoryError, Image.DecompressionBombError, OverflowError) as error:
        raise TooManyPixels("the image takes too much memory to decode") from error


def _exact(_image: Image.Image, _target: tuple[int, int], _steps: Preprocessing) -> None:
    """Decode every pixel."""


def _scaled(image: Image.Image, target: tuple[int, int], steps: Preprocessing) -> None:
    # libjpeg leaves out the high frequencies of each 8 x 8 block. Others than JPEG have no such
    # thing, and ignore it.
    if steps.exif == "apply" and flag(image.info) in ON_ITS_SIDE:
        target = target[::-1]
    image.draft(None, (2 * target[0], 2 * target[1]))


def _as_it_is(image: Image.Image) -> Image.Image:
    return image


def _on(colour: str) -> Step:
    def blended(image: Image.Image) -> Image.Image:
        if not image.has_transparency_data:
            return image
        above = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", above.size, colour), above)

    return blended


def _high_byte(image: Image.Image) -> Image.Image:
    """16 bits -> 8, as libpng and `tf.io.decode_image` do, and as Pillow does for 16-bit colour."""
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


DECODE = {"exact": _exact, "scaled": _scaled}
EXIF: dict[str, Step] = {"ignore": _as_it_is, "apply": upright}
ALPHA: dict[str, Step] = {"drop": _as_it_is, "white": _on("white"), "black": _on("black")}
# Greyscale of 16 bits, by whose resizing the card names, as whose reader goes with it: load_img
# keeps 0..65535 for one channel and clips at 255 for three; image_dataset_from_directory decodes
# with tf.io.decode_image.
SIXTEEN_BITS: dict[str, Step] = {"pillow": _as_it_is, "tf": _high_byte}


def _opener(data: bytes) -> Callable[[BytesIO], Image.Image]:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        module, name = "WebPImagePlugin", "WebPImageFile"
    else:
        found = next((entry for entry in FORMATS if data.startswith(entry[0])), None)
        if found is None:
            raise UnsupportedFormat(
                "not an image that is accepted: "
                + _seen(data)
                + "; send JPEG, PNG, WebP, GIF or BMP"
            )
        _, module, name = found
    opener: Callable[[BytesIO], Image.Image] = getattr(
        importlib.import_module(f"PIL.{module}"), name
    )
    return opener


def _seen(data: bytes) -> str:
    """What the bytes look like, for the error message; never the bytes themselves."""
    if not data:
        return "it is empty"
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "it is an HTML page (link to the picture itself, not to a page that shows it)"
    if start.startswith((b"<svg", b"<?xml")):
        return "it is an SVG or XML document"
    if start.startswith((b"{", b"[")):
        return "it is JSON"
    if data.startswith(b"%PDF"):
        return "it is a PDF"
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"):
        return "it is a HEIC or AVIF picture"
    return "its first bytes are of no image format"
