"""Channel order: networks that take their channels first, or whose kernels Theano turned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_to_lambda.convert.errors import ConvertError, explained
from keras_to_lambda.convert.network.inference import layers_of


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


def turn_kernels(path: Path, model: Any) -> str:
    """Turn the kernels of a network that Theano trained, as no later Keras does; the note.

    Theano's convolutions turn their kernels by 180 degrees, TensorFlow's do not: keras.utils'
    convert_all_kernels_in_model (https://keras.io/api/utils, until Keras 2.3).
    """
    for layer in layers_of(model):
        strides = getattr(layer, "strides", None) or (1,)
        if getattr(layer, "padding", None) == "same" and set(np.ravel(strides)) != {1}:
            # Theano puts half of the border on either side, TensorFlow the odd rest at the end.
            raise ConvertError(
                f"{path} was trained on Theano, which pads the strided layer {layer.name!r} in "
                "another way than TensorFlow: put a ZeroPadding2D in front of it, make it "
                "padding='valid', and save the model again"
            )
        if type(layer).__name__ in ("Conv1D", "Conv2D", "Conv2DTranspose"):
            kernel, *rest = layer.get_weights()
            layer.set_weights([np.flip(kernel, axis=tuple(range(kernel.ndim - 2))), *rest])
    return "trained on Theano: the kernels of its convolutions were turned by 180 degrees"
