"""Repair: a Keras file in the form that today's library of its generation reads.

Each repair is a row of REPAIRS: a function from a configuration to a configuration, and the files
that it is for. Weights have one of their own.
"""

from __future__ import annotations

import importlib
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from keras_to_lambda.convert.load import keras1
from keras_to_lambda.convert.load.generations import KERAS_3
from keras_to_lambda.convert.load.known_objects import FUNCTIONS, INITIALIZER_MODULES
from keras_to_lambda.convert.load.saved_file import SavedFile
from keras_to_lambda.convert.scan import keras_archive

# Keras 2.12 to 2.14 filed a layer's weights below the first name, numbered by a count that met
# layers with weights twice: conv2d, conv2d_2, conv2d_4. Later ones look below the second, at
# conv2d, conv2d_1, conv2d_2 (both: `_save_container_state` in keras/src/saving/saving_lib.py).
OLD, NEW = "_layer_checkpoint_dependencies", "layers"
# Where Keras 3 keeps its operations, which an `.h5` file names without their module.
OPERATIONS = ("numpy", "nn", "math", "core", "image", "linalg")
# Layers of Keras 3 that change pictures in training alone. Several draw random numbers all the
# same, which a flatbuffer cannot, and RandomShear does not load what it wrote.
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
ZEROS = {"module": "keras.initializers", "class_name": "Zeros", "config": {}}


@dataclass(frozen=True)
class Repair:
    """applies: whether a file, to be loaded by a library, may need it. change: on the config."""

    applies: Callable[[SavedFile, str], bool]
    change: Callable[[Any], Any]


def configuration(saved: SavedFile, library: str) -> Any:
    """The network's configuration as a library reads it.

    Args:
        library: a name of `generations.LIBRARIES`.

    Raises:
        ConvertError: a layer of Keras 1 has no counterpart.
    """
    config = saved.config
    for repair in REPAIRS:
        if repair.applies(saved, library):
            config = repair.change(config)
    return config


def write(saved: SavedFile, config: Any) -> Path:
    """Put a configuration in place of the one in the judged copy; the copy."""
    assert saved.copy is not None
    if config == saved.config:
        return saved.copy
    if saved.kind == "h5":
        with h5py.File(saved.copy, "r+") as file:
            file.attrs["model_config"] = json.dumps(config).encode()
            # They say how to train on, in the old words too.
            for name in ("training_config", "optimizer_config"):
                file.attrs.pop(name, None)
        return saved.copy
    draft = saved.copy.with_name("repaired.keras")
    with zipfile.ZipFile(saved.copy) as old, zipfile.ZipFile(draft, "w") as new:
        for name in old.namelist():
            data = json.dumps(config).encode() if name == keras_archive.CONFIG else old.read(name)
            new.writestr(name, data)
    return draft


def weights(saved: SavedFile) -> Path:
    """The weights of a `.keras` file of Keras 2, beside the judged copy.

    tf_keras reads them out of the archive, and unpacks them again for each layer.
    """
    assert saved.copy is not None
    with zipfile.ZipFile(saved.copy) as members:
        file = Path(members.extract(keras_archive.WEIGHTS, saved.copy.parent))
    with h5py.File(file, "r") as old:
        if OLD not in old:
            return file
        moved = file.with_name("moved.weights.h5")
        with h5py.File(moved, "w") as new:
            _copy(old, new)
    return moved


def _named(config: Any) -> Any:
    """A configuration with Keras's own names for what is TensorFlow's.

    Initializers become zeros: the weights that a file holds replace what they would draw.
    """
    if isinstance(config, list):
        return [_named(part) for part in config]
    if not isinstance(config, dict):
        return config
    if config.get("module") in INITIALIZER_MODULES:
        return ZEROS
    if config.get("class_name") == "function" and config.get("config") in FUNCTIONS:
        return FUNCTIONS[config["config"]]
    return {key: _named(value) for key, value in config.items()}


def _identities(config: Any) -> Any:
    """A configuration with an Identity in place of each augmentation."""
    if isinstance(config, list):
        return [_identities(part) for part in config]
    if not isinstance(config, dict):
        return config
    changed = {key: _identities(value) for key, value in config.items()}
    if config.get("class_name") in AUGMENTATIONS and "config" in config:
        kept = {k: v for k, v in config["config"].items() if k in ("name", "trainable", "dtype")}
        changed |= {"class_name": "Identity", "config": kept, "registered_name": None}
    return changed


def _operations(config: Any) -> Any:
    """A configuration that names the module of each operation of Keras 3."""
    if isinstance(config, list):
        return [_operations(part) for part in config]
    if not isinstance(config, dict):
        return config
    changed = {key: _operations(value) for key, value in config.items()}
    kind, inside = config.get("class_name"), config.get("config")
    # `Add` is a layer as well as an operation; only layers say whether they can be trained.
    if "inbound_nodes" not in config or not isinstance(inside, dict) or "trainable" in inside:
        return changed
    for place in OPERATIONS:
        module = f"keras.src.ops.{place}"
        operation = getattr(importlib.import_module(module), str(kind), None)
        if getattr(operation, "__module__", None) == module:
            return {**changed, "module": module, "registered_name": kind}
    return changed


REPAIRS = (
    Repair(
        lambda saved, _: saved.kind == "h5" and keras1.is_one(saved.written_by, saved.config),
        keras1.translated,
    ),
    Repair(lambda *_: True, _named),
    Repair(lambda _, library: library == KERAS_3, _identities),
    Repair(lambda saved, library: saved.kind == "h5" and library == KERAS_3, _operations),
)


def _copy(old: Any, new: Any) -> None:
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
