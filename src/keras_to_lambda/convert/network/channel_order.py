"""Channel order: networks that take their channels first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_to_lambda.convert.errors import explained


def last(path: Path, call: Callable[[Any], Any], shape: tuple[Any, ...]) -> Callable[[Any], Any]:
    """A network of (batch, channels, height, width) for pictures with their channels last."""
    # Keras 3 turns the tensors itself; in Keras 2 it depends on TensorFlow's build.
    with explained(
        f"{path} takes its channels first, {shape}, and TensorFlow cannot compute that on a CPU",
        "Build the same network with data_format='channels_last', give it the weights with "
        "set_weights(old.get_weights()), and save that; the weights have the same shapes, but a "
        "Dense layer's behind a Flatten come in another order",
    ):
        call(tf.zeros([1 if n is None else n for n in shape]))
    return lambda image: call(tf.transpose(image, (0, 3, 1, 2)))
