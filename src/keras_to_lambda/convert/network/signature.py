"""Signature: a network as a function from pictures, channels last, to one vector of scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_to_lambda.convert.common.conversion_errors import ConvertError, explained
from keras_to_lambda.convert.network import input_shape


@dataclass(frozen=True)
class Signature:
    """A network's function and its sizes.

    call: float32 tensor (batch, height, width, channels) -> (batch, classes). notes: sentences on
    what was put in front of the network or behind it.
    """

    call: Callable[[Any], Any]
    height: int
    width: int
    channels: int
    classes: int
    notes: tuple[str, ...] = ()


def of(
    path: Path,
    call: Callable[[Any], Any],
    shape: tuple[Any, ...],
    outputs: tuple[Any, ...],
    size: Sequence[int] | None,
) -> Signature:
    """The signature of a network.

    shape, outputs: of its input and output; None where a size is open, () where nothing is known.
    size: (height, width), where the input leaves it open.
    """
    first, notes, inner = shape, [], call
    shape = input_shape.channels_last(first)
    if input_shape.lacks_channels(first):
        call = lambda image: inner(tf.squeeze(image, axis=-1))  # noqa: E731
        notes.append("the network has no channel axis: it gets grey pictures without it")
    elif input_shape.is_channels_first(first):
        # Keras 3 turns the tensors itself; in Keras 2 it depends on TensorFlow's build.
        with explained(
            f"{path} takes its channels first, {first}, and TensorFlow cannot compute that on a "
            "CPU",
            "Build the same network with data_format='channels_last', give it the weights with "
            "set_weights(old.get_weights()), and save that; the weights have the same shapes, but "
            "a Dense layer's behind a Flatten come in another order",
        ):
            inner(tf.zeros([1 if n is None else n for n in first]))
        call = lambda image: inner(tf.transpose(image, (0, 3, 1, 2)))  # noqa: E731
        notes.append("channels first in the network: the picture is turned in front of it")
    if len(shape) != 4:
        raise ConvertError(_stranger(path, first, outputs, "takes no picture", _FLAT))
    height, width, channels = shape[1:]
    if channels not in input_shape.CHANNELS:
        raise ConvertError(f"{path} takes {channels} channels (last axis); 1, 3 and 4 are served")
    if size and not (height in (None, size[0]) and width in (None, size[1])):
        raise ConvertError(f"{path} takes {height} x {width} pixels, not {size[0]} x {size[1]}")
    height, width = size or (height, width)
    if not height or not width:
        raise ConvertError(f"{path} leaves its input size open: give --size HEIGHTxWIDTH")
    if not outputs or None in outputs[1:]:
        picture = (1, height, width, channels)
        with explained(f"{path} cannot be computed for {picture}", "Give another --size"):
            traced = tf.function(call, autograph=False).get_concrete_function(
                tf.TensorSpec(picture)
            )
            outputs = tuple(traced.output_shapes)
    long = [n for n in outputs[1:] if n != 1]
    if len(outputs) < 2 or len(long) > 1 or None in long:
        raise ConvertError(_stranger(path, first, outputs, "gives no single vector", _PLACES))
    classes, flat = int(long[0]) if long else 1, call
    if len(outputs) > 2:
        call = lambda image: tf.reshape(flat(image), (-1, classes))  # noqa: E731
    return Signature(call, int(height), int(width), int(channels), classes, tuple(notes))


_FLAT = "If it takes a flattened picture, put a Flatten or Reshape layer in front and save that"
_PLACES = (
    "Segmentation, detection, captions and embeddings of places are not served; if it is a "
    "classifier's body, train a head on top (GlobalAveragePooling2D, Dense) and save that"
)


def _stranger(path: Path, shape: Any, outputs: Any, fault: str, remedy: str) -> str:
    return (
        f"{path} maps {shape} to {outputs} and {fault}; an image classifier maps (batch, height, "
        f"width, channels) to (batch, classes). {remedy}"
    )
