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

from keras_to_lambda.convert.verification import pipeline_diff
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
    if card.preprocessing.drawing != "none":
        # Keras has no such step: the function's own is taken, and only the rest is compared.
        with Image.open(path) as image:
            image.load()
        decoded, resized = pipeline_diff.served(path, card)
    else:
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
    return steps.alpha == "drop" and (steps.exif == "ignore" or orientation(path) == 1)


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
