"""Network: a model whose preprocessing is not known, as a function, with the shape of its input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convert.conventions import Floats
from convert.errors import ConvertError


@dataclass(frozen=True)
class Network:
    """The model under investigation: a function, and the shape of its input.

    scores: float32 (batch, height, width, channels) -> float32 (batch, classes), whatever the model
        ends in: logits, probabilities, or one sigmoid.
    """

    scores: Callable[[Floats], Floats]
    height: int
    width: int
    channels: int
    classes: int


def load(path: Path, wanted: dict[str, Any] | None = None) -> Network:
    """Load a model of any kind that `python -m convert` reads, or a `.tflite`.

    Args:
        wanted: the fields of `keras_model.Wanted`.

    Raises:
        ConvertError: it cannot be loaded, or is not an image classifier of one input and output.
    """
    if not path.exists():
        raise ConvertError(f"there is no model at {path}")
    if path.suffix.lower() == ".tflite":
        size = (wanted or {}).get("size")
        return _tflite(path, (size[0], size[1]) if size else None)
    return _keras(path, wanted or {})


def _keras(path: Path, wanted: dict[str, Any]) -> Network:
    import tensorflow as tf

    from convert import keras_model

    model = keras_model.load(path, keras_model.Wanted.from_json(wanted))
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

    return Network(scores, *shape, model.classes)


def _tflite(path: Path, size: tuple[int, int] | None) -> Network:
    from classifier.model import Interpreter, _dequantize, _only, _quantize

    try:
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        source = _only(interpreter.get_input_details(), "input", path)
        signature = [int(n) for n in source.get("shape_signature", source["shape"])]
        if len(signature) == 4 and -1 in signature[1:3]:
            if size is None:
                raise ConvertError(f"{path} leaves its input size open: give --size HEIGHTxWIDTH")
            interpreter.resize_tensor_input(source["index"], (1, *size, signature[3]))
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ConvertError(f"the interpreter cannot load {path}: {error}") from error
    source = _only(interpreter.get_input_details(), "input", path)
    output = _only(interpreter.get_output_details(), "output", path)
    shape, outputs = ([int(n) for n in detail["shape"]] for detail in (source, output))
    if len(shape) != 4 or len(outputs) != 2 or shape[0] != 1 or shape[3] not in (1, 3, 4):
        raise ConvertError(
            f"{path} maps {tuple(shape)} to {tuple(outputs)}; an image classifier maps (1, height, "
            "width, 1, 3 or 4 channels) to (1, classes)"
        )
    if size and tuple(shape[1:3]) != size:
        raise ConvertError(
            f"{path} takes {shape[1]} x {shape[2]} pixels, not {size[0]} x {size[1]}"
        )

    def scores(batch: Floats) -> Floats:
        answers = []
        for tensor in batch:
            interpreter.set_tensor(source["index"], _quantize(tensor[np.newaxis], source))
            interpreter.invoke()
            answers.append(_dequantize(interpreter.get_tensor(output["index"])[0], output))
        return np.stack(answers).astype(np.float32)

    return Network(scores, *shape[1:], outputs[1])
