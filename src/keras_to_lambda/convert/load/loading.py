"""Loading: a `.keras` or `.h5` file as a network of the library that answers as its writer did."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_to_lambda.convert.common.conversion_errors import (
    ConvertError,
    explained,
    raise_if_memory,
    reason_of,
)
from keras_to_lambda.convert.load import custom_code, obstacles, repairs
from keras_to_lambda.convert.load.generations import KERAS_2, library_of
from keras_to_lambda.convert.load.repairs import Loaded, layers_of
from keras_to_lambda.convert.load.saved_file import SavedFile

# Layers that keras.applications define for themselves: their module there. An `.h5` file names
# them without it.
APPLICATION_LAYERS = {
    "LayerScale": "convnext",
    "StochasticDepth": "convnext",
    "CustomScaleLayer": "inception_resnet_v2",
}
# The error messages of Keras 2 and 3 for an unknown class or function.
_UNKNOWN = re.compile(r"(?:Unknown|Could not locate|Could not find)[\w ]*:? '([^']{1,100})'")
# Words of the safety refusals of both.
_REFUSALS = ("safe_mode", "unsafe", "disallowed", "arbitrary code", "registered_name=", "zip bomb")


@dataclass(frozen=True)
class LoadedNetwork:
    """A network of one input and one chosen output.

    call: a float32 tensor of the shape `taken` -> one of the shape `given`, in inference mode. Of
    the shapes, None is an open size, and () is unknown. anchor: keeps the variables alive that
    `call` reads. loaded_by: library and version. notes: sentences on repairs. parameters: trained
    numbers. layers: their names. gives_a_number: whether it was trained to predict one.
    """

    call: Callable[[Any], Any]
    taken: tuple[int | None, ...]
    given: tuple[int | None, ...]
    anchor: Any
    loaded_by: str
    notes: tuple[str, ...] = ()
    parameters: int | None = None
    layers: tuple[str, ...] = ()
    gives_a_number: bool = False


def load(
    path: Path, saved: SavedFile, custom: Path | None, head: str | None, *, trust: bool
) -> LoadedNetwork:
    """Load a file as a network, repaired."""
    loaded = model_of(path, saved, custom, trust=trust)
    built = replace(loaded, model=_built(path, saved, loaded))
    model, notes = repairs.network(path, saved, built)
    if saved.kind == "h5" and not saved.backend:
        notes += (
            "the file does not name the backend of its training; TensorFlow is assumed. If it was "
            "Theano, its answers are wrong without --backend theano",
        )
    shapes = [tuple(output.shape) for output in model.outputs]
    # A Sequential has one output without a name.
    names = getattr(model, "output_names", None) or ["output"]
    output = chosen(path, len(model.inputs), names, shapes, head)

    def call(image: Any) -> Any:
        # Lists and dicts in the order of `outputs`: a dict's by its sorted keys.
        return tf.nest.flatten(model(image, training=False))[output]

    layers = layers_of(model)
    return LoadedNetwork(
        call,
        tuple(model.inputs[0].shape),
        shapes[output],
        anchor=model,
        loaded_by=f"{loaded.library.__name__} {loaded.library.__version__}",
        notes=notes,
        parameters=int(model.count_params()),
        layers=tuple(layer.name for layer in layers),
        gives_a_number=obstacles.is_regression(saved.loss, layers[-2:]),
    )


def chosen(
    path: Path, inputs: int, names: Sequence[str], shapes: Sequence[Any], head: str | None
) -> int:
    """The place of the classifier's output, by its name or place; `inputs`: how many there are."""
    if inputs != 1:
        raise ConvertError(
            f"{path} has {inputs} inputs; an image classifier has one. Wrap it in a model that "
            "takes only the image"
        )
    if head is None and len(names) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in zip(names, shapes, strict=True))
        raise ConvertError(
            f"{path} has {len(names)} outputs ({listed}): choose one with --head NAME"
        )
    choices = [*names, *map(str, range(len(names)))]
    if head is not None and head not in choices:
        listed = f"{', '.join(names)}, or 0 to {len(names) - 1}"
        raise ConvertError(f"{path} has no output {head!r}; it has {listed}")
    return 0 if head is None else choices.index(head) % len(names)


def objects_of(library: Any) -> dict[str, Any]:
    """Functions of TensorFlow and layers that a library, keras or tf_keras, does not find."""
    found = {"log_softmax": tf.nn.log_softmax, "log_sigmoid": tf.math.log_sigmoid}
    for name, module in APPLICATION_LAYERS.items():
        home = importlib.import_module(f"{library.__name__}.src.applications.{module}")
        found[name] = getattr(home, name)
    return found


def model_of(path: Path, saved: SavedFile, custom: Path | None, *, trust: bool) -> Loaded:
    """Load a file as it is, once: what one library refuses is not offered to another."""
    name = library_of(saved)
    library = importlib.import_module(name)
    if name == KERAS_2:
        with custom_code.keras_is_keras_2():
            own = custom_code.objects(path, saved, custom, trust=trust)
    else:
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
        if config != saved.config:
            _rewrite(saved, config)
        return library.models.load_model(saved.copy, compile=False, **options)
    # What load_model does, with the judged weights.
    serialization = importlib.import_module(f"{library.__name__}.src.saving.serialization_lib")
    with serialization.ObjectSharingScope():
        model = library.saving.deserialize_keras_object(config, **options)
    if model.built:  # else there are no variables for them, which is explained later
        model.load_weights(repairs.weights(saved, library.__name__))
    return model


def _rewrite(saved: SavedFile, config: Any) -> None:
    """Put a configuration in place of the one in the judged copy."""
    import h5py

    with h5py.File(saved.copy, "r+") as file:
        file.attrs["model_config"] = json.dumps(config).encode()
        # The training configuration still has the old names.
        for name in ("training_config", "optimizer_config"):
            file.attrs.pop(name, None)


def _built(path: Path, saved: SavedFile, loaded: Loaded) -> Any:
    """The model itself, or a subclassed one as a network with an input and an output."""
    model, library = loaded.model, loaded.library
    with contextlib.suppress(AttributeError, ValueError):
        if model.inputs:
            return model
    build = (saved.config or {}).get("build_config") or {}
    shape = build.get("input_shape") if isinstance(build, dict) else None
    remedy = (
        "Wrap it in a network with a stated input, image = keras.Input((HEIGHT, WIDTH, 3)); "
        "keras.Model(image, model(image)), and save that"
    )
    if not isinstance(shape, list) or len(shape) < 2 or not model.built:
        raise ConvertError(
            f"{path} was saved before it was built: it does not state its input's shape, and may "
            f"have no weights. {remedy}"
        )
    with explained(f"{path} cannot be built for an input of {tuple(shape)}", remedy):
        image = library.Input(tuple(shape[1:]))
        return library.Model(image, model(image, training=False))


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
