"""The model's input as a picture, for POST /tensor."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from keras_to_lambda.runtime.image import preprocess
from keras_to_lambda.runtime.model_file.card import ModelCard

if TYPE_CHECKING:
    import numpy.typing as npt

    from keras_to_lambda.runtime.common.memory import Buffer


def _array(tensor: Buffer, card: ModelCard) -> npt.NDArray[Any]:
    """A tensor as (height, width, channels): float32, or the pixels of a model that takes them."""
    if isinstance(tensor, bytes):
        tensor = np.frombuffer(tensor, np.uint8)
    array: npt.NDArray[Any] = tensor.reshape(card.height, card.width, card.channels)
    return array


def picture(tensor: Buffer, card: ModelCard) -> Image.Image:
    """A tensor as the picture that it is of, mode "RGB" or "L", at the model's size."""
    pixels = preprocess.unscale(_array(tensor, card), card)
    return Image.fromarray(pixels[..., 0] if card.channels == 1 else pixels)


def describe(tensor: Buffer, card: ModelCard) -> dict[str, Any]:
    """A tensor as JSON can carry it: its figures, and its picture as a data: URL of a PNG file."""
    file = io.BytesIO()
    picture(tensor, card).save(file, "PNG")
    array = _array(tensor, card)
    return {
        "model": card.name,
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "min": float(array.min()),
        "max": float(array.max()),
        "mean": float(array.mean(dtype=np.float64)),
        "image": "data:image/png;base64," + base64.b64encode(file.getvalue()).decode(),
    }
