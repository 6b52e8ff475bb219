"""Small `.tflite` networks, as other programs write them: without a card or metadata."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

# These come with ai-edge-litert; not beside tflite-runtime.
flatbuffers = pytest.importorskip("flatbuffers", reason="no ai-edge-litert here")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="no ai-edge-litert here")

# Scale and zero point of -1..1 in 8 bits.
STEPS = {"uint8": (1 / 127.5, 127), "int8": (1 / 127.5, 0)}
TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "uint8": schema.TensorType.UINT8,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
}


def _tensor(name, shape, dtype, buffer=0, steps=None):
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, TYPES[dtype], buffer
    if steps:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [steps[0]], [steps[1]]
    return tensor


def _operator(opcode, inputs, outputs, kind, options):
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = opcode, inputs, outputs
    operator.builtinOptionsType, operator.builtinOptions = kind, options
    return operator


def network(
    dtype="float32",
    *,
    softmax=True,
    last="SOFTMAX",
    shape=(1, 8, 8, 3),
    axes=(1, 2),
    keep_axes=False,
    steps=None,
    dequantized=False,
):
    """A network that answers with the mean of each channel, or their softmax.

    Args:
        last: the last operator, SOFTMAX or LOGISTIC; none without `softmax`.
        axes: what the mean is over. keep_axes: they stay, of length 1.
        steps: scale and zero point of the input.
        dequantized: the scores of an integer network are turned into float32 by it.
    """
    steps = steps or STEPS.get(dtype)
    last_steps = {"uint8": (1 / 256, 0), "int8": (1 / 256, -128)}.get(dtype)
    means = [1 if at in axes else n for at, n in enumerate(shape) if keep_axes or at not in axes]
    graph = schema.SubGraphT()
    graph.tensors = [
        _tensor("image", list(shape), dtype, steps=steps),
        _tensor("axes", [len(axes)], "int32", buffer=1),
        _tensor("means", means, dtype, steps=steps),
        _tensor("scores", means, dtype, steps=last_steps),
    ]
    mean, softmax_options = schema.ReducerOptionsT(), schema.SoftmaxOptionsT()
    mean.keepDims = keep_axes
    softmax_options.beta = 1.0
    options = schema.BuiltinOptions
    graph.operators = [
        _operator(0, [0, 1], [2], options.ReducerOptions, mean),
        _operator(1, [2], [3], options.SoftmaxOptions, softmax_options)
        if last == "SOFTMAX"
        else _operator(1, [2], [3], 0, None),
    ][: 1 + softmax]
    graph.inputs, graph.outputs = [0], [3 if softmax else 2]
    if dequantized:
        graph.tensors.append(_tensor("floats", means, "float32"))
        graph.operators.append(_operator(2, graph.outputs, [4], 0, None))
        graph.outputs = [4]
    model = schema.ModelT()
    model.version, model.subgraphs = 3, [graph]
    model.operatorCodes = []
    known = schema.BuiltinOperator
    for number in (known.MEAN, getattr(known, last), known.DEQUANTIZE):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = 1 if dtype == "float32" else 2
        model.operatorCodes.append(code)
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.frombuffer(np.array(axes, "<i4").tobytes(), np.uint8)
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def third_party(flatbuffer, labels="red\ngreen\nblue\n"):
    """The file as others write it: metadata in it, and nothing but labels.txt behind it."""
    buffer = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(zipfile.ZipInfo("labels.txt"), labels)
    return buffer.getvalue()
