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

# APPNOTE.TXT (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT): sizes of 4.3.7 local
# header, 4.3.9 data descriptor, 4.3.12 central header, 4.3.14 to 4.3.16 ends.
_LOCAL, _DESCRIPTOR_SIZES, _CENTRAL, _END, _END64 = 30, (12, 16, 20, 24), 46, 22, 56 + 20
_DESCRIPTOR_FLAG = 0x08


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
    """The first byte that belongs to no member; None: there is none.

    Contradictions between headers do not matter: only what Python reads is judged and loaded.
    """
    file, at = archive.fp, 0
    rest: tuple[int, ...] = (0,)  # what may lie between two members
    assert file is not None
    for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
        if member.header_offset - at not in rest:
            return f"bytes at {at} belong to no file in it"
        file.seek(member.header_offset)
        header = file.read(_LOCAL)
        names, extra = struct.unpack_from("<2H", header, _LOCAL - 4)
        if file.read(names) != _raw_name(member):
            return f"{member.filename!r} has another name in its own header"
        at = member.header_offset + _LOCAL + names + extra + member.compress_size
        rest = _DESCRIPTOR_SIZES if member.flag_bits & _DESCRIPTOR_FLAG else (0,)
    if archive.start_dir - at not in rest:
        return f"bytes at {at} belong to no file in it"
    listed = sum(
        _CENTRAL + len(_raw_name(member)) + len(member.extra) + len(member.comment)
        for member in archive.infolist()
    )
    if archive.comment or size - archive.start_dir - listed not in (_END, _END + _END64):
        return "there is a comment or something else behind it"
    return None


def _raw_name(member: zipfile.ZipInfo) -> bytes:
    return member.orig_filename.encode("utf-8" if member.flag_bits & 0x800 else "cp437")
