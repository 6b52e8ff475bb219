"""Graft: new tables in front of a `.tflite` flatbuffer, whose own bytes stay as they are.

Packing the model again with the flatbuffers library would move every weight to another alignment.
Offsets in flatbuffers only point forward (https://flatbuffers.dev/internals/), so that a new root
in front can refer to the old tables.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.runtime.model_file.tflite_metadata import Field

# Weights must stay where the interpreter can take them unmoved: 16 bytes (schema.fbs,
# `force_align`), and 64 for whole cache lines.
ALIGNMENT, WITHIN = 64, 16
# Model's fields of schema.fbs up to external_buffers.
MODEL_FIELDS = 11
IDENTIFIER = b"TFL3"
_SIZE = struct.Struct("<Q")


class Graft:
    """A flatbuffer that gets new tables; known: whether all its model's fields are copied."""

    def __init__(self, old: bytes) -> None:
        try:
            self.model = schema.Model.GetRootAs(old, 0)
            buffers = self.tables(self.model, "Buffers")
            # Weights beyond 2 GB, and those that ai-edge-quantizer writes, lie behind the
            # flatbuffer: counted from the first byte. 0 and 1 mean "inside".
            self._outside = [table for table in buffers if table.Offset() > 1]
            self.known = old[4:8] == IDENTIFIER and _count(self.model) <= MODEL_FIELDS
        except (struct.error, IndexError, TypeError, ValueError) as error:
            raise ConvertError("the converted model is damaged: convert it again") from error
        self.builder = flatbuffers.Builder(len(old) + (1 << 14))
        self._length = len(old)
        self._start = self._bytes(old, ALIGNMENT) - 4
        self._buffers = [self.place(table) for table in buffers]

    def tables(self, table: Any, field: str) -> list[Any]:
        """The old tables in a vector, by the generated reader's name for it."""
        return [getattr(table, field)(i) for i in range(getattr(table, f"{field}Length")())]

    def place(self, table: Any) -> int:
        """An old table's place, for the builder."""
        return self._start - int(_view(table).Pos)

    def vector(self, places: Sequence[int]) -> int:
        """A vector of tables, old and new ones."""
        self.builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            self.builder.PrependUOffsetTRelative(place)
        return int(self.builder.EndVector())

    def buffer(self, content: bytes) -> int:
        """One more buffer; its index."""
        data = self._bytes(content, WITHIN)
        self.builder.StartObject(1)
        self.builder.PrependUOffsetTRelativeSlot(Field.BUFFER_DATA, data, 0)
        self._buffers.append(int(self.builder.EndObject()))
        return len(self._buffers) - 1

    def changed(self, table: Any, numbers: Sequence[int], new: Mapping[int, int]) -> int:
        """A copy of an old table.

        numbers: its fields that are numbers of four bytes, not offsets. new: places for others.
        """
        b, tab = self.builder, _view(table)
        b.StartObject(max(_count(table), *(field + 1 for field in new)))
        for field in range(_count(table)):
            at = tab.Offset(4 + 2 * field)
            if not at or field in new:
                continue
            if field in numbers:
                b.PrependUint32(struct.unpack_from("<I", tab.Bytes, tab.Pos + at)[0])
                b.Slot(field)
            else:
                b.PrependUOffsetTRelativeSlot(field, self._start - tab.Indirect(tab.Pos + at), 0)
        for field, place in new.items():
            b.PrependUOffsetTRelativeSlot(field, place, 0)
        return int(b.EndObject())

    def finish(self, new: Mapping[int, int]) -> bytes:
        """The flatbuffer; new: the model's changed fields, without the buffers."""
        fields = {Field.MODEL_BUFFERS: self.vector(self._buffers), **new}
        root = self.changed(self.model, (Field.MODEL_VERSION,), fields)
        self.builder.Prep(ALIGNMENT, 0)
        self.builder.Finish(root, IDENTIFIER)
        out = bytearray(self.builder.Output())
        moved = len(out) - -(-self._length // ALIGNMENT) * ALIGNMENT
        for table in self._outside:
            at = moved + _view(table).Pos + _view(table).Offset(4 + 2 * Field.BUFFER_OFFSET)
            _SIZE.pack_into(out, at, table.Offset() + moved)
        return bytes(out)

    def _bytes(self, content: bytes, alignment: int) -> int:
        self.builder.Prep(alignment, len(content))
        return int(self.builder.CreateByteVector(content))


def _count(table: Any) -> int:
    """How many fields a table's writer knew."""
    tab = _view(table)
    vtable = tab.Pos - struct.unpack_from("<i", tab.Bytes, tab.Pos)[0]
    return (int(struct.unpack_from("<H", tab.Bytes, vtable)[0]) - 4) // 2


def _view(table: Any) -> Any:
    """A table's bytes, which its generated reader keeps private."""
    return table._tab  # noqa: SLF001
