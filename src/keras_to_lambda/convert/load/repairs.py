"""Repairs: a Keras file in the form that today's library of its generation reads and computes.

REPAIRS is the list of them all.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_to_lambda.convert.common.conversion_errors import ConvertError, explained
from keras_to_lambda.convert.load import keras1
from keras_to_lambda.convert.load.generations import KERAS_2, KERAS_3
from keras_to_lambda.convert.load.known_objects import FUNCTIONS, INITIALIZER_MODULES
from keras_to_lambda.convert.load.saved_file import SavedFile

# Where weights are in files of Keras 2.12 to 2.14 (conv2d, conv2d_2, conv2d_4), and where later
# releases look (conv2d, conv2d_1, conv2d_2): `_save_container_state` in saving/saving_lib.py.
OLD, NEW = "_layer_checkpoint_dependencies", "layers"
# Where Keras 3 keeps its operations, which an `.h5` file names without their module.
OPERATIONS = ("numpy", "nn", "math", "core", "image", "linalg")
# Layers of Keras 3 that change pictures in training only. Several draw random numbers in inference
# too, which a flatbuffer cannot, and RandomShear does not load its own files.
AUGMENTATIONS = frozenset(
    {
        *("AugMix", "CutMix", "MaxNumBoundingBoxes", "MixUp", "RandAugment"),
        *("RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast"),
        *("RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur"),
        *("RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective"),
        *("RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness"),
        *("RandomShear", "RandomTranslation", "RandomZoom", "Solarization"),
    }
)
# https://github.com/tensorflow/tensorflow/blob/master/tensorflow/python/framework/ops.py,
# _VALID_SCOPE_NAME_REGEX: TensorFlow names the operators of a layer after it.
SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
MIXED = ("mixed_float16", "mixed_bfloat16")
ZEROS = {"module": "keras.initializers", "class_name": "Zeros", "config": {}}


@dataclass(frozen=True)
class Loaded:
    """A model, the module of the library that loaded it, and the objects that it names."""

    model: Any
    library: Any
    objects: dict[str, Any]

    @property
    def loaded_by(self) -> str:
        """The library with its version."""
        return f"{self.library.__name__} {self.library.__version__}"


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


@dataclass(frozen=True)
class Repair:
    """A difference between the writer of a file and the library that loads it, and its repair.

    fault, remedy: for docs/files.md. applies: whether a file may need it with a library of
    `generations.LIBRARIES`. Then one of three functions, which change only what needs it: config,
    of the saved configuration; weights, of the weights' file in a `.keras` file; network, of the
    loaded network, with a note ("": unchanged).
    """

    fault: str
    remedy: str
    applies: Callable[[SavedFile, str], bool]
    config: Callable[[Any], Any] | None = None
    weights: Callable[[Path], Path] | None = None
    network: Callable[[Path, Loaded], tuple[Any, str]] | None = None


def configuration(saved: SavedFile, library: str) -> Any:
    """The network's configuration as a library of `generations.LIBRARIES` reads it."""
    config = saved.config
    for repair in REPAIRS.values():
        if repair.config and repair.applies(saved, library):
            config = repair.config(config)
    return config


def network(path: Path, saved: SavedFile, loaded: Loaded) -> tuple[Any, tuple[str, ...]]:
    """The loaded network as its writer computed it, for single pictures, in float32; notes."""
    notes = []
    for repair in REPAIRS.values():
        if repair.network and repair.applies(saved, loaded.library.__name__):
            model, note = repair.network(path, loaded)
            loaded = replace(loaded, model=model)
            notes += [note] if note else []
    return loaded.model, tuple(notes)


def write(saved: SavedFile, config: Any) -> Path:
    """Put a configuration in place of the one in the judged copy of an `.h5` file; the copy."""
    import h5py

    assert saved.copy is not None
    if config != saved.config:
        with h5py.File(saved.copy, "r+") as file:
            file.attrs["model_config"] = json.dumps(config).encode()
            # The training configuration still has the old names.
            for name in ("training_config", "optimizer_config"):
                file.attrs.pop(name, None)
    return saved.copy


def weights(saved: SavedFile, library: str) -> Path:
    """The weights of a `.keras` file as a library of `generations.LIBRARIES` reads them."""
    file = saved.copy
    assert file is not None
    for repair in REPAIRS.values():
        if repair.weights and repair.applies(saved, library):
            file = repair.weights(file)
    return file


def _moved(file: Path) -> Path:
    """Weights where later releases of Keras 2 look for them."""
    import h5py

    with h5py.File(file, "r") as old:
        if OLD not in old:
            return file
        moved = file.with_name("moved.weights.h5")
        with h5py.File(moved, "w") as new:
            _copy(old, new)
    return moved


def _each(change: Callable[[Any], Any], config: Any) -> Any:
    """A configuration in which each part, from the inside out, is what `change` makes of it."""
    if isinstance(config, dict):
        config = {key: _each(change, value) for key, value in config.items()}
    elif isinstance(config, list | tuple):
        config = type(config)(_each(change, value) for value in config)
    return change(config)


def _named(part: Any) -> Any:
    """Keras's own names for what is TensorFlow's; initializers become zeros, as weights replace."""
    if not isinstance(part, dict):
        return part
    if part.get("module") in INITIALIZER_MODULES:
        return ZEROS
    name = part.get("config") if part.get("class_name") == "function" else None
    return FUNCTIONS.get(name, part) if isinstance(name, str) else part


def _identities(part: Any) -> Any:
    """An Identity in place of an augmentation."""
    if not isinstance(part, dict) or part.get("class_name") not in AUGMENTATIONS:
        return part
    if "config" not in part:
        return part
    kept = {k: v for k, v in part["config"].items() if k in ("name", "trainable", "dtype")}
    return {**part, "class_name": "Identity", "config": kept, "registered_name": None}


def _operations(part: Any) -> Any:
    """An operation of Keras 3 with its module."""
    inside = part.get("config") if isinstance(part, dict) and "inbound_nodes" in part else None
    # `Add` is a layer as well as an operation; only layers have `trainable`.
    if not isinstance(inside, dict) or "trainable" in inside:
        return part
    for place in OPERATIONS:
        module, kind = f"keras.src.ops.{place}", part.get("class_name")
        operation = getattr(importlib.import_module(module), str(kind), None)
        if getattr(operation, "__module__", None) == module:
            return {**part, "module": module, "registered_name": kind}
    return part


def _float32(path: Path, loaded: Loaded) -> tuple[Any, str]:
    """The network in float32, the type that its weights have."""
    config = loaded.model.get_config()
    if not any(f'"{name}"' in json.dumps(config, default=str) for name in MIXED):
        return loaded.model, ""
    with explained(f"{path} cannot be rebuilt in float32", "Save it without mixed precision"):
        model = _rebuilt(loaded, _each(_without_policy, config))
    return model, "mixed precision: computed in float32, the type that its weights have"


def _without_policy(part: Any) -> Any:
    if isinstance(part, dict) and part.get("class_name") in ("Policy", "DTypePolicy"):
        # The name inside, if it was a mixed one, has become float32 already.
        return "float32" if part.get("config", {}).get("name") == "float32" else part
    return "float32" if part in MIXED else part


def _any_batch(path: Path, loaded: Loaded) -> tuple[Any, str]:
    """The network for any number of pictures at a time."""
    fixed = loaded.model.inputs[0].shape[0]
    if fixed in (None, 1):
        return loaded.model, ""
    with explained(f"{path} cannot be rebuilt without its batch of {fixed}", "Save it without"):
        model = _rebuilt(loaded, _each(_open_batch, loaded.model.get_config()))
    return model, f"a batch of {fixed} was fixed in the model: one image at a time is served"


def _open_batch(part: Any) -> Any:
    for key in ("batch_input_shape", "batch_shape", "build_input_shape"):
        shape = part.get(key) if isinstance(part, dict) else None
        if isinstance(shape, list | tuple) and len(shape) > 1:
            part = {**part, key: type(shape)((None, *shape[1:]))}
    return part


def _rebuilt(loaded: Loaded, config: Any) -> Any:
    with loaded.library.utils.custom_object_scope(loaded.objects):
        twin = type(loaded.model).from_config(config)
    twin.set_weights(loaded.model.get_weights())
    return twin


def _turned_kernels(path: Path, loaded: Loaded) -> tuple[Any, str]:
    """The network with the kernels of its convolutions turned by 180 degrees.

    Theano's convolutions turn their kernels, TensorFlow's do not: keras.utils'
    convert_all_kernels_in_model (https://keras.io/api/utils, until Keras 2.3).
    """
    for layer in layers_of(loaded.model):
        strides = getattr(layer, "strides", None) or (1,)
        if getattr(layer, "padding", None) == "same" and set(np.ravel(strides)) != {1}:
            # Theano pads both sides alike, TensorFlow has the odd pixel at the end.
            raise ConvertError(
                f"{path} was trained on Theano, which pads the strided layer {layer.name!r} "
                "differently from TensorFlow: put a ZeroPadding2D in front of it, make it "
                "padding='valid', and save the model again"
            )
        if type(layer).__name__ in ("Conv1D", "Conv2D", "Conv2DTranspose"):
            kernel, *rest = layer.get_weights()
            layer.set_weights([np.flip(kernel, axis=tuple(range(kernel.ndim - 2))), *rest])
    note = "trained on Theano: the kernels of its convolutions were turned by 180 degrees"
    return loaded.model, note


def _renamed(_path: Path, loaded: Loaded) -> tuple[Any, str]:
    for number, layer in enumerate([loaded.model, *layers_of(loaded.model)]):
        if not SCOPE.fullmatch(layer.name):
            layer.name = f"layer_{number}"
    return loaded.model, ""


# In this order. tests/convert/test_repairs.py has a file for each that needs it.
REPAIRS: dict[str, Repair] = {
    "keras-1": Repair(
        "Keras 1 named nearly every class and argument otherwise, and no later Keras reads it",
        "the configuration is put into Keras 2's words",
        lambda saved, _: saved.kind == "h5" and keras1.is_one(saved.written_by, saved.config),
        config=keras1.translated,
    ),
    "tensorflow-names": Repair(
        "the configuration names initializers and functions of TensorFlow, not of Keras",
        "Keras's own take their place; an initializer becomes zeros, as weights replace it",
        lambda *_: True,
        config=partial(_each, _named),
    ),
    "augmentation": Repair(
        "layers that augment in training draw random numbers in inference too",
        "each becomes an `Identity`",
        lambda _, library: library == KERAS_3,
        config=partial(_each, _identities),
    ),
    "operations": Repair(
        "an `.h5` file names the operations of Keras 3 without their module, like layers",
        "the module is added",
        lambda saved, library: saved.kind == "h5" and library == KERAS_3,
        config=partial(_each, _operations),
    ),
    "moved-weights": Repair(
        "`.keras` files of Keras 2.12 to 2.14 have their weights where tf_keras does not look",
        "they are moved",
        lambda saved, library: saved.kind == "keras" and library == KERAS_2,
        weights=_moved,
    ),
    "mixed-precision": Repair(
        "the network computes in float16 with weights in float32",
        "it is computed in float32",
        lambda *_: True,
        network=_float32,
    ),
    "fixed-batch": Repair(
        "the network takes only a fixed number of pictures at a time",
        "the number is left open",
        lambda *_: True,
        network=_any_batch,
    ),
    "layer-names": Repair(
        "a layer's name is not one that TensorFlow takes for operators, such as `my layer`",
        "the layer gets a number for a name",
        lambda *_: True,
        network=_renamed,
    ),
    "theano-kernels": Repair(
        "Theano turned its kernels by 180 degrees; later libraries load them as they are",
        "the kernels are turned; files of Keras 1 do not name Theano: `--backend theano`",
        lambda saved, _: saved.backend == "theano",
        network=_turned_kernels,
    ),
}


def _copy(old: Any, new: Any) -> None:
    import h5py

    for name, entry in old.items():
        if isinstance(entry, h5py.Dataset):
            old.copy(entry, new, name)
        elif name == OLD:
            for number, group in _renumbered(entry):
                _copy(group, new.require_group(NEW).create_group(number))
        else:
            _copy(entry, new.create_group(name))


def _renumbered(group: Any) -> list[tuple[str, Any]]:
    """The layers' groups by their new names: the same order in each class, without gaps."""
    order: dict[str, list[tuple[int, Any]]] = {}
    for name, entry in group.items():
        match = re.fullmatch(r"(.+?)(?:_(\d+))?", name)
        assert match is not None
        order.setdefault(match[1], []).append((int(match[2] or 0), entry))
    return [
        (name if index == 0 else f"{name}_{index}", entry)
        for name, entries in order.items()
        for index, (_, entry) in enumerate(sorted(entries, key=lambda pair: pair[0]))
    ]
