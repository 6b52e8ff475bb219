"""Pixel front: operators from pixels to the tensor that a network was trained on.

They are put in front of the unchanged network: the operations of keras.applications'
`preprocess_input`, in its order, in float32. A division is not replaced by a multiplication, so
that the network gets Keras's numbers to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_to_lambda.convert.quantize.graft import Graft
from keras_to_lambda.runtime.model_file.card import PRESETS, Affine, ModelCard
from keras_to_lambda.runtime.model_file.tflite_metadata import Field


@dataclass(frozen=True, slots=True)
class Step:
    """An operator, and its second operand: a number for all channels, or one for each."""

    operator: str
    values: tuple[float, ...]


# keras/src/applications/imagenet_utils.py, _preprocess_numpy_input, by what a preset means.
CONVENTIONS = {
    "tf": (Step("DIV", (127.5,)), Step("SUB", (1.0,))),
    "caffe": (Step("SUB", (103.939, 116.779, 123.68)),),
    "torch": (
        Step("DIV", (255.0,)),
        Step("SUB", (0.485, 0.456, 0.406)),
        Step("DIV", (0.229, 0.224, 0.225)),
    ),
    "rescale": (Step("DIV", (255.0,)),),
    "raw": (),
}
DTYPES = {"uint8": schema.TensorType.UINT8, "float32": schema.TensorType.FLOAT32}


# Their numbers lie between whole ones, and the bicubic's outside of 0..255.
FRACTIONAL = ("tf:bilinear", "tf:bicubic")


def dtype_of(card: ModelCard, *, deep: bool) -> str:
    """The type that holds a resized picture's pixels without loss; deep: pictures of 16 bits."""
    steps = card.preprocessing
    # load_img gives a network of one channel 0..65535.
    beyond = deep and card.channels == 1 and steps.drawing == "none"
    beyond &= steps.interpolation.startswith("pillow:")
    return "float32" if beyond or steps.interpolation in FRACTIONAL else "uint8"


def attach(flatbuffer: bytes, card: ModelCard, dtype: str) -> bytes:
    """A network that takes pixels of a type, uint8 or float32.

    flatbuffer: the network as trained: float32 (1, height, width, channels). card: its own, with
    the scaling.
    """
    operators = list(_operators(card, dtype))
    if not operators:
        return flatbuffer
    graft = Graft(flatbuffer)
    b = graft.builder
    graph, *others = graft.tables(graft.model, "Subgraphs")
    tensors = [graft.place(table) for table in graft.tables(graph, "Tensors")]
    codes = [graft.place(table) for table in graft.tables(graft.model, "OperatorCodes")]
    network = int(graph.Inputs(0))
    shape = [1, card.height, card.width, card.channels]

    def tensor(name: str, kind: int, shape: list[int], buffer: int = 0) -> int:
        made = schema.TensorT()
        made.name, made.type, made.shape, made.buffer = name, kind, shape, buffer
        tensors.append(made.Pack(b))
        return len(tensors) - 1

    kind = DTYPES[dtype]
    pixels = last = tensor("pixels", kind, shape)
    front = []
    for number, (operator, operand) in enumerate(operators, 1):
        inputs = [last]
        if operand is not None:
            values = schema.TensorType.FLOAT32 if operand.dtype == np.float32 else _INT32
            buffer = graft.buffer(operand.tobytes())
            inputs.append(tensor(f"pixels/{operator}", values, list(operand.shape), buffer))
        if operator == "CAST":
            kind = schema.TensorType.FLOAT32
        last = network if number == len(operators) else tensor(f"pixels/{number}", kind, shape)
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, operator)
        code.deprecatedBuiltinCode = min(code.builtinCode, _PLACEHOLDER)
        code.version = 1
        codes.append(code.Pack(b))
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(codes) - 1, inputs, [last]
        made.builtinOptionsType, made.builtinOptions = _options(operator)
        front.append(made.Pack(b))
    rest = [graft.place(table) for table in graft.tables(graph, "Operators")]
    new_inputs = b.CreateNumpyVector(np.array([pixels], np.int32))
    changed = graft.changed(
        graph,
        (Field.GRAPH_DEBUG,),
        {
            Field.GRAPH_TENSORS: graft.vector(tensors),
            Field.GRAPH_INPUTS: new_inputs,
            Field.GRAPH_OPERATORS: graft.vector([*front, *rest]),
        },
    )
    return graft.finish(
        {
            Field.MODEL_OPCODES: graft.vector(codes),
            Field.MODEL_SUBGRAPHS: graft.vector([changed, *map(graft.place, others)]),
        }
    )


_INT32 = schema.TensorType.INT32
_PLACEHOLDER = schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES


def _operators(card: ModelCard, dtype: str) -> Iterator[tuple[str, np.ndarray | None]]:
    """The operators with their second operands, in order."""
    steps, scaling = card.preprocessing, card.preprocessing.scaling
    meaning = PRESETS[scaling] if isinstance(scaling, str) else ""
    if (steps.color_order == "bgr") != (meaning == "caffe"):
        yield "REVERSE_V2", np.array([3], np.int32)
    if dtype != "float32":
        yield "CAST", None
    own: tuple[Step, ...] = ()
    if isinstance(scaling, Affine):
        own = Step("MUL", scaling.scale), Step("ADD", scaling.offset)
    for step in own or CONVENTIONS[meaning]:
        values = np.array(step.values, np.float32)
        # Of a whole row: three numbers would make XNNPACK go pixel by pixel.
        row = np.tile(values, (card.width, 1))
        yield step.operator, values[:1] if len(set(step.values)) == 1 else row


def _options(operator: str) -> tuple[int, Any]:
    name = {"REVERSE_V2": "ReverseV2"}.get(operator, operator.title()) + "Options"
    options = getattr(schema, f"{name}T")()
    if operator == "CAST":
        options.inDataType, options.outDataType = schema.TensorType.UINT8, schema.TensorType.FLOAT32
    return getattr(schema.BuiltinOptions, name), options
