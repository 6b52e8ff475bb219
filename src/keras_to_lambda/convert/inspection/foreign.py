"""A `.tflite` of another program: its own description, and its network for the proof."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from keras_to_lambda.cli import progress
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.inspection import tflite_file
from keras_to_lambda.origin import digest
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.model_file import tflite_metadata
from keras_to_lambda.runtime.model_file.zip_archive import Archive

# The resizing of the TensorFlow Lite Task Library, for which such files are made.
STEPS = {"resize": "stretch", "interpolation": "tf:bilinear"}


def is_one(path: Path) -> bool:
    """Whether a file is a `.tflite`."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(8)[4:] == b"TFL3"


def known_of(*, model: str) -> dict[str, Any]:
    """The card in a file or beside it, or what its standard metadata and numbers state of one.

    Returns the known fields of a ModelCard as JSON; of `preprocessing` also those that schema 2
    leaves out.
    """
    path = Path(model)
    source = _input(path)
    with path.open("rb") as file:
        card = cards.read(file)[1]
    if card is None and cards.beside(path).exists():
        card = cards.load_json(cards.beside(path))
    if card is not None:
        return {**card.to_json(), "preprocessing": asdict(card.preprocessing)}
    found = tflite_metadata.read(path) or {"name": None, "labels": None}
    if (missing := found.pop("label_file", None)) and not found["labels"]:
        progress.note(f"{path.name} has no {missing}, the label file that its metadata names")
    steps = {**STEPS, "scaling": _scaling(source), **found.get("preprocessing", {})}
    return {**found, "preprocessing": {k: v for k, v in steps.items() if v is not None}}


def _input(path: Path) -> dict[str, Any]:
    graph = tflite_file.graph(path)
    if graph["stopped_by"]:
        raise ConvertError(f"{path.name} cannot be served: " + "; ".join(graph["stopped_by"]))
    source: dict[str, Any] = graph["inputs"][0]
    return source


def _scaling(source: dict[str, Any]) -> dict[str, Any] | None:
    """The scaling of an integer input, whose codes are the pixels, 0..255; None: of floats."""
    if source["dtype"] == "float32":
        return None
    scale, channels = source.get("scale") or 1.0, _shape(source)[2]
    offset = (np.iinfo(source["dtype"]).min - source.get("zero_point", 0)) * scale
    return {"scale": [scale] * channels, "offset": [offset] * channels}


def _shape(source: dict[str, Any]) -> tuple[int, int, int]:
    """Height, width, channels; an input of rank 3 has one channel."""
    _, height, width, channels = (*source["shape"], 1)[:4]
    return height, width, channels


class TfliteNetwork:
    """A file's network, run without the function's code, which is the other side of the proof.

    flatbuffer: the file without its archive. taken, given: details of its input and output.
    """

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        source = _input(path)
        self.dtype, self.flatbuffer = source["dtype"], own_part(path)
        self.height, self.width, self.channels = _shape(source)
        try:
            self.interpreter = Interpreter(model_content=self.flatbuffer)
            self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ConvertError(f"the interpreter cannot load {path}: {error}") from error
        self.taken = self.interpreter.get_input_details()[0]
        self.given = self.interpreter.get_output_details()[0]
        self.classes = math.prod(int(n) for n in self.given["shape"])

    def answer(self, image: np.ndarray) -> np.ndarray:
        """One image's scores: float32, (1, height, width, channels) -> (1, classes)."""
        # real = (code - zero point) * scale:
        # https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec
        kind, (scale, zero_point) = self.taken["dtype"], self.taken["quantization"]
        tensor = image.reshape(self.taken["shape"])
        if kind != np.float32:
            limits = np.iinfo(kind)
            codes = np.rint(tensor / np.float32(scale or 1.0)) + zero_point
            tensor = np.minimum(np.maximum(codes, limits.min), limits.max)
        self.interpreter.set_tensor(self.taken["index"], tensor.astype(kind))
        self.interpreter.invoke()
        output: np.ndarray = self.interpreter.get_tensor(self.given["index"])
        if self.given["dtype"] != np.float32:
            scale, zero_point = self.given["quantization"]
            output = (output.astype(np.float32) - zero_point) * np.float32(scale or 1.0)
        return output.reshape(1, self.classes)


def load(path: Path) -> Any:
    """The network as a KerasModel."""
    import tensorflow as tf
    from ai_edge_litert import __version__ as version

    from keras_to_lambda.convert.network.keras_model import KerasModel

    network = TfliteNetwork(path)

    def call(image: Any) -> Any:
        scores = tf.numpy_function(network.answer, [image], tf.float32, stateful=False)
        return tf.ensure_shape(scores, (1, network.classes))

    return KerasModel(
        path=path,
        kind="tflite",
        call=call,
        height=network.height,
        width=network.width,
        channels=network.channels,
        classes=network.classes,
        anchor=network,
        loaded_by=f"ai-edge-litert {version}",
        parameters=tflite_file.graph(path)["parameters"],
        flatbuffer=network.flatbuffer,
        dtype=network.dtype,
        sha256=digest(path),
    )


def check(model: Any, card: cards.ModelCard) -> None:
    """Compare the scaling of a model from `load` with the input's scale and zero point."""
    from keras_to_lambda.runtime.model.engine import Tensor
    from keras_to_lambda.runtime.model.interpreter import contradiction

    if model.dtype == "float32":
        return
    if reason := contradiction(card, Tensor.of(model.anchor.taken), "--preprocess"):
        raise ConvertError(
            f"{model.path.name}: {reason}. Leave --preprocess out: the file itself states it"
        )


def own_part(path: Path) -> bytes:
    """The file without the archive behind it, whose labels and card are replaced."""
    with path.open("rb") as file:
        archive = Archive.find(file)
        file.seek(0)
        return file.read() if archive is None else file.read(archive.start)
