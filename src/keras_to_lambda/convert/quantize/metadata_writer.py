"""Metadata: the standard description of a `.tflite` file, which other runtimes read.

With it Android Studio, MediaPipe and the TensorFlow Lite Task Library know an image classifier's
scaling and labels (https://ai.google.dev/edge/litert/conversion/tensorflow/metadata). It is a
second flatbuffer in a buffer of the first; labels.txt is in the archive that
`runtime.model.card.join`
puts behind it.
"""

from __future__ import annotations

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from keras_to_lambda.convert.quantize.graft import Graft
from keras_to_lambda.runtime.model.card import LABELS_FILE, PRESETS, Affine, ModelCard
from keras_to_lambda.runtime.model.tflite_metadata import (
    BUFFER_NAME,
    GRAYSCALE,
    IDENTIFIER,
    IMAGE_PROPERTIES,
    NORMALIZATION,
    RGB,
    TENSOR_AXIS_LABELS,
    Field,
)

# (pixel - mean) / std for R, G and B, by what is behind a preset (runtime/model/card.py).
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
    """Why a card cannot be said in standard metadata; None: it can."""
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

    Raises:
        ConvertError: the flatbuffer is damaged.
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
    b = flatbuffers.Builder(1024)
    means, stds = _normalization(card)
    least, most = (
        [(x - mean) / std for mean, std in zip(means, stds, strict=True)] for x in (0, 255)
    )
    options = _table(
        b,
        {
            Field.NORMALIZATION_MEAN: _floats(b, means),
            Field.NORMALIZATION_STD: _floats(b, stds),
        },
    )
    color = GRAYSCALE if card.channels == 1 else RGB
    image = _table(b, {}, {Field.IMAGE_COLOR_SPACE: color})
    source = _table(
        b,
        {
            Field.META_NAME: b.CreateString("image"),
            Field.META_DESCRIPTION: b.CreateString(_steps(card)),
            Field.META_CONTENT: _table(
                b, {Field.CONTENT: image}, {Field.CONTENT_TYPE: IMAGE_PROPERTIES}
            ),
            Field.META_UNITS: _tables(
                b, _table(b, {Field.UNIT: options}, {Field.UNIT_TYPE: NORMALIZATION})
            ),
            Field.META_STATS: _stats(
                b,
                [min(p) for p in zip(least, most, strict=True)],
                [max(p) for p in zip(least, most, strict=True)],
            ),
        },
    )
    labels = _table(
        b,
        {
            Field.FILE_NAME: b.CreateString(LABELS_FILE),
            Field.FILE_DESCRIPTION: b.CreateString("A label a line, in the output's order."),
        },
        {Field.FILE_TYPE: TENSOR_AXIS_LABELS},
    )
    target = {
        Field.META_NAME: b.CreateString(card.output),
        Field.META_DESCRIPTION: b.CreateString(f"{len(card.labels)} {card.output}."),
        Field.META_FILES: _tables(b, labels),
    }
    if card.output == "probabilities":
        target[Field.META_STATS] = _stats(b, [0.0], [1.0])
    graph = _table(
        b,
        {
            Field.SUBGRAPH_INPUTS: _tables(b, source),
            Field.SUBGRAPH_OUTPUTS: _tables(b, _table(b, target)),
        },
    )
    root = _table(
        b,
        {
            Field.ABOUT_NAME: b.CreateString(card.name),
            Field.ABOUT_DESCRIPTION: b.CreateString(
                f"An image classifier with {len(card.labels)} labels."
            ),
            Field.ABOUT_VERSION: b.CreateString("1"),
            Field.ABOUT_SUBGRAPHS: _tables(b, graph),
            Field.ABOUT_PARSER: b.CreateString(PARSER),
        },
    )
    b.Finish(root, IDENTIFIER)
    return bytes(b.Output())


def _normalization(card: ModelCard) -> tuple[tuple[float, ...], tuple[float, ...]]:
    scaling = card.preprocessing.scaling
    if not isinstance(scaling, Affine):
        return NORMALIZATIONS[PRESETS[scaling]]
    # pixel * scale + offset == (pixel + offset / scale) / (1 / scale)
    pairs = list(zip(scaling.scale, scaling.offset, strict=True))
    return tuple(-offset / scale for scale, offset in pairs), tuple(1 / s for s, _ in pairs)


def _steps(card: ModelCard) -> str:
    """What the normalization leaves unsaid, for people."""
    steps = card.preprocessing
    return (
        f"{card.height} x {card.width} pixels. Trained with resizing by {steps.resize}, "
        f"{steps.interpolation}; EXIF orientation: {steps.exif}; alpha: {steps.alpha}; "
        f"drawing: {steps.drawing}."
    )


# The flatbuffers builder, in the words used above. Things are built before what refers to them.


def _table(
    b: flatbuffers.Builder, offsets: dict[int, int], enums: dict[int, int] | None = None
) -> int:
    enums = enums or {}
    b.StartObject(1 + max((*offsets, *enums)))
    for number, offset in offsets.items():
        b.PrependUOffsetTRelativeSlot(number, offset, 0)
    for number, value in enums.items():
        b.PrependUint8Slot(number, value, 0)
    return int(b.EndObject())


def _tables(b: flatbuffers.Builder, table: int) -> int:
    b.StartVector(4, 1, 4)
    b.PrependUOffsetTRelative(table)
    return int(b.EndVector())


def _floats(b: flatbuffers.Builder, values: tuple[float, ...] | list[float]) -> int:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependFloat32(value)
    return int(b.EndVector())


def _stats(b: flatbuffers.Builder, least: list[float], most: list[float]) -> int:
    return _table(b, {Field.STATS_MAX: _floats(b, most), Field.STATS_MIN: _floats(b, least)})
