"""HDF5 files of Keras: no other data around them, no links, no tensor larger than its file.

The network is JSON in the attribute model_config, weights are in groups
(keras/src/legacy/saving/legacy_h5_format.py).
"""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# https://docs.hdfgroup.org/hdf5/develop/_f_m_t3.html: the superblock.
SIGNATURE = b"\x89HDF\r\n\x1a\n"
_UNDEFINED = (1 << 64) - 1
# HDF5's own filters and h5py's LZF (https://docs.hdfgroup.org/hdf5/develop/group___h5_z.html):
# others are libraries that it looks for on this machine.
FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})
MAX_OBJECTS = 200_000
# Networks in networks are a few levels each; HDF5 is slow with many more.
MAX_DEPTH = 100
# Values packed by HDF5's filters: see archive.MAX_RATIO.
MAX_RATIO = 200
SMALL = 1 << 20
# What h5py raises for damaged bytes.
DAMAGED = (OSError, RuntimeError, ValueError, KeyError, TypeError)


def brief(error: Exception) -> str:
    """HDF5's complaint without its frame."""
    # "Unable to synchronously open file (truncated file: eof = 5, ...)".
    return str(error).partition("(")[2].rstrip(")") or str(error)


def text(file: Any, name: str) -> str | None:
    """A string attribute; only a scalar, whose size the file bounds."""
    with contextlib.suppress(*DAMAGED):
        if name in file.attrs and file.attrs.get_id(name).shape == ():
            value = file.attrs[name]
            value = value.decode(errors="replace") if isinstance(value, bytes) else value
            return value if isinstance(value, str) else None
    return None


def frame_fault(path: Path) -> str | None:
    """The fault of a file with data in front of or behind its HDF5 part; None: it has none."""
    with path.open("rb") as file:
        head = file.read(96)
    if not head.startswith(SIGNATURE):
        return "it does not begin with HDF5's signature"
    version = head[8]
    if version not in (0, 1, 2, 3):
        return f"its HDF5 superblock has the unknown version {version}"
    if (head[13] if version < 2 else head[9]) != 8:
        return "its HDF5 addresses are not 8 bytes long"
    start = {0: 24, 1: 28}.get(version, 12)
    base, _, end, driver = struct.unpack_from("<4Q", head, start)
    if base != 0:
        return f"its HDF5 part begins at byte {base}"
    # Versions 2 and 3 have the root group's address here, and no driver.
    if version < 2 and driver != _UNDEFINED:
        return "it is one of several files that HDF5 reads together"
    size = path.stat().st_size
    if end < size:
        return f"its HDF5 part ends at byte {end}, the file at {size}"
    return None


def faults(file: Any, size: int) -> Iterator[str]:
    """Yield links out of the file, and weights that are larger than what it holds."""
    try:
        yield from _tree_faults(file, size)
    except DAMAGED as error:
        yield f"its HDF5 part is damaged ({brief(error)})"


def _tree_faults(file: Any, size: int) -> Iterator[str]:
    import h5py

    total = 0
    seen = set()
    groups = [(file, 0)]
    while groups:
        group, depth = groups.pop()
        if depth > MAX_DEPTH:
            yield f"it has groups nested more than {MAX_DEPTH} deep"
            return
        for name in group:
            link = group.get(name, getlink=True)
            place = f"{group.name}/{name}".replace("//", "/")
            if isinstance(link, h5py.ExternalLink):
                yield f"{place} is a link to another file, {link.filename!r}"
                continue
            if isinstance(link, h5py.SoftLink):
                # Keras never writes one and refuses to read it.
                yield f"{place} is a symbolic link to {link.path!r}"
                continue
            entry = group[name]
            # Hard links can go round in circles.
            info = h5py.h5o.get_info(entry.id)
            if info.addr in seen:
                continue
            seen.add(info.addr)
            if len(seen) > MAX_OBJECTS:
                yield f"it has more than {MAX_OBJECTS} objects in it"
                return
            if isinstance(entry, h5py.Group):
                groups.append((entry, depth + 1))
            elif isinstance(entry, h5py.Dataset):
                fault = _dataset_fault(entry)
                if fault:
                    yield f"{place} {fault}"
                else:
                    total += _bytes(entry)
    if total > SMALL and total > MAX_RATIO * size:
        yield f"its weights would take {total} bytes of memory, and the file has {size}"


def _dataset_fault(dataset: Any) -> str | None:
    if dataset.external:
        return f"has its values in another file, {dataset.external[0][0]!r}"
    if dataset.is_virtual:
        return "is put together from other files"
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
    unknown = sorted(set(filters) - FILTERS)
    if unknown:
        return f"needs the unsupported HDF5 filter {unknown[0]}"
    needed, stored = _bytes(dataset), dataset.id.get_storage_size()
    # Reading one value unpacks its whole chunk.
    needed = max(needed, math.prod(dataset.chunks or (0,)) * int(dataset.dtype.itemsize))
    # A dataset without filters is stored as it is; small ones can lie in their header.
    most = stored * (MAX_RATIO if filters else 1)
    if needed > SMALL and needed > most:
        return (
            f"is a tensor of shape {tuple(dataset.shape)}, {needed} bytes; the file holds "
            f"{stored} of them"
        )
    return None


def _bytes(dataset: Any) -> int:
    return math.prod(dataset.shape or ()) * int(dataset.dtype.itemsize)
