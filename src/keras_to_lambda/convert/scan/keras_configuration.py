"""A network's configuration: JSON from which Keras imports classes and functions by name.

What is judged is every key by which Keras 2 or 3 finds something: class_name, module,
registered_name, function and its relatives, the strings that name a function, and paths
(serialization_lib.py, legacy/saving/serialization.py, json_utils.py, tf_op_layer.py of both).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from keras_to_lambda.convert.scan import known_names as known
from keras_to_lambda.convert.scan.keras_archive import MAX_JSON_BYTES

# Values, not objects: tensors as numbers, slices, shapes; and all their keys. With a module beside
# them, Keras imports it.
_DATA = (
    *("__tensor__", "__numpy__", "__slice__", "__ellipsis__", "__keras_tensor__"),
    *("__tuple__", "TensorShape"),
)
_DATA_KEYS = {"class_name", "config", "items"}
# Classes of TensorFlow that JSON decoders build by name.
_BUILT = ("TypeSpec", "CompositeTensor")
# Any text: names of layers and tensors, below these keys as well.
_NAMES_BELOW = ("inbound_nodes", "input_layers", "output_layers", "keras_history", "node_def")
_NAMES_AT = ("name", "class_name", "registered_name", "module", "function", "equation", "op")
# Files that a layer would read.
_FILES = (
    *("vocabulary", "idf_weights", "weights", "filepath", "file", "path", "filename", "handle"),
    "value",
)
# Strings that name a function or a class, by the end of their key.
_RESOLVED = re.compile(r"(?s)(.*_)?(activation|init|initializer|regularizer|constraint)")
_FUNCTION_TYPES = ("function_type", "output_shape_type", "mode_type", "output_mask_type")
_WORD = re.compile(r"[\w.,> -]{0,100}", re.ASCII)
# No setting of Keras is longer; the bytecode of the shortest function is.
LONGEST_TEXT = 150
# Networks in networks are a few levels each.
MAX_DEPTH = 200
# A mode of GPTQ or AWQ, with slashes: bits and the size of a group.
_QUANTIZATION = re.compile(r"(gptq|awq)/-?\d+/-?\d+\w*", re.ASCII)


@dataclass
class Judgment:
    """The names in a configuration; see the fields of `saved_file.SavedFile`."""

    classes: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    own: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def parse(data: bytes | str) -> dict[str, Any]:
    """A JSON object; ValueError: it is not JSON, not an object, or nested beyond reason."""
    if len(data) > MAX_JSON_BYTES:
        raise ValueError(f"JSON of {len(data)} bytes")
    try:
        value = json.loads(data)
    except RecursionError as error:
        raise ValueError("JSON nested too deep") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inside
            for part in level
            for inside in (part.values() if isinstance(part, dict) else part)
            if isinstance(inside, dict | list)
        ]
        if not level:
            return value
    raise ValueError("JSON nested too deep")


def without_training(config: Any) -> Any:
    """A copy without the losses, metrics and optimizers of the network and those in it."""
    if isinstance(config, dict):
        training = {"compile_config"} if "class_name" in config else set()
        return {k: without_training(v) for k, v in config.items() if k not in training}
    if isinstance(config, list):
        return [without_training(value) for value in config]
    return config


def loss_name(training: Any) -> str | None:
    """The training loss in a compile_config or training_config."""
    loss = training.get("loss") if isinstance(training, dict) else None
    if isinstance(loss, dict):
        inside = loss.get("config")
        loss = inside if loss.get("class_name") == "function" else loss.get("class_name")
    return loss if isinstance(loss, str) else None


def plain_module(module: str) -> str:
    """A module of any Keras by one name: tf_keras.src.layers is keras.layers."""
    package, *parts = module.split(".")
    if package not in ("keras", "tf_keras"):
        return module
    return ".".join(["keras", *(parts[1:] if parts[:1] == ["src"] else parts)])


def judge(config: dict[str, Any]) -> Judgment:
    """The names in a configuration, by known_names.py."""
    found = Judgment()
    parts = list(_parts(config, _Place()))
    layers = {text for text, place in parts if place.key == "name" and isinstance(text, str)}
    for value, place in parts:
        if isinstance(value, dict):
            _judge_object(value, place, found)
        else:
            _judge_text(value, place, layers, found)
    for name in ("code", "own", "faults"):
        setattr(found, name, list(dict.fromkeys(getattr(found, name))))
    return found


class _Place(NamedTuple):
    """What is around a value: its key, and whether it is a layer, any text, or an operator's."""

    key: str = ""
    is_layer: bool = False
    is_name: bool = False
    in_operator: bool = False


def _parts(value: Any, place: _Place) -> Iterator[tuple[Any, _Place]]:
    """Yield the objects and strings in a value, in the file's order."""
    if isinstance(value, dict | str):
        yield value, place
    if isinstance(value, list):
        for inside in value:
            # A vocabulary's words are words.
            if not (place.key == "vocabulary" and isinstance(inside, str)):
                yield from _parts(inside, place)
    if isinstance(value, dict):
        kind = value.get("class_name")
        in_operator = place.in_operator or kind in known.OPERATOR_LAYERS
        for key, inside in value.items():
            # A list of layers is `layers`, and was `config` of Sequential until Keras 2.2.
            listed = isinstance(inside, list) and (
                key == "layers" or (key == "config" and "class_name" in value)
            )
            around = _Place(
                key,
                listed or key in ("layer", "cell", "backward_layer"),
                # Bytecode in base64, which has slashes, is no path; it is code already.
                place.is_name or kind == "__lambda__" or key in _NAMES_BELOW,
                in_operator and key not in ("layers", "node_def"),
            )
            yield from _parts(inside, around)


def _judge_object(node: dict[str, Any], place: _Place, found: Judgment) -> None:
    if "class_name" not in node:
        # Lambda's, and Keras 1's Merge: whether a function is Python code, a name, or none.
        if any(node.get(key, "raw") != "raw" for key in _FUNCTION_TYPES):
            found.code.append("a Python function")
        return
    name, module, inside = node["class_name"], node.get("module"), node.get("config")
    if not isinstance(name, str) or not isinstance(module, str | None):
        found.faults.append("invalid class_name: not a string")
        return
    if name in _DATA and node.keys() <= _DATA_KEYS:
        return
    if place.is_layer:
        found.classes.append(name)
    subject = inside if name == "function" and isinstance(inside, str) else name
    if not _same_name(node.get("registered_name"), name, subject):
        found.faults.append(
            f"it has two names for one class or function: {subject!r} and "
            f"{node['registered_name']!r}"
        )
    # "Package>Lambda" and "keras.layers.Lambda" are loaded as well.
    bare = name.rpartition(">")[2].rpartition(".")[2]
    layer = inside.get("name") if isinstance(inside, dict) else None
    title = f"{name} layer {layer!r}" if isinstance(layer, str) else name
    # A class without a module is an operation of Keras 3 if it cannot be trained.
    operation = (
        name in known.KERAS_OPERATIONS and isinstance(inside, dict) and "trainable" not in inside
    )
    if bare in known.CODE:
        found.code.append("a Python function" if bare == "__lambda__" else title)
    elif name in known.OPERATOR_LAYERS:
        _judge_operator(node, title, found)
    elif name == "function":
        _judge_function(module, inside, found)
    elif not known.is_class(plain_module(module or ""), name) and (module or not operation):
        # No file of the user's can define what JSON decoders build by name.
        if _is_library(module) or name.startswith("__") or name in _BUILT:
            found.code.append(f"{title} of the module {module!r}" if module else title)
        else:
            found.own.append((module or "", name))


def _same_name(registered: Any, name: str, subject: str) -> bool:
    """Whether the name that a class is registered by is its own, with a package in front or not."""
    if registered is None or registered in (name, subject):
        return True
    if not isinstance(registered, str):
        return False
    return registered.rpartition(">")[2] == subject.rpartition(">")[2]


def _is_library(module: str | None) -> bool:
    return plain_module(module or "").partition(".")[0] in ("keras", "tensorflow")


def _judge_function(module: str | None, inside: Any, found: Judgment) -> None:
    if not isinstance(inside, str):
        found.faults.append("invalid function name: not a string")
        return
    plain = plain_module(module or "builtins")
    if inside in known.KERAS_FUNCTIONS and plain in known.KERAS_FUNCTION_MODULES:
        return
    if _is_library(module):
        found.code.append(f"the function {inside!r} of {module}")
    else:
        found.own.append((module or "", inside))


def _judge_operator(node: dict[str, Any], title: str, found: Judgment) -> None:
    """A layer that calls TensorFlow by name, and the constants that it hands over."""
    inside = node.get("config")
    inside = inside if isinstance(inside, dict) else {}
    if plain_module(node.get("module") or "keras").partition(".")[0] != "keras":
        found.code.append(f"{title} of the module {node['module']!r}")
    if node["class_name"] != "TensorFlowOpLayer":
        function = inside.get("function")
        if not isinstance(function, str) or not known.is_symbol(function):
            found.code.append(f"{title}, which calls tf.{function}")
        return
    graph_node = inside.get("node_def")
    operator = graph_node.get("op") if isinstance(graph_node, dict) else None
    computes = isinstance(operator, str) and known.is_operator(operator, stateless=True)
    if not computes or '"func"' in json.dumps(graph_node):
        found.code.append(f"{title}, TensorFlow's operator {operator}")


def _judge_text(text: str, place: _Place, layers: set[str], found: Judgment) -> None:
    key = place.key
    if place.in_operator and key not in _NAMES_AT:
        # A constant of an operator is a number, a layer's name, or a word such as SAME.
        if text not in layers and not _WORD.fullmatch(text):
            found.code.append(f"an operator's constant {text[:40]!r}")
        return
    if key == "_TYPE":
        found.code.append(f"a constant of the kind {text[:40]!r}")
    if place.is_name or key in _NAMES_AT:
        return
    if _RESOLVED.fullmatch(key):
        if text not in known.KERAS_FUNCTIONS | known.KERAS_CLASSES:
            found.own.append(("", text))
    elif key in _FILES or (
        (text.startswith("~") or "/" in text or "\\" in text) and not _QUANTIZATION.fullmatch(text)
    ):
        found.faults.append(f"it names a file or an address ({key}: {text!r}), which is not read")
    elif len(text) > LONGEST_TEXT:
        found.code.append(f"a text of {len(text)} characters ({key})")
    elif "{" in text:
        found.code.append(f"a text with an object in it ({key}: {text[:40]!r})")
