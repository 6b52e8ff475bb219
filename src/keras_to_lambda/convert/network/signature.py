"""Signature: a network as a function from pictures, channels last, to one vector of scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_to_lambda.convert.common.conversion_errors import ConvertError, explained
from keras_to_lambda.convert.load.loading import LoadedNetwork
from keras_to_lambda.convert.network import input_shape

_FLAT = "If it takes a flattened picture, put a Flatten or Reshape layer in front and save that"
_PLACES = (
    "Segmentation, detection, captions and embeddings of places are not served; if it is a "
    "classifier's body, train a head on top (GlobalAveragePooling2D, Dense) and save that"
)
Call = Callable[[Any], Any]


def of(
    path: Path, network: LoadedNetwork, size: Sequence[int] | None
) -> tuple[Call, tuple[int, int, int, int], tuple[str, ...]]:
    """A network as a function: (batch, height, width, channels) -> (batch, classes), float32.

    size: (height, width), where the input leaves it open. Returns the function, height, width,
    channels and classes, and sentences on what was put in front of the network.
    """
    call, shape, notes = _channels_last(path, network)
    if len(shape) != 4:
        raise ConvertError(_stranger(path, network, network.given, "takes no picture", _FLAT))
    height, width, channels = shape[1:]
    if channels not in input_shape.CHANNELS:
        raise ConvertError(f"{path} takes {channels} channels (last axis); 1, 3 and 4 are served")
    if size and not (height in (None, size[0]) and width in (None, size[1])):
        raise ConvertError(f"{path} takes {height} x {width} pixels, not {size[0]} x {size[1]}")
    height, width = size or (height, width)
    if not height or not width:
        raise ConvertError(f"{path} leaves its input size open: give --size HEIGHTxWIDTH")
    given = network.given
    if not given or None in given[1:]:
        picture = (1, height, width, channels)
        with explained(f"{path} cannot be computed for {picture}", "Give another --size"):
            function = tf.function(call, autograph=False)
            given = tuple(function.get_concrete_function(tf.TensorSpec(picture)).output_shapes)
    long = [n for n in given[1:] if n != 1]
    if len(given) < 2 or len(long) > 1 or None in long:
        raise ConvertError(_stranger(path, network, given, "gives no single vector", _PLACES))
    classes = int(long[0] or 1) if long else 1
    vector = call if len(given) == 2 else lambda image: tf.reshape(call(image), (-1, classes))
    return vector, (int(height), int(width), int(channels), classes), notes


def _channels_last(
    path: Path, network: LoadedNetwork
) -> tuple[Call, tuple[Any, ...], tuple[str, ...]]:
    inner, taken = network.call, network.taken
    shape = input_shape.channels_last(taken)
    if input_shape.lacks_channels(taken):
        note = "the network has no channel axis: it gets grey pictures without it"
        return lambda image: inner(tf.squeeze(image, axis=-1)), shape, (note,)
    if not input_shape.is_channels_first(taken):
        return inner, shape, ()
    # Keras 3 turns the tensors itself; in Keras 2 it depends on TensorFlow's build.
    with explained(
        f"{path} takes its channels first, {taken}, and TensorFlow cannot compute that on a CPU",
        "Build the same network with data_format='channels_last', give it the weights with "
        "set_weights(old.get_weights()), and save that; the weights have the same shapes, but "
        "a Dense layer's behind a Flatten come in another order",
    ):
        inner(tf.zeros([n or 1 for n in taken]))
    note = "channels first in the network: the picture is turned in front of it"
    return lambda image: inner(tf.transpose(image, (0, 3, 1, 2))), shape, (note,)


def _stranger(path: Path, network: LoadedNetwork, given: Any, fault: str, remedy: str) -> str:
    return (
        f"{path} maps {network.taken} to {given} and {fault}; an image classifier maps (batch, "
        f"height, width, channels) to (batch, classes). {remedy}"
    )
