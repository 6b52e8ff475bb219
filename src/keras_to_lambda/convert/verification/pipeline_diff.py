"""Stages: where the ways to the model part, between Keras and the serving path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.image import preprocess
from keras_to_lambda.runtime.image.decode import decode
from keras_to_lambda.runtime.model_file.card import ModelCard

if TYPE_CHECKING:
    from keras_to_lambda.convert.verification.keras_preprocessing import Seen

# Each with what is still the same: every decoded byte; a resized pixel to a thousandth of white.
STAGES = {"decode": 0.0, "resize": 0.255}
# The network, and the scaling in front of it.
INFERENCE = "inference"
# As large as any setting of the function admits.
MAX_PIXELS = 1 << 28


def served(photo: Path, card: ModelCard) -> tuple[np.ndarray, np.ndarray]:
    """A photo at the stages of the serving path, shaped as in `keras_preprocessing.Seen`.

    Raises:
        ClassifierError: the serving path refuses it.
    """
    size = (card.width, card.height)
    image = decode(photo.read_bytes(), card.preprocessing, card.channels, MAX_PIXELS, size)
    decoded = np.asarray(image).reshape(image.height, image.width, card.channels)
    return decoded, preprocess.resize(image, card)


def differences(photo: Path, seen: Seen, card: ModelCard) -> list[float]:
    """The difference at each of STAGES in gray levels; inf: other shapes; NaN: a refused photo."""
    try:
        both = zip((seen.decoded, seen.resized), served(photo, card), strict=True)
    except ClassifierError:
        return [float("nan")] * len(STAGES)
    return [
        float(np.abs(a.astype(np.float64) - b).max()) if a.shape == b.shape else float("inf")
        for a, b in both
    ]


def first(parts: np.ndarray, *, same_answer: bool) -> str | None:
    """The first stage at which a photo's two ways part; None: they do not.

    parts: what `differences` gave. same_answer: whether the logits agree.
    """
    if same_answer:  # later stages removed the difference
        return None
    apart = zip(STAGES.items(), parts, strict=True)
    return next((stage for (stage, same), found in apart if not found <= same), INFERENCE)
