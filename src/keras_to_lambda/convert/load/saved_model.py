"""SavedModel: a folder's signature `serving_default` as a network."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from keras_to_lambda.convert.common.conversion_errors import ConvertError, explained
from keras_to_lambda.convert.load.loading import LoadedNetwork, chosen
from keras_to_lambda.convert.load.saved_file import SavedFile


def load(path: Path, saved: SavedFile, head: str | None) -> LoadedNetwork:
    """The network of a judged folder; `path` is what messages call it."""
    loaded_by = f"tensorflow {tf.__version__}"
    with explained(
        f"{loaded_by} cannot load {path}", "Export it again with model.export('FOLDER')"
    ):
        loaded = tf.saved_model.load(str(saved.copy))
    signature = loaded.signatures.get("serving_default")
    if signature is None:
        raise ConvertError(
            f"{path} has no signature serving_default (it has "
            f"{', '.join(loaded.signatures) or 'none'}); save it with model.export()"
        )
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    names = sorted(outputs)  # the file has no order
    shapes = [_sizes(outputs[name].shape) for name in names]
    place = chosen(path, len(inputs), names, shapes, head)
    [(name, spec)] = inputs.items()
    taken = _sizes(spec.shape)
    if taken and taken[0] not in (None, 1):
        raise ConvertError(
            f"{path} was exported for batches of {taken[0]}; export it for one image or any number"
        )
    return LoadedNetwork(
        lambda image: signature(**{name: tf.cast(image, spec.dtype)})[names[place]],
        taken,
        shapes[place],
        anchor=loaded,
        loaded_by=loaded_by,
    )


def _sizes(shape: tf.TensorShape) -> tuple[int | None, ...]:
    return () if shape.rank is None else tuple(shape)
