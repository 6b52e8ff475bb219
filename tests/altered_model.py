"""A model that differs from the shipped one in one number alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from keras_to_lambda.project import ROOT

CLOTHING = ROOT / "models" / "clothing" / "clothing.tflite"


def altered_clothing(folder: Path) -> Path:
    """The clothing model with one bias moved by 0.01, under the card and hash of the right one."""
    content = CLOTHING.read_bytes()
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    for detail in interpreter.get_tensor_details():
        if list(detail["shape"]) == [10] and detail["dtype"] is np.float32:
            bias = interpreter.get_tensor(detail["index"])
            if content.count(bias.tobytes()) == 1:
                break
    else:
        raise AssertionError("the model has no bias of ten numbers")
    moved = bias.copy()
    moved[9] += 0.01
    path = folder / "clothing.tflite"
    path.write_bytes(content.replace(bias.tobytes(), moved.tobytes()))
    return path
