"""A `.tflite` file of any program, read as a flatbuffer: its contents and its obstacles."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.network.operators import DAMAGED, names_of, number_of, of_flatbuffer
from keras_to_lambda.convert.network.outputs import Ending, in_words
from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.model_file import tflite_metadata

# Scales of one tensor that are shown.
SCALES_SHOWN = 12
WEIGHTS = ("FLOAT32", "FLOAT16", "BFLOAT16", "INT8", "UINT8", "INT4", "INT2", "INT16")


def facts(path: Path) -> dict[str, Any]:
    found = graph(path)
    stopped = found.pop("stopped_by")
    described = _described(path)
    stopped += described.pop("stopped_by")
    if not stopped:
        stopped += _disagreements(found, described)
    if len(found["outputs"]) == 1:
        units = math.prod(found["outputs"][0]["shape"][1:])
        with contextlib.suppress(*DAMAGED):
            found["outputs_are"] = in_words(Ending.of(of_flatbuffer(path)), units)
    size = path.stat().st_size
    return {"kind": "tflite", "bytes": size, **found, **described, "stopped_by": stopped}


def graph(path: Path) -> dict[str, Any]:
    """The network of a file, without its card."""
    from ai_edge_litert import schema_py_generated as schema

    data = path.read_bytes()
    try:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        return _of_model(model, schema)
    except DAMAGED as error:
        raise ConvertError(f"{path} was cut short or damaged: get it again") from error


def makers(path: Path, name: str, version: int) -> list[str]:
    """For each operator of a name and version, the name of a tensor that contains its layer's.

    TensorFlow names tensors after the layers that made them, except the network's output: there an
    input's name is used, weights before pictures.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    number = getattr(schema.BuiltinOperator, name, None)
    found = []
    for part in model.subgraphs:
        for operator in part.operators or ():
            code = model.operatorCodes[operator.opcodeIndex]
            if number_of(code) == number and code.version == version:
                around = [*operator.outputs, *reversed(operator.inputs)]
                names = [_string(part.tensors[i].name) for i in around if i >= 0]
                found.append(next((text for text in names if "/" in text), names[0]))
    return found


def _of_model(model: Any, schema: Any) -> dict[str, Any]:
    types, names = names_of(schema.TensorType), names_of(schema.BuiltinOperator)
    graph = model.subgraphs[0]
    counts: Counter[tuple[str, int]] = Counter()
    strangers: dict[str, list[str]] = {}
    for part in model.subgraphs:
        for operator in part.operators or ():
            code = model.operatorCodes[operator.opcodeIndex]
            name = names.get(number_of(code), f"operator {number_of(code)}")
            if code.customCode:
                name = _string(code.customCode)
                made = [_string(part.tensors[i].name) for i in operator.outputs if i >= 0]
                strangers.setdefault(name, []).extend(made)
            counts[name, code.version] += 1
    inputs = [_tensor(graph.tensors[i], types) for i in graph.inputs]
    outputs = [_tensor(graph.tensors[i], types) for i in graph.outputs]
    numbers, size = _weights(model, types)
    return {
        "inputs": inputs,
        "outputs": outputs,
        "operators": [
            {"name": name, "version": version, "count": count}
            for (name, version), count in sorted(counts.items())
        ],
        "parameters": numbers,
        "parameter_bytes": size,
        "quantization": _in_words(model, types, schema),
        "entries": sorted(_string(entry.name) for entry in model.metadata or ()),
        "stopped_by": [*_strange(strangers), *_shape_faults(inputs, outputs)],
    }


def _tensor(tensor: Any, types: dict[int, str]) -> dict[str, Any]:
    shape = [int(n) for n in (tensor.shape if tensor.shape is not None else ())]
    signature = tensor.shapeSignature if tensor.shapeSignature is not None else ()
    # What is open is 1 in the shape, and -1 in its signature; one image at a time is served.
    found: dict[str, Any] = {
        "name": _string(tensor.name),
        "shape": [
            None if at and at < len(signature) and signature[at] < 0 else n
            for at, n in enumerate(shape)
        ],
        "dtype": types.get(tensor.type, f"type {tensor.type}").lower(),
    }
    if len(_scales(tensor)):
        found["scale"] = [float(x) for x in _scales(tensor)][:SCALES_SHOWN]
        found["zero_point"] = [int(x) for x in tensor.quantization.zeroPoint][:SCALES_SHOWN]
    return found


def _string(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


def _constants(model: Any) -> Iterator[tuple[Any, int]]:
    """Yield each tensor with numbers in the file, once for each buffer, and its bytes."""
    seen = set()
    for part in model.subgraphs:
        for tensor in part.tensors:
            buffer = model.buffers[tensor.buffer]
            size = len(buffer.data) if buffer.data is not None else buffer.size
            if size and tensor.buffer not in seen:
                seen.add(tensor.buffer)
                yield tensor, int(size)


def _scales(tensor: Any) -> Sequence[float]:
    """A tensor's quantization: one scale, or one for each channel; none of a float tensor."""
    scales = getattr(tensor.quantization, "scale", None)
    return () if scales is None else scales


def _weights(model: Any, types: dict[int, str]) -> tuple[int, int]:
    """How many trained numbers there are, and their bytes."""
    numbers = total = 0
    for tensor, size in _constants(model):
        # Other integers are shapes, axes and paddings; a quantized bias has a scale.
        if types.get(tensor.type) in WEIGHTS or len(_scales(tensor)):
            numbers += math.prod(int(n) for n in tensor.shape) if tensor.shape is not None else 1
            total += size
    return numbers, total


def _in_words(model: Any, types: dict[int, str], schema: Any) -> str:
    """The quantization, in the words of `--quantize`."""
    kinds, constant, channels = set(), set(), False
    for tensor, _ in _constants(model):
        kind, scales = types.get(tensor.type, "?"), _scales(tensor)
        constant.add(tensor.buffer)
        if kind in WEIGHTS and (kind.startswith(("FLOAT", "BFLOAT")) or len(scales)):
            kinds.add(kind)
            channels |= len(scales) > 1
    graph = model.subgraphs[0]
    flowing = {types.get(t.type, "?") for t in graph.tensors if t.buffer not in constant}
    turned = {
        types.get(graph.tensors[operator.inputs[0]].type)
        for operator in graph.operators or ()
        if number_of(model.operatorCodes[operator.opcodeIndex]) == schema.BuiltinOperator.DEQUANTIZE
        and graph.tensors[operator.inputs[0]].buffer in constant
    }
    scale = "a scale for each channel" if channels else "one scale for each tensor"
    small = sorted(kinds & {"INT8", "UINT8", "INT4", "INT2", "INT16"})
    if small:
        weights = f"{' and '.join(small).lower()} weights, {scale}"
        moving = sorted(flowing & {"INT8", "UINT8", "INT16"})
        if moving:
            return f"{weights}; {' and '.join(moving).lower()} activations (int8)"
        if turned & set(small):
            return f"{weights}; turned into float32 when the model loads (weights)"
        return f"{weights}; activations float32, quantized as they come (dynamic)"
    if "FLOAT16" in kinds:
        return "float16 weights, turned into float32 when the model loads (float16)"
    return "float32 (none)"


def _strange(strangers: dict[str, list[str]]) -> Iterator[str]:
    for name, made in sorted(strangers.items()):
        where = ", ".join(repr(tensor) for tensor in made[:3]) + (len(made) > 3) * " and others"
        kind = "a custom operator: the interpreter does not have it; use a model without it"
        if name.startswith("Flex"):
            kind = (
                "TensorFlow's own operator: the interpreter has only TFLite's; build that layer of "
                "others and convert without SELECT_TF_OPS"
            )
        yield f"{name} (which makes {where}) is {kind}"


def _shape_faults(inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> Iterator[str]:
    for tensors, kind in ((inputs, "input"), (outputs, "output")):
        if len(tensors) != 1:
            listed = ", ".join(f"{x['name']} {tuple(x['shape'])}" for x in tensors)
            yield f"it has {len(tensors)} {kind}s ({listed}); an image classifier has one"
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


def _described(path: Path) -> dict[str, Any]:
    """The card, wherever it is, the standard metadata, and what is wrong with them."""
    stopped: list[str] = []
    found: dict[str, Any] = {"card": None, "card_from": None, "labels": []}
    try:
        card = cards.load(path)
        cards.check_hash(path, card)
    except SetupError as error:
        stopped.append(str(error))
    else:
        with path.open("rb") as file:
            inside = cards.read(file)[1] is not None
        aside = cards.beside(path)
        found["card_from"] = (
            "the file" if inside else aside.name if aside.exists() else "standard metadata"
        )
        found["card"] = {k: v for k, v in card.to_json().items() if k != "labels"}
        found["labels"] = list(card.labels)
    try:
        found["standard_metadata"] = tflite_metadata.read(path)
    except SetupError as error:
        found["standard_metadata"] = {"fault": str(error)}
    try:
        with zipfile.ZipFile(path) as archive:
            found["files"] = archive.namelist()[:SCALES_SHOWN]
    except (zipfile.BadZipFile, NotImplementedError, *DAMAGED):
        found["files"] = []
    return {**found, "stopped_by": stopped}


def _disagreements(found: dict[str, Any], described: dict[str, Any]) -> Iterator[str]:
    card = described["card"]
    outputs, labels = math.prod(found["outputs"][0]["shape"]), len(described["labels"])
    if outputs != labels and (outputs, labels) != (1, 2):
        yield (
            f"it has {outputs} outputs, its card has {labels} labels: give one label for each "
            "output, in the output's order"
        )
    shape, source = [1, card["height"], card["width"], card["channels"]], found["inputs"][0]
    if shape not in (source["shape"], [*source["shape"], 1]):
        yield f"it takes {tuple(source['shape'])}, its card says {tuple(shape)}"
    if source["dtype"] != card["dtype"]:
        yield f"it takes {source['dtype']}, its card says {card['dtype']}"
