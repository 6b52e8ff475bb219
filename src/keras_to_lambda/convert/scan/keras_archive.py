"""A `.keras` file as a zip archive: only members, and only those that Keras writes.

metadata.json, config.json and model.weights.h5 (keras/src/saving/saving_lib.py). Python finds an
archive from its end, other readers from its start: here both must see the same.
"""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Iterator

METADATA, CONFIG, WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
MAX_MEMBERS = 10_000
# Those of the largest networks have a few MB, without their training.
MAX_JSON_BYTES = 32 << 20
# Keras stores weights as they are. Deflate reaches 1032 with zeros; what people's own tools pack,
# weights or JSON, stays below 50.
MAX_RATIO = 200
SMALL = 1 << 20

# APPNOTE.TXT (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT): 4.3.7 local header,
# 4.3.9 data descriptor, 4.3.14 and 4.3.15 zip64 end, 4.3.16 end of central directory.
_LOCAL, _LOCAL_MAGIC = struct.Struct("<4s5H3I2H"), b"PK\x03\x04"
_END, _END_MAGIC = struct.Struct("<4s4H2IH"), b"PK\x05\x06"
_END64, _END64_MAGIC = struct.Struct("<4sQ2H2I4Q"), b"PK\x06\x06"
_LOCATOR, _LOCATOR_MAGIC = struct.Struct("<4sIQI"), b"PK\x06\x07"
_DESCRIPTOR_FLAG, _FULL = 0x08, 0xFFFFFFFF
_DESCRIPTOR_SIZES = (12, 16, 20, 24)


def faults(archive: zipfile.ZipFile, size: int) -> Iterator[str]:
    """Yield the faults of an archive that Keras did not write so."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        yield f"it is an archive of {len(members)} files"
        return
    if len({member.filename for member in members}) != len(members):
        yield "it is an archive with two files of the same name"
    if sum(member.compress_size for member in members) > size:
        yield "its files overlap in the archive, as in a zip bomb"
    for member in members:
        yield from _member_faults(member)
    layout = _layout_fault(archive, size)
    if layout:
        yield f"it is more than an archive: {layout}"


def _member_faults(member: zipfile.ZipInfo) -> Iterator[str]:
    name = member.filename
    parts = name.replace("\\", "/").split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0]:
        yield f"{name!r} in it would be unpacked outside of its folder"
    if stat.S_ISLNK(member.external_attr >> 16):
        yield f"{name!r} in it is a symbolic link"
    if member.flag_bits & 1:
        yield f"{name!r} in it is encrypted"
    if member.file_size > SMALL and member.file_size > MAX_RATIO * member.compress_size:
        yield (
            f"{name!r} in it would grow from {member.compress_size} bytes to "
            f"{member.file_size}, as in a zip bomb"
        )
    if name.endswith(".json") and member.file_size > MAX_JSON_BYTES:
        yield f"{name!r} in it is {member.file_size} bytes long"
    if name.endswith((".npz", ".npy", ".pkl", ".pickle")):
        yield f"{name} in it can hold pickled objects, which are programs"
    elif parts[0] == "assets" and not member.is_dir():
        yield f"{name!r} in it is an asset, a file that a layer reads; an image classifier has none"


def _layout_fault(archive: zipfile.ZipFile, size: int) -> str | None:
    """The first byte outside of all members, or the first contradicting header; None: neither."""
    file = archive.fp
    assert file is not None
    at = 0
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    starts = [member.header_offset for member in members[1:]] + [archive.start_dir]
    for member, following in zip(members, starts, strict=True):
        if member.header_offset != at:
            return f"bytes at {at} belong to no file in it"
        file.seek(at)
        data = file.read(_LOCAL.size)
        if len(data) != _LOCAL.size:
            return "a header is cut short"
        magic, _, flags, method, _, _, crc, packed, whole, names, extra = _LOCAL.unpack(data)
        name = file.read(names)
        code = "utf-8" if flags & 0x800 else "cp437"
        if magic != _LOCAL_MAGIC or name.decode(code, "replace") != member.orig_filename:
            return f"{member.filename!r} has another name in its own header"
        if flags != member.flag_bits or method != member.compress_type:
            return f"{member.filename!r} is packed in another way by its own header"
        at += _LOCAL.size + names + extra + member.compress_size
        if flags & _DESCRIPTOR_FLAG:
            if following - at not in _DESCRIPTOR_SIZES:
                return f"bytes at {at} belong to no file in it"
            at = following
        elif crc != member.CRC or not (
            {packed, whole} == {_FULL}
            or (packed, whole) == (member.compress_size, member.file_size)
        ):
            return f"{member.filename!r} has another size or checksum in its own header"
    if at != archive.start_dir:
        return f"bytes at {at} belong to no file in it"
    return _end_fault(archive, size)


def _end_fault(archive: zipfile.ZipFile, size: int) -> str | None:
    file = archive.fp
    assert file is not None
    file.seek(max(0, size - _END.size))
    data = file.read()
    if len(data) != _END.size:
        return "its end is cut short"
    magic, disk, first, here, count, length, offset, comment = _END.unpack(data)
    if magic != _END_MAGIC or comment:
        return "there is a comment or something else behind it"
    end = size - _END.size
    if _FULL in (length, offset) or 0xFFFF in (here, count):
        file.seek(end - _LOCATOR.size - _END64.size)
        record, locator = file.read(_END64.size), file.read(_LOCATOR.size)
        magic, rest, _, _, disk, first, here, count, length, offset = _END64.unpack(record)
        locator_magic, _, place, disks = _LOCATOR.unpack(locator)
        end -= _LOCATOR.size + _END64.size
        if (magic, locator_magic) != (_END64_MAGIC, _LOCATOR_MAGIC) or (place, disks) != (end, 1):
            return "its zip64 end is not where it has to be"
        if rest != _END64.size - 12:
            return "its zip64 end holds more than it has to"
    if disk or first or here != count or count != len(archive.infolist()):
        return "its end counts other files than it lists"
    if offset != archive.start_dir or offset + length != end:
        return "its list of files is not where its end says"
    return None
