"""Files in the formats in which benchmark sets are published, written for the tests."""

from __future__ import annotations

import gzip
import struct

import numpy as np


def idx_file(path, values, zipped=False):
    """MNIST's format (http://yann.lecun.com/exdb/mnist/)."""
    values = np.asarray(values, np.uint8)
    data = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    data += values.tobytes()
    path.write_bytes(gzip.compress(data) if zipped else data)


def python2(value):
    """A pickle of protocol 2 as Python 2 wrote it: its `str` are SHORT_BINSTRING or BINSTRING."""

    def text(value):
        short = b"U" + bytes([len(value) % 256]) if len(value) < 256 else None
        return (short or b"T" + struct.pack("<i", len(value))) + value

    def put(value):
        if isinstance(value, bytes):
            return text(value)
        if isinstance(value, int):
            return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
        if isinstance(value, list):
            return b"](" + b"".join(map(put, value)) + b"e"
        if isinstance(value, dict):
            return b"}(" + b"".join(put(k) + put(v) for k, v in value.items()) + b"u"
        # What NumPy 1 of Python 2 says of an array: _reconstruct(ndarray, (0,), 'b'), then its
        # state: version, shape, dtype('u1', 0, 1) with its own, Fortran order, the values.
        made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ" + b"\xff" * 4
        dtype += b"J" + b"\xff" * 4 + b"K\x00tb"
        shape = b"".join(b"J" + struct.pack("<i", size) for size in value.shape) + b"\x86"
        return made + b"(K\x01" + shape + dtype + b"\x89" + text(value.tobytes()) + b"tb"

    return b"\x80\x02" + put(value) + b"."
