"""A `.tflite` file of any program, read as a flatbuffer: its contents and its obstacles."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_to_lambda.convert.common.conversion_errors import ConvertError, listed
from keras_to_lambda.convert.network.operators import DAMAGED, names_of, number_of, of_flatbuffer
from keras_to_lambda.convert.network.outputs import Ending, in_words
from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.model_file import card as cards

Facts = dict[str, Any]

INTEGERS = ("INT8", "UINT8", "INT4", "INT2", "INT16")
WEIGHTS = ("FLOAT32", "FLOAT16", "BFLOAT16", *INTEGERS)


def facts(path: Path) -> Facts:
    """The contents of a file, as JSON values."""
    found = graph(path)
    described: Facts = {"card": None, "card_from": None, "labels": []}
    try:
        described = _described(path)
    except SetupError as error:
        found["stopped_by"].append(str(error))
    if len(found["outputs"]) == 1:
        units = math.prod(found["outputs"][0]["shape"][1:])
        with contextlib.suppress(*DAMAGED):
            found["outputs_are"] = in_words(Ending.of(of_flatbuffer(path)), units)
    return {"kind": "tflite", "bytes": path.stat().st_size, **found, **described}


def graph(path: Path) -> Facts:
    """The network of a file, without its card."""
    try:
        return _of_model(_model(path))
    except DAMAGED as error:
        raise ConvertError(f"{path} was cut short or damaged: get it again") from error


def makers(path: Path, name: str, version: int) -> list[str]:
    """For each operator of a name and version, the name of a tensor that contains its layer's.

    TensorFlow names tensors after the layers that made them, except the network's output: there an
    input's name is used, weights before pictures.
    """
    found = []
    for called, code, part, operator in _operators(_model(path)):
        if (called, code.version) == (name, version):
            around = [*operator.outputs, *reversed(operator.inputs)]
            names = [_string(part.tensors[i].name) for i in around if i >= 0]
            found.append(next((text for text in names if "/" in text), names[0]))
    return found


def _model(path: Path) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)


def _operators(model: Any) -> Iterator[tuple[str, Any, Any, Any]]:
    """Yield each operator with its name, its code, and its graph in front."""
    from ai_edge_litert import schema_py_generated as schema

    names = names_of(schema.BuiltinOperator)
    for part in model.subgraphs:
        for operator in part.operators or ():
            code = model.operatorCodes[operator.opcodeIndex]
            name = names.get(number_of(code), f"operator {number_of(code)}")
            yield _string(code.customCode) or name, code, part, operator


def _of_model(model: Any) -> Facts:
    from ai_edge_litert import schema_py_generated as schema

    types, graph = names_of(schema.TensorType), model.subgraphs[0]
    counts: Counter[tuple[str, int]] = Counter()
    strangers: dict[str, list[str]] = {}
    for name, code, part, operator in _operators(model):
        counts[name, code.version] += 1
        if code.customCode:
            made = [_string(part.tensors[i].name) for i in operator.outputs if i >= 0]
            strangers.setdefault(name, []).extend(made)
    inputs = [_tensor(graph.tensors[i], types) for i in graph.inputs]
    outputs = [_tensor(graph.tensors[i], types) for i in graph.outputs]
    # Integers without a scale are shapes, axes and paddings; a quantized bias has one.
    weights = [x for x in _constants(model) if types.get(x.type) in WEIGHTS or len(_scales(x))]
    shapes = [x.shape if x.shape is not None else () for x in weights]
    return {
        "inputs": inputs,
        "outputs": outputs,
        "operators": [
            {"name": name, "version": version, "count": count}
            for (name, version), count in sorted(counts.items())
        ],
        "parameters": sum(math.prod(map(int, shape)) for shape in shapes),
        "quantization": _in_words(model, weights, types),
        "stopped_by": [*_strange(strangers), *_shape_faults(inputs, outputs)],
    }


def _tensor(tensor: Any, types: dict[int, str]) -> Facts:
    shape = [int(n) for n in (tensor.shape if tensor.shape is not None else ())]
    signature = tensor.shapeSignature if tensor.shapeSignature is not None else ()
    # What is open is 1 in the shape, and -1 in its signature; one image at a time is served.
    found: Facts = {
        "name": _string(tensor.name),
        "shape": [
            None if at and at < len(signature) and signature[at] < 0 else n
            for at, n in enumerate(shape)
        ],
        "dtype": types.get(tensor.type, f"type {tensor.type}").lower(),
    }
    if len(_scales(tensor)):
        found["scale"] = float(_scales(tensor)[0])
        found["zero_point"] = int(tensor.quantization.zeroPoint[0])
    return found


def _string(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


def _constants(model: Any) -> list[Any]:
    """The tensors with numbers in the file, one for each buffer."""
    found: dict[int, Any] = {}
    for part in model.subgraphs:
        for tensor in part.tensors:
            buffer = model.buffers[tensor.buffer]
            if buffer.size or (buffer.data is not None and len(buffer.data)):
                found.setdefault(tensor.buffer, tensor)
    return list(found.values())


def _scales(tensor: Any) -> Sequence[float]:
    """A tensor's quantization: one scale, or one for each channel; none of a float tensor."""
    scales = getattr(tensor.quantization, "scale", None)
    return () if scales is None else scales


def _in_words(model: Any, weights: list[Any], types: dict[int, str]) -> str:
    """The quantization, in the words of `--quantize`."""
    constant = {tensor.buffer for tensor in _constants(model)}
    graph = model.subgraphs[0]
    # Bytes without a scale are pixels.
    quantized = [t for t in graph.tensors if t.buffer not in constant and len(_scales(t))]
    flowing = {types.get(tensor.type, "?") for tensor in quantized}
    unpacked = [
        graph.tensors[operator.inputs[0]]
        for name, _, part, operator in _operators(model)
        if name == "DEQUANTIZE" and part is graph
    ]
    turned = {types.get(tensor.type) for tensor in unpacked if tensor.buffer in constant}
    kinds = {types.get(x.type, "?") for x in weights}
    small = sorted(kinds & {*INTEGERS})
    words = f"{' and '.join(small).lower()} weights"
    if small and (moving := sorted(flowing & {"INT8", "UINT8", "INT16"})):
        return f"{words}; {' and '.join(moving).lower()} activations (int8)"
    if turned & set(small):
        return f"{words}; turned into float32 when the model loads (weights)"
    if small:
        return f"{words}; activations float32, quantized as they come (dynamic)"
    if "FLOAT16" in kinds:
        return "float16 weights, turned into float32 when the model loads (float16)"
    return "float32 (none)"


def _strange(strangers: dict[str, list[str]]) -> Iterator[str]:
    for name, made in sorted(strangers.items()):
        where = listed([repr(tensor) for tensor in made], 3)
        kind = "a custom operator: the interpreter does not have it; use a model without it"
        if name.startswith("Flex"):
            kind = (
                "TensorFlow's own operator: the interpreter has only TFLite's; build that layer of "
                "others and convert without SELECT_TF_OPS"
            )
        yield f"{name} (which makes {where}) is {kind}"


def _shape_faults(inputs: list[Facts], outputs: list[Facts]) -> Iterator[str]:
    for tensors, kind in ((inputs, "input"), (outputs, "output")):
        if len(tensors) != 1:
            named = listed([f"{x['name']} {tuple(x['shape'])}" for x in tensors])
            yield f"it has {len(tensors)} {kind}s ({named}); an image classifier has one"
    if len(inputs) == 1:
        shape, dtype = tuple(inputs[0]["shape"]), inputs[0]["dtype"]
        if len(shape) == 3 and shape[0] == 1:
            shape = (*shape, 1)  # no axis for its one channel
        if None in shape[1:]:
            yield "it leaves its input size open: export it with a fixed height and width"
        elif len(shape) != 4 or shape[0] != 1 or shape[3] not in cards.CHOICES["channels"]:
            yield (
                f"it takes {shape}; an image classifier takes (1, height, width, channels) or "
                "(1, height, width)"
            )
        if dtype not in cards.CHOICES["dtype"]:
            yield f"it takes {dtype}; float32, int8 and uint8 are served"
    if len(outputs) == 1:
        shape = tuple(outputs[0]["shape"])
        if not shape or shape[0] != 1 or sum(n != 1 for n in shape) > 1:
            yield f"it gives {shape}; an image classifier gives (1, labels)"


def _described(path: Path) -> Facts:
    """The card, wherever it is."""
    card = cards.load(path)
    cards.check_hash(path, card)
    aside, source = cards.beside(path), "standard metadata"
    with path.open("rb") as file:
        if cards.read(file)[1] is not None:
            source = "the file"
        elif aside.exists():
            source = aside.name
    body = card.to_json()
    return {"labels": body.pop("labels"), "card": body, "card_from": source}
