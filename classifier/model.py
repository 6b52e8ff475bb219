"""Classifier: a `.tflite` file and its card, ready to turn tensors into logits."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from classifier import card as cards
from classifier import preprocess
from classifier.errors import SetupError

try:
    from ai_edge_litert.interpreter import Interpreter
except ModuleNotFoundError as error:
    if error.name != "ai_edge_litert":
        raise
    # The predecessor, for whoever must stay on it: same interface, Python <= 3.11 and numpy < 2.
    from tflite_runtime.interpreter import Interpreter

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from classifier.cached import CachedEngine

    Floats = npt.NDArray[np.float32]

# A batch's answers may part from single ones by this share of their spread, as another order of
# float32 additions does; more means that the graph mixes the images of a batch.
BATCH_TOLERANCE = 1e-4


# A quantized input may reach this share beyond the card's range, and has to cover this share of it:
# calibration rounds, and its photos may be neither black nor white.
WIDER, COVERED = 0.05, 0.6
# Outputs that a model of so many labels may have, where that is not their number.
OUTPUTS = {2: (1, 2)}
# What the first of two labels gets of a model's one output, the second's.
ONE_UNIT: dict[str, Callable[[Floats], Floats]] = {
    "probabilities": lambda answers: 1 - answers,
    "logits": np.zeros_like,
}


class Engine:
    """An interpreter with what it takes and gives; it takes as many images at a time as came last.

    inputs, outputs: details of its tensors: shape, dtype, quantization.
    """

    def __init__(self, path: str, num_threads: int) -> None:
        try:
            self._interpreter = Interpreter(model_path=path, num_threads=num_threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise SetupError(f"the interpreter cannot load {path}: {error}") from error
        self.inputs = self._interpreter.get_input_details()
        self.outputs = self._interpreter.get_output_details()
        self._size = 1

    def __call__(self, tensors: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(images, height, width, channels) to (images, labels).

        Raises:
            ValueError, RuntimeError: this graph does not take so many at a time.
        """
        index = self.inputs[0]["index"]
        if len(tensors) != self._size:
            self._size = 0
            self._interpreter.resize_tensor_input(index, tensors.shape)
            self._interpreter.allocate_tensors()
            self._size = len(tensors)
        self._interpreter.set_tensor(index, tensors)
        self._interpreter.invoke()
        output: npt.NDArray[Any] = self._interpreter.get_tensor(self.outputs[0]["index"])
        return output


class Classifier:
    """One model.

    Args:
        path: a `.tflite` file.
        num_threads: for the interpreter.
        card: the file's, if it has been read already.
        weight_cache: a folder for packed weights, see `cached`; "": none.

    Raises:
        SetupError: the file, its card or their agreement is wrong.
    """

    def __init__(
        self,
        path: str | Path,
        num_threads: int = 1,
        card: cards.ModelCard | None = None,
        weight_cache: str = "",
    ) -> None:
        self.card = card or cards.load(path)
        self.path = str(path)
        # The least that one image's inference has taken, in seconds; 0 before the first. Not what
        # the last took: one that was slow by accident would have every later one refused.
        self.seconds = 0.0
        self._num_threads = num_threads
        self._engine: Engine | CachedEngine
        if weight_cache:
            from classifier.cached import CachedEngine

            self._engine = CachedEngine(self.path, num_threads, self.card, weight_cache)
        else:
            self._engine = Engine(self.path, num_threads)
        self._input = _only(self._engine.inputs, "input", self.path)
        self._output = _only(self._engine.outputs, "output", self.path)
        self._check()
        # The interpreter is one set of buffers: two threads in it would mix their images.
        self._lock = threading.Lock()
        self._batch: Engine | None = None
        # On one thread a batch takes as long as its images one by one (docs/benchmarks.md).
        self._may_batch = num_threads > 1 and not weight_cache

    def _check(self) -> None:
        card = self.card
        shape = tuple(int(n) for n in self._input["shape"])
        taken = (1, card.height, card.width, card.channels)
        # A network of rank 3 has no axis for its one channel.
        if taken not in (shape, (*shape, 1)):
            raise SetupError(f"{self.path} takes a tensor of shape {shape}, its card says {taken}")
        self._shape = shape[1:]
        dtype = np.dtype(self._input["dtype"]).name
        if dtype != card.dtype:
            raise SetupError(f"{self.path} takes {dtype}, its card says {card.dtype}")
        if dtype != "float32" and (reason := contradiction(card, self._input)):
            raise SetupError(
                f"{self.path}: {reason}. Correct the card (python -m convert reads the scaling "
                "from the file), or calibrate on photos that reach from black to white"
            )
        outputs = tuple(int(n) for n in self._output["shape"])
        units = math.prod(outputs)
        # A convolutional head gives (1, 1, 1, labels).
        if sum(n != 1 for n in outputs) > 1 or units not in OUTPUTS.get(
            len(card.labels), (len(card.labels),)
        ):
            raise SetupError(
                f"{self.path} has an output of shape {outputs}, its card has {len(card.labels)} "
                "labels: give one label for each output, in the output's order"
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
            return self._one(tensor)

    def batch(self, tensors: Floats) -> Floats:
        """Run the network on several images: at once where threads gain by it, else one by one.

        Args:
            tensors: float32, (images, height, width, channels).

        Returns:
            float32, (images, labels).
        """
        with self._lock:
            if len(tensors) > 1 and self._may_batch:
                together = self._together(tensors)
                if together is not None:
                    return together
            return np.stack([self._one(tensor) for tensor in tensors])

    def _one(self, tensor: Floats) -> Floats:
        start = time.perf_counter()
        output = self._engine(_quantize(tensor.reshape(1, *self._shape), self._input))
        self._took(time.perf_counter() - start)
        answer: Floats = self._answers(output, 1)[0]
        return answer

    def _answers(self, output: npt.NDArray[Any], images: int) -> Floats:
        """The interpreter's output as float32, (images, labels)."""
        answers: Floats = _dequantize(output.reshape(images, -1), self._output)
        if answers.shape[1] == 1:  # one unit tells two labels apart
            first = ONE_UNIT[self.card.output](answers)
            return np.concatenate([first, answers], axis=1)
        return answers

    def _took(self, seconds: float) -> None:
        self.seconds = min(self.seconds or seconds, seconds)

    def _together(self, tensors: Floats) -> Floats | None:
        """The batch's answers; None if this graph is not one for batches."""
        try:
            # An engine of its own: to resize the other one for each kind of request would cost more
            # than a batch gains.
            fresh = self._batch is None
            self._batch = self._batch or Engine(self.path, self._num_threads)
            start = time.perf_counter()
            batch = tensors.reshape(len(tensors), *self._shape)
            answers = self._answers(self._batch(_quantize(batch, self._input)), len(tensors))
            self._took((time.perf_counter() - start) / len(tensors))
            if answers.shape != (len(tensors), len(self.card.labels)):
                raise ValueError("a batch of another shape")
            # Its last image alone, once: a graph with a size written into it may mix them.
            if fresh and not _close(answers[-1], self._one(tensors[-1])):
                raise ValueError("a batch of other answers")
        except (ValueError, RuntimeError):
            self._may_batch, self._batch = False, None
            return None
        return answers


def contradiction(
    card: cards.ModelCard, details: dict[str, Any], name: str = "preprocessing.scaling in its card"
) -> str:
    """Why an integer input's scale and zero point cannot be those of the card's scaling; "": can.

    Args:
        details: of the input tensor, as an interpreter has them.
        name: of the scaling, for the sentence.
    """
    scale, zero_point = _steps(details)
    codes = np.iinfo(details["dtype"])
    low, high = ((code - zero_point) * scale for code in (codes.min, codes.max))
    least, most = preprocess.extent(card)
    slack = WIDER * (most - least)
    covered = min(high, most) - max(low, least)
    if low >= least - slack and high <= most + slack and covered >= COVERED * (most - least):
        return ""
    return (
        f"its input has a scale of {scale:.6g} and a zero point of {zero_point}, which is "
        f"{low:.4g} to {high:.4g}; {name} gives {least:.4g} to {most:.4g}"
    )


def _close(ours: Floats, theirs: Floats) -> bool:
    spread = float(np.ptp(theirs))
    return bool(np.abs(ours - theirs).max() <= BATCH_TOLERANCE * max(spread, 1e-6))


def _only(details: list[dict[str, Any]], kind: str, path: str) -> dict[str, Any]:
    if len(details) != 1:
        raise SetupError(f"{path} has {len(details)} {kind}s; an image classifier has one")
    return details[0]


def _quantize(batch: Floats, details: dict[str, Any]) -> npt.NDArray[Any]:
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
