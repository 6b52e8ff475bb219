"""Operators: a network as a list of operators, TensorFlow's or those of a `.tflite` file.

Only what an operator is, and what it takes: enough to look at the first and the last ones.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]
# Numbers of a constant that is looked at; a larger one is a weight, not a scale or a limit.
MOST_NUMBERS = 1 << 22

# What flatbuffers' Python raises for damaged bytes.
DAMAGED = (
    *(ValueError, TypeError, IndexError, AttributeError, KeyError, OverflowError),
    *(RecursionError, ArithmeticError, OSError, struct.error),
)


@dataclass(frozen=True, slots=True)
class Node:
    """One operator.

    op: its name in the language of its graph, for example RealDiv or DIV.
    inputs: the names of the tensors that it takes, in order.
    clip: the fused activation of a `.tflite` operator, "" for none.
    scale: of a quantized output, 0 for none.
    """

    op: str
    inputs: tuple[str, ...] = ()
    clip: str = ""
    scale: float = 0.0


@dataclass(frozen=True)
class Operators:
    """A network.

    nodes: by the name of the tensor that a node makes. output: the name of the network's output.
    constant: the numbers of a tensor that is a constant or a variable; None where it is neither.
    """

    nodes: Mapping[str, Node]
    output: str
    constant: Callable[[str], Numbers | None]


def of_graph(graph: Any) -> tuple[Operators, Any]:
    """The operators of a concrete TensorFlow function, and its inlined GraphDef."""
    from tensorflow.python.framework import convert_to_constants

    # Of the converter's own first step only the inlining of nested functions: the whole step
    # (`convert_variables_to_constants_v2`) copies every weight.
    inlined = convert_to_constants._run_inline_graph_optimization(  # noqa: SLF001
        graph, lower_control_flow=False, aggressive_inlining=True
    )
    given = {inside.name.partition(":")[0]: outside for outside, inside in graph.graph.captures}
    nodes = {
        node.name: Node(node.op, tuple(_name(x) for x in node.input if not x.startswith("^")))
        for node in inlined.node
    }
    stored = {node.name: node for node in inlined.node if node.op == "Const"}

    def constant(name: str) -> Numbers | None:
        return _constant(name, nodes, stored, given)

    return Operators(nodes, _name(graph.outputs[0].name), constant), inlined


def _name(text: str) -> str:
    # "name:1" is a second output, of an operator that splits: as good as the first here.
    return text.partition(":")[0]


def _constant(
    name: str, nodes: Mapping[str, Node], stored: Mapping[str, Any], given: Mapping[str, Any]
) -> Numbers | None:
    import tensorflow as tf

    node = nodes.get(name)
    read = None
    while node is not None and node.op in ("Identity", "ReadVariableOp"):
        read = node.op == "ReadVariableOp" or read
        name = node.inputs[0]
        node = nodes.get(name)
    if name in stored:
        tensor = stored[name].attr["value"].tensor
        size = int(np.prod([d.size for d in tensor.tensor_shape.dim], initial=1))
        return np.asarray(tf.make_ndarray(tensor)) if size <= MOST_NUMBERS else None
    if name not in given:
        return None
    value = given[name]
    if value.dtype == tf.resource:
        if not read:
            return None
        details = value._handle_data.shape_and_type[0]  # noqa: SLF001
        value = tf.raw_ops.ReadVariableOp(resource=value, dtype=tf.as_dtype(details.dtype))
    return value.numpy() if value.shape.num_elements() <= MOST_NUMBERS else None


def names_of(kind: type) -> dict[int, str]:
    """The names of an enumeration of TensorFlow Lite's schema, by their numbers."""
    return {value: name for name, value in vars(kind).items() if name.isupper()}


def number_of(code: Any) -> int:
    """An operator's number, of which old files have a byte and new ones an int (schema.fbs)."""
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def of_flatbuffer(path: Path) -> Operators:
    """The operators of a `.tflite` file's first graph; damaged bytes: `DAMAGED`."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    names, kinds = names_of(schema.BuiltinOperator), names_of(schema.TensorType)
    clips = names_of(schema.ActivationFunctionType) | {0: ""}
    part = model.subgraphs[0]
    nodes = {}
    for operator in part.operators or ():
        op = names.get(number_of(model.operatorCodes[operator.opcodeIndex]), "")
        clip = clips.get(getattr(operator.builtinOptions, "fusedActivationFunction", 0), "")
        inputs = tuple(str(i) for i in operator.inputs if i >= 0)
        for index in operator.outputs:
            scales = getattr(part.tensors[index].quantization, "scale", None)
            scale = float(scales[0]) if scales is not None and len(scales) == 1 else 0.0
            nodes[str(index)] = Node(op, inputs, clip, scale)

    def constant(name: str) -> Numbers | None:
        tensor = part.tensors[int(name)]
        data = model.buffers[tensor.buffer].data
        kind = kinds.get(tensor.type, "")
        if data is None or not len(data) or len(data) > 4 * MOST_NUMBERS:
            return None
        if kind not in ("FLOAT32", "FLOAT16", "INT32", "INT64", "INT8", "UINT8"):
            return None
        numbers = np.frombuffer(bytes(data), np.dtype(kind.lower()))
        details = tensor.quantization
        if details is not None and details.scale is not None and len(details.scale) == 1:
            zero = int(details.zeroPoint[0]) if details.zeroPoint is not None else 0
            return (numbers.astype(np.float64) - zero) * float(details.scale[0])
        return numbers

    return Operators(nodes, str(part.outputs[0]), constant)
