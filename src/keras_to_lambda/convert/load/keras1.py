"""Keras 1: a network's configuration in the words of Keras 2.

Keras 2 renamed nearly every argument and read the old names only in its first releases
(https://github.com/keras-team/keras/wiki/Keras-2.0-release-notes). The weights it still reads.
"""

from __future__ import annotations

import json
from typing import Any

from keras_to_lambda.convert.common.conversion_errors import ConvertError

CLASSES = {
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "AtrousConvolution2D": "Conv2D",
    "SeparableConvolution2D": "SeparableConv2D",
    "Deconvolution2D": "Conv2DTranspose",
}
MERGES = {"concat": "Concatenate", "sum": "Add", "mul": "Multiply", "ave": "Average"}
MERGES |= {"max": "Maximum"}
ARGUMENTS = {
    "nb_filter": "filters",
    "output_dim": "units",
    "border_mode": "padding",
    "subsample": "strides",
    "atrous_rate": "dilation_rate",
    "bias": "use_bias",
    "init": "kernel_initializer",
    "input_dtype": "dtype",
    "p": "rate",
    "sigma": "stddev",
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
}
# Used in training only, or implied by the layers before.
DROPPED = (
    *("mode", "input_dim", "input_length", "W_learning_rate_multiplier", "nb_row", "nb_col"),
    *("activity_regularizer", "gamma_regularizer", "beta_regularizer"),
)
REGULARIZERS = ("kernel_regularizer", "bias_regularizer", "kernel_constraint", "bias_constraint")
ORDERINGS = {"tf": "channels_last", "th": "channels_first"}


def is_one(written_by: str | None, config: Any) -> bool:
    """Whether a configuration is Keras 1's: the earliest files do not state their version."""
    if written_by is not None:
        return written_by.startswith(("0.", "1."))
    return any(f'"{name}"' in json.dumps(config) for name in ("nb_filter", "output_dim"))


def translated(node: dict[str, Any]) -> dict[str, Any]:
    """A layer's or a whole network's configuration in Keras 2's words."""
    kind, config = node["class_name"], node["config"]
    node = {**node, "class_name": CLASSES.get(kind, kind)}
    if kind == "Sequential":
        layers = config if isinstance(config, list) else config["layers"]
        return {**node, "config": [translated(layer) for layer in layers]}
    if kind in ("Model", "Container"):
        layers = [translated(layer) for layer in config["layers"]]
        return {**node, "class_name": "Functional", "config": {**config, "layers": layers}}
    if kind == "Merge":
        return {**node, **_merge(config)}
    if config.get("mode") not in (None, 0):
        raise ConvertError(
            f"layer {config.get('name')!r} is a {kind} of Keras 1 in mode {config['mode']}, which "
            "no later Keras has"
        )
    return {**node, "config": _arguments(config)}


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    changed = {ARGUMENTS.get(key, key): v for key, v in config.items() if key not in DROPPED}
    changed |= {key: None for key in REGULARIZERS if key in changed}
    if "nb_row" in config:
        changed["kernel_size"] = [config["nb_row"], config["nb_col"]]
    if "dim_ordering" in changed:
        changed["data_format"] = ORDERINGS.get(changed.pop("dim_ordering"), "channels_last")
    if changed.get("strides") is None and "pool_size" in changed:
        changed["strides"] = changed["pool_size"]
    return changed


def _merge(config: dict[str, Any]) -> dict[str, Any]:
    kind = MERGES.get(str(config["mode"]))
    if kind is None:
        raise ConvertError(
            f"layer {config.get('name')!r} merges by {config['mode']!r}, which no later Keras has"
        )
    axis = {"axis": config["concat_axis"]} if kind == "Concatenate" else {}
    return {"class_name": kind, "config": {"name": config["name"], **axis}}
