"""Metadata: the standard description of a `.tflite` file, which other runtimes read.

With it Android Studio, MediaPipe and the TensorFlow Lite Task Library know an image classifier's
scaling and labels (https://ai.google.dev/edge/litert/conversion/tensorflow/metadata). It is a
second flatbuffer in a buffer of the first; labels.txt is in the archive that
`runtime.model.card.join`
puts behind it.
"""

from __future__ import annotations

import struct

import flatbuffers

from keras_to_lambda.convert.errors import ConvertError
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
# Weights must stay where the interpreter can take them unmoved: 16 bytes (schema.fbs,
# `force_align`), and 64 for whoever likes whole cache lines.
ALIGNMENT = 64
# Model's fields of schema.fbs up to external_buffers; each has 4 bytes.
MODEL_FIELDS = 11
MODEL_VERSION = 0


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

    The old bytes stay as they are, behind a new root that refers to the old tables: packing the
    model anew with the flatbuffers library would move every weight to another alignment.

    Raises:
        ConvertError: the flatbuffer is damaged.
    """
    if objection(card):
        return flatbuffer
    return _with_buffer(flatbuffer, describe(card))


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
    return b.EndObject()


def _tables(b: flatbuffers.Builder, table: int) -> int:
    b.StartVector(4, 1, 4)
    b.PrependUOffsetTRelative(table)
    return b.EndVector()


def _floats(b: flatbuffers.Builder, values: tuple[float, ...] | list[float]) -> int:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependFloat32(value)
    return b.EndVector()


def _stats(b: flatbuffers.Builder, least: list[float], most: list[float]) -> int:
    return _table(b, {Field.STATS_MAX: _floats(b, most), Field.STATS_MIN: _floats(b, least)})


# A new root in front of an old flatbuffer. Offsets in flatbuffers only point forward, so that what
# stands behind needs no change (https://flatbuffers.dev/internals/).


def _with_buffer(old: bytes, content: bytes) -> bytes:
    """The model with one more buffer, named TFLITE_METADATA."""
    try:
        root = struct.unpack_from("<I", old)[0]
        fields = _fields(old, root)
        buffers = _targets(old, fields.get(Field.MODEL_BUFFERS))
        entries = _targets(old, fields.get(Field.MODEL_METADATA))
        outside = {at: _outside(old, at) for at in buffers}
        names = [_name(old, at) for at in entries]
    except struct.error as error:
        raise ConvertError("the converted model is damaged: convert it again") from error
    if old[4:8] != b"TFL3" or max(fields, default=0) >= MODEL_FIELDS:
        return old
    kept = [at for at, name in zip(entries, names, strict=True) if name != BUFFER_NAME]
    # Twice: how far the old bytes move is known when the new ones have been counted.
    draft = _front(old, fields, buffers, kept, content, 0)
    moved = -(-len(draft) // ALIGNMENT) * ALIGNMENT
    rest = bytearray(old)
    for at in filter(None, outside.values()):
        start = struct.unpack_from("<Q", old, at)[0]
        struct.pack_into("<Q", rest, at, start + moved)
    return _front(old, fields, buffers, kept, content, moved).ljust(moved, b"\0") + bytes(rest)


def _front(
    old: bytes,
    fields: dict[int, int],
    buffers: list[int],
    entries: list[int],
    content: bytes,
    moved: int,
) -> bytes:
    numbers = sorted({*fields, Field.MODEL_BUFFERS, Field.MODEL_METADATA})
    vtable = 8
    root = vtable + _padded(4 + 2 * MODEL_FIELDS)
    buffer_list = root + 4 + 4 * len(numbers)
    entry_list = buffer_list + 4 + 4 * (len(buffers) + 1)
    entry = entry_list + 4 + 4 * (len(entries) + 1)
    # A table of two fields, preceded by its vtable of 8 bytes; then the name it refers to.
    name = entry + 8 + 12
    buffer = name + 4 + _padded(len(BUFFER_NAME) + 1)
    data = -(-(buffer + 8 + 8 + 4) // 16) * 16

    out = bytearray(data + len(content))
    struct.pack_into("<I4s", out, 0, root, b"TFL3")
    struct.pack_into("<HH", out, vtable, 4 + 2 * MODEL_FIELDS, 4 + 4 * len(numbers))
    struct.pack_into("<i", out, root, root - vtable)
    for index, number in enumerate(numbers):
        at = root + 4 + 4 * index
        struct.pack_into("<H", out, vtable + 4 + 2 * number, at - root)
        if number == MODEL_VERSION:
            out[at : at + 4] = old[fields[number] : fields[number] + 4]
            continue
        new = {Field.MODEL_BUFFERS: buffer_list, Field.MODEL_METADATA: entry_list}.get(number)
        target = moved + _follow(old, fields[number]) if new is None else new
        struct.pack_into("<I", out, at, max(target - at, 0))
    for start, tables, added in (
        (buffer_list, buffers, buffer + 8),
        (entry_list, entries, entry + 8),
    ):
        struct.pack_into("<I", out, start, len(tables) + 1)
        for index, target in enumerate([*(moved + table for table in tables), added]):
            at = start + 4 + 4 * index
            struct.pack_into("<I", out, at, max(target - at, 0))
    # Metadata {name, buffer: the last one}
    struct.pack_into("<HHHH", out, entry, 8, 12, 4, 8)
    struct.pack_into("<iII", out, entry + 8, 8, name - (entry + 12), len(buffers))
    struct.pack_into(f"<I{len(BUFFER_NAME)}s", out, name, len(BUFFER_NAME), BUFFER_NAME)
    # Buffer {data}
    struct.pack_into("<HHH", out, buffer, 6, 8, 4)
    struct.pack_into("<iI", out, buffer + 8, 8, data - 4 - (buffer + 12))
    struct.pack_into("<I", out, data - 4, len(content))
    out[data:] = content
    return bytes(out)


def _padded(size: int) -> int:
    """The next multiple of 4."""
    return -(-size // 4) * 4


def _follow(data: bytes, at: int) -> int:
    return at + int(struct.unpack_from("<I", data, at)[0])


def _fields(data: bytes, table: int) -> dict[int, int]:
    """Where each field of a table stands."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    count = (struct.unpack_from("<H", data, vtable)[0] - 4) // 2
    offsets = struct.unpack_from(f"<{count}H", data, vtable + 4)
    return {number: table + offset for number, offset in enumerate(offsets) if offset}


def _targets(data: bytes, field: int | None) -> list[int]:
    """Where the tables of a vector stand."""
    if field is None:
        return []
    start = _follow(data, field)
    count = struct.unpack_from("<I", data, start)[0]
    return [_follow(data, start + 4 + 4 * index) for index in range(count)]


def _outside(data: bytes, buffer: int) -> int | None:
    """Where a buffer says that its numbers lie behind the flatbuffer, and where; None: inside.

    Models beyond 2 GB have them there, counted from the first byte, and so does what
    ai-edge-quantizer writes. 0 and 1 are for "inside" (schema.fbs, Buffer.offset).
    """
    at = _fields(data, buffer).get(Field.BUFFER_OFFSET)
    return at if at is not None and struct.unpack_from("<Q", data, at)[0] > 1 else None


def _name(data: bytes, entry: int) -> bytes:
    start = _follow(data, _fields(data, entry)[Field.ENTRY_NAME])
    return data[start + 4 : start + 4 + struct.unpack_from("<I", data, start)[0]]
