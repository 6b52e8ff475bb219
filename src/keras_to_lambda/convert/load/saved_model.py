"""SavedModel: a folder's signature `serving_default` as a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_to_lambda.convert.common.conversion_errors import ConvertError, explained
from keras_to_lambda.convert.load.saved_file import SavedFile

Network = tuple[Callable[[Any], Any], tuple[Any, ...], tuple[Any, ...], Any]


def load(path: Path, saved: SavedFile, head: str | None) -> Network:
    """The network, its input's shape, its output's, and the object that holds its variables."""
    with explained(
        f"TensorFlow {tf.__version__} cannot load {path}",
        "Export it again with model.export('FOLDER')",
    ):
        loaded = tf.saved_model.load(str(saved.copy))
    signature = loaded.signatures.get("serving_default")
    if signature is None:
        raise ConvertError(
            f"{path} has no signature serving_default (it has "
            f"{', '.join(loaded.signatures) or 'none'}); save it with model.export()"
        )
    inputs = signature.structured_input_signature[1]
    outputs = signature.structured_outputs
    if len(inputs) != 1:
        raise ConvertError(f"{path} has {len(inputs)} inputs; an image classifier has one")
    key = head or (next(iter(outputs)) if len(outputs) == 1 else None)
    if key is None:
        raise ConvertError(
            f"{path} has {len(outputs)} outputs ({', '.join(outputs)}): choose one with --head NAME"
        )
    if key not in outputs:
        raise ConvertError(f"{path} has no output {key!r}; it has {', '.join(outputs)}")
    (name, spec), out = next(iter(inputs.items())), outputs[key]
    shape = tuple(spec.shape) if spec.shape.rank is not None else ()
    if shape and shape[0] not in (None, 1):
        raise ConvertError(
            f"{path} was exported for batches of {shape[0]}; export it for one image or any number"
        )
    return (
        lambda image: signature(**{name: tf.cast(image, spec.dtype)})[key],
        shape,
        tuple(out.shape) if out.shape.rank is not None else (),
        loaded,
    )
