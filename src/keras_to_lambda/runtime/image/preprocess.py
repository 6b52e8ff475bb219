"""Pixels -> the tensor that the card describes.

Every result equals, to the last float, that of the training's libraries: Pillow or TensorFlow for
the resizing, keras.applications for the scaling. The tests compare them with the originals.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from keras_to_lambda.runtime.common.memory import Buffer
from keras_to_lambda.runtime.image.budget import BAND
from keras_to_lambda.runtime.image.decode import Picture
from keras_to_lambda.runtime.image.pixels import DRAWING, FILTERS, RESIZE, resized
from keras_to_lambda.runtime.model_file.card import PRESETS, Affine, ModelCard

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.intp]


def prepare(image: Image.Image | Picture, card: ModelCard) -> Floats:
    """Resize and scale.

    Args:
        image: as `decode` or `opened` returns it; not altered.
        card: the model's.

    Returns:
        float32, (height, width, channels), C-contiguous, in the range of the card's scaling.
    """
    return scale(resize(image, card), card)


def resize(image: Image.Image | Picture, card: ModelCard) -> Floats:
    """The picture at the model's size: float32, (height, width, channels), in 0..255."""
    steps = card.preprocessing
    picture = Picture(image) if isinstance(image, Image.Image) else image
    if steps.interpolation in FILTERS:
        pixels = np.asarray(resized(picture, card), dtype=np.float32)
    else:
        picture = DRAWING[steps.drawing](picture, card)
        grid = Grid(picture, *RESIZE[steps.resize].box(picture.size, (card.width, card.height)))
        pixels = TENSORFLOW[steps.interpolation](grid, card.height, card.width)
    return pixels.reshape(card.height, card.width, card.channels)


class Grid:
    """Pixels by row and column, of which only the needed ones are made.

    Args:
        left, top: the picture's column and row that are this grid's first; below 0 all is black.
        width, height: of the grid.
    """

    def __init__(self, picture: Picture, left: int, top: int, width: int, height: int) -> None:
        self._picture, self._left, self._top = picture, left, top
        self.shape = (height, width)

    def at(self, rows: Ints, columns: Ints) -> npt.NDArray[np.uint8]:
        """(rows, columns, channels)."""
        wide, high = self._picture.size
        rows, columns = rows + self._top, columns + self._left
        inside_y = (rows >= 0) & (rows < high)
        inside_x = (columns >= 0) & (columns < wide)
        columns = np.clip(columns, 0, wide - 1)
        if wide * high <= BAND:
            whole = np.asarray(self._picture.whole()).reshape(high, wide, -1)
            result = whole[np.ix_(np.clip(rows, 0, high - 1), columns)]
        else:
            needed, places = np.unique(np.clip(rows, 0, high - 1), return_inverse=True)
            lines = [np.asarray(self._picture.rows(row, row + 1)) for row in needed.tolist()]
            result = np.stack([line.reshape(wide, -1)[columns] for line in lines])[places]
        result[~inside_y] = 0
        result[:, ~inside_x] = 0
        return result


# TensorFlow's resizing: uint8 pixels, (rows, columns, channels), to float32, (height, width,
# channels), in 0..255.


def tf_bilinear(pixels: npt.NDArray[np.uint8] | Grid, height: int, width: int) -> Floats:
    """`tf.image.resize(pixels, (height, width))`: bilinear, half-pixel centres, no antialiasing.

    Follows ResizeBilinear with half_pixel_centers=True (tensorflow/core/kernels/image/
    resize_bilinear_op.cc) in its order of float32 operations.
    """
    top, bottom, y = _neighbours(pixels.shape[0], height)
    left, right, x = _neighbours(pixels.shape[1], width)
    x = x[np.newaxis, :, np.newaxis]
    y = y[:, np.newaxis, np.newaxis]
    corners = _at(pixels, np.concatenate((top, bottom)), np.concatenate((left, right)))

    def blend_row(line: npt.NDArray[np.uint8]) -> Floats:
        first = line[:, :width].astype(np.float32)
        last = line[:, width:].astype(np.float32)
        return first + (last - first) * x

    above = blend_row(corners[:height])
    return above + (blend_row(corners[height:]) - above) * y


def _at(pixels: npt.NDArray[np.uint8] | Grid, rows: Ints, columns: Ints) -> npt.NDArray[np.uint8]:
    return pixels.at(rows, columns) if isinstance(pixels, Grid) else pixels[np.ix_(rows, columns)]


def _neighbours(size: int, target: int) -> tuple[Any, Any, Floats]:
    """For each target position: its two source positions, and the weight of the second."""
    at = _sources(size, target) - np.float32(0.5)
    floor = np.floor(at)
    low = np.maximum(floor.astype(np.intp), 0)
    high = np.minimum(np.ceil(at).astype(np.intp), size - 1)
    return low, high, at - floor


def _sources(size: int, target: int) -> Floats:
    """Where the middle of each target position lies in the source: float32, half-pixel centres."""
    ratio = np.float32(size) / np.float32(target)
    middles: Floats = (np.arange(target, dtype=np.float32) + np.float32(0.5)) * ratio
    return middles


def tf_nearest(pixels: npt.NDArray[np.uint8] | Grid, height: int, width: int) -> Floats:
    """`tf.image.resize(pixels, (height, width), "nearest")`: Pillow's rounds in another way.

    ResizeNearestNeighbor with half_pixel_centers=True (resize_nearest_neighbor_op.cc).
    """
    rows, columns = (
        np.minimum(np.floor(_sources(size, target)).astype(np.intp), size - 1)
        for size, target in ((pixels.shape[0], height), (pixels.shape[1], width))
    )
    return _at(pixels, rows, columns).astype(np.float32)


def tf_bicubic(pixels: npt.NDArray[np.uint8] | Grid, height: int, width: int) -> Floats:
    """`tf.image.resize(pixels, (height, width), "bicubic")`: Keys' kernel, no antialiasing.

    ResizeBicubic with half_pixel_centers=True (resize_bicubic_op.cc), its table of weights
    included. It may leave 0..255, as TensorFlow's does.
    """
    rows, y = _four(pixels.shape[0], height)
    columns, x = _four(pixels.shape[1], width)
    near = _at(pixels, rows.ravel(), columns.ravel()).astype(np.float32)
    near = near.reshape(4, height, 4 * width, near.shape[-1])
    lines = sum(near[k] * y[k][:, np.newaxis, np.newaxis] for k in range(4))
    lines = lines.reshape(height, 4, width, -1)
    result: Floats = sum(lines[:, k] * x[k][np.newaxis, :, np.newaxis] for k in range(4))
    return result


def _four(size: int, target: int) -> tuple[Any, Any]:
    """For each target position: its four source positions, and their weights; each (4, target)."""
    at = _sources(size, target) - np.float32(0.5)
    floor = np.floor(at)
    # TensorFlow looks weights up at a 1024th of a pixel.
    steps = np.rint((at - floor) * 1024) / 1024
    weights = np.stack([_keys(1 + steps), _keys(steps), _keys(1 - steps), _keys(2 - steps)])
    places = floor.astype(np.intp) + np.arange(-1, 3)[:, np.newaxis]
    inside = np.clip(places, 0, size - 1)
    # What lies outside counts nothing, and the others so much more.
    weights = np.where(inside == places, weights, 0)
    return inside, (weights / weights.sum(axis=0)).astype(np.float32)


def _keys(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic kernel with a = -0.5 (https://doi.org/10.1109/TASSP.1981.1163711)."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance <= 1, near, far)


TENSORFLOW: dict[str, Callable[[Grid, int, int], Floats]] = {
    "tf:bilinear": tf_bilinear,
    "tf:nearest": tf_nearest,
    "tf:bicubic": tf_bicubic,
}
COLOR_ORDER = {"rgb": slice(None), "bgr": slice(None, None, -1)}
Numbers = float | tuple[float, float, float]
# What pixels are divided by, the means that are then subtracted, and what is divided by at last:
# keras/src/applications/imagenet_utils.py, _preprocess_numpy_input. "caffe" first reverses the
# channels. keras-image-helper has two of them; the image's build compares: `matches_helper`.
CONVENTIONS: dict[str, tuple[float, Numbers, Numbers]] = {
    "tf": (127.5, 1.0, 1.0),
    "caffe": (1.0, (103.939, 116.779, 123.68), 1.0),
    "torch": (255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "rescale": (255.0, 0.0, 1.0),
    "raw": (1.0, 0.0, 1.0),
}


def scale(pixels: Floats, card: ModelCard) -> Floats:
    """Apply the card's colour order and scaling.

    Args:
        pixels: float32, (height, width, channels), in 0..255; not altered.
    """
    steps = card.preprocessing
    pixels = pixels[..., COLOR_ORDER[steps.color_order]]
    if isinstance(steps.scaling, Affine):
        scale, offset = (
            np.asarray(v, np.float32) for v in (steps.scaling.scale, steps.scaling.offset)
        )
        return np.ascontiguousarray(pixels * scale + offset)
    return _conventional(pixels, PRESETS[steps.scaling])


def quantized(tensor: Floats, scale: float, zero_point: int, dtype: str) -> npt.NDArray[Any]:
    """A tensor in an integer model's codes.

    https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec
    """
    limits = np.iinfo(dtype)
    steps = np.round(tensor / np.float32(scale)) + zero_point
    codes: npt.NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(dtype)
    return codes


def extent(card: ModelCard) -> tuple[float, float]:
    """The least and the largest number that the card's scaling makes of a pixel, and 0."""
    made = _ends(card)
    return min(0.0, float(made.min())), max(0.0, float(made.max()))


def _ends(card: ModelCard) -> Floats:
    """A black and a white pixel, scaled: (2, channels)."""
    ends = np.zeros((2, 1, card.channels), np.float32)
    ends[1] = 255.0
    return scale(ends, card)[:, 0]


def unscale(tensor: Floats, card: ModelCard) -> npt.NDArray[np.uint8]:
    """The picture that a tensor is of: `scale` undone, and rounded.

    Args:
        tensor: float32, (height, width, channels), as `prepare` returns it.

    Returns:
        uint8, (height, width, channels), RGB or grey, 0..255: of whole numbers the very ones.
    """
    steps = card.preprocessing
    # Every scaling is a factor and an offset for each channel: a black and a white pixel show
    # both. "caffe" and "bgr" reverse the channels as well.
    black, white = _ends(card)
    flat = white == black  # a factor of 0: what was there is lost
    pixels = (tensor - black) / np.where(flat, 1.0, white - black) * 255.0
    convention = PRESETS[steps.scaling] if isinstance(steps.scaling, str) else ""
    if (steps.color_order == "bgr") != (convention == "caffe"):
        pixels = pixels[..., ::-1]
    picture: npt.NDArray[np.uint8] = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return picture


def _conventional(pixels: Floats, convention: str) -> Floats:
    """Scaled by one of CONVENTIONS, in float32: a copy."""
    divisor, means, deviations = CONVENTIONS[convention]
    pixels = pixels[..., :: -1 if convention == "caffe" else 1] / np.float32(divisor)
    pixels -= np.asarray(means, np.float32)
    pixels /= np.asarray(deviations, np.float32)
    return np.ascontiguousarray(pixels)


def matches_helper(card: ModelCard) -> bool | None:
    """Whether the card's scaling is keras-image-helper's, to the last bit; None if it has none.

    Notebooks of this field preprocess with that package: what they trained is served by this one.
    """
    scaling = card.preprocessing.scaling
    convention = PRESETS[scaling] if isinstance(scaling, str) else ""
    name = {"tf": "xception", "caffe": "resnet50"}.get(convention)
    if name is None:
        return None
    from keras_image_helper import create_preprocessor

    every = np.arange(256, dtype=np.float32).repeat(card.channels).reshape(1, 256, card.channels)
    theirs = create_preprocessor(name, target_size=(256, 1)).preprocess(every.copy())
    return bool(np.array_equal(_conventional(every, convention), theirs))


# The model's input as a picture, for POST /tensor.


def _array(tensor: Buffer, card: ModelCard) -> npt.NDArray[Any]:
    """A tensor as (height, width, channels): float32, or the pixels of a model that takes them."""
    if isinstance(tensor, bytes):
        tensor = np.frombuffer(tensor, np.uint8)
    array: npt.NDArray[Any] = tensor.reshape(card.height, card.width, card.channels)
    return array


def picture(tensor: Buffer, card: ModelCard) -> Image.Image:
    """A tensor as the picture that it is of, mode "RGB" or "L", at the model's size."""
    pixels = unscale(_array(tensor, card), card)
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
