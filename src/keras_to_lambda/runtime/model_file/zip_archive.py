"""Archive: the zip behind a `.tflite` file's flatbuffer, where models keep their associated files.

Read here with `struct`: importing zipfile costs 6 ms of a cold start, and accepts more kinds of
damage than a model file should have. Layout: PKWARE's APPNOTE.TXT 6.3.10, 4.3.
"""

from __future__ import annotations

import io
import struct
import zlib

from keras_to_lambda.runtime.common.record import BinaryIO, NamedTuple

END = struct.Struct("<4s4H2LH")
ENTRY = struct.Struct("<4s6H3L5H2L")
HEADER = struct.Struct("<4s5H3L2H")
MAX_COMMENT = 0xFFFF
STORED, DEFLATED = 0, 8
ENCRYPTED = 1


class DamagedArchive(ValueError):
    """An archive that contradicts its directory."""


class Member(NamedTuple):
    """An entry of the directory."""

    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


class Archive:
    """The members of a zip archive at the end of a file.

    start: the archive's first byte; the model ends there.
    names: of the members.
    """

    def __init__(self, file: BinaryIO, members: dict[str, Member], directory: int) -> None:
        self._file = file
        self._members = members
        self.names = list(members)
        self.start = min((member.offset for member in members.values()), default=directory)

    @classmethod
    def find(cls, file: BinaryIO) -> Archive | None:
        """The archive of an open file; None if it has none.

        Only the file's end is read, so that a large model costs no more than a small one.

        Raises Damaged: there is one, cut short or altered.
        """
        size = file.seek(0, io.SEEK_END)
        tail_at = max(0, size - END.size - MAX_COMMENT)
        # Nearly always there is no comment: the end is where it is expected.
        for start in (max(0, size - END.size), tail_at):
            file.seek(start)
            tail = file.read(size - start)
            at = tail.rfind(b"PK\5\6")
            if 0 <= at <= len(tail) - END.size:
                return cls._read(file, start + at, END.unpack_from(tail, at))
        return None

    @classmethod
    def _read(cls, file: BinaryIO, end: int, fields: tuple[int, ...]) -> Archive:
        _, disk, first_disk, here, count, length, offset, _ = fields
        if disk or first_disk or here != count or count == 0xFFFF or offset == 0xFFFFFFFF:
            raise DamagedArchive("its archive has several parts, or is too large")
        # What was put in front of an archive later is not in its offsets.
        moved = end - length - offset
        if moved < 0:
            raise DamagedArchive("its archive is cut short")
        file.seek(moved + offset)
        directory = file.read(length)
        members: dict[str, Member] = {}
        at = 0
        for _ in range(count):
            if at + ENTRY.size > length or directory[at : at + 4] != b"PK\1\2":
                raise DamagedArchive("its archive's directory is damaged")
            entry = ENTRY.unpack_from(directory, at)
            flags, method, crc, packed, size, name_, extra, note = (*entry[3:5], *entry[7:13])
            where = entry[-1]
            name = directory[at + ENTRY.size : at + ENTRY.size + name_].decode("utf-8", "replace")
            if where + moved + HEADER.size + packed > moved + offset:
                raise DamagedArchive(f"{name} in it lies outside the archive")
            members[name] = Member(flags, method, crc, packed, size, where + moved)
            at += ENTRY.size + name_ + extra + note
        return cls(file, members, moved + offset)

    def read(self, name: str, max_bytes: int) -> bytes:
        """A member's content.

        Raises Damaged: it is not there, larger than `max_bytes`, or contradicts the directory.
        """
        member = self._members.get(name)
        if member is None:
            raise DamagedArchive(f"there is no {name} in it")
        if max(member.size, member.packed) > max_bytes:
            raise DamagedArchive(f"{name} in it is larger than {max_bytes} bytes")
        self._file.seek(member.offset)
        header = self._file.read(HEADER.size)
        if len(header) < HEADER.size or header[:4] != b"PK\3\4":
            raise DamagedArchive(f"{name} in it is not where it should be")
        *_, name_, extra = HEADER.unpack(header)
        self._file.seek(name_ + extra, io.SEEK_CUR)
        content = self._file.read(member.packed)
        if member.flags & ENCRYPTED or member.method not in (STORED, DEFLATED):
            raise DamagedArchive(
                f"{name} in it is encrypted, or packed in a way that is not read here"
            )
        if member.method == DEFLATED:
            try:
                # One byte more than there should be, so that more is seen and never unpacked.
                content = zlib.decompressobj(-15).decompress(content, member.size + 1)
            except zlib.error as error:
                raise DamagedArchive(f"{name} in it cannot be unpacked") from error
        if len(content) != member.size or zlib.crc32(content) != member.crc:
            raise DamagedArchive(f"{name} in it is damaged")
        return content
