"""tflite-runtime, LiteRT's predecessor, for who cannot leave it: Python <= 3.11, numpy < 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tflite_runtime.interpreter import Interpreter

from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.model.engine import EngineError, Tensor

if TYPE_CHECKING:
    from keras_to_lambda.runtime.common.memory import Buffer


class Interpreted:
    """A `.tflite` file; see `engine.Engine`.

    Raises EngineError: it is not a model, or has an operator that the interpreter does not have;
    SetupError: a weight cache is wanted.
    """

    def __init__(self, path: str, num_threads: int, weight_cache: str = "") -> None:
        if weight_cache:
            raise SetupError("WEIGHT_CACHE needs ai-edge-litert; unset it")
        try:
            self._interpreter = Interpreter(model_path=path, num_threads=num_threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise EngineError(str(error)) from error
        self._given = self._interpreter.get_input_details()[0]
        self._made = self._interpreter.get_output_details()[0]
        self.inputs = tuple(map(Tensor.of, self._interpreter.get_input_details()))
        self.outputs = tuple(map(Tensor.of, self._interpreter.get_output_details()))
        self._images = 1

    def __call__(self, tensors: Buffer, images: int = 1) -> bytes:
        """Run the network."""
        index = self._given["index"]
        shape = (images, *self.inputs[0].shape[1:])
        try:
            if images != self._images:
                self._images = 0
                self._interpreter.resize_tensor_input(index, shape)
                self._interpreter.allocate_tensors()
                self._images = images
            values = np.frombuffer(memoryview(tensors).cast("B"), self._given["dtype"])
            self._interpreter.set_tensor(index, values.reshape(shape))
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise EngineError(str(error)) from error
        made: bytes = self._interpreter.get_tensor(self._made["index"]).tobytes()
        return made
