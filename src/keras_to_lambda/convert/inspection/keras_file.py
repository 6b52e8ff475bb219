"""A `.keras` or `.h5` file, read as JSON and tables: its contents and its obstacles."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_to_lambda.convert.common import source_card
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.load import generations, obstacles
from keras_to_lambda.convert.load.saved_file import SavedFile
from keras_to_lambda.convert.network import input_shape, layer_shapes
from keras_to_lambda.convert.network.outputs import MULTI_LABEL

# What Python raises for a configuration of an unknown shape.
DAMAGED = (ValueError, TypeError, IndexError, AttributeError, KeyError, OSError, RecursionError)


def facts(path: Path, saved: SavedFile) -> dict[str, Any]:
    network = saved.config or {}
    inside = network.get("config")
    inside = inside if isinstance(inside, dict) else {}
    layers = [layer for layer in _layers(network) if isinstance(layer.get("config"), dict)]
    inputs = _inputs(inside, layers)
    outputs = _outputs(network, inside)
    numbers, size = _stored(saved)
    aside = source_card.place(path.absolute())
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
        "notes": [*notes(inputs), *_multi_label(outputs, layers)],
        "stopped_by": [
            *obstacles.found(saved.config),
            *saved.refusals(),
            *_keras_faults(saved, inputs, outputs),
        ],
    }


def _loader(saved: SavedFile) -> str:
    words = {generations.KERAS_2: "tf_keras (Keras 2)", generations.KERAS_3: "Keras 3"}
    try:
        library = generations.library_of(saved)
    except ConvertError as error:
        return f"nothing: {error}"
    from keras_to_lambda.convert.load import repairs  # it imports h5py

    old = repairs.REPAIRS["keras-1"].applies(saved, library)
    return words[library] + ", once its configuration is put into Keras 2's words" * old


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
    wanted = layer_shapes.names(inside.get("input_layers"))
    found: list[dict[str, Any]] = []
    for layer in layers:
        config = layer["config"]
        shape = config.get("batch_shape", config.get("batch_input_shape"))
        if not isinstance(shape, list):
            continue
        name = str(config.get("name", layer.get("name")))
        if name in wanted or not (wanted or found):
            found.append({"name": name, "shape": shape, "dtype": str(config.get("dtype"))})
    return found


def _outputs(network: Any, inside: dict[str, Any]) -> list[dict[str, Any]]:
    """The last layers, and what they give as far as the configuration determines it."""
    shapes = layer_shapes.of_network(network)
    found = []
    for name in layer_shapes.names(inside.get("output_layers")) or list(shapes)[-1:]:
        shape = shapes.get(name)
        known: dict[str, Any] = {"shape": None if shape is None else list(shape)}
        if shape and shape[0] == layer_shapes.ANY_RANK:
            known = {"shape": None, "last": shape[-1]}
        found.append({"name": name, **known, "dtype": None})
    return found


def _multi_label(outputs: list[dict[str, Any]], layers: list[dict[str, Any]]) -> Iterator[str]:
    """Yield which outputs are several labels that do not exclude each other."""
    activations = {x["config"].get("name"): x["config"].get("activation") for x in layers}
    for output in outputs:
        units = (output["shape"] or [output.get("last")])[-1]
        several = isinstance(units, int) and units > 1
        if several and activations.get(output["name"]) == "sigmoid":
            yield f"{MULTI_LABEL} ({output['name']}, {units} units)"


def _stored(saved: SavedFile) -> tuple[int | None, int | None]:
    """How many numbers the weights are, and their bytes, without the optimizer's."""
    import h5py

    if saved.copy is None:
        return None, None
    found: list[tuple[int, int]] = []

    def visit(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset) and not name.startswith("optimizer"):
            found.append((math.prod(entry.shape or ()), entry.dtype.itemsize))

    try:
        with contextlib.ExitStack() as stack:
            source: Any = saved.copy
            if saved.kind == "keras":
                archive = stack.enter_context(zipfile.ZipFile(saved.copy))
                source = stack.enter_context(archive.open("model.weights.h5"))
            stack.enter_context(h5py.File(source, "r")).visititems(visit)
    except DAMAGED:
        return None, None
    return sum(n for n, _ in found), sum(n * size for n, size in found)


def _keras_faults(
    saved: SavedFile, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]
) -> Iterator[str]:
    if saved.config is None:
        return
    if len(inputs) > 1:
        listed = ", ".join(f"{x['name']} {tuple(x['shape'])}" for x in inputs)
        yield f"it has {len(inputs)} inputs ({listed}); wrap it in a model with the image alone"
    if len(outputs) > 1:
        names = ", ".join(x["name"] for x in outputs)
        yield f"it has {len(outputs)} outputs ({names}): choose one with --head NAME"
    if outputs and not inputs:
        yield (
            "it does not state its input shape, as it was saved before it was built: call "
            "model.build((None, height, width, channels)), and save it again"
        )
    yield from open_shape(inputs)
    yield from no_classifier(outputs)


def no_classifier(outputs: list[dict[str, Any]]) -> Iterator[str]:
    """Yield why an output is not one score per label, where its shape is known."""
    if len(outputs) != 1 or outputs[0]["shape"] is None:
        return
    shape = outputs[0]["shape"]
    if len(shape) < 2 or sum(n not in (None, 1) for n in shape[1:]) > 1:
        yield (
            f"not an image classifier: output shape {tuple(shape)}; expected (batch, labels), one "
            "score per label"
        )


def notes(inputs: list[dict[str, Any]]) -> list[str]:
    """Remarks on the inputs."""
    if len(inputs) != 1 or inputs[0]["shape"] is None:
        return []
    if input_shape.is_channels_first(inputs[0]["shape"]):
        return ["channels first: not every network of that kind can be computed on a CPU"]
    return []


def open_shape(inputs: list[dict[str, Any]]) -> Iterator[str]:
    """Yield why an input is not a picture of a known size."""
    if len(inputs) != 1 or inputs[0]["shape"] is None:  # of unknown rank
        return
    shape = input_shape.channels_last(inputs[0]["shape"])
    if len(shape) != 4 or shape[3] not in input_shape.CHANNELS:
        yield (
            f"it takes {tuple(shape)}; an image classifier takes (batch, height, width, channels), "
            "with 1, 3 or 4 channels"
        )
    elif not (shape[1] and shape[2]):
        yield "it leaves its input size open: give --size HEIGHTxWIDTH"
