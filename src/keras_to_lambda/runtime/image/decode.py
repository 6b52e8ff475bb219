"""Bytes -> pixels: which formats are decoded, how large they may be, and into which channels.

`keras.utils.load_img` is the reference: `PIL.Image.open(...).convert("RGB" or "L")`, orientation
flag ignored (keras/src/utils/image_utils.py). The card can ask for orientation and alpha.

A file is read in small blocks, and pixels are converted in bands of rows: before each of them the
deadline is looked at, and at no time is there more than one whole picture in memory.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

# Read when PIL is imported: the memory of a large photo (16 MB a block) is kept for the next one,
# not given back. A photo of 12 megapixels then takes 20 ms less; the peak is the same, and Lambda
# bills what is configured (https://pillow.readthedocs.io/en/stable/reference/block_allocator.html).
os.environ.setdefault("PILLOW_BLOCKS_MAX", "4")

from PIL import Image

from keras_to_lambda.runtime import memory
from keras_to_lambda.runtime.errors import TooManyPixels, UndecodableImage, UnsupportedFormat
from keras_to_lambda.runtime.image import file_structure
from keras_to_lambda.runtime.image.orientation import ON_ITS_SIDE, TURNS, UPSIDE_DOWN, flag
from keras_to_lambda.runtime.model.card import Preprocessing

# Of a damaged picture Pillow also warns on standard error; the caller gets an error.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Format(NamedTuple):
    """A format that is decoded.

    block: bytes per read. 16 kB of a PNG can hold 16 MB of pixels.
    seconds: processor time per pixel, at the most, of what cannot be stopped once it has begun:
        libwebp decodes a picture in one call, and so does libjpeg the last step of a picture in
        several scans.
    """

    name: str
    module: str
    opener: str
    contents: Callable[[bytes, file_structure.Check], file_structure.Contents]
    block: int = 65_536
    seconds: float = 0.0


JPEG = Format("JPEG", "JpegImagePlugin", "JpegImageFile", file_structure.jpeg, seconds=2e-8)
PNG = Format("PNG", "PngImagePlugin", "PngImageFile", file_structure.png, block=16_384)
GIF = Format("GIF", "GifImagePlugin", "GifImageFile", file_structure.gif)
BMP = Format("BMP", "BmpImagePlugin", "BmpImageFile", file_structure.bmp)
WEBP = Format("WebP", "WebPImagePlugin", "WebPImageFile", file_structure.webp, seconds=1e-7)

# First bytes -> format. The content decides, never the name or the declared type; and only the
# plugin that is needed is imported (Image.open would import five).
# Signatures: ISO 10918-1 B.1.1.3; PNG 3rd ed. 5.2; GIF89a 17; RFC 9649 2.4; BITMAPFILEHEADER.
FORMATS: tuple[tuple[bytes, Format], ...] = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"BM", BMP),
)
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
Step = Callable[[Image.Image], Image.Image]
# Bytes per pixel of Pillow's images; of every other mode 4.
STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
# Greyscale of 16 bits, as PNG has it.
DEEP = ("I;16", "I;16B", "I;16L", "I")
# As JPEG and GIF have it. Work and memory of a resize grow with the longer side.
MAX_SIDE = 65_535
# Pixels that are converted or resized between two looks at the deadline.
BAND = 1_000_000
# Pixels that are resized in one call where nothing is to be converted: up to 60 ms.
WHOLE = 16_000_000


class Limits(NamedTuple):
    """What a picture may take.

    pixels: width times height.
    check: called with the seconds of processor time that the next step takes at the most, and
        raises when the deadline is nearer.
    reserve: whether so many bytes of memory may be taken; they are then this picture's.
    """

    pixels: int = 1 << 62
    check: Callable[[float], object] = lambda _: None
    reserve: Callable[[int], bool] = lambda _: True


def _as_it_is(image: Image.Image) -> Image.Image:
    return image


class Picture:
    """A decoded picture of which any rows can be had: upright, in the model's channels.

    It has what `PIL.ImageOps` uses of an image: `size`, `width`, `height`, `mode` and `resize`.

    Args:
        image: loaded; not altered.
        orientation: 1 (upright) to 8.
        convert: from the image's mode to the one that the model gets, pixel by pixel.
        check: called before each step.
    """

    def __init__(
        self,
        image: Image.Image,
        orientation: int = 1,
        convert: Step = _as_it_is,
        check: file_structure.Check = lambda: None,
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
        """The rows from `top` to `bottom`.

        Raises:
            UndecodableImage: its palette makes no sense.
        """
        self._check()
        with _faults():
            image = self._image
            if (top, bottom) != (0, self.height):
                image = image.crop(self._box(top, bottom))
            if self._orientation in TURNS:
                image = image.transpose(TURNS[self._orientation])
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
        resample: Image.Resampling,
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
        data: a JPEG, PNG, WebP, GIF or BMP file.
        steps: the card's exif, alpha and drawing policies.
        channels: 1 for greyscale, 3 for RGB, 4 for RGB and alpha.
        limits: compared with the header before any pixel is decoded, and the deadline throughout.
        target: the width and height that the picture will be resized to. A card of `decode: scaled`
            lets a large JPEG be decoded at a fraction, at least twice this size; None: never.

    Raises:
        UnsupportedFormat: not one of the formats above, or a kind of them that Pillow lacks.
        TooManyPixels: the header announces more than the limits let in.
        UndecodableImage: truncated or damaged.
        DeadlineExceeded: the limits' check.
    """
    kind = _format(data)
    limits.check(0.0)
    contents = kind.contents(data, lambda: limits.check(0.0))
    if contents.size:
        _measure(contents.size, limits)
        _weigh(contents.size, 0, contents, limits, target)
    with _faults(contents):
        reader = _Reader(data, contents, limits)
        module = importlib.import_module(f"PIL.{kind.module}")
        image: Image.Image = getattr(module, kind.opener)(reader)
        width, height = image.size
        _measure(image.size, limits)
        reader.seconds = width * height * kind.seconds if contents.kept else 0.0
        orientation = EXIF[steps.exif](contents.info)
        if target is not None:
            target = target[::-1] if orientation in ON_ITS_SIDE else target
            DECODE[steps.decode](image, target)
        if not contents.size:
            _weigh(image.size, STORED.get(image.mode, 4), contents, limits, target)
        image.decodermaxblock = kind.block  # type: ignore[attr-defined]
        limits.check(reader.seconds)
        image.load()
    picture = Picture(
        image,
        orientation,
        _conversion(image, steps, MODES[channels]),
        check=lambda: limits.check(0.0),
    )
    return DRAWING[steps.drawing](picture, image, channels)


def _no_drawing(picture: Picture, _image: Image.Image, _channels: int) -> Picture:
    return picture


def _ink(picture: Picture, image: Image.Image, channels: int) -> Picture:
    from keras_to_lambda.runtime.image import drawing  # for these cards alone

    mode = "RGBA" if image.has_transparency_data else "L"

    def plain(rows: Image.Image) -> Image.Image:
        return (_high_byte(rows) if rows.mode in DEEP else rows).convert(mode)

    ink = drawing.ink(picture.converted_by(plain).reduced(drawing.LONGEST))
    return Picture(ink.convert(MODES[channels]))


DRAWING = {"none": _no_drawing, "mnist": _ink}


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


def _measure(size: tuple[int, int], limits: Limits) -> None:
    """Raises TooManyPixels."""
    width, height = size
    if width * height > limits.pixels:
        raise TooManyPixels(
            f"the image has {width} x {height} pixels, more than the {limits.pixels:,} accepted; "
            "scale it down first"
        )
    if max(size) > MAX_SIDE:
        raise TooManyPixels(
            f"the image has {width} x {height} pixels; no side may be longer than {MAX_SIDE:,}; "
            "scale it down first"
        )


def _weigh(
    size: tuple[int, int],
    stored: int,
    contents: file_structure.Contents,
    limits: Limits,
    target: tuple[int, int] | None,
) -> None:
    """Raises TooManyPixels where decoding and resizing take more memory than is left.

    Args:
        stored: bytes per pixel of Pillow's image; 0 where `contents.kept` has them.
    """
    width, height = size
    pixels = width * height
    # Pillow's image and its table of rows; what the decoder keeps; a band in four modes; and
    # the picture of the target's width.
    needs = stored * pixels + 8 * height + contents.kept + 20 * min(pixels, BAND)
    needs += 4 * max(target or (0,)) * max(size)
    if not limits.reserve(needs):
        # Pictures in reference cycles, and what Pillow and the C library keep for the next one.
        import gc

        gc.collect()
        Image.core.clear_cache()  # type: ignore[attr-defined]
        memory.give_back()
        if not limits.reserve(needs):
            raise TooManyPixels(
                f"the image has {width} x {height} pixels and takes "
                f"{needs / 1e6:.0f} MB to decode, more than is left of the function's memory; "
                "scale it down first"
            )


class _Reader:
    """A file in memory that looks at the deadline before each read.

    seconds: what the step after the last read takes at the most.
    """

    def __init__(self, data: bytes, contents: file_structure.Contents, limits: Limits) -> None:
        self._data, self._head, self._start = data, contents.head, contents.start
        self._check = limits.check
        self._in_scans = contents.process > 0 and contents.kept > 0
        self._at = 0
        self.seconds = 0.0

    def read(self, count: int = -1) -> bytes:
        self._check(self.seconds)
        at, head = self._at, self._head
        part = head[at : at + count] if count >= 0 else head[at:]
        begin = self._start + max(0, at - len(head))
        end = len(self._data) if count < 0 else begin + count - len(part)
        if self._in_scans and count > 4096:
            # One scan at a time: a few bytes may be one of the whole picture.
            scan = self._data.find(b"\xff\xda", begin + (0 if part else 2), end)
            end = scan if scan >= 0 else end
        if end > begin:
            rest = self._data[begin:end]
            part = part + rest if part else rest
        self._at = at + len(part)
        return part

    def seek(self, to: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}[whence]
        self._at = max(0, base + to)
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        pass


@contextmanager
def _faults(contents: file_structure.Contents | None = None) -> Iterator[None]:
    """Pillow's exceptions as ours."""
    try:
        yield
    # Pillow's decoders answer damaged files with any of these.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError) as error:
        variant = contents.variant() if contents else None
        if str(error).startswith("Unsupported BMP "):
            variant = "a rare kind of BMP: " + str(error).removeprefix("Unsupported BMP ")
        if variant:
            raise UnsupportedFormat(
                f"not supported: it is {variant}; save it as an ordinary JPEG or PNG"
            ) from error
        raise UndecodableImage(
            "the image is truncated or damaged; check that it opens in a viewer, and that it was "
            "sent whole"
        ) from error
    except (MemoryError, Image.DecompressionBombError, OverflowError) as error:
        raise TooManyPixels(
            "the image takes too much memory to decode; scale it down first"
        ) from error


def _exact(_image: Image.Image, _target: tuple[int, int]) -> None:
    """Decode every pixel."""


def _scaled(image: Image.Image, target: tuple[int, int]) -> None:
    # libjpeg leaves out the high frequencies of each 8 x 8 block. Others than JPEG have no such
    # thing, and ignore it.
    image.draft(None, (2 * target[0], 2 * target[1]))


def _ignored(_info: Mapping[str, object]) -> int:
    return 1


def _on(colour: str) -> Step:
    def blended(image: Image.Image) -> Image.Image:
        if not image.has_transparency_data:
            return image
        above = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", above.size, colour), above)

    return blended


def _high_byte(image: Image.Image) -> Image.Image:
    """16 bits -> 8, as libpng and `tf.io.decode_image` do, and as Pillow does for 16-bit colour."""
    import numpy as np  # for cards that resize as TensorFlow does, which need it anyway

    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


DECODE = {"exact": _exact, "scaled": _scaled}
EXIF = {"ignore": _ignored, "apply": flag}
ALPHA: dict[str, Step] = {"drop": _as_it_is, "white": _on("white"), "black": _on("black")}
# Greyscale of 16 bits, by whose resizing the card names, as whose reader goes with it: load_img
# keeps 0..65535 for one channel and clips at 255 for three; image_dataset_from_directory decodes
# with tf.io.decode_image.
SIXTEEN_BITS: dict[str, Step] = {"pillow": _as_it_is, "tf": _high_byte}


def _format(data: bytes) -> Format:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    for signature, kind in FORMATS:
        if data.startswith(signature):
            return kind
    from keras_to_lambda.runtime.image import signatures  # only for what is refused

    raise signatures.unsupported(data)
