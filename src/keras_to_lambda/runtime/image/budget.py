"""Budget: what decoding a picture may take: pixels, memory, and time, looked at while it runs."""

from __future__ import annotations

import os
from collections.abc import Callable

from PIL import _imaging

from keras_to_lambda.runtime.common import formats, memory
from keras_to_lambda.runtime.common.errors import TooManyPixels, UndecodableImage, UnsupportedFormat
from keras_to_lambda.runtime.common.record import NamedTuple

# Bytes per pixel of Pillow's images; of every other mode 4.
STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
# As JPEG and GIF have it. Work and memory of a resize grow with the longer side.
MAX_SIDE = 65_535
# Pixels that are converted or resized between two looks at the deadline.
BAND = 1_000_000
# Pixels that are resized in one call where nothing is to be converted: up to 60 ms.
WHOLE = 16_000_000

memory.keep()


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


def measure(size: tuple[int, int], limits: Limits) -> None:
    """Compare a header's width and height with the limits. Raises TooManyPixels."""
    if size[0] * size[1] > limits.pixels:
        raise _too_many(size, f", more than the {limits.pixels:,} accepted")
    if max(size) > MAX_SIDE:
        raise _too_many(size, f"; no side may be longer than {MAX_SIDE:,}")


def _too_many(size: tuple[int, int], why: str) -> TooManyPixels:
    width, height = size
    return TooManyPixels(f"the image has {width} x {height} pixels{why}; scale it down first")


def weigh(
    size: tuple[int, int],
    stored: int,
    contents: formats.Contents,
    limits: Limits,
    target: tuple[int, int] | None,
    band: int = BAND,
) -> None:
    """Reserve the memory that decoding and resizing take.

    Args:
        stored: bytes per pixel of Pillow's image; 0 where `contents.kept` has them.
        band: pixels that are converted at a time.

    Raises TooManyPixels: it is not left.
    """
    width, height = size
    pixels = width * height
    # Pillow's image and its table of rows; what the decoder keeps; a band in four modes, and what
    # is free between them; and the picture of the target's width.
    needs = stored * pixels + 8 * height + contents.kept + 28 * min(pixels, band)
    needs += 4 * max(target or (0,)) * max(size)
    if not limits.reserve(needs):
        # Pictures in reference cycles, and what Pillow and the C library keep for the next one.
        import gc

        gc.collect()
        _imaging.clear_cache()
        memory.give_back()
        if not limits.reserve(needs):
            why = f" and takes {needs / 1e6:.0f} MB to decode, more than is left of the function's"
            raise _too_many(size, f"{why} memory")


class Reader:
    """A file in memory that looks at the deadline before each read.

    seconds: what the step after the last read takes at the most.
    """

    def __init__(self, data: bytes, contents: formats.Contents, limits: Limits) -> None:
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


# What Pillow's decoders answer damaged files with.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError)


class Faults:
    """Pillow's exceptions in a `with` block as ours."""

    def __init__(self, contents: formats.Contents | None = None) -> None:
        self._contents = contents

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, DAMAGED):
            variant = self._contents.variant() if self._contents else None
            if str(error).startswith("Unsupported BMP "):
                variant = "a rare kind of BMP: " + str(error).removeprefix("Unsupported BMP ")
            if variant:
                raise UnsupportedFormat(
                    f"not supported: it is {variant}; save it as an ordinary JPEG or PNG"
                ) from error
            raise UndecodableImage(
                "the image is truncated or damaged; check that it opens in a viewer, and that it "
                "was sent whole"
            ) from error
        if isinstance(error, MemoryError | OverflowError):
            why = "the image takes too much memory to decode; scale it down first"
            raise TooManyPixels(why) from error
