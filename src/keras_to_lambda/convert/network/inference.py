"""Inference: a loaded network in the form that answers one picture at a time."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_to_lambda.convert.errors import ConvertError, explained
from keras_to_lambda.convert.load import repairs
from keras_to_lambda.convert.load.loaded import Loaded
from keras_to_lambda.convert.load.saved_file import SavedFile


def prepared(path: Path, saved: SavedFile, loaded: Loaded) -> tuple[Any, tuple[str, ...]]:
    """The same network with inputs and outputs, repaired; and notes on the repairs.

    Raises:
        ConvertError: the network was never built, or cannot be repaired.
    """
    built = replace(loaded, model=_built(path, saved, loaded))
    return repairs.network(path, saved, built)


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
