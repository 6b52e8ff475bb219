"""Inference: a loaded network in the form that answers one picture at a time."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_to_lambda.convert.errors import ConvertError, explained
from keras_to_lambda.convert.load import repairs
from keras_to_lambda.convert.load.loaded import Loaded, layers_of
from keras_to_lambda.convert.load.saved_file import SavedFile

# https://github.com/tensorflow/tensorflow/blob/master/tensorflow/python/framework/ops.py,
# _VALID_SCOPE_NAME_REGEX: TensorFlow names the operators of a layer after it.
_SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


def prepared(path: Path, saved: SavedFile, loaded: Loaded) -> tuple[Any, tuple[str, ...]]:
    """The same network with inputs and outputs, repaired; and notes on the repairs.

    Raises:
        ConvertError: the network was never built, or cannot be repaired.
    """
    built = replace(loaded, model=_built(path, saved, loaded))
    model, notes = repairs.network(path, saved, built)
    for number, layer in enumerate([model, *layers_of(model)]):
        if not _SCOPE.fullmatch(layer.name):
            layer.name = f"layer_{number}"
    return model, notes


def _built(path: Path, saved: SavedFile, loaded: Loaded) -> Any:
    """The model itself, or a subclassed one as a network with an input and an output."""
    model = loaded.model
    with contextlib.suppress(AttributeError, ValueError):
        if model.inputs:
            return model
    build = (saved.config or {}).get("build_config") or {}
    shape = build.get("input_shape") if isinstance(build, dict) else None
    remedy = (
        "Wrap it in a network that says its input, image = keras.Input((HEIGHT, WIDTH, 3)); "
        "keras.Model(image, model(image)), and save that"
    )
    if not isinstance(shape, list) or len(shape) < 2 or not model.built:
        raise ConvertError(
            f"{path} was saved before it was built: it does not say its input's shape, and may "
            f"have no weights. {remedy}"
        )
    with explained(f"{path} cannot be built for an input of {tuple(shape)}", remedy):
        image = loaded.library.Input(tuple(shape[1:]))
        return loaded.library.Model(image, model(image, training=False))
