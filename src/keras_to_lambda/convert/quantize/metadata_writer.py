"""Metadata: the standard description of a `.tflite` file, which other runtimes read.

With it Android Studio, MediaPipe and the TensorFlow Lite Task Library find an image classifier's
scaling and labels (https://ai.google.dev/edge/litert/conversion/tensorflow/metadata). It is a
second flatbuffer in a buffer of the first; labels.txt is in the archive behind it.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from keras_to_lambda.convert.quantize.graft import Graft
from keras_to_lambda.runtime.model_file.card import LABELS_FILE, PRESETS, Affine, ModelCard
from keras_to_lambda.runtime.model_file.tflite_metadata import (
    BUFFER_NAME,
    GRAYSCALE,
    IDENTIFIER,
    IMAGE_PROPERTIES,
    NORMALIZATION,
    RGB,
    TENSOR_AXIS_LABELS,
    Field,
)

# (pixel - mean) / std for R, G and B, by what is behind a preset (runtime/model_file/card.py).
# torch: 255 times the means and deviations of keras/src/applications/imagenet_utils.py.
NORMALIZATIONS = {
    "tf": ((127.5,), (127.5,)),
    "rescale": ((0.0,), (255.0,)),
    "raw": ((0.0,), (1.0,)),
    "torch": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}
# The least version of the schema with all that is written here.
PARSER = "1.0.0"


def objection(card: ModelCard) -> str | None:
    """Why standard metadata cannot express a card; None: it can."""
    steps = card.preprocessing
    if card.channels not in (1, 3):
        return f"standard metadata has no word for {card.channels} channels"
    if steps.color_order != "rgb" or PRESETS.get(str(steps.scaling)) == "caffe":
        return "standard metadata has no word for blue, green, red order"
    if isinstance(steps.scaling, Affine) and not all(steps.scaling.scale):
        return "standard metadata has no word for a channel that is scaled by 0"
    return None


def attach(flatbuffer: bytes, card: ModelCard) -> bytes:
    """The flatbuffer with standard metadata; unchanged where there is an `objection`.

    Unchanged also where the schema is newer than this.
    """
    if objection(card):
        return flatbuffer
    graft = Graft(flatbuffer)
    if not graft.known:
        return flatbuffer
    entries = graft.tables(graft.model, "Metadata")
    kept = [graft.place(entry) for entry in entries if entry.Name() != BUFFER_NAME]
    added = schema.MetadataT()
    added.name, added.buffer = BUFFER_NAME.decode(), graft.buffer(describe(card))
    return graft.finish({Field.MODEL_METADATA: graft.vector([*kept, added.Pack(graft.builder)])})


def describe(card: ModelCard) -> bytes:
    """The ModelMetadata of a card."""
    means, stds = _normalization(card)
    steps = card.preprocessing
    ends = [[(x - mean) / std for mean, std in zip(means, stds, strict=True)] for x in (0, 255)]
    normalization = {Field.NORMALIZATION_MEAN: list(means), Field.NORMALIZATION_STD: list(stds)}
    color = {Field.IMAGE_COLOR_SPACE: GRAYSCALE if card.channels == 1 else RGB}
    source = {
        Field.META_NAME: "image",
        # What the normalization leaves open.
        Field.META_DESCRIPTION: (
            f"{card.height} x {card.width} pixels. Trained with resizing by {steps.resize}, "
            f"{steps.interpolation}; EXIF orientation: {steps.exif}; alpha: {steps.alpha}; "
            f"drawing: {steps.drawing}."
        ),
        Field.META_CONTENT: {Field.CONTENT: color, Field.CONTENT_TYPE: IMAGE_PROPERTIES},
        Field.META_UNITS: [{Field.UNIT: normalization, Field.UNIT_TYPE: NORMALIZATION}],
        Field.META_STATS: _stats(list(map(min, *ends)), list(map(max, *ends))),
    }
    labels = {
        Field.FILE_NAME: LABELS_FILE,
        Field.FILE_DESCRIPTION: "One label per line, in the output's order.",
        Field.FILE_TYPE: TENSOR_AXIS_LABELS,
    }
    target: dict[int, Any] = {
        Field.META_NAME: card.output,
        Field.META_DESCRIPTION: f"{len(card.labels)} {card.output}.",
        Field.META_FILES: [labels],
    }
    if card.output == "probabilities":
        target[Field.META_STATS] = _stats([0.0], [1.0])
    b = flatbuffers.Builder(1024)
    root = {
        Field.ABOUT_NAME: card.name,
        Field.ABOUT_DESCRIPTION: f"An image classifier with {len(card.labels)} labels.",
        Field.ABOUT_VERSION: "1",
        Field.ABOUT_SUBGRAPHS: [
            {Field.SUBGRAPH_INPUTS: [source], Field.SUBGRAPH_OUTPUTS: [target]}
        ],
        Field.ABOUT_PARSER: PARSER,
    }
    b.Finish(_place(b, root), IDENTIFIER)
    return bytes(b.Output())


def _stats(least: list[float], most: list[float]) -> dict[int, list[float]]:
    return {Field.STATS_MAX: most, Field.STATS_MIN: least}


def _normalization(card: ModelCard) -> tuple[tuple[float, ...], tuple[float, ...]]:
    scaling = card.preprocessing.scaling
    if not isinstance(scaling, Affine):
        return NORMALIZATIONS[PRESETS[scaling]]
    # pixel * scale + offset == (pixel + offset / scale) / (1 / scale)
    pairs = list(zip(scaling.scale, scaling.offset, strict=True))
    return tuple(-offset / scale for scale, offset in pairs), tuple(1 / s for s, _ in pairs)


def _place(b: flatbuffers.Builder, value: Any) -> int:
    """Build a string, a table ({field: value}; whole numbers are enums) or a vector of one kind."""
    if isinstance(value, str):
        return int(b.CreateString(value))
    if isinstance(value, dict):
        places = {k: v if isinstance(v, int) else _place(b, v) for k, v in value.items()}
        b.StartObject(1 + max(value))
        for field, place in places.items():
            if isinstance(value[field], int):
                b.PrependUint8Slot(field, place, 0)
            else:
                b.PrependUOffsetTRelativeSlot(field, place, 0)
        return int(b.EndObject())
    tables = isinstance(value[0], dict)
    items = [_place(b, x) for x in value] if tables else value
    b.StartVector(4, len(items), 4)
    for item in reversed(items):
        (b.PrependUOffsetTRelative if tables else b.PrependFloat32)(item)
    return int(b.EndVector())
