"""Inference: a loaded network in the form that answers one picture at a time."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

from keras_to_lambda.convert.errors import ConvertError, explained
from keras_to_lambda.convert.load import loading
from keras_to_lambda.convert.load.loading import Loaded
from keras_to_lambda.convert.load.saved_file import SavedFile

# https://github.com/tensorflow/tensorflow/blob/master/tensorflow/python/framework/ops.py,
# _VALID_SCOPE_NAME_REGEX: TensorFlow names the operators of a layer after it.
_SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


def prepared(path: Path, saved: SavedFile, loaded: Loaded) -> tuple[Any, tuple[str, ...]]:
    """The same network with inputs and outputs, in float32, for any number of pictures; notes.

    Raises:
        ConvertError: the network was never built.
    """
    model = _built(path, saved, loaded)
    with explained(f"{path} cannot be rebuilt in float32", "Save it without mixed precision"):
        model, notes = _plain(model, loaded)
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


def layers_of(model: Any) -> list[Any]:
    """Every layer once, those of nested models too: one that is used twice is one layer."""
    found: dict[int, Any] = {}
    waiting = list(model.layers)
    while waiting:
        layer = waiting.pop(0)
        if id(layer) not in found:
            found[id(layer)] = layer
            waiting += getattr(layer, "layers", None) or []
    return list(found.values())


def _plain(model: Any, loaded: Loaded) -> tuple[Any, tuple[str, ...]]:
    """The same network in float32 and for any number of images at a time."""
    notes = []
    config = model.get_config()
    text = json.dumps(config, default=str)
    if "mixed_float16" in text or "mixed_bfloat16" in text:
        notes.append("mixed precision: computed in float32, the type that its weights have")
    fixed = model.inputs[0].shape[0]
    if fixed not in (None, 1):
        notes.append(f"a batch of {fixed} was fixed in the model: one image at a time is served")
    if not notes:
        return model, ()
    with loading.scope(loaded):
        twin = type(model).from_config(_float32_of_one(config))
    twin.set_weights(model.get_weights())
    return twin, tuple(notes)


def _float32_of_one(config: Any) -> Any:
    """A copy of a configuration: float32 in place of mixed precision, and the batch left open."""
    if isinstance(config, dict):
        if config.get("class_name") in ("Policy", "DTypePolicy") and str(
            config.get("config", {}).get("name")
        ).startswith("mixed_"):
            return "float32"
        changed = {key: _float32_of_one(value) for key, value in config.items()}
        for key in ("batch_input_shape", "batch_shape", "build_input_shape"):
            shape = changed.get(key)
            if isinstance(shape, list | tuple) and len(shape) > 1:
                changed[key] = type(shape)((None, *shape[1:]))
        return changed
    if isinstance(config, list | tuple):
        return type(config)(_float32_of_one(value) for value in config)
    return "float32" if config in ("mixed_float16", "mixed_bfloat16") else config
