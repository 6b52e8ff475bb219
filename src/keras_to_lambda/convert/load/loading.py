"""Loading: a `.keras` or `.h5` file as a model of the library that answers as its writer did."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import keras

from keras_to_lambda.convert.common.conversion_errors import (
    ConvertError,
    raise_if_memory,
    reason_of,
)
from keras_to_lambda.convert.load import custom_code, repairs
from keras_to_lambda.convert.load.generations import KERAS_2, library_of
from keras_to_lambda.convert.load.known_objects import objects_of
from keras_to_lambda.convert.load.repairs import Loaded
from keras_to_lambda.convert.load.saved_file import SavedFile

# The error messages of Keras 2 and 3 for an unknown class or function.
_UNKNOWN = re.compile(r"(?:Unknown|Could not locate|Could not find)[\w ]*:? '([^']{1,100})'")
# Words of the safety refusals of both.
_REFUSALS = ("safe_mode", "unsafe", "disallowed", "arbitrary code", "registered_name=", "zip bomb")


def load(path: Path, saved: SavedFile, custom: Path | None, *, trust: bool) -> Loaded:
    """Load a file, once: what one library refuses is not offered to another."""
    name = library_of(saved)
    if name == KERAS_2:
        import tf_keras as library

        with custom_code.keras_is_keras_2():
            own = custom_code.objects(path, saved, custom, trust=trust)
    else:
        library = keras
        own = custom_code.objects(path, saved, custom, trust=trust)
        if trust:
            keras.config.enable_unsafe_deserialization()
    objects = {**objects_of(library), **own}
    try:
        model = _model(saved, library, objects, trust=trust)
    except (ConvertError, ImportError, MemoryError):
        raise
    except Exception as error:
        raise_if_memory(error)
        raise ConvertError(_explained(path, saved, library, error)) from error
    return Loaded(model, library, objects)


def _model(saved: SavedFile, library: Any, objects: dict[str, Any], *, trust: bool) -> Any:
    config = repairs.configuration(saved, library.__name__)
    options = {"custom_objects": objects, "safe_mode": not trust}
    if saved.kind == "h5":
        return library.models.load_model(repairs.write(saved, config), compile=False, **options)
    # What load_model does, with the judged weights.
    serialization = importlib.import_module(f"{library.__name__}.src.saving.serialization_lib")
    with serialization.ObjectSharingScope():
        model = library.saving.deserialize_keras_object(config, **options)
    if model.built:  # else there are no variables for them, which is explained later
        model.load_weights(repairs.weights(saved, library.__name__))
    return model


def _explained(path: Path, saved: SavedFile, library: Any, error: Exception) -> str:
    writer = f"written by Keras {saved.written_by}" if saved.written_by else "of an unknown Keras"
    begin = f"cannot load {path}, {writer}: {library.__name__} {library.__version__}"
    if any(sign in str(error) for sign in _REFUSALS):
        return f"{path} is refused by Keras: {reason_of(error)}"
    unknown = _UNKNOWN.search(str(error))
    if unknown:
        return (
            f"{begin} does not know {unknown[1]!r}. If it is a layer or function of the author's "
            "own, give the Python file that defines it with --custom"
        )
    return (
        f"{begin}: {reason_of(error)}. Load it where it was trained and save it again as .keras, "
        "or export() it as a SavedModel"
    )
