"""Metadata: the standard description in a `.tflite` file, for models that have no card of ours.

TensorFlow Lite model metadata is a second flatbuffer inside the first, in the buffer named
TFLITE_METADATA; label files lie in a zip archive behind both
(https://ai.google.dev/edge/litert/conversion/tensorflow/metadata). Flatbuffers are read here with
`struct`, field by field and inside their bounds: the generated readers would cost 0.1 s of a cold
start, and answer damaged bytes with whatever exception comes first.
"""

from __future__ import annotations

import shlex
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.model_file.zip_archive import Archive

BUFFER_NAME = b"TFLITE_METADATA"
IDENTIFIER = b"M001"


class Field:
    """A field's place in its table: its number in the schema, from 0.

    The first part is tensorflow/lite/schema/schema.fbs, the second metadata_schema.fbs
    (https://github.com/google-ai-edge/mediapipe, mediapipe/tasks/metadata).
    """

    MODEL_VERSION, MODEL_OPCODES, MODEL_SUBGRAPHS = 0, 1, 2
    MODEL_BUFFERS, MODEL_METADATA = 4, 6
    BUFFER_DATA, BUFFER_OFFSET = 0, 1
    ENTRY_NAME, ENTRY_BUFFER = 0, 1
    GRAPH_TENSORS, GRAPH_INPUTS, GRAPH_OUTPUTS, GRAPH_OPERATORS = 0, 1, 2, 3
    GRAPH_DEBUG = 5
    TENSOR_SHAPE, TENSOR_TYPE, TENSOR_QUANTIZATION = 0, 1, 4
    QUANTIZATION_SCALE, QUANTIZATION_ZERO_POINT = 2, 3
    OPERATOR_OPCODE, OPERATOR_INPUTS, OPERATOR_OUTPUTS = 0, 1, 2
    OPCODE_OLD, OPCODE = 0, 3

    ABOUT_NAME, ABOUT_DESCRIPTION, ABOUT_VERSION, ABOUT_SUBGRAPHS = 0, 1, 2, 3
    ABOUT_PARSER = 7
    SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS = 2, 3
    META_NAME, META_DESCRIPTION, META_CONTENT = 0, 1, 3
    META_UNITS, META_STATS, META_FILES = 4, 5, 6
    CONTENT_TYPE, CONTENT = 0, 1
    IMAGE_COLOR_SPACE = 0
    UNIT_TYPE, UNIT = 0, 1
    NORMALIZATION_MEAN, NORMALIZATION_STD = 0, 1
    STATS_MAX, STATS_MIN = 0, 1
    FILE_NAME, FILE_DESCRIPTION, FILE_TYPE = 0, 1, 2


# The schemas' enumerations.
IMAGE_PROPERTIES = 2
RGB, GRAYSCALE = 1, 2
NORMALIZATION = 1
TENSOR_AXIS_LABELS = 2
_DTYPES = {0: "float32", 3: "uint8", 9: "int8"}
_ACTIVATIONS = {25: "softmax", 14: "sigmoid"}  # SOFTMAX, LOGISTIC
_PASSING_ON = (6, 22, 114)  # DEQUANTIZE, RESHAPE, QUANTIZE
_OLD_OPCODES = 127  # above, and for new files in any case, the other field counts

MAX_LABEL_BYTES = 16 << 20


def read(path: Path) -> dict[str, Any] | None:
    """A file's standard metadata as a card's JSON; None if it has none.

    Metadata is silent about resizing. Pixels are resized as the TensorFlow Lite Task Library does,
    for which such files are made: stretched to the input, bilinear without antialiasing, which is
    `tf.image.resize` (on the samples the logits agree to 0.03). MediaPipe differs by half a pixel:
    mediapipe/calculators/tensor/image_to_tensor_converter_opencv.cc.

    Returns:
        Labels and scaling are None where the metadata lacks them. Besides a card's fields,
        `label_file`: what the metadata calls it, or None.

    Raises SetupError: the file cannot be read, is damaged, or is not a classifier of images.
    """
    try:
        with path.open("rb") as file:
            return _card(path, file)
    except _Damaged as error:
        raise SetupError(
            f"{path} was cut short or damaged: {error}; get it again, or {describe(path)}"
        ) from error
    except OSError as error:
        raise SetupError(f"cannot read the model {path}: {error.strerror or error}") from error


def _card(path: Path, file: BinaryIO) -> dict[str, Any] | None:
    data = _Bytes(file.read())
    model = data.root()
    about = _about(data, model)
    if about is None:
        return None
    graph = _first(model.tables(Field.MODEL_SUBGRAPHS), "graph")
    tensors = graph.tables(Field.GRAPH_TENSORS)
    source = _one(tensors, graph.ints(Field.GRAPH_INPUTS), path, "input")
    target = _one(tensors, graph.ints(Field.GRAPH_OUTPUTS), path, "output")
    shape = source.ints(Field.TENSOR_SHAPE)
    dtype = _DTYPES.get(source.byte(Field.TENSOR_TYPE))
    if len(shape) not in (3, 4) or dtype is None:
        kind = dtype or f"tensor type {source.byte(Field.TENSOR_TYPE)}"
        raise SetupError(
            f"{path} takes {kind} of shape {shape}; an image classifier takes (1, height, width, "
            "channels) or (1, height, width) in float32, uint8 or int8"
        )
    described = _first(about.tables(Field.ABOUT_SUBGRAPHS), "graph in its metadata")
    activation = _activation(model, graph, target)
    *_, channels = (*shape, 1)[:4]
    name = _label_file(described.tables(Field.SUBGRAPH_OUTPUTS))
    return {
        "name": path.stem,
        "labels": _labels(file, name) if name else None,
        "label_file": name,
        "height": shape[1],
        "width": shape[2],
        "channels": channels,
        "dtype": dtype,
        "preprocessing": {
            "resize": "stretch",
            "interpolation": "tf:bilinear",
            "scaling": _scaling(source, dtype, channels, described.tables(Field.SUBGRAPH_INPUTS)),
        },
        "output": "probabilities" if activation else "logits",
        "activation": activation or "softmax",
        "provenance": {"card": "from the file's standard metadata"},
    }


def _about(data: _Bytes, model: _Table) -> _Table | None:
    """The ModelMetadata, if the model has one."""
    for entry in model.tables(Field.MODEL_METADATA):
        if entry.text(Field.ENTRY_NAME) == BUFFER_NAME:
            buffers = model.tables(Field.MODEL_BUFFERS)
            index = entry.uint(Field.ENTRY_BUFFER)
            if index >= len(buffers):
                raise _Damaged("its metadata lies in a buffer that is not there")
            start, length = buffers[index].vector(Field.BUFFER_DATA)
            part = _Bytes(data.content[start : start + length])
            if part.content[4:8] != IDENTIFIER:
                raise _Damaged("its metadata is of an unknown kind")
            return part.root()
    return None


def _label_file(outputs: list[_Table]) -> str | None:
    """The name of the label file; None: the metadata names none."""
    for entry in outputs[0].tables(Field.META_FILES) if outputs else ():
        # There may be one for each language: the first is the one that has no locale.
        if entry.byte(Field.FILE_TYPE) == TENSOR_AXIS_LABELS:
            return entry.text(Field.FILE_NAME).decode(errors="replace")
    return None


def _labels(file: BinaryIO, name: str) -> list[str] | None:
    """The lines of a file in the archive; None: it is not there."""
    try:
        archive = Archive.find(file)
        if archive is None or name not in archive.names:
            return None
        lines = archive.read(name, MAX_LABEL_BYTES).decode().rstrip().split("\n")
    except ValueError as error:  # DamagedArchive is one
        raise _Damaged(f"{name}, which its metadata names, cannot be read ({error})") from error
    # An output may go without a name; a client's answer has one for each.
    return [line.strip() or "?" for line in lines]


def describe(path: Path) -> str:
    """How a file gets the labels and the scaling that it lacks, for messages."""
    return (
        f"write a card into it: `k2l convert {shlex.quote(path.name)} --labels FILE "
        "--preprocess NAME --samples DIR -o OUT.tflite` (docs/tflite.md), or put "
        f"{path.stem}.card.json beside it"
    )


def _scaling(
    source: _Table, dtype: str, channels: int, inputs: list[_Table]
) -> dict[str, list[float]] | None:
    if not 1 <= channels <= 4:
        return None
    if dtype != "float32":
        # Such a model takes the pixel itself: normalization is for floats
        # (mediapipe/tasks/cc/components/processors/image_preprocessing_graph.cc). This is the
        # float that the model's own scale and zero point turn into it.
        scale, zero_point = source.quantization()
        offset = ((0 if dtype == "uint8" else -128) - zero_point) * scale
        return {"scale": [scale] * channels, "offset": [offset] * channels}
    for unit in inputs[0].tables(Field.META_UNITS) if inputs else ():
        options = unit.table(Field.UNIT)
        if unit.byte(Field.UNIT_TYPE) == NORMALIZATION and options:
            means = options.floats(Field.NORMALIZATION_MEAN)
            stds = options.floats(Field.NORMALIZATION_STD)
            if {len(means), len(stds)} <= {1, channels} and all(stds):
                # One number is for every channel.
                means, stds = (x * (channels // len(x)) for x in (means, stds))
                pairs = zip(means, stds, strict=True)
                return {
                    "scale": [1 / std for std in stds],
                    "offset": [-m / std for m, std in pairs],
                }
    return None


def _activation(model: _Table, graph: _Table, target: _Table) -> str | None:
    """What makes probabilities at the network's end: softmax or sigmoid; None: nothing does."""
    scale, _ = target.quantization()
    # https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec:
    # a quantized softmax or sigmoid has this scale and no other.
    unseen = "softmax" if scale == 1 / 256 else None
    makers = {
        output: operator
        for operator in graph.tables(Field.GRAPH_OPERATORS)
        for output in operator.ints(Field.OPERATOR_OUTPUTS)
    }
    codes = model.tables(Field.MODEL_OPCODES)
    outputs = graph.ints(Field.GRAPH_OUTPUTS)
    for _ in range(4):
        operator = makers.get(outputs[0]) if outputs else None
        index = operator.uint(Field.OPERATOR_OPCODE) if operator else len(codes)
        if operator is None or index >= len(codes):
            return unseen
        old = codes[index].byte(Field.OPCODE_OLD)
        code = old if 0 < old < _OLD_OPCODES else codes[index].uint(Field.OPCODE)
        if code in _ACTIVATIONS:
            return _ACTIVATIONS[code]
        if code not in _PASSING_ON:
            return unseen
        outputs = operator.ints(Field.OPERATOR_INPUTS)
    return unseen


def _first(tables: list[_Table], what: str) -> _Table:
    if not tables:
        raise _Damaged(f"it has no {what}")
    return tables[0]


def _one(tensors: list[_Table], indices: tuple[int, ...], path: Path, kind: str) -> _Table:
    if len(indices) != 1:
        raise SetupError(f"{path} has {len(indices)} {kind}s; an image classifier has one")
    if not 0 <= indices[0] < len(tensors):
        raise _Damaged(f"its {kind} is a tensor that is not there")
    return tensors[indices[0]]


class _Damaged(SetupError):
    """The bytes contradict the schema; `read` adds the file's name."""


@dataclass(frozen=True, slots=True)
class _Bytes:
    """A flatbuffer (https://flatbuffers.dev/internals/), read with every offset checked."""

    content: bytes

    def number(self, kind: str, at: int) -> Any:
        size = struct.calcsize(kind)
        if not 0 <= at <= len(self.content) - size:
            raise _Damaged(f"byte {at} is needed, and there are {len(self.content)}")
        return struct.unpack_from(kind, self.content, at)[0]

    def follow(self, at: int) -> int:
        return at + int(self.number("<I", at))

    def root(self) -> _Table:
        return _Table(self, self.follow(0))


@dataclass(frozen=True, slots=True)
class _Table:
    data: _Bytes
    at: int

    def field(self, number: int) -> int | None:
        """The place of the field's value; None if it has its default."""
        vtable = self.at - self.data.number("<i", self.at)
        where = 4 + 2 * number
        if where + 2 > self.data.number("<H", vtable):
            return None
        offset = self.data.number("<H", vtable + where)
        return self.at + int(offset) if offset else None

    def uint(self, number: int) -> int:
        at = self.field(number)
        return int(self.data.number("<I", at)) if at else 0

    def byte(self, number: int) -> int:
        at = self.field(number)
        return int(self.data.number("<B", at)) if at else 0

    def table(self, number: int) -> _Table | None:
        at = self.field(number)
        return _Table(self.data, self.data.follow(at)) if at else None

    def vector(self, number: int, size: int = 1) -> tuple[int, int]:
        """Where a vector's first element is, and how many there are, of `size` bytes each."""
        at = self.field(number)
        if not at:
            return 0, 0
        start = self.data.follow(at)
        length = int(self.data.number("<I", start))
        if start + 4 + length * size > len(self.data.content):
            raise _Damaged("a list in it is longer than the file")
        return start + 4, length

    def tables(self, number: int) -> list[_Table]:
        start, length = self.vector(number, 4)
        return [_Table(self.data, self.data.follow(start + 4 * i)) for i in range(length)]

    def values(self, number: int, kind: str) -> Iterator[Any]:
        start, length = self.vector(number, struct.calcsize(kind))
        for index in range(length):
            yield self.data.number(kind, start + index * struct.calcsize(kind))

    def ints(self, number: int) -> tuple[int, ...]:
        return tuple(self.values(number, "<i"))

    def floats(self, number: int) -> tuple[float, ...]:
        return tuple(self.values(number, "<f"))

    def text(self, number: int) -> bytes:
        start, length = self.vector(number)
        return self.data.content[start : start + length]

    def quantization(self) -> tuple[float, int]:
        """A tensor's scale and zero point; 1 and 0 where it has none."""
        details = self.table(Field.TENSOR_QUANTIZATION)
        if details is None:
            return 1.0, 0
        scales = details.floats(Field.QUANTIZATION_SCALE)
        zeros = tuple(details.values(Field.QUANTIZATION_ZERO_POINT, "<q"))
        return (scales[0] or 1.0) if scales else 1.0, zeros[0] if zeros else 0
