"""python -m convert.inspect: what a model file holds, and what would stop it from being served."""

from __future__ import annotations

import argparse
import json
import math
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from classifier import card as cards
from classifier import metadata
from classifier.errors import SetupError
from convert import options, terminal
from convert.errors import ConvertError
from convert.sandbox import Sandbox
from convert.saved import SavedFile, graph_of

OK, STOPPED, NO_MODEL = 0, 1, 2
EPILOG = """\
examples:
  python -m convert.inspect clothing.tflite         a converted model: its tensors, card, labels
  python -m convert.inspect download.tflite         anybody's: can it be served, and how?
  python -m convert.inspect old.h5                  which Keras wrote it; does it carry code?
  python -m convert.inspect exported/ --json        a SavedModel folder, for a script

Nothing in the file is run. .keras and .h5 files are read as archives and JSON, without Keras; a
.tflite as a flatbuffer, which is then given to the interpreter in a process of its own. SavedModels
need TensorFlow to be read at all.

exit status:
  0  it can be served (.tflite) or converted (the others)
  1  something stops it: each reason is printed, with what to do
  2  not a model, or it cannot be read
"""

# HDF5 itself can go round in circles in a damaged file.
SANDBOX = Sandbox(memory_gb=8, minutes=2)
LABELS_SHOWN = 5
ROWS_SHOWN = 12
# flatbuffers' Python answers damaged bytes with whatever comes first.
DAMAGED = (
    *(ValueError, TypeError, IndexError, AttributeError, KeyError, OverflowError),
    *(RecursionError, ArithmeticError, OSError),
)
# Layers that give as many numbers as they take.
_NO_WIDTH = ("Activation", "Softmax", "Dropout", "BatchNormalization")
WEIGHTS = ("FLOAT32", "FLOAT16", "BFLOAT16", "INT8", "UINT8", "INT4", "INT2", "INT16")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is explained in its help."""
    args = parser().parse_args(argv)
    terminal.use(quiet=True)
    try:
        found = inspect(args.file)
    except (ConvertError, SetupError) as error:
        print(f"inspect: {error}", file=sys.stderr)
        return NO_MODEL
    print(json.dumps(found, indent=1) if args.json else text(found))
    return STOPPED if found["stopped_by"] else OK


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = options.command(
        "python -m convert.inspect",
        "Show what a model file holds, without running anything in it, and what would stop it "
        "from being served or converted.",
        EPILOG,
    )
    p.add_argument("file", type=Path, metavar="FILE", help=".tflite, .keras, .h5, or a SavedModel")
    p.add_argument("--json", action="store_true", help="everything, as JSON on stdout")
    return p


def inspect(path: Path) -> dict[str, Any]:
    """What a file holds, as JSON values: read, and for a `.tflite` loaded, in child processes.

    Raises:
        ConvertError: it is not a model, or cannot be read.
    """
    found = SANDBOX.call("convert.inspect:facts", path=str(path.absolute()))
    if found["kind"] == "tflite" and not found["stopped_by"]:
        try:
            SANDBOX.call("convert.inspect:load", path=str(path.absolute()))
        except ConvertError as error:
            found["stopped_by"].append(str(error))
    return dict(found)


def facts(path: str) -> dict[str, Any]:
    """What is said of a file; the job of the first child process."""
    file = Path(path)
    if file.is_file():
        with file.open("rb") as stream:
            if stream.read(8)[4:] == b"TFL3":
                return _tflite(file)
    saved = SavedFile.read(file)
    if saved.kind == "saved_model":
        return _saved_model(file, saved)
    try:
        return _keras(file, saved)
    except DAMAGED as error:
        raise ConvertError(f"{file}: its network is described as no Keras does it") from error


def load(path: str) -> None:
    """Load a `.tflite` as the function does; the job of the second, which may die of it."""
    from classifier.model import Classifier

    Classifier(Path(path))


# .tflite


def _tflite(path: Path) -> dict[str, Any]:
    from ai_edge_litert import schema_py_generated as schema

    data = path.read_bytes()
    try:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        found = _of_model(model, schema)
    except DAMAGED as error:
        raise ConvertError(f"{path} was cut short or damaged: get it again") from error
    except Exception as error:
        # struct.error has no base of its own that could be named above.
        if type(error).__module__ != "struct":
            raise
        raise ConvertError(f"{path} was cut short or damaged: get it again") from error
    stopped = found.pop("stopped_by")
    described = _described(path)
    stopped += described.pop("stopped_by")
    if not stopped:
        stopped += _disagreements(found, described)
    return {"kind": "tflite", "bytes": len(data), **found, **described, "stopped_by": stopped}


def _of_model(model: Any, schema: Any) -> dict[str, Any]:
    types = {value: name for name, value in vars(schema.TensorType).items() if name.isupper()}
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    graph = model.subgraphs[0]
    counts: Counter[tuple[str, int]] = Counter()
    strangers: dict[str, list[str]] = {}
    for part in model.subgraphs:
        for operator in part.operators or ():
            code = model.operatorCodes[operator.opcodeIndex]
            number = max(code.builtinCode, code.deprecatedBuiltinCode)
            name = names.get(number, f"operator {number}")
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
    found = {
        "name": _string(tensor.name),
        "shape": [int(n) for n in (tensor.shape if tensor.shape is not None else ())],
        "dtype": types.get(tensor.type, f"type {tensor.type}").lower(),
    }
    details = tensor.quantization
    if details is not None and details.scale is not None and len(details.scale):
        found["scale"] = [float(x) for x in details.scale][:ROWS_SHOWN]
        found["zero_point"] = [int(x) for x in details.zeroPoint][:ROWS_SHOWN]
    return found


def _string(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


def _constants(model: Any) -> Iterator[tuple[Any, int]]:
    """Yield each tensor that holds numbers of the file, once for each buffer, and its bytes."""
    seen = set()
    for part in model.subgraphs:
        for tensor in part.tensors:
            buffer = model.buffers[tensor.buffer]
            size = len(buffer.data) if buffer.data is not None else buffer.size
            if size and tensor.buffer not in seen:
                seen.add(tensor.buffer)
                yield tensor, int(size)


def _weights(model: Any, types: dict[int, str]) -> tuple[int, int]:
    """How many trained numbers there are, and their bytes."""
    numbers = total = 0
    for tensor, size in _constants(model):
        details = tensor.quantization
        scaled = details is not None and details.scale is not None and len(details.scale)
        # Other integers are shapes, axes and paddings; a quantized bias has a scale.
        if types.get(tensor.type) in WEIGHTS or scaled:
            numbers += math.prod(int(n) for n in tensor.shape) if tensor.shape is not None else 1
            total += size
    return numbers, total


def _in_words(model: Any, types: dict[int, str], schema: Any) -> str:
    """The quantization, as people call it."""
    kinds = set()
    channels = False
    constant = set()
    for tensor, _ in _constants(model):
        kind = types.get(tensor.type, "?")
        constant.add(tensor.buffer)
        details = tensor.quantization
        scales = details.scale if details is not None else None
        if kind in WEIGHTS and (kind.startswith(("FLOAT", "BFLOAT")) or scales is not None):
            kinds.add(kind)
            channels |= scales is not None and len(scales) > 1
    graph = model.subgraphs[0]
    flowing = {types.get(t.type, "?") for t in graph.tensors if t.buffer not in constant}
    turned = {
        types.get(graph.tensors[operator.inputs[0]].type)
        for operator in graph.operators or ()
        if max(
            model.operatorCodes[operator.opcodeIndex].builtinCode,
            model.operatorCodes[operator.opcodeIndex].deprecatedBuiltinCode,
        )
        == schema.BuiltinOperator.DEQUANTIZE
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
        if name.startswith("Flex"):
            yield (
                f"{name} (which makes {where}) is TensorFlow's own operator: the interpreter has "
                "only TFLite's; build that layer of others and convert without SELECT_TF_OPS"
            )
        else:
            yield (
                f"{name} (which makes {where}) is a custom operator: the interpreter does not have "
                "it; use a model without it"
            )


def _shape_faults(inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> Iterator[str]:
    for tensors, kind in ((inputs, "input"), (outputs, "output")):
        if len(tensors) != 1:
            listed = ", ".join(f"{x['name']} {tuple(x['shape'])}" for x in tensors)
            yield f"it has {len(tensors)} {kind}s ({listed}); an image classifier has one"
    if len(inputs) == 1:
        shape, dtype = tuple(inputs[0]["shape"]), inputs[0]["dtype"]
        if len(shape) != 4 or shape[0] != 1 or shape[3] not in cards.CHOICES["channels"]:
            yield f"it takes {shape}; an image classifier takes (1, height, width, channels)"
        if dtype not in cards.CHOICES["dtype"]:
            yield f"it takes {dtype}; float32, int8 and uint8 are served"
    if len(outputs) == 1:
        shape = tuple(outputs[0]["shape"])
        if len(shape) != 2 or shape[0] != 1:
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
        standard = metadata.read(path)
        found["standard_metadata"] = standard and standard.to_json()
    except SetupError as error:
        found["standard_metadata"] = {"fault": str(error)}
    try:
        with zipfile.ZipFile(path) as archive:
            found["files"] = archive.namelist()[:ROWS_SHOWN]
    except (zipfile.BadZipFile, NotImplementedError, *DAMAGED):
        found["files"] = []
    return {**found, "stopped_by": stopped}


def _disagreements(found: dict[str, Any], described: dict[str, Any]) -> Iterator[str]:
    card = described["card"]
    outputs, labels = found["outputs"][0]["shape"][1], len(described["labels"])
    if outputs != labels:
        yield (
            f"it has {outputs} outputs, its card has {labels} labels: give one label for each "
            "output, in the output's order"
        )
    shape = [1, card["height"], card["width"], card["channels"]]
    if found["inputs"][0]["shape"] != shape:
        yield f"it takes {tuple(found['inputs'][0]['shape'])}, its card says {tuple(shape)}"
    if found["inputs"][0]["dtype"] != card["dtype"]:
        yield f"it takes {found['inputs'][0]['dtype']}, its card says {card['dtype']}"


# .keras and .h5


def _keras(path: Path, saved: SavedFile) -> dict[str, Any]:
    network = saved.config or {}
    inside = network.get("config")
    inside = inside if isinstance(inside, dict) else {}
    layers = [layer for layer in _layers(network) if isinstance(layer.get("config"), dict)]
    inputs = _inputs(inside, layers)
    outputs = _outputs(inside, _own_layers(network))
    numbers, size = (None, None) if saved.faults else _stored(path, saved)
    aside = cards.beside(path)
    return {
        "kind": saved.kind,
        "bytes": path.stat().st_size,
        "written_by": saved.written_by and f"Keras {saved.written_by}",
        "backend": saved.backend,
        "loader": _loader(saved) if saved.config else None,
        "inputs": inputs,
        "outputs": outputs,
        "operators": [
            {"name": name, "count": count} for name, count in sorted(Counter(saved.classes).items())
        ],
        "parameters": numbers,
        "parameter_bytes": size,
        "card": None,
        "card_from": aside.name if aside.exists() else None,
        "labels": [],
        "notes": _notes(inputs),
        "stopped_by": [*_refusals(saved), *_keras_faults(saved, layers, inputs, outputs)],
    }


def _refusals(saved: SavedFile) -> Iterator[str]:
    yield from saved.faults
    if saved.code:
        yield (
            f"it carries code: {', '.join(saved.code)}. Rebuild the model without it, or convert "
            "it with --trust if you know who wrote it"
        )


def _loader(saved: SavedFile) -> str:
    version = saved.written_by or ""
    if {"TFOpLambda", "SlicingOpLambda"} & set(saved.classes):
        return "tf_keras (Keras 2): it has layers that Keras 3 no longer knows"
    if version.startswith("3"):
        return "Keras 3"
    return "Keras 3, or tf_keras (Keras 2) where that fails"


def _layers(network: Any) -> Iterator[dict[str, Any]]:
    """Yield the layers of a network's config, each followed by those of a network in it."""
    waiting = _own_layers(network)
    while waiting:
        layer = waiting.pop(0)
        yield layer
        waiting = _own_layers(layer) + waiting


def _own_layers(network: Any) -> list[dict[str, Any]]:
    inside = network.get("config") if isinstance(network, dict) else None
    # Until Keras 2.2 a Sequential's config was the list itself.
    layers = inside.get("layers") if isinstance(inside, dict) else inside
    return [x for x in layers if isinstance(x, dict)] if isinstance(layers, list) else []


def _inputs(inside: dict[str, Any], layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    wanted = _names(inside.get("input_layers"))
    found = []
    for layer in layers:
        config = layer["config"]
        shape = config.get("batch_shape", config.get("batch_input_shape"))
        if not isinstance(shape, list):
            continue
        name = str(config.get("name", layer.get("name")))
        if name in wanted or not (wanted or found):
            found.append({"name": name, "shape": shape, "dtype": str(config.get("dtype"))})
    return found


def _outputs(inside: dict[str, Any], layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last layers; how wide they are is known only of those that say it."""
    wanted = _names(inside.get("output_layers"))
    named = {str(x["config"].get("name")): x for x in layers if isinstance(x.get("config"), dict)}
    return [
        {"name": name, "shape": [None, _width(named.get(name), layers)], "dtype": None}
        for name in wanted or list(named)[-1:]
    ]


def _width(layer: dict[str, Any] | None, layers: list[dict[str, Any]]) -> Any:
    """How many numbers a layer gives: its own word, or that of the ones before it."""
    if layer is None:
        return None
    within = [x for x in _layers(layer) if isinstance(x.get("config"), dict)]
    for part in reversed([*layers[: layers.index(layer) + 1], *within]):
        config = part["config"] if isinstance(part.get("config"), dict) else {}
        # `output_dim` was Keras 1's word.
        width = config.get("units", config.get("output_dim"))
        if width or part.get("class_name") not in (*_NO_WIDTH, "Sequential"):
            return width
    return None


def _names(value: Any) -> list[str]:
    """The layers of [["a", 0, 0], ["b", 0, 0]], of ["a", 0, 0], or of a dict of those."""
    if isinstance(value, dict):
        return [name for part in value.values() for name in _names(part)]
    if not isinstance(value, list) or not value:
        return []
    if isinstance(value[0], str):
        return [value[0]]
    return [name for part in value for name in _names(part)]


def _stored(path: Path, saved: SavedFile) -> tuple[int | None, int | None]:
    """How many numbers the weights are, and their bytes, without the optimizer's."""
    import h5py

    try:
        if saved.kind == "h5":
            with h5py.File(path, "r") as file:
                return _sizes(file)
        with (
            zipfile.ZipFile(path) as archive,
            archive.open("model.weights.h5") as member,
            h5py.File(member, "r") as file,
        ):
            return _sizes(file)
    except DAMAGED:
        return None, None


def _sizes(file: Any) -> tuple[int, int]:
    import h5py

    found = []

    def visit(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset) and not name.startswith("optimizer"):
            found.append((math.prod(entry.shape or ()), entry.dtype.itemsize))

    file.visititems(visit)
    return sum(n for n, _ in found), sum(n * size for n, size in found)


def _keras_faults(
    saved: SavedFile,
    layers: list[dict[str, Any]],
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
) -> Iterator[str]:
    if saved.config is None:
        return
    own = sorted(
        {
            str(layer["class_name"])
            for layer in layers
            if ">" in str(layer.get("registered_name") or layer.get("class_name"))
            or layer.get("module") == "__main__"
        }
    )
    if own:
        yield (
            f"it has layers that are not of Keras: {', '.join(own)}. Give the Python file that "
            "defines them with --custom"
        )
    if len(inputs) > 1:
        listed = ", ".join(f"{x['name']} {tuple(x['shape'])}" for x in inputs)
        yield f"it has {len(inputs)} inputs ({listed}); wrap it in a model with the image alone"
    if len(outputs) > 1:
        names = ", ".join(x["name"] for x in outputs)
        yield f"it has {len(outputs)} outputs ({names}): choose one with --head NAME"
    yield from _open_shape(inputs)


def _channels_first(shape: list[Any]) -> bool:
    return len(shape) == 4 and shape[1] in (1, 3, 4) and shape[3] not in (1, 3, 4)


def _notes(inputs: list[dict[str, Any]]) -> list[str]:
    """What is no obstacle, and still good to know."""
    if len(inputs) == 1 and _channels_first(inputs[0]["shape"]):
        return ["channels first: not every network of that kind can be computed on a CPU"]
    return []


def _open_shape(inputs: list[dict[str, Any]]) -> Iterator[str]:
    if len(inputs) != 1:
        return
    shape = inputs[0]["shape"]
    if _channels_first(shape):
        shape = [shape[0], *shape[2:], shape[1]]
    if len(shape) != 4 or shape[3] not in (1, 3, 4):
        yield (
            f"it takes {tuple(shape)}; an image classifier takes (batch, height, width, channels), "
            "with 1, 3 or 4 channels"
        )
    elif not (shape[1] and shape[2]):
        yield "it leaves its input size open: give --size HEIGHTxWIDTH"


# SavedModel


def _saved_model(path: Path, saved: SavedFile) -> dict[str, Any]:
    import tensorflow as tf

    graph = graph_of(path)
    signature = graph.signature_def.get("serving_default")
    nodes = [node for part in graph.graph_def.library.function for node in part.node_def]
    counts = Counter(node.op for node in (*graph.graph_def.node, *nodes))

    def tensors(of: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "shape": [d.size if d.size >= 0 else None for d in info.tensor_shape.dim],
                "dtype": tf.dtypes.as_dtype(info.dtype).name,
            }
            for name, info in sorted(of.items())
        ]

    inputs = tensors(signature.inputs) if signature else []
    outputs = tensors(signature.outputs) if signature else []
    numbers, size = _variables(path)
    stopped = list(_refusals(saved))
    if signature is None:
        listed = ", ".join(sorted(set(graph.signature_def) - {"__saved_model_init_op"})) or "none"
        stopped.append(
            f"it has no signature serving_default (it has {listed}): save it with model.export()"
        )
    else:
        if len(inputs) != 1:
            stopped.append(f"its signature has {len(inputs)} inputs; an image classifier has one")
        if len(outputs) > 1:
            names = ", ".join(x["name"] for x in outputs)
            stopped.append(f"it has {len(outputs)} outputs ({names}): choose one with --head NAME")
        stopped += _open_shape(inputs)
    return {
        "kind": saved.kind,
        "bytes": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        "written_by": saved.written_by and f"TensorFlow {saved.written_by}",
        "loader": "TensorFlow",
        "inputs": inputs,
        "outputs": outputs,
        "operators": [{"name": name, "count": count} for name, count in sorted(counts.items())],
        "parameters": numbers,
        "parameter_bytes": size,
        "card": None,
        "card_from": None,
        "labels": [],
        "notes": _notes(inputs),
        "stopped_by": stopped,
    }


def _variables(path: Path) -> tuple[int | None, int | None]:
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
        shapes, kinds = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except (tf.errors.OpError, ValueError, RuntimeError):
        return None, None
    kept = {name: shape for name, shape in shapes.items() if kinds[name].is_floating}
    # Keras's export() lists each twice, as `variables` and as `_all_variables`.
    own = {name: shape for name, shape in kept.items() if name.startswith("variables/")}
    kept = {k: v for k, v in (own or kept).items() if ".OPTIMIZER_SLOT" not in k}
    numbers = {name: math.prod(shape) for name, shape in kept.items()}
    return sum(numbers.values()), sum(n * kinds[name].size for name, n in numbers.items())


# For people


def text(found: dict[str, Any]) -> str:
    """What is printed without --json."""
    rows = [row for row in _rows(found) if row[1]]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}".rstrip() for name, value in rows]
    stopped = found["stopped_by"]
    verb = "served" if found["kind"] == "tflite" else "converted"
    if stopped:
        lines += ["", f"It cannot be {verb} as it is:", *(f"  - {reason}" for reason in stopped)]
    else:
        lines += ["", f"It can be {verb}."]
    return "\n".join(lines)


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "kind", found["kind"].replace("_", " ") + f", {found['bytes']:,} bytes"
    yield "written by", found.get("written_by") or ""
    yield "backend", found.get("backend") or ""
    yield "loaded by", found.get("loader") or ""
    for kind in ("inputs", "outputs"):
        for index, tensor in enumerate(found[kind]):
            yield ("" if index else kind), _tensor_text(tensor)
    if found["parameters"] is not None:
        size = found["parameter_bytes"]
        yield "parameters", f"{found['parameters']:,} in {size:,} bytes"
    yield "quantization", found.get("quantization") or ""
    operators = sorted(found["operators"], key=lambda x: -x["count"])
    kind = "layers" if found["kind"] in ("keras", "h5") else "operators"
    for index, start in enumerate(range(0, min(len(operators), 4 * ROWS_SHOWN), 6)):
        part = [
            f"{x['name']}{' v' + str(x['version']) if 'version' in x else ''} x {x['count']}"
            for x in operators[start : start + 6]
        ]
        yield ("" if index else kind), ", ".join(part)
    yield "card", _card_text(found)
    labels = found["labels"]
    if labels:
        more = f" and {len(labels) - LABELS_SHOWN} more" * (len(labels) > LABELS_SHOWN)
        yield "labels", f"{len(labels)}: {', '.join(labels[:LABELS_SHOWN])}{more}"
    yield "note", "; ".join(found.get("notes") or ())
    yield "standard metadata", _standard_text(found.get("standard_metadata"))
    for index, (key, value) in enumerate(((found["card"] or {}).get("provenance") or {}).items()):
        yield ("" if index else "provenance"), f"{key}: {value}"


def _tensor_text(tensor: dict[str, Any]) -> str:
    shape = " x ".join("?" if n is None else str(n) for n in tensor["shape"])
    words = f"{tensor['name']}: {shape}"
    words += f", {tensor['dtype']}" if tensor["dtype"] else ""
    if tensor.get("scale") and tensor["zero_point"]:
        words += f", scale {tensor['scale'][0]:.6g}, zero point {tensor['zero_point'][0]}"
    return words


def _card_text(found: dict[str, Any]) -> str:
    card = found["card"]
    if card is None:
        return found["card_from"] or "none"
    steps = card["preprocessing"]
    scaling = steps["scaling"]
    if isinstance(scaling, dict):
        scaling = f"pixel x {list(scaling['scale'])} + {list(scaling['offset'])}"
    return (
        f"{card['name']}, from {found['card_from']}: {steps['resize']}, {steps['interpolation']}, "
        f"{scaling}; {card['output']}"
    )


def _standard_text(standard: dict[str, Any] | None) -> str:
    if standard is None:
        return ""
    if "fault" in standard:
        return standard["fault"]
    scaling = standard["preprocessing"]["scaling"]
    return (
        f"pixel x {[round(x, 6) for x in scaling['scale']]} + "
        f"{[round(x, 6) for x in scaling['offset']]}, {len(standard['labels'])} labels"
    )


if __name__ == "__main__":
    sys.exit(main())
