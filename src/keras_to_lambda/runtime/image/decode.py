"""Bytes -> pixels: which formats are decoded, how large they may be, and into which channels.

`keras.utils.load_img` is the reference: `PIL.Image.open(...).convert("RGB" or "L")`, orientation
flag ignored (keras/src/utils/image_utils.py). A card can state orientation and alpha.

A file is read in small blocks, and pixels are converted in bands of rows: before each of them the
deadline is looked at, and at no time is there more than one whole picture in memory.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping

from PIL import Image

from keras_to_lambda.runtime.common import formats
from keras_to_lambda.runtime.common.record import Any
from keras_to_lambda.runtime.image.budget import (
    BAND,
    STORED,
    WHOLE,
    Faults,
    Limits,
    Reader,
    measure,
    weigh,
)
from keras_to_lambda.runtime.image.orientation import ON_ITS_SIDE, TURNS, UPSIDE_DOWN, flag
from keras_to_lambda.runtime.model_file.card import Preprocessing

# `Limits` count pixels instead.
Image.MAX_IMAGE_PIXELS = None
# Of a damaged picture Pillow also warns on standard error; the caller gets an error.
warnings.filterwarnings("ignore", module=r"PIL\.")


MODES = {1: "L", 3: "RGB", 4: "RGBA"}
Step = Callable[[Image.Image], Image.Image]
# Greyscale of 16 bits, as PNG has it, and where the high bytes are.
HIGH_BYTE = {
    "I;16": slice(1, None, 2),
    "I;16L": slice(1, None, 2),
    "I;16B": slice(0, None, 2),
    "I": slice(1, None, 4) if sys.byteorder == "little" else slice(2, None, 4),
}
DEEP = tuple(HIGH_BYTE)


def _as_it_is(image: Image.Image) -> Image.Image:
    return image


class Picture:
    """A decoded picture of which any rows can be had: upright, in the model's channels.

    It has what `PIL.ImageOps` uses of an image: `size`, `width`, `height`, `mode` and `resize`.

    Args:
        image: loaded; not altered.
        orientation: 1 (upright) to 8.
        convert: from the image's mode to the model's, pixel by pixel.
        check: called before each step.
    """

    def __init__(
        self,
        image: Image.Image,
        orientation: int = 1,
        convert: Step = _as_it_is,
        check: formats.Check = lambda: None,
    ) -> None:
        self._image, self._convert, self._check = image, convert, check
        self._orientation = orientation
        self.size = image.size[::-1] if orientation in ON_ITS_SIDE else image.size
        self.width, self.height = self.size
        # Nothing is to be done to its rows.
        self._plain = orientation == 1 and convert is _as_it_is

    @property
    def mode(self) -> str:
        """Its rows' mode."""
        return self.rows(0, 1).mode

    def rows(self, top: int, bottom: int) -> Image.Image:
        """The rows from `top` to `bottom`. Raises UndecodableImage: its palette makes no sense."""
        self._check()
        with Faults():
            image = self._image
            if (top, bottom) != (0, self.height):
                image = image.crop(self._box(top, bottom))
            if self._orientation in TURNS:
                image = image.transpose(Image.Transpose(TURNS[self._orientation]))
            return self._convert(image)

    def _box(self, top: int, bottom: int) -> tuple[int, int, int, int]:
        """Where rows of the upright picture are in the file's."""
        if self._orientation in UPSIDE_DOWN:
            top, bottom = self.height - bottom, self.height - top
        if self._orientation in ON_ITS_SIDE:
            return top, 0, bottom, self.width
        return 0, top, self.width, bottom

    def _bands(self) -> Iterator[tuple[int, Image.Image]]:
        """All rows, a few at a time, each time with the first one's number."""
        count = max(16, BAND // self.width)
        for top in range(0, self.height, count):
            yield top, self.rows(top, min(top + count, self.height))

    def converted_by(self, convert: Step) -> Picture:
        """The same picture with another conversion."""
        return Picture(self._image, self._orientation, convert, self._check)

    def reduced(self, longest: int) -> Image.Image:
        """The picture as one image with no side over `longest`: means of whole pixels."""
        factor = -(-max(self.size) // longest)
        if factor == 1:
            return self.whole()
        small: Image.Image | None = None
        count = factor * max(1, BAND // self.width // factor)
        for top in range(0, self.height, count):
            band = self.rows(top, min(top + count, self.height)).reduce(factor)
            small = small or Image.new(band.mode, (band.width, -(-self.height // factor)))
            small.paste(band, (0, top // factor))
        assert small is not None
        return small

    def whole(self) -> Image.Image:
        """The picture as one image."""
        if self._plain or self.width * self.height <= BAND:
            return self.rows(0, self.height)
        image: Image.Image | None = None
        for top, band in self._bands():
            image = image or Image.new(band.mode, self.size)
            image.paste(band, (0, top))
        assert image is not None
        return image

    def resize(
        self,
        size: tuple[int, int],
        resample: int,
        box: tuple[float, float, float, float] | None = None,
    ) -> Image.Image:
        """`whole().resize(size, resample, box)` to the bit, without the whole.

        Pillow resizes rows first, each by itself, and then columns; so does this, band by band.
        """
        left, top, right, bottom = box or (0, 0, *self.size)
        if self.width * self.height <= (WHOLE if self._plain else BAND):
            return self.rows(0, self.height).resize(size, resample, (left, top, right, bottom))
        narrow: Image.Image | None = None
        for first, band in self._bands():
            # As Image.resize does: colours weigh by their alpha.
            if band.mode == "RGBA" and resample != Image.Resampling.NEAREST:
                band = band.convert("RGBa")
            part = band.resize((size[0], band.height), resample, (left, 0, right, band.height))
            narrow = narrow or Image.new(part.mode, (size[0], self.height))
            narrow.paste(part, (0, first))
        assert narrow is not None
        self._check()
        result = narrow.resize(size, resample, (0, top, size[0], bottom))
        return result.convert("RGBA") if result.mode == "RGBa" else result


def decode(
    data: bytes,
    steps: Preprocessing,
    channels: int,
    max_pixels: int,
    target: tuple[int, int] | None = None,
) -> Image.Image:
    """Decode the first frame; see `opened`.

    Returns:
        An image of mode "L", "RGB" or "RGBA"; or "I;16", 0..65535, for a greyscale picture of 16
        bits that a model of one channel gets as `load_img` reads it.
    """
    return opened(data, steps, channels, Limits(max_pixels), target).whole()


def opened(
    data: bytes,
    steps: Preprocessing,
    channels: int,
    limits: Limits,
    target: tuple[int, int] | None = None,
) -> Picture:
    """Decode the first frame.

    Args:
        channels: 1 for greyscale, 3 for RGB, 4 for RGB and alpha.
        limits: compared with the header before any pixel is decoded, and the deadline throughout.
        target: the width and height that the picture will be resized to. A card of `decode: scaled`
            lets a large JPEG be decoded at a fraction, at least twice this size; None: never.

    Raises:
        UnsupportedFormat: not one of `formats.FORMATS`, or a kind of them that Pillow lacks.
        TooManyPixels: the header announces more than the limits let in.
        UndecodableImage: truncated or damaged.
        DeadlineExceeded: the limits' check.
    """
    kind = formats.of(data)
    if kind is None:
        from keras_to_lambda.runtime.image import signatures  # only for what is refused

        raise signatures.unsupported(data)
    limits.check(0.0)
    contents = kind.contents(data, lambda: limits.check(0.0))
    if contents.size:
        measure(contents.size, limits)
        weigh(contents.size, 0, contents, limits, target)
    with Faults(contents):
        reader = Reader(data, contents, limits)
        module = importlib.import_module(f"PIL.{kind.plugin}ImagePlugin")
        image: Image.Image = getattr(module, f"{kind.plugin}ImageFile")(reader)
        width, height = image.size
        measure(image.size, limits)
        reader.seconds = width * height * kind.seconds if contents.kept else 0.0
        orientation = EXIF[steps.exif](contents.info)
        if target is not None:
            target = target[::-1] if orientation in ON_ITS_SIDE else target
            DECODE[steps.decode](image, target)
        if not contents.size:
            weigh(image.size, STORED.get(image.mode, 4), contents, limits, target)
        image.decodermaxblock = kind.block  # type: ignore[attr-defined]
        limits.check(reader.seconds)
        image.load()
    convert = _conversion(image, steps, MODES[channels])
    picture = Picture(image, orientation, convert, lambda: limits.check(0.0))
    return DRAWING[steps.drawing](picture, image, channels)


def _ink(picture: Picture, image: Image.Image, channels: int) -> Picture:
    from keras_to_lambda.runtime.image import drawing  # for these cards alone

    mode = "RGBA" if image.has_transparency_data else "L"

    def plain(rows: Image.Image) -> Image.Image:
        return (high_byte(rows) if rows.mode in DEEP else rows).convert(mode)

    ink = drawing.ink(picture.converted_by(plain).reduced(drawing.LONGEST))
    return Picture(ink.convert(MODES[channels]))


DRAWING: dict[str, Callable[[Picture, Image.Image, int], Picture]] = {
    "none": lambda picture, _image, _channels: picture,
    "mnist": _ink,
}


def _conversion(image: Image.Image, steps: Preprocessing, mode: str) -> Step:
    """From a decoded image's mode to the model's."""
    deep = SIXTEEN_BITS[steps.interpolation.partition(":")[0]]
    blend = ALPHA[steps.alpha]
    if image.mode == mode and not (steps.alpha != "drop" and image.has_transparency_data):
        return _as_it_is

    def converted(image: Image.Image) -> Image.Image:
        image = blend(deep(image) if image.mode in DEEP else image)
        if image.mode == mode or (mode == "L" and image.mode in DEEP):
            return image
        return image.convert(mode)

    return converted


def _on(colour: str) -> Step:
    def blended(image: Image.Image) -> Image.Image:
        if not image.has_transparency_data:
            return image
        above = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", above.size, colour), above)

    return blended


def high_byte(image: Image.Image) -> Image.Image:
    """16 bits -> 8, as libpng and `tf.io.decode_image` do, and as Pillow does for 16-bit colour."""
    return Image.frombytes("L", image.size, image.tobytes()[HIGH_BYTE[image.mode]])


# libjpeg leaves out the high frequencies of each 8 x 8 block; other formats ignore it.
DECODE: dict[str, Callable[[Image.Image, tuple[int, int]], object]] = {
    "exact": lambda _image, _target: None,
    "scaled": lambda image, target: image.draft(None, (2 * target[0], 2 * target[1])),
}
EXIF: dict[str, Callable[[Mapping[str, Any]], int]] = {"ignore": lambda _info: 1, "apply": flag}
ALPHA: dict[str, Step] = {"drop": _as_it_is, "white": _on("white"), "black": _on("black")}
# Greyscale of 16 bits, by whose resizing the card names, as whose reader goes with it: load_img
# keeps 0..65535 for one channel and clips at 255 for three; image_dataset_from_directory decodes
# with tf.io.decode_image.
SIXTEEN_BITS: dict[str, Step] = {"pillow": _as_it_is, "tf": high_byte}
