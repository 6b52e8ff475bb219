"""Engine: what runs a `.tflite` file, bytes in and bytes out.

LiteRT where the ai-edge-litert package is installed; else its predecessor, tflite-runtime.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from keras_to_lambda.runtime.common.memory import Buffer
from keras_to_lambda.runtime.common.record import Any, Protocol


class EngineError(Exception):
    """A file is not a model, or an inference failed; the message is the engine's."""


class Tensor:
    """An input or output of a network.

    shape: for one image.
    dtype: float32, int8, uint8, or what no image classifier has.
    scale, zero_point: a number is (code - zero_point) * scale; 1.0 and 0 of plain numbers.
    """

    __slots__ = ("dtype", "scale", "shape", "zero_point")

    def __init__(self, shape: tuple[int, ...], dtype: str, scale: float, zero_point: int) -> None:
        self.shape, self.dtype = shape, dtype
        self.scale, self.zero_point = scale or 1.0, zero_point

    @classmethod
    def of(cls, details: dict[str, Any]) -> Tensor:
        """A tensor as TensorFlow Lite's `Interpreter` describes it."""
        scale, zero_point = details["quantization"]
        shape = tuple(map(int, details["shape"]))
        return cls(shape, details["dtype"].__name__, float(scale), int(zero_point))


class Engine(Protocol):
    """A loaded network; not for two threads at a time.

    inputs, outputs: its tensors.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def __call__(self, tensors: Buffer, images: int = 1) -> bytes:
        """Run the network on images, whose tensors follow one another; and so do its outputs.

        Raises EngineError: it failed, or this network does not take so many images.
        """


def package() -> str:
    """The package that `load` takes its engine from."""
    from keras_to_lambda.runtime.model import litert

    return litert.PACKAGE if litert.folder() else "tflite_runtime"


def load(path: str, num_threads: int, weight_cache: str = "") -> Engine:
    """Load a `.tflite` file.

    Args:
        weight_cache: a file for packed weights; "": none.

    Raises EngineError: it is not a model, or has an operator that the engine does not have;
    SetupError: the engine itself does not load.
    """
    from keras_to_lambda.runtime.model import litert

    folder = litert.folder()
    if folder:
        return litert.CompiledModel(folder, path, num_threads, weight_cache)
    from keras_to_lambda.runtime.model import tflite

    return tflite.Interpreted(path, num_threads, weight_cache)


def rounded(numbers: Iterable[float]) -> list[float]:
    """Each number as the nearest float32.

    A sum, difference, product or quotient of float32 numbers is then what float32 arithmetic gives.
    """
    values = [*numbers]
    kind = f"{len(values)}f"
    return [*struct.unpack(kind, struct.pack(kind, *values))]
