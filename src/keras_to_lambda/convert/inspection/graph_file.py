"""A SavedModel folder, read as a graph: its contents and its obstacles."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from keras_to_lambda.convert.inspection import keras_file
from keras_to_lambda.convert.load.saved_file import SavedFile
from keras_to_lambda.convert.scan import saved_model_graph as graphs


def facts(path: Path, saved: SavedFile) -> dict[str, Any]:
    import tensorflow as tf

    graph = graphs.for_serving(graphs.read(path, saved.copy or path))
    signature = graph.signature_def.get("serving_default")
    counts = Counter(node.op for node in graphs.operators(graph))

    def tensors(of: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "shape": None
                if info.tensor_shape.unknown_rank
                else [d.size if d.size >= 0 else None for d in info.tensor_shape.dim],
                "dtype": tf.dtypes.as_dtype(info.dtype).name,
            }
            for name, info in sorted(of.items())
        ]

    inputs = tensors(signature.inputs) if signature else []
    outputs = tensors(signature.outputs) if signature else []
    numbers, size = _variables(saved.copy) if saved.copy else (None, None)
    stopped = list(saved.refusals())
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
        stopped += keras_file.open_shape(inputs)
        stopped += keras_file.no_classifier(outputs)
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
        "notes": keras_file.notes(inputs),
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
