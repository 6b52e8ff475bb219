"""Obstacles: what a Keras configuration names that no library loads into a float32 classifier."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

# Types that are not computed here; mixed precision keeps its weights in float32.
_OTHER_FLOATS = ("float16", "bfloat16", "float64")
# What a network that predicts a number is trained with, without spaces, underscores and case.
_REGRESSION = re.compile(
    r"mse|mae|mape|msle|huber|huberloss|logcosh|mean(squared|absolute)(percentage|logarithmic)?error"
)


def found(config: Any) -> Iterator[str]:
    """Yield each obstacle once, with what to do."""
    yield from dict.fromkeys(line for value in objects(config) for line in _found(value))


def objects(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object in a configuration, however deep, in the order of the text."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
        if isinstance(value, dict | list):
            waiting += reversed(value if isinstance(value, list) else [*value.values()])


def _found(value: dict[str, Any]) -> Iterator[str]:
    kind, inside = value.get("class_name"), value.get("config")
    if kind == "KerasLayer":
        yield (
            "it has a KerasLayer of TensorFlow Hub, whose network is not in the file: load it "
            "where it was trained, with tensorflow_hub, save it as a folder with "
            "model.export('FOLDER') (Keras 2: tf.saved_model.save(model, 'FOLDER')), and convert "
            "that folder"
        )
    if isinstance(inside, dict):
        # Tensors and inputs have a type as well; only layers have `trainable`.
        policy = inside.get("dtype") if "trainable" in inside else None
        policy = inside.get("name") if str(kind).endswith("Policy") else policy
        # Keras 3 writes {"mode": "int8", ...}, and wrote the string int8_from_float32.
        quantized = inside.get("mode") if str(kind).endswith("Policy") else None
        if quantized or (isinstance(policy, str) and "_from_" in policy):
            yield (
                f"Keras has quantized it ({quantized or policy}): convert the model that it was "
                "before quantize(); --quantize makes it small"
            )
        if policy in _OTHER_FLOATS:
            yield (
                f"it computes in {policy}: build the same network with dtype float32, give it the "
                "weights with new.set_weights([w.astype('float32') for w in old.get_weights()]), "
                "and save that"
            )


def is_regression(loss: str | None, last: list[Any]) -> bool:
    """Whether a network of one output was trained to predict a number.

    loss: the file's. last: the last layers; a sigmoid there means two classes, whatever the loss.
    """
    named = [f"{type(x).__name__} {getattr(x, 'activation', None)}" for x in last]
    if loss is None or any("sigmoid" in name.lower() for name in named):
        return False
    return bool(_REGRESSION.fullmatch(loss.replace("_", "").lower()))
