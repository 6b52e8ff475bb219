"""A picture as what a model takes: its pixels, where the network scales them; else float32.

Only float32 needs numpy, whose import is most of a cold start: `preprocess` is imported for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

from keras_to_lambda.runtime.image.decode import DEEP, Picture

if TYPE_CHECKING:
    from keras_to_lambda.runtime.model.card import ModelCard
    from keras_to_lambda.runtime.model.engine import Buffer

    Size = tuple[int, int]


def takes_pixels(card: ModelCard) -> bool:
    """Whether a model takes pixels as they are: uint8, RGB or grey, resized by Pillow."""
    steps = card.preprocessing
    return (
        card.dtype == "uint8"
        and steps.scaling == "raw"
        and steps.color_order == "rgb"
        and steps.interpolation in FILTERS
    )


def prepare(picture: Picture, card: ModelCard) -> Buffer:
    """What a model takes of a picture.

    Returns:
        bytes, one for each pixel and channel, row by row; or, of a model that does not take pixels,
        float32 as `preprocess.prepare` returns it.
    """
    if takes_pixels(card):
        image = resized(picture, card)
        return (image.convert("L") if image.mode in DEEP else image).tobytes()
    from keras_to_lambda.runtime.image import preprocess

    return preprocess.prepare(picture, card)


def resized(picture: Picture, card: ModelCard) -> Image.Image:
    """The picture at the model's size, by Pillow.

    Raises:
        KeyError: the card's interpolation is not Pillow's.
    """
    steps = card.preprocessing
    picture = DRAWING[steps.drawing](picture, card)
    size = (card.width, card.height)
    return RESIZE[steps.resize](picture, size, FILTERS[steps.interpolation])


def _centred(picture: Picture, card: ModelCard) -> Picture:
    from keras_to_lambda.runtime.image import drawing  # for these cards alone

    return Picture(drawing.centred(picture.whole(), card.width, card.height))


def _stretch(picture: Picture, size: Size, method: Image.Resampling) -> Image.Image:
    return picture.resize(size, method)


def _crop(picture: Any, size: Size, method: Image.Resampling) -> Image.Image:
    from PIL import ImageOps  # a millisecond, for these cards alone

    return ImageOps.fit(picture, size, method=method)


def _pad(picture: Any, size: Size, method: Image.Resampling) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.pad(picture, size, method=method)


DRAWING = {"none": lambda picture, _card: picture, "mnist": _centred}
RESIZE = {"stretch": _stretch, "crop": _crop, "pad": _pad}
FILTERS = {
    "pillow:nearest": Image.Resampling.NEAREST,
    "pillow:bilinear": Image.Resampling.BILINEAR,
    "pillow:bicubic": Image.Resampling.BICUBIC,
    "pillow:lanczos": Image.Resampling.LANCZOS,
}
