"""The common JPEG, decoded and resized by Pillow's C core alone: PIL.Image is half of a cold start.

`PIL._imaging` is private to Pillow. So requirements.txt pins Pillow, the image's build compares
these pixels with PIL.Image's, and all that is not common is left to `decode`.
"""

from __future__ import annotations

from PIL import _imaging

from keras_to_lambda.runtime.common import formats
from keras_to_lambda.runtime.common.record import Any
from keras_to_lambda.runtime.image.budget import STORED, WHOLE, Faults, Limits, measure, weigh
from keras_to_lambda.runtime.image.orientation import flag
from keras_to_lambda.runtime.model_file.card import ModelCard

# A JPEG's channels for each mode, and the mode for each of a model's channels.
COMPONENTS = {"L": 1, "RGB": 3}
MODES = {1: "L", 3: "RGB"}
END = 1  # what an encoder returns at the end
BLOCK = 65_536  # bytes between two looks at the deadline
SECONDS = 2e-8  # for each pixel, of a picture in several scans


class Photo:
    """A decoded JPEG in the model's channels.

    width, height: in pixels.
    """

    def __init__(self, core: Any, mode: str) -> None:
        self._core, self._mode = core, mode
        self.width, self.height = core.size

    def resized(self, width: int, height: int, filter: int) -> bytes:
        """Its pixels at a size, by one of Pillow's filters: as `Image.resize` and `tobytes`."""
        core = self._core
        if core.size != (width, height):
            core = core.resize((width, height), filter, (0, 0, self.width, self.height))
        encoder = _imaging.raw_encoder(self._mode, self._mode)
        encoder.setimage(core, (0, 0, width, height))
        content: bytes
        _, ended, content = encoder.encode(COMPONENTS[self._mode] * width * height)
        encoder.cleanup()
        if ended != END:
            raise OSError("not all pixels were written")
        return content


def opened(data: bytes, card: ModelCard, limits: Limits) -> Photo | None:
    """Decode a JPEG as `decode.opened` does; None: it is not a common one.

    Raises TooManyPixels, UndecodableImage, DeadlineExceeded.
    """
    steps = card.preprocessing
    limits.check(0.0)
    contents = formats.jpeg(data, lambda: limits.check(0.0))
    mode = MODES.get(card.channels, "")
    width, height = size = contents.frame
    if (
        not contents.plain
        or len(contents.head) > BLOCK
        or contents.components != COMPONENTS.get(mode)
        or not 0 < width * height <= WHOLE
        or (steps.exif == "apply" and flag(contents.info) != 1)
    ):
        return None
    measure(size, limits)
    target = (card.width, card.height)
    config: tuple[int, ...] = ()
    if steps.decode == "scaled":
        # As JpegImageFile.draft: libjpeg leaves out the high frequencies of each block.
        share = min(width // (2 * target[0]), height // (2 * target[1]))
        scale = next(n for n in (8, 4, 2, 1) if share >= n or n == 1)
        size = -(-width // scale), -(-height // scale)
        config = (scale, 0)
    weigh(size, STORED.get(mode, 4), contents, limits, target, band=0)
    seconds = width * height * SECONDS if contents.kept else 0.0
    with Faults(contents):
        core = _imaging.new(mode, size)
        decoder = _imaging.jpeg_decoder(mode, mode, "", *config)
        try:
            decoder.setimage(core, (0, 0, *size))
            used, error = decoder.decode(contents.head)
            if used not in (-1, len(contents.head)):
                raise OSError("the first scan's header is not where it ends")
            at = end = contents.start
            while used >= 0 and end < len(data):
                limits.check(seconds)
                begin, end = end, end + BLOCK
                if contents.kept:
                    # One scan at a time: a few bytes may be one of the whole picture.
                    scan = data.find(b"\xff\xda", begin + 2, end)
                    end = scan if scan >= 0 else end
                used, error = decoder.decode(memoryview(data)[at:end])
                at += used
        finally:
            decoder.cleanup()
        if used >= 0 or error < 0:
            raise OSError("truncated or damaged")
    return Photo(core, mode)
