"""A `.keras` or `.h5` file or a SavedModel, read without Keras: its contents and its obstacles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_to_lambda.convert.common import source_card
from keras_to_lambda.convert.load import keras1, obstacles
from keras_to_lambda.convert.load.saved_file import SavedFile
from keras_to_lambda.convert.network import input_shape, layer_shapes
from keras_to_lambda.convert.network.outputs import MULTI_LABEL
from keras_to_lambda.convert.scan import saved_model_graph as graphs
from keras_to_lambda.runtime.common.errors import SetupError

Facts = dict[str, Any]

# What Python raises for a configuration of an unknown shape.
DAMAGED = (ValueError, TypeError, IndexError, AttributeError, KeyError, OSError, RecursionError)


def facts(path: Path, saved: SavedFile) -> Facts:
    """The contents of a file, as JSON values."""
    network = _graph(path, saved) if saved.kind == "saved_model" else _configuration(saved)
    inputs, outputs = network["inputs"], network["outputs"]
    counts: Counter[str] = Counter(network["operators"])
    described, wrong = _described(source_card.place(path.absolute()))
    files = path.rglob("*") if path.is_dir() else [path]
    return {
        "kind": saved.kind,
        "bytes": sum(file.stat().st_size for file in files if file.is_file()),
        "written_by": saved.written_by and f"{network['writer']} {saved.written_by}",
        "backend": saved.backend,
        "inputs": inputs,
        "outputs": outputs,
        "operators": [{"name": x, "count": count} for x, count in sorted(counts.items())],
        "parameters": network["parameters"],
        **described,
        "notes": [*_notes(inputs), *network["notes"]],
        "stopped_by": [
            *obstacles.found(saved.config),
            *saved.refusals(),
            *network["stopped_by"],
            *_faults(inputs, outputs),
            *wrong,
        ],
    }


def _described(aside: Path) -> tuple[Facts, list[str]]:
    """What the card beside the file says, and what is wrong with it."""
    nothing: Facts = {"card": None, "card_from": None, "labels": []}
    if not aside.exists():
        return nothing, []
    try:
        body = source_card.load(aside).to_json()
    except SetupError as error:
        return nothing, [str(error)]
    return {"labels": body.pop("labels"), "card": body, "card_from": aside.name}, []


def _configuration(saved: SavedFile) -> Facts:
    """The network of a `.keras` or `.h5` file."""
    network = saved.config or {}
    if network and keras1.is_one(saved.written_by, network):
        network = keras1.translated(network)
    inside = network.get("config")
    inside = inside if isinstance(inside, dict) else {}
    layers = [layer for layer in _layers(network) if isinstance(layer.get("config"), dict)]
    inputs, outputs = _inputs(inside, layers), _outputs(network, inside)
    unbuilt = (
        "it does not state its input shape, as it was saved before it was built: call "
        "model.build((None, height, width, channels)), and save it again"
    )
    return {
        "writer": "Keras",
        "inputs": inputs,
        "outputs": outputs,
        "operators": saved.classes,
        "parameters": _stored(saved),
        "notes": _multi_label(outputs, layers),
        "stopped_by": [unbuilt] if outputs and not inputs else [],
    }


def _graph(path: Path, saved: SavedFile) -> Facts:
    """The signature of a SavedModel."""
    graph = graphs.for_serving(graphs.read(path, saved.copy or path))
    signature = graph.signature_def.get("serving_default")
    stopped = []
    if signature is None:
        listed = ", ".join(sorted(set(graph.signature_def) - {"__saved_model_init_op"})) or "none"
        stopped.append(
            f"it has no signature serving_default (it has {listed}): save it with model.export()"
        )
    elif not signature.inputs:
        stopped.append("its signature has 0 inputs; an image classifier has one")
    return {
        "writer": "TensorFlow",
        "inputs": _tensors(signature.inputs) if signature else [],
        "outputs": _tensors(signature.outputs) if signature else [],
        "operators": [node.op for node in graphs.operators(graph)],
        "parameters": _variables(saved.copy) if saved.copy else None,
        "notes": [],
        "stopped_by": stopped,
    }


def _layers(network: Any) -> Iterator[Facts]:
    """Yield the layers of a network's config, each followed by those of a network in it."""
    inside = network.get("config") if isinstance(network, dict) else None
    # Until Keras 2.2 a Sequential's config was the list itself.
    layers = inside.get("layers") if isinstance(inside, dict) else inside
    for layer in layers if isinstance(layers, list) else ():
        if isinstance(layer, dict):
            yield layer
            yield from _layers(layer)


def _inputs(inside: Facts, layers: list[Facts]) -> list[Facts]:
    wanted = layer_shapes.names(inside.get("input_layers"))
    found: list[Facts] = []
    for layer in layers:
        config = layer["config"]
        shape = config.get("batch_shape", config.get("batch_input_shape"))
        name = str(config.get("name", layer.get("name")))
        if isinstance(shape, list) and (name in wanted or not (wanted or found)):
            found.append({"name": name, "shape": shape, "dtype": str(config.get("dtype"))})
    return found


def _outputs(network: Any, inside: Facts) -> list[Facts]:
    """The last layers, and what they give as far as the configuration determines it."""
    shapes = layer_shapes.of_network(network)
    found = []
    for name in layer_shapes.names(inside.get("output_layers")) or list(shapes)[-1:]:
        shape = shapes.get(name)
        known: Facts = {"shape": None if shape is None else list(shape)}
        if shape and shape[0] == layer_shapes.ANY_RANK:
            known = {"shape": None, "last": shape[-1]}
        found.append({"name": name, **known, "dtype": None})
    return found


def _multi_label(outputs: list[Facts], layers: list[Facts]) -> Iterator[str]:
    """Yield which outputs are several labels that do not exclude each other."""
    activations = {x["config"].get("name"): x["config"].get("activation") for x in layers}
    for output in outputs:
        units = (output["shape"] or [output.get("last")])[-1]
        several = isinstance(units, int) and units > 1
        if several and activations.get(output["name"]) == "sigmoid":
            yield f"{MULTI_LABEL} ({output['name']}, {units} units)"


def _stored(saved: SavedFile) -> int | None:
    """How many numbers the weights are, without the optimizer's."""
    import h5py

    if saved.copy is None:
        return None
    numbers: list[int] = []

    def visit(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset) and not name.startswith("optimizer"):
            numbers.append(math.prod(entry.shape or ()))

    try:
        with h5py.File(saved.copy, "r") as file:
            file.visititems(visit)
    except DAMAGED:
        return None
    return sum(numbers)


def _tensors(signature: Any) -> list[Facts]:
    import tensorflow as tf

    found = []
    for name, info in sorted(signature.items()):
        sizes = [d.size if d.size >= 0 else None for d in info.tensor_shape.dim]
        shape = None if info.tensor_shape.unknown_rank else sizes
        found.append({"name": name, "shape": shape, "dtype": tf.dtypes.as_dtype(info.dtype).name})
    return found


def _variables(path: Path) -> int | None:
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
        shapes, kinds = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except (tf.errors.OpError, ValueError, RuntimeError):
        return None
    kept = {name: shape for name, shape in shapes.items() if kinds[name].is_floating}
    # Keras's export() lists each twice, as `variables` and as `_all_variables`.
    own = {name: shape for name, shape in kept.items() if name.startswith("variables/")}
    kept = {name: shape for name, shape in (own or kept).items() if ".OPTIMIZER_SLOT" not in name}
    return sum(int(math.prod(shape)) for shape in kept.values())


def _notes(inputs: list[Facts]) -> list[str]:
    shape = inputs[0]["shape"] if len(inputs) == 1 else None
    if shape and input_shape.is_channels_first(shape):
        return ["channels first: not every network of that kind can be computed on a CPU"]
    return []


def _faults(inputs: list[Facts], outputs: list[Facts]) -> Iterator[str]:
    """Yield why tensors, as far as their shapes are known, are not a picture and its scores."""
    if len(inputs) > 1:
        named = ", ".join(f"{x['name']} {x['shape'] and tuple(x['shape'])}" for x in inputs)
        yield f"it has {len(inputs)} inputs ({named}); wrap it in a model with the image alone"
    elif inputs and inputs[0]["shape"] is not None:
        shape = input_shape.channels_last(inputs[0]["shape"])
        if len(shape) != 4 or shape[3] not in input_shape.CHANNELS:
            yield (
                f"it takes {tuple(shape)}; an image classifier takes (batch, height, width, "
                "channels), with 1, 3 or 4 channels"
            )
        elif not (shape[1] and shape[2]):
            yield "it leaves its input size open: give --size HEIGHTxWIDTH"
    if len(outputs) > 1:
        names = ", ".join(x["name"] for x in outputs)
        yield f"it has {len(outputs)} outputs ({names}): choose one with --head NAME"
    for output in outputs if len(outputs) == 1 else ():
        shape = output["shape"]
        if shape is not None and (len(shape) < 2 or sum(n not in (None, 1) for n in shape[1:]) > 1):
            yield (
                f"not an image classifier: output shape {tuple(shape)}; expected (batch, labels), "
                "one score per label"
            )
