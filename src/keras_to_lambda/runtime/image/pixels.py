"""A picture as what a model takes: its pixels, where the network scales them; else float32.

Only float32 needs numpy, whose import is most of a cold start: `preprocess` is imported for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

    from keras_to_lambda.runtime.image.budget import Limits
    from keras_to_lambda.runtime.image.decode import Picture
    from keras_to_lambda.runtime.image.plain_jpeg import Photo
    from keras_to_lambda.runtime.model.card import ModelCard
    from keras_to_lambda.runtime.model.engine import Buffer

    Size = tuple[int, int]

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


def opened(data: bytes, card: ModelCard, limits: Limits) -> Picture | Photo:
    """Decode the first frame of a picture, for `prepare`.

    Raises:
        UnsupportedFormat, TooManyPixels, UndecodableImage, DeadlineExceeded
    """
    steps = card.preprocessing
    stretched = steps.resize == "stretch" and steps.drawing == "none"
    if takes_pixels(card) and stretched and data.startswith(b"\xff\xd8\xff"):
        from keras_to_lambda.runtime.image import plain_jpeg

        photo = plain_jpeg.opened(data, card, limits)
        if photo:
            return photo
    from keras_to_lambda.runtime.image import decode

    return decode.opened(data, steps, card.channels, limits, (card.width, card.height))


def prepare(picture: Picture | Photo, card: ModelCard) -> Buffer:
    """What a model takes of a picture.

    Returns:
        bytes, one for each pixel and channel, row by row; or, of a model that does not take pixels,
        float32 as `preprocess.prepare` returns it.
    """
    from keras_to_lambda.runtime.image import plain_jpeg

    if isinstance(picture, plain_jpeg.Photo):
        return picture.resized(card.width, card.height, FILTERS[card.preprocessing.interpolation])
    if takes_pixels(card):
        return resized(picture, card).tobytes()
    from keras_to_lambda.runtime.image import preprocess

    return preprocess.prepare(picture, card)


def resized(picture: Picture, card: ModelCard) -> Image:
    """The picture at the model's size, by Pillow.

    Raises:
        KeyError: the card's interpolation is not Pillow's.
    """
    from keras_to_lambda.runtime.image.decode import DEEP, high_byte

    steps = card.preprocessing
    picture = DRAWING[steps.drawing](picture, card)
    image = RESIZE[steps.resize](picture, (card.width, card.height), FILTERS[steps.interpolation])
    return high_byte(image) if image.mode in DEEP and takes_pixels(card) else image


def _centred(picture: Picture, card: ModelCard) -> Picture:
    from keras_to_lambda.runtime.image import drawing  # for these cards alone
    from keras_to_lambda.runtime.image.decode import Picture

    return Picture(drawing.centred(picture.whole(), card.width, card.height))


def _stretch(picture: Picture, size: Size, filter: int) -> Image:
    return picture.resize(size, filter)


def _crop(picture: Any, size: Size, filter: int) -> Image:
    from PIL import ImageOps  # a millisecond, for these cards alone

    return ImageOps.fit(picture, size, method=filter)


def _pad(picture: Any, size: Size, filter: int) -> Image:
    from PIL import ImageOps

    return ImageOps.pad(picture, size, method=filter)


DRAWING = {"none": lambda picture, _card: picture, "mnist": _centred}
RESIZE = {"stretch": _stretch, "crop": _crop, "pad": _pad}
