"""Repairs: a Keras file in the form that today's library of its generation reads and computes.

REPAIRS has them all, in the order in which they are made.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_to_lambda.convert.common.conversion_errors import ConvertError, explained
from keras_to_lambda.convert.load import keras1
from keras_to_lambda.convert.load.generations import KERAS_2, KERAS_3
from keras_to_lambda.convert.load.saved_file import SavedFile
from keras_to_lambda.convert.scan.known_names import INITIALIZER_MODULES

Change = Callable[..., Any]
# What a repair changes: each part of the configuration (JSON), from the inside out; all of it; the
# file of weights in a `.keras` file; the loaded network, whose change returns a note as well.
PART, CONFIGURATION, WEIGHTS, NETWORK = "part", "configuration", "weights", "network"

# Functions of TensorFlow whose Python names differ from those in Keras: `tf.nn.softmax` is
# softmax_v2.
FUNCTIONS = {"softmax_v2": "softmax", "log_softmax_v2": "log_softmax"}
FUNCTIONS |= {name: name for name in ("swish", "log_sigmoid")}
# Trained weights replace what TensorFlow's initializers would draw.
ZEROS = {"module": "keras.initializers", "class_name": "Zeros", "config": {}}
# Where weights are in files of Keras 2.12 to 2.14 (conv2d, conv2d_2, conv2d_4), and where later
# releases look (conv2d, conv2d_1, conv2d_2): `_save_container_state` in saving/saving_lib.py.
OLD, NEW = "_layer_checkpoint_dependencies", "layers"
# Where Keras 3 keeps its operations, which an `.h5` file names without their module.
OPERATIONS = ("numpy", "nn", "math", "core", "image", "linalg")
# Layers of Keras 3 that change pictures in training only. Several draw random numbers in inference
# too, which a flatbuffer cannot, and RandomShear does not load its own files.
_AUGMENTATIONS = """
    AugMix CutMix MaxNumBoundingBoxes MixUp RandAugment RandomBrightness RandomColorDegeneration
    RandomColorJitter RandomContrast RandomElasticTransform RandomErasing RandomFlip
    RandomGaussianBlur RandomGrayscale RandomHue RandomInvert RandomPerspective RandomPosterization
    RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom
    Solarization"""
AUGMENTATIONS = frozenset(_AUGMENTATIONS.split())
# https://github.com/tensorflow/tensorflow/blob/master/tensorflow/python/framework/ops.py,
# _VALID_SCOPE_NAME_REGEX: TensorFlow names the operators of a layer after it.
SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
MIXED = ("mixed_float16", "mixed_bfloat16")


@dataclass(frozen=True)
class Loaded:
    """A model, the module of the library that loaded it, and the objects that it names."""

    model: Any
    library: Any
    objects: dict[str, Any]

    def rebuilt(self, change: Callable[[Any], Any]) -> Any:
        """The model of a changed configuration, with the same weights."""
        with self.library.utils.custom_object_scope(self.objects):
            twin = type(self.model).from_config(_each(change, self.model.get_config()))
        twin.set_weights(self.model.get_weights())
        return twin


class Repair(NamedTuple):
    """A difference between the writer of a file and the library that loads it, and its repair.

    change: changes only what needs it. Its docstring is for docs/files.md: the fault, a colon, what
    is done. applies: whether a file may need it with a library of `generations.LIBRARIES`.
    """

    kind: str
    applies: Callable[[SavedFile, str], bool]
    change: Change


REPAIRS: dict[str, Repair] = {}


def _repair(
    name: str, kind: str, applies: Callable[[SavedFile, str], bool] = lambda *_: True
) -> Callable[[Change], Change]:
    def register(change: Change) -> Change:
        REPAIRS[name] = Repair(kind, applies, change)
        return change

    return register


def _needed(kinds: Sequence[str], saved: SavedFile, library: str) -> Iterator[Repair]:
    for repair in REPAIRS.values():
        if repair.kind in kinds and repair.applies(saved, library):
            yield repair


def configuration(saved: SavedFile, library: str) -> Any:
    """The network's configuration as a library of `generations.LIBRARIES` reads it."""
    config: Any = saved.config
    for repair in _needed((PART, CONFIGURATION), saved, library):
        change = repair.change
        config = _each(change, config) if repair.kind == PART else change(config)
    return config


def weights(saved: SavedFile, library: str) -> Path:
    """The weights of a `.keras` file as a library of `generations.LIBRARIES` reads them."""
    assert saved.copy is not None
    file = saved.copy
    for repair in _needed((WEIGHTS,), saved, library):
        file = repair.change(file)
    return file


def network(path: Path, saved: SavedFile, loaded: Loaded) -> tuple[Any, tuple[str, ...]]:
    """The loaded network as its writer computed it, for single pictures, in float32; notes."""
    notes = []
    for repair in _needed((NETWORK,), saved, loaded.library.__name__):
        model, note = repair.change(path, loaded)
        loaded = replace(loaded, model=model)
        notes += [note] if note else []
    return loaded.model, tuple(notes)


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


def _each(change: Callable[[Any], Any], config: Any) -> Any:
    if isinstance(config, dict):
        config = {key: _each(change, value) for key, value in config.items()}
    elif isinstance(config, list | tuple):
        config = type(config)(_each(change, value) for value in config)
    return change(config)


@_repair(
    "keras-1",
    CONFIGURATION,
    lambda saved, _: saved.kind == "h5" and keras1.is_one(saved.written_by, saved.config),
)
def _keras_2(config: Any) -> Any:
    """Keras 1 named nearly all otherwise, and no later Keras reads it: put into Keras 2's words."""
    return keras1.translated(config)


@_repair("tensorflow-names", PART)
def _named(part: Any) -> Any:
    """Initializers and functions of TensorFlow: Keras's own, and zeros, which weights replace."""
    if not isinstance(part, dict):
        return part
    if part.get("module") in INITIALIZER_MODULES:
        return ZEROS
    name = part.get("config") if part.get("class_name") == "function" else None
    return FUNCTIONS.get(name, part) if isinstance(name, str) else part


@_repair("augmentation", PART, lambda _, library: library == KERAS_3)
def _identity(part: Any) -> Any:
    """Augmenting layers draw random numbers in inference too: each becomes an `Identity`."""
    if not isinstance(part, dict) or part.get("class_name") not in AUGMENTATIONS:
        return part
    if "config" not in part:
        return part
    kept = {k: v for k, v in part["config"].items() if k in ("name", "trainable", "dtype")}
    return {**part, "class_name": "Identity", "config": kept, "registered_name": None}


@_repair("operations", PART, lambda saved, library: saved.kind == "h5" and library == KERAS_3)
def _operation(part: Any) -> Any:
    """An `.h5` file names operations of Keras 3 without their module: the module is added."""
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


@_repair(
    "moved-weights", WEIGHTS, lambda saved, library: saved.kind == "keras" and library == KERAS_2
)
def _moved(file: Path) -> Path:
    """Keras 2.12 to 2.14 have weights where tf_keras does not look: they are moved."""
    import h5py

    with h5py.File(file, "r") as old:
        if OLD not in old:
            return file
        moved = file.with_name("moved.weights.h5")
        with h5py.File(moved, "w") as new:
            _copy(old, new)
    return moved


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


def _renumbered(group: Any) -> Iterator[tuple[str, Any]]:
    """Yield the layers' groups by their new names: the same order in each class, without gaps."""
    order: dict[str, list[tuple[int, Any]]] = {}
    for name, entry in group.items():
        kind, _, number = name.rpartition("_")
        if not (kind and number.isdecimal()):
            kind, number = name, "0"
        order.setdefault(kind, []).append((int(number), entry))
    for kind, entries in order.items():
        for index, (_, entry) in enumerate(sorted(entries, key=lambda pair: pair[0])):
            yield f"{kind}_{index}" if index else kind, entry


@_repair("mixed-precision", NETWORK)
def _float32(path: Path, loaded: Loaded) -> tuple[Any, str]:
    """Computed in float16 with weights in float32: it is computed in float32."""
    text = json.dumps(loaded.model.get_config(), default=str)
    if not any(f'"{name}"' in text for name in MIXED):
        return loaded.model, ""
    with explained(f"{path} cannot be rebuilt in float32", "Save it without mixed precision"):
        model = loaded.rebuilt(_without_policy)
    return model, "mixed precision: computed in float32, the type that its weights have"


def _without_policy(part: Any) -> Any:
    if isinstance(part, dict) and part.get("class_name") in ("Policy", "DTypePolicy"):
        # The name inside, if it was a mixed one, has become float32 already.
        return "float32" if part.get("config", {}).get("name") == "float32" else part
    return "float32" if part in MIXED else part


@_repair("fixed-batch", NETWORK)
def _any_batch(path: Path, loaded: Loaded) -> tuple[Any, str]:
    """The network takes only a fixed number of pictures at a time: the number is left open."""
    fixed = loaded.model.inputs[0].shape[0]
    if fixed in (None, 1):
        return loaded.model, ""
    with explained(f"{path} cannot be rebuilt without its batch of {fixed}", "Save it without"):
        model = loaded.rebuilt(_open_batch)
    return model, f"a batch of {fixed} was fixed in the model: one image at a time is served"


def _open_batch(part: Any) -> Any:
    for key in ("batch_input_shape", "batch_shape", "build_input_shape"):
        shape = part.get(key) if isinstance(part, dict) else None
        if isinstance(shape, list | tuple) and len(shape) > 1:
            part = {**part, key: type(shape)((None, *shape[1:]))}
    return part


@_repair("layer-names", NETWORK)
def _renamed(_path: Path, loaded: Loaded) -> tuple[Any, str]:
    """TensorFlow does not take a layer's name for operators (`my layer`): it gets a number."""
    for number, layer in enumerate([loaded.model, *layers_of(loaded.model)]):
        if not SCOPE.fullmatch(layer.name):
            layer.name = f"layer_{number}"
    return loaded.model, ""


@_repair("theano-kernels", NETWORK, lambda saved, _: saved.backend == "theano")
def _turned_kernels(path: Path, loaded: Loaded) -> tuple[Any, str]:
    """Theano turned its kernels by 180 degrees: they are turned (Keras 1: `--backend theano`)."""
    # keras.utils.convert_all_kernels_in_model (https://keras.io/api/utils, until Keras 2.3).
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
