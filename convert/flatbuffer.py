"""The flatbuffer: a Keras network in TensorFlow Lite's form, in one of four quantizations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from convert.errors import ConvertError
from convert.terminal import quiet

# https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/post_training_quantization
QUANTIZATIONS = {
    "none": "float32, as trained",
    "float16": "weights in float16, half the size",
    "dynamic": "weights in int8, computed in float where needed; a quarter of the size",
    "int8": "weights and activations in int8, calibrated on the samples; float in and out",
}


def build(graph: Any, quantization: str, calibration: Callable[[], Iterable[np.ndarray]]) -> bytes:
    """Convert a concrete function of one float32 image.

    Args:
        graph: as `KerasModel.concrete` gives it.
        quantization: a name of QUANTIZATIONS.
        calibration: gives float32 tensors (height, width, channels); asked for int8 alone.

    Raises:
        ConvertError: TensorFlow Lite has no form for the network.
    """
    # It advises a path on which calibration fails (READ_VARIABLE, TensorFlow 2.21).
    logging.set_verbosity(logging.ERROR)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph])
    if quantization != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif quantization == "int8":
        converter.representative_dataset = lambda: ([image[np.newaxis]] for image in calibration())
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    try:
        with quiet():
            return bytes(converter.convert())
    except Exception as error:
        reason = "; ".join(line for line in str(error).splitlines() if line.strip())[:500]
        raise ConvertError(f"TensorFlow Lite cannot express this network: {reason}") from error
