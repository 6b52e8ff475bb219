"""KerasModel: the trained network as a function, whatever kind of file it came in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_to_lambda.convert.common.conversion_errors import ConvertError, explained
from keras_to_lambda.convert.load import loading, obstacles, saved_model
from keras_to_lambda.convert.load.saved_file import SavedFile
from keras_to_lambda.convert.network import signature


@dataclass(frozen=True)
class KerasModel:
    """A network with one image input and one vector of scores.

    call: float32 tensor (batch, height, width, channels) -> (batch, classes), in inference mode.
    kind: "keras", "h5", "saved_model" or "tflite". written_by, loaded_by: library and version.
    notes: sentences on changes to the network. parameters: trained numbers; None: SavedModels.
    anchor: keeps the variables alive that `call` reads. flatbuffer: of a `.tflite`; else None.
    dtype: of the served network's input, where it is not the converter's choice.
    """

    path: Path
    kind: str
    call: Callable[[Any], Any]
    height: int
    width: int
    channels: int
    classes: int
    anchor: Any
    written_by: str | None = None
    loaded_by: str = ""
    notes: tuple[str, ...] = ()
    parameters: int | None = None
    layers: tuple[str, ...] = ()
    flatbuffer: bytes | None = None
    dtype: str = "float32"
    sha256: str = ""

    def concrete(self) -> Any:
        """The network as a TensorFlow graph for exactly one image: (1, height, width, channels)."""
        spec = tf.TensorSpec((1, self.height, self.width, self.channels), tf.float32, name="image")
        with explained(
            f"{self.path} cannot be computed for one picture",
            "Load it where it was trained and export() it as a SavedModel",
        ):
            call = tf.function(lambda x: tf.cast(self.call(x), tf.float32), autograph=False)
            graph = call.get_concrete_function(spec)
        # CuDNN's recurrent layers, for one, run on graphics cards alone.
        with explained(
            f"{self.path} cannot be computed on a CPU",
            "Build that layer of others (LSTM for CuDNNLSTM), give it the same weights, and save "
            "the model again",
        ):
            graph(tf.zeros(spec.shape))
        return graph


@dataclass(frozen=True)
class Wanted:
    """The options about the model file; all are JSON values, for the sandbox.

    size: (height, width), where the model leaves it open. head: the name or index of the output,
    where there are several. trust: run the code in the file. custom: a Python file with the layers
    and functions that the model names. backend: "tensorflow" or "theano", if the file names none.
    """

    size: Sequence[int] | None = None
    head: str | None = None
    trust: bool = False
    custom: Path | str | None = None
    backend: str | None = None


def load(path: Path, wanted: Wanted | None = None) -> KerasModel:
    """Load a `.keras` or `.h5` file of any Keras, or a SavedModel folder."""
    wanted = wanted or Wanted()
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        saved = SavedFile.read(path, Path(folder))
        if stopped := list(obstacles.found(saved.config)):
            raise ConvertError(f"{path} cannot be converted: " + "; ".join(stopped))
        refused = saved.faults or [*saved.refusals()][:1] * bool(saved.code and not wanted.trust)
        if refused:
            raise ConvertError(f"{path} is refused: " + "; ".join(refused))
        saved = replace(saved, backend=wanted.backend or saved.backend)
        # What is opened is the copy; `path` is for messages.
        if saved.kind == "saved_model":
            network = saved_model.load(path, saved, wanted.head)
        else:
            custom = Path(wanted.custom) if wanted.custom else None
            network = loading.load(path, saved, custom, wanted.head, trust=wanted.trust)
        call, (height, width, channels, classes), notes = signature.of(path, network, wanted.size)
    if classes == 1 and network.gives_a_number:
        raise ConvertError(
            f"{path} has one output without a sigmoid and was trained with a loss for numbers: it "
            "predicts a number, such as an age. Only classifiers are served; train one on classes, "
            "such as age groups"
        )
    return KerasModel(
        path,
        saved.kind,
        call,
        height,
        width,
        channels,
        classes,
        anchor=network.anchor,
        written_by=saved.written_by,
        loaded_by=network.loaded_by,
        notes=(*network.notes, *notes),
        parameters=network.parameters,
        layers=network.layers,
        sha256=saved.sha256,
    )


def of_two_classes(model: KerasModel, *, sigmoid: bool) -> KerasModel:
    """A network with one output as one with two: of the first label, and of the second.

    The output is that of the second label, as Keras's binary losses and `flow_from_directory` have
    it. A sigmoid's p becomes (1 - p, p); a logit z becomes (0, z), whose softmax is sigmoid(z).
    """

    def call(image: Any) -> Any:
        second = model.call(image)
        first = 1 - second if sigmoid else tf.zeros_like(second)
        return tf.concat([first, second], axis=-1)

    kind = "probability" if sigmoid else "logit"
    note = f"one output, the {kind} of the second label: written as two, one for each label"
    return replace(model, call=call, classes=2, notes=(*model.notes, note))


def predict(graph: Any, tensor: np.ndarray) -> np.ndarray:
    """Run a concrete function on one image: (height, width, channels) -> (classes,), float32."""
    result = graph(tf.constant(tensor[np.newaxis]))
    scores: np.ndarray = np.asarray(result)[0]
    return scores
