"""Network: a model of unknown preprocessing as a function, with the shape of its input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.detection.evidence import Floats
from keras_to_lambda.convert.inspection import foreign
from keras_to_lambda.convert.load.saved_file import existing
from keras_to_lambda.runtime.model_file.card import ModelCard


@dataclass(frozen=True)
class UnscaledNetwork:
    """The model under investigation.

    scores: float32 (batch, height, width, channels) -> float32 (batch, classes), whatever the model
    ends in. fits: whether its input can take a card's scaling, as far as the file states it.
    """

    scores: Callable[[Floats], Floats]
    height: int
    width: int
    channels: int
    classes: int
    fits: Callable[[ModelCard], bool] = lambda _: True


def load(path: Path, wanted: dict[str, Any] | None = None) -> UnscaledNetwork:
    """Load a model of any kind that `k2l convert` reads; wanted: of `keras_model.Wanted`."""
    kind = _tflite if existing(path).suffix.lower() == ".tflite" else _keras
    return kind(path, wanted or {})


def _keras(path: Path, wanted: dict[str, Any]) -> UnscaledNetwork:
    import tensorflow as tf

    from keras_to_lambda.convert.network import keras_model

    model = keras_model.load(path, keras_model.Wanted(**wanted))
    shape = (model.height, model.width, model.channels)
    spec = tf.TensorSpec((None, *shape), tf.float32)
    try:
        graph = tf.function(lambda images: tf.cast(model.call(images), tf.float32))
        function = graph.get_concrete_function(spec)
        function(tf.zeros((2, *shape)))
    except (TypeError, ValueError, tf.errors.OpError):  # a SavedModel of a fixed batch
        single = model.concrete()

        def scores(batch: Floats) -> Floats:
            return np.stack([keras_model.predict(single, tensor) for tensor in batch])
    else:

        def scores(batch: Floats) -> Floats:
            return np.asarray(function(tf.constant(batch)))

    return UnscaledNetwork(scores, *shape, model.classes)


def _tflite(path: Path, wanted: dict[str, Any]) -> UnscaledNetwork:
    from keras_to_lambda.runtime.model.engine import Tensor
    from keras_to_lambda.runtime.model.interpreter import contradiction

    network, size = foreign.TfliteNetwork(path), wanted.get("size")
    if size and tuple(size) != (network.height, network.width):
        raise ConvertError(
            f"{path} takes {network.height} x {network.width} pixels, not {size[0]} x {size[1]}"
        )

    def scores(batch: Floats) -> Floats:
        return np.concatenate([network.answer(tensor[np.newaxis]) for tensor in batch])

    def fits(card: ModelCard) -> bool:
        return network.dtype == "float32" or not contradiction(card, Tensor.of(network.taken))

    return UnscaledNetwork(
        scores, network.height, network.width, network.channels, network.classes, fits
    )
