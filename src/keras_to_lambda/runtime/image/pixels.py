"""A picture as what a model takes: its pixels, where the network scales them; else float32.

Only float32 needs numpy, whose import is most of a cold start: `preprocess` is imported for it.
"""

from __future__ import annotations

from collections.abc import Callable

from keras_to_lambda.runtime.common.memory import Buffer
from keras_to_lambda.runtime.common.record import TYPE_CHECKING, Any, NamedTuple
from keras_to_lambda.runtime.image import plain_jpeg
from keras_to_lambda.runtime.image.budget import Limits
from keras_to_lambda.runtime.model_file.card import ModelCard

if TYPE_CHECKING:
    from PIL.Image import Image

    from keras_to_lambda.runtime.image.decode import Picture

Size = tuple[int, int]
# Left, top, width and height in the picture's pixels; what lies outside of it is black.
Box = tuple[int, int, int, int]

# PIL.Image.Resampling by number: importing PIL.Image is half of a cold start.
FILTERS = {"pillow:nearest": 0, "pillow:bilinear": 2, "pillow:bicubic": 3, "pillow:lanczos": 1}


def takes_pixels(card: ModelCard) -> bool:
    """Whether a model takes pixels as they are: uint8, RGB or grey, resized by Pillow."""
    steps = card.preprocessing
    return (
        card.dtype == "uint8"
        and steps.scaling == "raw"
        and steps.color_order == "rgb"
        and steps.interpolation in FILTERS
    )


def opened(data: bytes, card: ModelCard, limits: Limits) -> Picture | plain_jpeg.Photo:
    """Decode the first frame of a picture, for `prepare`.

    Raises UnsupportedFormat, TooManyPixels, UndecodableImage, DeadlineExceeded.
    """
    steps = card.preprocessing
    stretched = steps.resize == "stretch" and steps.drawing == "none"
    if takes_pixels(card) and stretched and data.startswith(b"\xff\xd8\xff"):
        photo = plain_jpeg.opened(data, card, limits)
        if photo:
            return photo
    from keras_to_lambda.runtime.image import decode

    return decode.opened(data, steps, card.channels, limits, (card.width, card.height))


def prepare(picture: Picture | plain_jpeg.Photo, card: ModelCard) -> Buffer:
    """What a model takes of a picture.

    Returns:
        bytes, one for each pixel and channel, row by row; or, of a model that does not take pixels,
        float32 as `preprocess.prepare` returns it.
    """
    if isinstance(picture, plain_jpeg.Photo):
        return picture.resized(card.width, card.height, FILTERS[card.preprocessing.interpolation])
    if takes_pixels(card):
        return resized(picture, card).tobytes()
    from keras_to_lambda.runtime.image import preprocess

    return preprocess.prepare(picture, card)


def resized(picture: Picture, card: ModelCard) -> Image:
    """The picture at the model's size, by Pillow.

    Raises KeyError: the card's interpolation is not Pillow's.
    """
    from keras_to_lambda.runtime.image.decode import DEEP, high_byte

    steps = card.preprocessing
    picture = DRAWING[steps.drawing](picture, card)
    resize = RESIZE[steps.resize].pillow
    image = resize(picture, (card.width, card.height), FILTERS[steps.interpolation])
    return high_byte(image) if image.mode in DEEP and takes_pixels(card) else image


def _centred(picture: Picture, card: ModelCard) -> Picture:
    from keras_to_lambda.runtime.image import drawing  # for these cards alone
    from keras_to_lambda.runtime.image.decode import Picture

    return Picture(drawing.centred(picture.whole(), card.width, card.height))


class Resize(NamedTuple):
    """A way to the input's shape: by Pillow; and for TensorFlow, the part that it then resizes."""

    pillow: Callable[[Picture, Size, int], Image]
    box: Callable[[Size, Size], Box]


def _crop(picture: Any, size: Size, filter: int) -> Image:
    from PIL import ImageOps  # a millisecond, for these cards alone

    return ImageOps.fit(picture, size, method=filter)


def _centre(picture: Size, size: Size) -> Box:
    """The largest centred box, as image_dataset_from_directory(crop_to_aspect_ratio=True) cuts it.

    `smart_resize` in keras/src/utils/image_utils.py, which fails where less than a pixel is left.
    """
    (wide, high), (width, height) = picture, size
    crop_h = max(1, min(high, int(float(wide * height) / width)))
    crop_w = max(1, min(wide, int(float(high * width) / height)))
    return int((wide - crop_w) / 2), int((high - crop_h) / 2), crop_w, crop_h


def _pad(picture: Any, size: Size, filter: int) -> Image:
    from PIL import ImageOps

    return ImageOps.pad(picture, size, method=filter)


def _bordered(picture: Size, size: Size) -> Box:
    """A black border, as `image_dataset_from_directory(pad_to_aspect_ratio=True)` adds it.

    `resize` in keras/src/backend/tensorflow/image.py, which drops an odd border's last pixel.
    """
    (wide, high), (width, height) = picture, size
    top = max(0, int(float(wide * height) / width) - high) // 2
    left = max(0, int(float(high * width) / height) - wide) // 2
    return -left, -top, wide + 2 * left, high + 2 * top


DRAWING = {"none": lambda picture, _card: picture, "mnist": _centred}
RESIZE = {
    "stretch": Resize(
        lambda picture, size, method: picture.resize(size, method),
        lambda picture, _size: (0, 0, *picture),
    ),
    "crop": Resize(_crop, _centre),
    "pad": Resize(_pad, _bordered),
}
