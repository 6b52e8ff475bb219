"""KerasModel: the trained network as a function, whatever kind of file it came in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf

from convert.errors import ConvertError

# Layers whose saved form is a program: loading one runs what its author wrote.
CODE_LAYERS = ("Lambda", "TFSMLayer")


@dataclass(frozen=True)
class KerasModel:
    """A network with one image input and one vector of scores.

    call: float32 tensor (batch, height, width, channels) -> (batch, classes), in inference mode.
    kind: "keras", "h5" or "saved_model".
    anchor: keeps the variables alive that `call` reads.
    """

    path: Path
    kind: str
    call: Callable[[Any], Any]
    height: int
    width: int
    channels: int
    classes: int
    anchor: Any

    def concrete(self) -> Any:
        """The network as a TensorFlow graph for exactly one image: (1, height, width, channels)."""
        spec = tf.TensorSpec((1, self.height, self.width, self.channels), tf.float32, name="image")
        graph = tf.function(lambda image: tf.cast(self.call(image), tf.float32))
        return graph.get_concrete_function(spec)

    def sha256(self) -> str:
        """The hash of the file, or of a folder's sorted names and contents."""
        digest = hashlib.sha256()
        folder = self.path.is_dir()
        for file in sorted(self.path.rglob("*")) if folder else [self.path]:
            if file.is_file():
                if folder:
                    digest.update(file.relative_to(self.path).as_posix().encode() + b"\0")
                with file.open("rb") as stream:
                    for block in iter(lambda: stream.read(1 << 20), b""):
                        digest.update(block)
        return digest.hexdigest()


def load(path: Path, size: tuple[int, int] | None = None) -> KerasModel:
    """Load a Keras 3 `.keras`, an `.h5`, or a SavedModel folder.

    Args:
        size: (height, width), needed where the model leaves its input size open.

    Raises:
        ConvertError: it cannot be loaded, or is not an image classifier of one input and output.
    """
    if not path.exists():
        raise ConvertError(f"there is no model at {path}")
    if path.is_dir():
        return _saved_model(path, size)
    suffix = path.suffix.lower()
    if suffix not in (".keras", ".h5", ".hdf5"):
        raise ConvertError(f"{path} is neither a .keras or .h5 file nor a SavedModel folder")
    if suffix != ".keras":
        _refuse_code(path)
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        # Keras raises whatever its layers raise.
        reason = _first_line(error)
        raise ConvertError(f"Keras {keras.__version__} cannot load {path}: {reason}") from error
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ConvertError(
            f"{path} has {len(model.inputs)} inputs and {len(model.outputs)} outputs; an image "
            "classifier has one of each"
        )
    return _checked(
        path,
        "keras" if suffix == ".keras" else "h5",
        lambda image: model(image, training=False),
        model.inputs[0].shape,
        model.outputs[0].shape,
        size,
        model,
    )


def _first_line(error: Exception) -> str:
    """The part of a library's message that a person can use."""
    # Keras wraps the cause, config and all, around it.
    text = str(error).rpartition("Exception encountered: ")[2].strip() or repr(error)
    return text.splitlines()[0][:300]


def _refuse_code(path: Path) -> None:
    # `safe_mode` guards .keras files alone: an .h5 file's Lambda layer is unmarshalled and run.
    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
    except OSError as error:
        raise ConvertError(f"{path} is not an HDF5 file, or was cut short: {error}") from error
    if config is None:
        raise ConvertError(
            f"{path} holds weights without the network; save the whole model: model.save(...)"
        )
    for name in _class_names(json.loads(config)):
        if name in CODE_LAYERS:
            raise ConvertError(
                f"{path} has a {name} layer, whose code would be run by loading it; rebuild the "
                "model without it (keras.layers.Rescaling and the like) and save it as .keras"
            )


def _class_names(config: Any) -> Any:
    if isinstance(config, dict):
        yield config.get("class_name")
        for value in config.values():
            yield from _class_names(value)
    elif isinstance(config, list):
        for value in config:
            yield from _class_names(value)


def _saved_model(path: Path, size: tuple[int, int] | None) -> KerasModel:
    if not (path / "saved_model.pb").exists():
        raise ConvertError(f"{path} is a folder without a saved_model.pb: not a SavedModel")
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:
        reason = _first_line(error)
        raise ConvertError(f"TensorFlow {tf.__version__} cannot load {path}: {reason}") from error
    signature = loaded.signatures.get("serving_default")
    if signature is None:
        raise ConvertError(f"{path} has no signature serving_default; save it with model.export()")
    inputs = signature.structured_input_signature[1]
    outputs = signature.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise ConvertError(
            f"{path}: its signature has {len(inputs)} inputs, {len(outputs)} outputs"
        )
    (name, spec), (key, out) = next(iter(inputs.items())), next(iter(outputs.items()))
    return _checked(
        path,
        "saved_model",
        lambda image: signature(**{name: image})[key],
        tuple(spec.shape) if spec.shape.rank is not None else (),
        tuple(out.shape) if out.shape.rank is not None else (),
        size,
        loaded,
    )


def _checked(
    path: Path,
    kind: str,
    call: Callable[[Any], Any],
    shape: Any,
    outputs: Any,
    size: tuple[int, int] | None,
    anchor: Any,
) -> KerasModel:
    if len(shape) != 4 or len(outputs) != 2 or outputs[1] is None:
        raise ConvertError(
            f"{path} maps {tuple(shape)} to {tuple(outputs)}; an image classifier maps (batch, "
            "height, width, channels) to (batch, classes)"
        )
    height, width, channels = shape[1:]
    if channels not in (1, 3):
        raise ConvertError(f"{path} takes {channels} channels (last axis); 1 and 3 can be served")
    if size and (height, width) not in ((None, None), size):
        raise ConvertError(f"{path} takes {height} x {width} pixels, not {size[0]} x {size[1]}")
    height, width = (height, width) if height and width else size or (None, None)
    if not height or not width:
        raise ConvertError(f"{path} leaves its input size open: give --size HEIGHTxWIDTH")
    if outputs[1] < 2:
        raise ConvertError(f"{path} has one output; a classifier has one for each label")
    return KerasModel(path, kind, call, height, width, channels, int(outputs[1]), anchor)


def predict(graph: Any, tensor: np.ndarray) -> np.ndarray:
    """Run a concrete function on one image: (height, width, channels) -> (classes,), float32."""
    result = graph(tf.constant(tensor[np.newaxis]))
    return np.asarray(result)[0]
