"""Custom code: the Python file of `--custom`, which defines what the model names."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_to_lambda.convert.common.conversion_errors import ConvertError, reason_of
from keras_to_lambda.convert.load.saved_file import SavedFile

# What the user's file is called as a module.
CUSTOM = "custom_objects"


def objects(path: Path, saved: SavedFile, custom: Path | None, *, trust: bool) -> dict[str, Any]:
    """The objects of the user's file that the model names.

    Both Keras import the module that a configuration names: here that is always the user's file.
    Of the file's own imports only layers and the like count: a model must not choose among its
    functions.
    """
    module = _module(custom)
    found = {}
    for name, thing in saved.own:
        bare = thing.rpartition(">")[2]
        if module is not None and _is_defined(value := getattr(module, bare, None)):
            found[bare] = found[thing] = value
            # Never in place of a module that Python has already.
            known = sys.modules.get(name, module)
            if name and known.__spec__ and known.__spec__.name == CUSTOM:
                sys.modules[name] = module
            elif getattr(known, bare, value) is not value and not trust:
                raise ConvertError(
                    f"{path} names {thing} of the module {name!r}, which is Python's own or an "
                    f"installed package's, not {custom}"
                )
        elif not trust:
            where = f" of the module {name!r}" if name else ""
            remedy = ": give the Python file that defines it with --custom"
            if custom:
                remedy = f", and {custom} does not define it"
            raise ConvertError(
                f"{path} has a layer or function that is not of Keras, {thing}{where}{remedy}"
            )
    return found


def _is_defined(value: Any) -> bool:
    """Whether a user's file defines a value, or imports a class of a layer or the like."""
    is_layer = isinstance(value, type) and hasattr(value, "from_config")
    return callable(value) and (is_layer or getattr(value, "__module__", None) == CUSTOM)


def _module(custom: Path | None) -> Any:
    """The user's file as a module; None: there is none."""
    if custom is None:
        return None
    spec = importlib.util.spec_from_file_location(CUSTOM, custom)
    if spec is None or spec.loader is None or not custom.exists():
        raise ConvertError(f"--custom {custom} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConvertError(f"--custom {custom} fails: {reason_of(error)}") from error
    return module


@contextlib.contextmanager
def keras_is_keras_2() -> Iterator[None]:
    """While a user's file is run for Keras 2: `keras` and `tf.keras` are tf_keras, as they were."""
    import tf_keras

    def of_keras() -> dict[str, Any]:
        return {
            name: module
            for name, module in sys.modules.items()
            if name.partition(".")[0] == "keras" or name.startswith("tensorflow.keras")
        }

    three, modules = tf.keras, of_keras()
    for name in modules:
        del sys.modules[name]
    sys.modules["keras"] = sys.modules["tensorflow.keras"] = tf.keras = tf_keras
    try:
        yield
    finally:
        for name in of_keras():
            del sys.modules[name]
        sys.modules.update(modules)
        tf.keras = three
