"""Classifier: a `.tflite` file and its card, ready to turn pictures' tensors into logits."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence

from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.common.memory import Buffer
from keras_to_lambda.runtime.common.record import Any
from keras_to_lambda.runtime.image.pixels import takes_pixels
from keras_to_lambda.runtime.model import engine
from keras_to_lambda.runtime.model.engine import Engine, EngineError, Tensor, rounded
from keras_to_lambda.runtime.model_file import card as cards

# A batch's answers may part from single ones by this share of their spread, as another order of
# float32 additions does; more means that the graph mixes the images of a batch.
BATCH_TOLERANCE = 1e-4
# Images of the batch that a graph has to pass before batches are trusted: it costs little of the
# first request's time, however many images that has.
TRIED = 3
# A quantized input may reach this share beyond the card's range, and has to cover this share of it:
# calibration rounds, and its photos may be neither black nor white.
WIDER, COVERED = 0.05, 0.6
# Outputs that a model of so many labels may have, where that is not their number.
OUTPUTS = {2: (1, 2)}
# What the first of two labels gets of a model's one output, the second's.
ONE_UNIT: dict[str, Callable[[float], float]] = {
    "probabilities": lambda answer: 1 - answer,
    "logits": lambda _: 0.0,
}
# The least and the largest code.
CODES = {"int8": (-128, 127), "uint8": (0, 255)}
# What `memoryview` calls an output's numbers.
FORMATS: Any = {"float32": "f", "int8": "b", "uint8": "B"}


class Classifier:
    """One model.

    Args:
        card: the file's, if it has been read already.
        weight_cache: a folder for packed weights; "": none.

    Raises SetupError: the file, its card or their agreement is wrong.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
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
        place = ""
        if weight_cache:
            from keras_to_lambda.runtime.model import weight_cache as caches

            place = caches.file(weight_cache, self.path, self.card)
        try:
            self._engine = engine.load(self.path, num_threads, place)
        except EngineError as error:
            raise SetupError(f"the interpreter cannot load {path}: {error}") from error
        self._input = _only(self._engine.inputs, "input", self.path)
        self._output = _only(self._engine.outputs, "output", self.path)
        self._check()
        self._codes = _codes(self._input) if takes_pixels(self.card) else None
        # An engine is one set of buffers: two threads in it would mix their images.
        self._lock = threading.Lock()
        self._batch: Engine | None = None
        self._trusted = False
        # On one thread a batch takes as long as its images one by one (docs/benchmarks.md).
        self._may_batch = num_threads > 1 and not weight_cache

    def _check(self) -> None:
        card = self.card
        shape = self._input.shape
        taken = (1, card.height, card.width, card.channels)
        # A network of rank 3 has no axis for its one channel.
        if taken not in (shape, (*shape, 1)):
            raise SetupError(f"{self.path} takes a tensor of shape {shape}, its card says {taken}")
        if self._input.dtype != card.dtype:
            raise SetupError(f"{self.path} takes {self._input.dtype}, its card says {card.dtype}")
        if card.dtype != "float32" and (reason := contradiction(card, self._input)):
            raise SetupError(
                f"{self.path}: {reason}. Correct the card (k2l convert reads the scaling "
                "from the file), or calibrate on photos that reach from black to white"
            )
        outputs = self._output.shape
        units = math.prod(outputs)
        # A convolutional head gives (1, 1, 1, labels).
        if sum(n != 1 for n in outputs) > 1 or units not in OUTPUTS.get(
            len(card.labels), (len(card.labels),)
        ):
            raise SetupError(
                f"{self.path} has an output of shape {outputs}, its card has {len(card.labels)} "
                "labels: give one label for each output, in the output's order"
            )
        if self._output.dtype not in FORMATS:
            raise SetupError(
                f"{self.path} answers in {self._output.dtype}; float32, int8 and uint8 are served"
            )

    def logits(self, tensor: Buffer) -> list[float]:
        """Run the network on one image.

        Args:
            tensor: as `pixels.prepare` returns it, or float32 as `preprocess.prepare` does. An
                integer model's input is quantized here.

        Returns:
            float32 numbers, one for each label: logits, or probabilities where the card says so.
        """
        with self._lock:
            return self._one(self.codes(tensor))

    def batch(self, tensors: Sequence[Buffer]) -> list[list[float]]:
        """Run the network on several images: at once where threads gain by it, else one by one."""
        with self._lock:
            given = [self.codes(tensor) for tensor in tensors]
            if len(given) > 1 and self._may_batch and self._trusted:
                together = self._together(given)
                if together is not None:
                    return together
            answers = [self._one(tensor) for tensor in given]
            if len(given) > 1 and self._may_batch:
                self._try(given, answers)
            return answers

    def codes(self, tensor: Buffer) -> Buffer:
        """A tensor in the codes of the network's input."""
        if isinstance(tensor, bytes):
            return tensor.translate(self._codes) if self._codes else tensor
        if self._input.dtype == "float32":
            return tensor
        from keras_to_lambda.runtime.image.preprocess import quantized

        return quantized(tensor, self._input.scale, self._input.zero_point, self._input.dtype)

    def _one(self, tensor: Buffer) -> list[float]:
        start = time.perf_counter()
        output = self._engine(tensor)
        self._took(time.perf_counter() - start)
        [answer] = self.answers(output, 1)
        return answer

    def answers(self, output: bytes, images: int) -> list[list[float]]:
        """The network's output as float32: a row for each image."""
        made = self._output
        numbers: list[float] = [*memoryview(output).cast(FORMATS[made.dtype])]
        if made.dtype != "float32":
            scale = rounded([made.scale])[0]
            numbers = rounded((code - made.zero_point) * scale for code in numbers)
        units = len(numbers) // images
        rows = [numbers]
        if images > 1:
            rows = [numbers[at : at + units] for at in range(0, len(numbers), units)]
        if units == 1:  # one unit tells two labels apart
            first = ONE_UNIT[self.card.output]
            return [[*rounded([first(answer)]), answer] for [answer] in rows]
        return rows

    def _took(self, seconds: float) -> None:
        self.seconds = min(self.seconds or seconds, seconds)

    def _try(self, tensors: Sequence[Buffer], answers: Sequence[list[float]]) -> None:
        """Find out whether images get the same answers in a batch as alone."""
        # Answers that differ: a graph that mixes the images of a batch shows it on these alone.
        tried: list[tuple[Buffer, list[float]]] = []
        for tensor, answer in zip(tensors, answers, strict=True):
            if len(tried) < TRIED and not any(_close(answer, other) for _, other in tried):
                tried.append((tensor, answer))
        if len(tried) < 2:
            return
        together = self._together([tensor for tensor, _ in tried])
        if together is None:
            return
        self._trusted = all(
            _close(row, answer) for row, (_, answer) in zip(together, tried, strict=True)
        )
        if not self._trusted:
            self._may_batch, self._batch = False, None

    def _together(self, tensors: Sequence[Buffer]) -> list[list[float]] | None:
        """The batch's answers; None if this graph is not one for batches."""
        try:
            # A second engine: resizing the first for each kind of request costs more than a batch
            # gains.
            self._batch = self._batch or engine.load(self.path, self._num_threads)
            start = time.perf_counter()
            answers = self.answers(self._batch(b"".join(tensors), len(tensors)), len(tensors))
            self._took((time.perf_counter() - start) / len(tensors))
            if {len(row) for row in answers} != {len(self.card.labels)}:
                raise EngineError("a batch of another shape")
        except EngineError:
            self._may_batch, self._batch = False, None
            return None
        return answers


def contradiction(
    card: cards.ModelCard, tensor: Tensor, name: str = "preprocessing.scaling in its card"
) -> str:
    """Why an integer input's scale and zero point cannot be those of the card's scaling; "": can.

    tensor: the input. name: of the scaling, for the sentence.
    """
    low, high = ((code - tensor.zero_point) * tensor.scale for code in CODES[tensor.dtype])
    if takes_pixels(card):
        least, most = 0.0, 255.0
    else:
        from keras_to_lambda.runtime.image.preprocess import extent

        least, most = extent(card)
    slack = WIDER * (most - least)
    covered = min(high, most) - max(low, least)
    if low >= least - slack and high <= most + slack and covered >= COVERED * (most - least):
        return ""
    return (
        f"its input has a scale of {tensor.scale:.6g} and a zero point of {tensor.zero_point}, "
        f"which is {low:.4g} to {high:.4g}; {name} gives {least:.4g} to {most:.4g}"
    )


def _close(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    spread = max(theirs) - min(theirs)
    apart = max(abs(one - other) for one, other in zip(ours, theirs, strict=True))
    return apart <= BATCH_TOLERANCE * max(spread, 1e-6)


def _only(tensors: tuple[Tensor, ...], kind: str, path: str) -> Tensor:
    if len(tensors) != 1:
        raise SetupError(f"{path} has {len(tensors)} {kind}s; an image classifier has one")
    return tensors[0]


def _codes(tensor: Tensor) -> bytes | None:
    """For each pixel its code, as `preprocess.quantized` makes it; None: pixels are the codes."""
    if (tensor.scale, tensor.zero_point) == (1.0, 0):
        return None
    [scale] = rounded([tensor.scale])
    steps = rounded(pixel / scale for pixel in range(256))
    return bytes(min(max(round(step) + tensor.zero_point, 0), 255) for step in steps)
