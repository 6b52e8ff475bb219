"""The flatbuffer: a Keras network in TensorFlow Lite's form, in one of five quantizations."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from keras_to_lambda.convert.common.conversion_errors import ConvertError

_MISSING = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")


def build(
    graph: Any,
    quantization: str,
    calibration: Sequence[np.ndarray] | Iterable[np.ndarray],
    layers: Sequence[str] = (),
) -> bytes:
    """Convert a concrete function of one float32 image, see `KerasModel.concrete`.

    calibration: float32 tensors (height, width, channels), for int8 only. layers: the network's
    layer names, for messages.
    """
    # It advises a path on which calibration fails (READ_VARIABLE, TensorFlow 2.21).
    logging.set_verbosity(logging.ERROR)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph])
    if quantization not in ("none", "weights"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif quantization == "int8":
        converter.representative_dataset = lambda: ([image[np.newaxis]] for image in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    try:
        data = bytes(converter.convert())
    except Exception as error:
        raise ConvertError(_explained(str(error), graph, layers)) from error
    return _integer_weights(data) if quantization == "weights" else data


def _integer_weights(floats: bytes) -> bytes:
    """Round the weights of a float32 flatbuffer to int8, a scale for each channel.

    By ai-edge-quantizer: TensorFlow's converter computes in int8 wherever weights are (`dynamic`),
    which is slow for depthwise convolutions; here they are turned to float32 when the model loads.
    """
    from ai_edge_quantizer import quantizer, recipe

    with tempfile.TemporaryDirectory(prefix="convert-") as folder:
        path = Path(folder) / "floats.tflite"
        path.write_bytes(floats)
        result = quantizer.Quantizer(str(path), recipe.weight_only_wi8_afp32()).quantize()
    return bytes(result.quantized_model)


def _explained(message: str, graph: Any, layers: Sequence[str]) -> str:
    """The converter's error as a sentence: which operator, of which layer."""
    missing = sorted(set(_MISSING.findall(message)))
    if "AssignVariableOp" in message:
        return (
            "the network changes a variable while it answers, as layers do that draw random "
            "numbers. Take them out, build the same network without them, give it the weights, and "
            "convert that"
        )
    if not missing:
        # MLIR's messages begin with where in Keras's code the operator was made.
        errors = re.findall(r"error: (?!failed while converting)(.+)", message)
        return (
            f"TensorFlow Lite cannot express this network: {(errors or [message])[0][:300]}. Build "
            "that part of other layers, or export() the model and convert the folder"
        )
    found = [f"{kind} (layer {_layer(graph, kind, layers)})" for kind in missing]
    return (
        f"the interpreter lacks an operator that this network needs: {', '.join(found)}. Rebuild "
        "that layer with others (most of keras.layers are supported), give it the same weights, "
        "and convert again"
    )


def _layer(graph: Any, kind: str, layers: Sequence[str]) -> str:
    """The name of the layer that an operator of the graph came from."""
    names = [operation.name for operation in graph.graph.get_operations() if operation.type == kind]
    for function in graph.graph.as_graph_def().library.function:
        names += [node.name for node in function.node_def if node.op == kind]
    for name in names:
        # Keras numbers a repeated scope: "strange_1" is layer "strange".
        parts = [part for step in name.split("/") for part in (step, re.sub(r"_\d+$", "", step))]
        found = [layer for layer in layers if layer in parts]
        if found:
            return repr(max(found, key=len))
    return f"unknown, at {names[0]}" if names else "unknown"
