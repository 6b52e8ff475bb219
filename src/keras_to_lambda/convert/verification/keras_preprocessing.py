"""The tensor as Keras makes it: the other side of the comparison.

keras.utils.load_img and keras.applications' own preprocess_input, or tf.image.resize, by the card's
interpolation. Nothing here is shared with the serving path, or the proof would be a circle.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image, ImageOps
from scipy import ndimage

from keras_to_lambda.runtime.model_file.card import Affine, ModelCard

COLOR_MODES = {1: "grayscale", 3: "rgb", 4: "rgba"}
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Pillow's modes for greyscale of 16 bits.
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I")


@dataclass(frozen=True)
class Seen:
    """A photo at the stages of its way to the model.

    decoded: uint8 (uint16 for greyscale of 16 bits), (rows, columns, channels).
    resized: float32, (height, width, channels), 0..255.
    tensor: float32, the same shape, in the range that the model was trained on.
    """

    decoded: np.ndarray
    resized: np.ndarray
    tensor: np.ndarray


def see(path: Path, card: ModelCard) -> Seen:
    """What the model was trained on.

    Raises:
        OSError: Pillow cannot read the file.
    """
    with _opened(path, card) as image:
        decoded = np.asarray(image).reshape(image.height, image.width, card.channels)
        resized = _resized(path, image, card).astype(np.float32)
    return Seen(decoded, resized, _scaled(resized, card))


def _opened(path: Path, card: ModelCard) -> Image.Image:
    """At its own size: by Keras' own reader, or by Pillow for what that does not do."""
    steps = card.preprocessing
    with Image.open(path) as file:
        file.load()
        image: Image.Image = file
        if steps.drawing != "none":
            return _ink(EXIF[steps.exif](image)).convert(MODES[card.channels])
        if image.mode in SIXTEEN_BITS and steps.interpolation.startswith("tf:"):
            # image_dataset_from_directory reads by tf.io.decode_image.
            pixels = tf.io.decode_image(path.read_bytes(), channels=1, expand_animations=False)
            info = image.info
            image = Image.fromarray(np.asarray(pixels)[..., 0])
            image.info = info
        elif _plain(path, card):
            loaded: Image.Image = keras.utils.load_img(path, color_mode=COLOR_MODES[card.channels])
            return loaded
        image = ALPHA[steps.alpha](EXIF[steps.exif](image))
        if image.mode in SIXTEEN_BITS and card.channels == 1:  # as load_img leaves it
            return image
        return image.convert(MODES[card.channels])


def sixteen_bits(path: Path) -> bool:
    """Whether a photo is greyscale of 16 bits."""
    with Image.open(path) as image:
        return image.mode in SIXTEEN_BITS


def _plain(path: Path, card: ModelCard) -> bool:
    """Whether load_img does all that the card wants: it ignores the orientation and alpha."""
    steps = card.preprocessing
    return (
        steps.drawing == "none"
        and steps.alpha == "drop"
        and (steps.exif == "ignore" or orientation(path) == 1)
    )


def _on(colour: str) -> Callable[[Image.Image], Image.Image]:
    def blended(image: Image.Image) -> Image.Image:
        if not image.has_transparency_data:
            return image
        ground = Image.new("RGBA", image.size, colour)
        return Image.alpha_composite(ground, image.convert("RGBA"))

    return blended


def orientation(path: Path) -> int:
    """The EXIF orientation, 1 (upright) to 8, as Pillow reads it; 1 where it is damaged."""
    with Image.open(path) as image:
        if image.format == "PNG" and "exif" not in image.info:
            image.load()  # it may be behind the pixels
        try:
            value = image.getexif().get(ExifTags.Base.Orientation, 1)
        except Exception:  # noqa: BLE001  # damaged metadata raise anything in Pillow
            return 1
    return value if value in range(1, 9) else 1


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001  # as in `orientation`
        return image


Step = Callable[[Image.Image], Image.Image]
EXIF: dict[str, Step] = {"ignore": lambda image: image, "apply": _upright}
ALPHA: dict[str, Step] = {
    "drop": lambda image: image,
    "white": _on("white"),
    "black": _on("black"),
}


def _resized(path: Path, image: Image.Image, card: ModelCard) -> np.ndarray:
    steps, size = card.preprocessing, (card.height, card.width)
    if steps.drawing != "none":
        pixels = _centred(np.asarray(image.convert("L"), np.float64), *size)
        image = Image.fromarray(pixels).convert(MODES[card.channels])
    library, method = INTERPOLATION[steps.interpolation]
    if library is TENSORFLOW:
        pixels = keras.utils.img_to_array(image)
        return np.asarray(TENSORFLOW[steps.resize](pixels, size, method))
    if steps.resize == "stretch" and _plain(path, card):
        image = keras.utils.load_img(
            path,
            color_mode=COLOR_MODES[card.channels],
            target_size=size,
            interpolation=steps.interpolation.partition(":")[2],
        )
    else:
        image = PILLOW[steps.resize](image, (card.width, card.height), method)
    return np.asarray(keras.utils.img_to_array(image))


def _border(values: np.ndarray) -> float:
    """The upper median of the outermost pixels."""
    inside = np.zeros(values.shape, bool)
    inside[1:-1, 1:-1] = True
    return float(np.quantile(values[~inside], 0.5, method="higher"))


def _ink(image: Image.Image) -> Image.Image:
    """A drawing's ink, light on black: transparency's opposite, or the distance from the paper."""
    if image.mode in SIXTEEN_BITS:
        image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
    clear = image.has_transparency_data
    image = image.convert("RGBA") if clear else image.convert("L")
    if max(image.size) > 1000:
        image = image.reduce(int(np.ceil(max(image.size) / 1000)))
    if clear:
        opacity = np.asarray(image)[..., 3]
        if _border(opacity) < 128:
            return Image.fromarray(opacity)
        image = _on("white")(image).convert("L")
    values = np.asarray(image, np.float64)
    paper = _border(values)
    if paper == 0:
        return image
    shadowed = _shadowed(values)
    away = _from_local_paper(values) if shadowed else np.abs(values - paper)
    peak = away.max()
    if peak < 32:
        return Image.fromarray(np.zeros(away.shape, np.uint8))
    kept = np.where(away >= peak / 4, away, 0)
    kept = np.where(_pen(kept), kept, 0)
    if shadowed:
        kept = _without_corners(kept)
    return Image.fromarray(np.round(kept * 255 / peak).astype(np.uint8))


def _filtered(values: np.ndarray, size: int, *filters: Callable[..., np.ndarray]) -> np.ndarray:
    """Rank filters over squares; of an even side, the larger half is below and to the right."""
    for each in filters:
        found = each(values.astype(float), size, mode="nearest", origin=size % 2 - 1)
        values = found.astype(values.dtype)
    return values


OPENING = (ndimage.minimum_filter, ndimage.maximum_filter)


def _shadowed(values: np.ndarray) -> bool:
    """Whether the tenths of a picture, in both directions, have paper of different light."""
    if min(values.shape) < 100:
        return False
    tenths = [x for rows in np.array_split(values, 10) for x in np.array_split(rows, 10, axis=1)]
    low, high = np.quantile([np.median(tenth) for tenth in tenths], (0.15, 0.85))
    return bool(high - low > 24)


def _from_local_paper(values: np.ndarray) -> np.ndarray:
    size = max(3, round(min(values.shape) / 5) | 1)
    darkest, dark, light, lightest = (
        np.quantile(values, x) + 1 for x in (0.002, 0.15, 0.85, 0.998)
    )
    if lightest / light > dark / darkest:  # chalk on a board
        return np.asarray(values - _filtered(values, size, *OPENING))
    closed = _filtered(values, size, *OPENING[::-1])
    return np.asarray((closed - values) * 255 / np.maximum(closed, 1))


def _pen(kept: np.ndarray) -> np.ndarray:
    """The pen's strokes: as thick as half of the ink's energy, and what is near such ink."""
    there, energy, thickness = kept > 0, kept * kept, 1
    for size in (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64):
        if energy[_filtered(there, size, *OPENING)].sum() < energy.sum() / 2:
            break
        thickness = size
    if thickness >= 4:
        near = _filtered(there, thickness // 3 + 1, *OPENING, ndimage.maximum_filter)
    else:
        reach = max(2, round(max(kept.shape) / 100))
        near = _filtered(kept >= kept.max() / 2, 2 * reach + 1, ndimage.maximum_filter)
    return np.asarray(there & near)


def _without_corners(kept: np.ndarray) -> np.ndarray:
    """Without what is connected with the border, if that is less than half."""
    there = kept > 0
    border = there.copy()
    border[1:-1, 1:-1] = False
    outer = ndimage.binary_propagation(border, np.ones((5, 5)), mask=there)
    return kept if kept[outer].sum() > kept.sum() / 2 else np.where(outer, 0, kept)


def _areas(start: int, end: int, cells: int, length: int) -> np.ndarray:
    """(cells, length): the share of each pixel from `start` to `end` in each of `cells` parts."""
    edges = start + (end - start) * np.arange(cells + 1) / cells
    pixels = np.arange(length)
    low = np.maximum(edges[:-1, None], pixels)
    high = np.minimum(edges[1:, None], pixels + 1)
    shares: np.ndarray = np.maximum(high - low, 0) * cells / (end - start)
    return shares


def _nearest(value: float) -> int:
    """The nearest whole number; of a half, but for errors of summing, the next."""
    return int(np.floor(np.round(value, 6) + 0.5))


def _centred(ink: np.ndarray, height: int, width: int) -> np.ndarray:
    """Ink scaled to 20 of 28 pixels with its mass in the middle, as MNIST's was; uint8."""
    fit = 20 * min(height, width) / 28

    def ends(there: np.ndarray) -> list[tuple[int, int]]:
        filled = [np.flatnonzero(there.any(axis)) for axis in (1, 0)]
        return [(int(places[0]), int(places[-1]) + 1) for places in filled]

    def middles(values: np.ndarray) -> list[float]:
        return [
            float(np.average(np.arange(len(mass)), weights=mass)) + 0.5
            for mass in (values.sum(1), values.sum(0))
        ]

    if ink.max() == 0:
        return np.zeros((height, width), np.uint8)
    if ink.shape == (height, width):
        longest = max(b - a for a, b in ends(ink > 0))
        offset = [m - side / 2 for m, side in zip(middles(ink), (height, width), strict=True)]
        if fit - 1.5 <= longest <= fit + 1.5 and min(offset) >= -1 and max(offset) <= 1.5:
            return ink.astype(np.uint8)
    both = ends(ink >= ink.max() / 4)
    scale = _nearest(fit) / max(b - a for a, b in both)
    rows, columns = (
        _areas(a, b, max(1, _nearest((b - a) * scale)), length)
        for (a, b), length in zip(both, ink.shape, strict=True)
    )
    small = np.round(np.round(rows @ ink @ columns.T, 6))
    sheet = np.zeros((height, width), np.uint8)
    places = [
        slice(at := int(np.clip(_nearest(side / 2 - middle), 0, side - count)), at + count)
        for side, middle, count in zip((height, width), middles(small), small.shape, strict=True)
    ]
    sheet[places[0], places[1]] = small
    return sheet


PILLOW: dict[str, Callable[..., Any]] = {
    "stretch": lambda image, size, method: image.resize(size, method),
    "crop": lambda image, size, method: ImageOps.fit(image, size, method=method),
    "pad": lambda image, size, method: ImageOps.pad(image, size, method=method),
}
TENSORFLOW: dict[str, Callable[..., Any]] = {
    "stretch": lambda pixels, size, name: tf.image.resize(pixels, size, method=name),
    "crop": keras.preprocessing.image.smart_resize,
    "pad": lambda pixels, size, name: keras.ops.image.resize(
        pixels, size, name, pad_to_aspect_ratio=True
    ),
}
# Whose resizing, by mode, and its word for the filter.
INTERPOLATION: dict[str, tuple[dict[str, Callable[..., Any]], Any]] = {
    "pillow:nearest": (PILLOW, Image.Resampling.NEAREST),
    "pillow:bilinear": (PILLOW, Image.Resampling.BILINEAR),
    "pillow:bicubic": (PILLOW, Image.Resampling.BICUBIC),
    "pillow:lanczos": (PILLOW, Image.Resampling.LANCZOS),
    "tf:bilinear": (TENSORFLOW, "bilinear"),
    "tf:nearest": (TENSORFLOW, "nearest"),
    "tf:bicubic": (TENSORFLOW, "bicubic"),
}


def _scaled(pixels: np.ndarray, card: ModelCard) -> np.ndarray:
    pixels = COLOR_ORDER[card.preprocessing.color_order](pixels)
    scaling = card.preprocessing.scaling
    if isinstance(scaling, Affine):
        scale, offset = (np.asarray(x, np.float32) for x in (scaling.scale, scaling.offset))
        return np.asarray(pixels * scale + offset)
    return SCALING[scaling](pixels)


def _application(module: str) -> Callable[[np.ndarray], np.ndarray]:
    """The preprocess_input of a module of keras.applications."""

    def scaled(pixels: np.ndarray) -> np.ndarray:
        original = importlib.import_module(f"keras.applications.{module}")
        rows: np.ndarray = np.asarray(original.preprocess_input(np.array(pixels[np.newaxis])))
        return np.asarray(rows[0])

    return scaled


COLOR_ORDER: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rgb": lambda pixels: pixels,
    "bgr": lambda pixels: pixels[..., ::-1],
}
# Presets that are called like their module of keras.applications, then all the others.
_MODULES = """
    xception inception_v3 inception_resnet_v2 mobilenet mobilenet_v2 mobilenet_v3 resnet resnet_v2
    nasnet vgg16 vgg19 densenet efficientnet efficientnet_v2 convnext"""
SCALING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    **{name: _application(name) for name in _MODULES.split()},
    "resnet50": _application("resnet"),
    "resnet50_v2": _application("resnet_v2"),
    "densenet121": _application("densenet"),
    "raw": lambda pixels: pixels,
    "rescale": lambda pixels: pixels / np.float32(255),
}
