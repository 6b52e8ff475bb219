"""The tensor as Keras makes it: the other side of the comparison, by other code than `classifier`.

keras.utils.load_img and keras.applications' own preprocess_input, or tf.image.resize, as the card's
interpolation says. Nothing here is shared with the serving path, or the proof would be a circle.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from classifier.card import Affine, ModelCard

# Where keras.applications keeps the preprocess_input of each preset.
MODULES = {
    "resnet50": "resnet",
    "densenet121": "densenet",
    "resnet50_v2": "resnet_v2",
}
COLOR_MODES = {1: "grayscale", 3: "rgb", 4: "rgba"}
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Seen:
    """A photo at the stages of its way to the model.

    decoded: uint8, (rows, columns, channels). resized: float32, (height, width, channels), 0..255.
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
    """At its own size: by load_img, or by Pillow for what that does not do."""
    if card.preprocessing.exif == "ignore" and card.preprocessing.alpha == "drop":
        return keras.utils.load_img(path, color_mode=COLOR_MODES[card.channels])
    with Image.open(path) as image:
        image.load()
        if card.preprocessing.exif == "apply":
            image = ImageOps.exif_transpose(image)
        if card.preprocessing.alpha != "drop" and image.has_transparency_data:
            ground = Image.new("RGBA", image.size, card.preprocessing.alpha)
            image = Image.alpha_composite(ground, image.convert("RGBA"))
        return image.convert(MODES[card.channels])


def _resized(path: Path, image: Image.Image, card: ModelCard) -> np.ndarray:
    steps, size = card.preprocessing, (card.height, card.width)
    library, name = steps.interpolation.split(":")
    plain = steps.exif == "ignore" and steps.alpha == "drop"
    if library == "pillow" and steps.resize == "stretch" and plain:
        image = keras.utils.load_img(
            path,
            color_mode=COLOR_MODES[card.channels],
            target_size=size,
            interpolation=name,
        )
        return keras.utils.img_to_array(image)
    if library == "tf":
        pixels = keras.utils.img_to_array(image)
        if steps.resize == "crop":
            return np.asarray(keras.preprocessing.image.smart_resize(pixels, size, name))
        if steps.resize == "pad":
            return np.asarray(keras.ops.image.resize(pixels, size, name, pad_to_aspect_ratio=True))
        return np.asarray(tf.image.resize(pixels, size, method=name))
    resample = Image.Resampling[name.upper()]
    fit = {"crop": ImageOps.fit, "pad": ImageOps.pad}.get(steps.resize)
    wide = (card.width, card.height)
    resized = fit(image, wide, method=resample) if fit else image.resize(wide, resample)
    return keras.utils.img_to_array(resized)


def _scaled(pixels: np.ndarray, card: ModelCard) -> np.ndarray:
    if card.preprocessing.color_order == "bgr":
        pixels = pixels[..., ::-1]
    scaling = card.preprocessing.scaling
    if isinstance(scaling, Affine):
        return pixels * np.float32(scaling.scale) + np.float32(scaling.offset)
    if scaling == "raw":
        return pixels
    if scaling == "rescale":
        return pixels / np.float32(255)
    module = importlib.import_module(f"keras.applications.{MODULES.get(scaling, scaling)}")
    return np.asarray(module.preprocess_input(np.array(pixels[np.newaxis])))[0]
