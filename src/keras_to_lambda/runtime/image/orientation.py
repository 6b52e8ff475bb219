"""Orientation: how a photo lies, and how it becomes upright.

A phone stores the rows as its sensor reads them, and a flag for how to turn them. Read here, as
Pillow's own reader copies all that the EXIF block refers to: of a hostile file, gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress

from keras_to_lambda.runtime.common.record import Any

# PIL.Image.Transpose by number: importing PIL.Image is half of a cold start.
FLIP_LEFT_RIGHT, FLIP_TOP_BOTTOM, ROTATE_90, ROTATE_180, ROTATE_270, TRANSPOSE, TRANSVERSE = range(
    7
)
# TIFF 6.0, section 8, "Orientation"; 1 is upright.
TURNS = {
    2: FLIP_LEFT_RIGHT,
    3: ROTATE_180,
    4: FLIP_TOP_BOTTOM,
    5: TRANSPOSE,
    6: ROTATE_270,
    7: TRANSVERSE,
    8: ROTATE_90,
}
ON_ITS_SIDE = (5, 6, 7, 8)  # its rows are columns of the file
UPSIDE_DOWN = (3, 4, 7, 8)  # its first row is the last of the file, or the last column
TAG = 0x0112
SIZES = {3: 2, 4: 4}  # bytes of TIFF's types SHORT and LONG
ORDERS: Mapping[bytes, Any] = {b"II*\0": "little", b"MM\0*": "big"}
XMP = rb'tiff:Orientation(?:="|>)([0-9])'


def flag(info: Mapping[Any, Any]) -> int:
    """The orientation, 1 to 8, from a file's metadata by the names that Pillow gives them.

    EXIF counts before XMP, as in `PIL.ImageOps.exif_transpose`. Damaged metadata count as none.
    """
    if not info:
        return 1
    block = info.get("exif")
    if block is None:
        # How ImageMagick writes EXIF into a PNG: a name, a length, then hexadecimal lines.
        lines = str(info.get("Raw profile type exif", "")).split("\n")[3:]
        with suppress(ValueError):
            block = bytes.fromhex("".join(lines))
    found = _of_exif(block or b"")
    if found is None and (match := re.search(XMP, info.get("xmp", b""))):
        found = int(match[1])
    return found if found in TURNS else 1


def _of_exif(block: bytes) -> int | None:
    """The value in the first directory (TIFF 6.0, section 2); None: it has none."""
    data = memoryview(block.removeprefix(b"Exif\0\0"))
    order = ORDERS.get(bytes(data[:4]))
    if order is None:
        return None

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    first = number(4, 4)
    found = None
    for entry in range(first + 2, first + 2 + 12 * number(first, 2), 12):
        if entry + 12 > len(data):
            break
        if number(entry, 2) == TAG:
            size = SIZES.get(number(entry + 2, 2), 0)
            inside = 1 <= number(entry + 4, 4) * size <= 4  # else an offset is here
            found = number(entry + 8, size) if inside else 0
    return found
