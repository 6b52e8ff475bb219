"""Content codings of HTTP (RFC 9110, 8.4.1): gzip and deflate, unpacked within a limit."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

from keras_to_lambda.runtime.common.errors import too_many_bytes

# https://www.iana.org/assignments/http-parameters. Storage services return whatever header an
# upload carried; any other word there is no coding of the bytes.
GZIP, DEFLATE = ("gzip", "x-gzip"), ("deflate",)
NOT_UNPACKED = ("br", "zstd", "compress", "x-compress", "dcb", "dcz", "exi", "pack200-gzip")
MAGIC = b"\x1f\x8b"
CHUNK = 1 << 16


class DamagedEncoding(ValueError):
    """Packed data that ends early or cannot be unpacked."""


def names(header: str) -> list[str]:
    """The codings of a Content-Encoding header, the last applied first."""
    return [name.strip() for name in reversed(header.lower().split(","))]


def unpacked(
    data: bytes, coding: str, limit: int, check: Callable[[], object] = lambda: None
) -> bytes:
    """Data without one coding, at most `limit` bytes: a few bytes can unpack into gigabytes.

    Data under another coding, or under one of these in name alone, is returned as it is.

    Args:
        check: called for each piece.

    Raises Damaged; ImageTooLarge; whatever `check` raises.
    """
    if coding in (*GZIP, *DEFLATE) and data.startswith(MAGIC):
        wbits = 16 + zlib.MAX_WBITS
    elif coding in DEFLATE:
        # RFC 9110, 8.4.1.2: the zlib format; some senders omit its header.
        # A header is deflate's number, and a multiple of 31 (RFC 1950, 2.2).
        header = len(data) > 1 and data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
        wbits = zlib.MAX_WBITS if header else -zlib.MAX_WBITS
    else:
        return data
    plain = bytearray()
    try:
        for part in _members(data, wbits):
            check()
            plain += part
            if len(plain) > limit:
                raise too_many_bytes(limit)
    except (zlib.error, EOFError) as error:
        if wbits < 0:
            return data  # no header, and no deflate
        raise DamagedEncoding(f"damaged {coding}") from error
    return bytes(plain)


def _members(data: bytes, wbits: int) -> Iterator[bytes]:
    """Pieces of at most CHUNK bytes; a gzip body may have several members (RFC 1952, 2.2)."""
    while data:
        unpacker = zlib.decompressobj(wbits)
        while not unpacker.eof:
            part = unpacker.decompress(data, CHUNK)
            data = unpacker.unconsumed_tail
            if not (part or data or unpacker.eof):
                raise EOFError
            yield part
        data = unpacker.unused_data if wbits > zlib.MAX_WBITS else b""
        if not data.startswith(MAGIC):
            return  # padding behind the last member
