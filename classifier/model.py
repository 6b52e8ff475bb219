"""Classifier: a `.tflite` file and its card, ready to turn tensors into logits."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifier import card as cards
from classifier.errors import SetupError

try:
    from ai_edge_litert.interpreter import Interpreter
except ModuleNotFoundError as error:
    if error.name != "ai_edge_litert":
        raise
    # The predecessor, for whoever must stay on it: same interface, Python <= 3.11 and numpy < 2.
    from tflite_runtime.interpreter import Interpreter

Floats = npt.NDArray[np.float32]


class Classifier:
    """One model.

    Args:
        path: a `.tflite` file with its card in it or beside it.
        num_threads: for the interpreter.

    Raises:
        SetupError: the file, its card or their agreement is wrong.
    """

    def __init__(self, path: Path, num_threads: int = 1) -> None:
        self.card = cards.load(path)
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=num_threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise SetupError(f"the interpreter cannot load {path}: {error}") from error
        self._input = _only(self._interpreter.get_input_details(), "input", path)
        self._output = _only(self._interpreter.get_output_details(), "output", path)
        # The interpreter is one set of buffers: two threads in it would mix their images.
        self._lock = threading.Lock()
        self._check(path)

    def _check(self, path: Path) -> None:
        card = self.card
        shape = tuple(int(n) for n in self._input["shape"])
        if shape != (1, card.height, card.width, card.channels):
            raise SetupError(
                f"{path} takes a tensor of shape {shape}, its card says "
                f"(1, {card.height}, {card.width}, {card.channels})"
            )
        dtype = np.dtype(self._input["dtype"]).name
        if dtype != card.dtype:
            raise SetupError(f"{path} takes {dtype}, its card says {card.dtype}")
        outputs = tuple(int(n) for n in self._output["shape"])
        if outputs != (1, len(card.labels)):
            raise SetupError(
                f"{path} has an output of shape {outputs}, its card has {len(card.labels)} labels: "
                "give one label for each output, in the output's order"
            )

    def logits(self, tensor: Floats) -> Floats:
        """Run the network on one image.

        Args:
            tensor: float32, (height, width, channels), as `preprocess.prepare` returns it. An
                integer model's input is quantized here.

        Returns:
            float32, (labels,). Logits, or probabilities where the card says so.
        """
        with self._lock:
            self._interpreter.set_tensor(self._input["index"], _quantize(tensor, self._input))
            self._interpreter.invoke()
            output = self._interpreter.get_tensor(self._output["index"])
        return _dequantize(output[0], self._output)


def _only(details: list[dict[str, Any]], kind: str, path: Path) -> dict[str, Any]:
    if len(details) != 1:
        raise SetupError(f"{path} has {len(details)} {kind}s; an image classifier has one")
    return details[0]


def _quantize(tensor: Floats, details: dict[str, Any]) -> npt.NDArray[Any]:
    batch = tensor[np.newaxis]
    if details["dtype"] is np.float32:
        return batch
    # https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec
    scale, zero_point = _steps(details)
    limits = np.iinfo(details["dtype"])
    steps = np.round(batch / np.float32(scale)) + zero_point
    quantized: npt.NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(details["dtype"])
    return quantized


def _steps(details: dict[str, Any]) -> tuple[float, int]:
    """A tensor's scale and zero point; one that has none, (0.0, 0), holds plain numbers."""
    scale, zero_point = details["quantization"]
    return scale or 1.0, zero_point


def _dequantize(output: npt.NDArray[Any], details: dict[str, Any]) -> Floats:
    floats: Floats
    if details["dtype"] is np.float32:
        floats = output
        return floats
    scale, zero_point = _steps(details)
    floats = (output.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    return floats
