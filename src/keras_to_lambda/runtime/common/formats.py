"""Formats: the image formats that are decoded, and what a decoder needs of such a file.

Pillow reads every segment and chunk of a file, and some of them cost far more time and memory than
their bytes: profiles, texts, Exif in ten thousand pieces. None of them changes a pixel. So what
is handed to Pillow is the file without them; `orientation` reads what was left out.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

from keras_to_lambda.runtime.common.record import NamedTuple

# Parts of a file between two looks at the deadline.
STEP = 1024
# Longest metadata in which an orientation is looked for, in bytes: as much as a JPEG segment holds.
MAX_METADATA = 65_536
# JPEG, ISO 10918-1 table B.1.
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
ALONE = frozenset((0x01, *range(0xD0, 0xDA)))
FILL = b"\xff\xff"  # a marker begins with any number of 0xFF
START_OF_SCAN = 0xDA
# Frames of Huffman codes; tables of those and of quantization; intervals; scans.
ORDINARY_FRAMES = frozenset((0xC0, 0xC1, 0xC2))
ORDINARY = ORDINARY_FRAMES | {0xC4, 0xDB, 0xDD, START_OF_SCAN}
JPEG_LS = 0xF7
# PNG: the chunks that pixels are made of (https://www.w3.org/TR/png-3/#11Chunks).
PNG_CHUNKS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
RAW_EXIF = "Raw profile type exif"  # ImageMagick's
WEBP_METADATA = {b"EXIF": "exif", b"XMP ": "xmp"}

Check = Callable[[], object]


class Contents:
    """A file as a decoder gets it: `head`, and the file's bytes from `start` on.

    size: width and height, where the decoder takes memory for them before it returns them; `kept`
        then has Pillow's image as well.
    info: metadata that may hold an orientation, by Pillow's names.
    kept: bytes that the decoder takes besides the picture.
    process: a JPEG's SOF marker. precision: its bits per channel.
    frame: a JPEG's width and height. components: its channels. plain: whether it is of the kind
        that cameras and programs write, in segments of known kinds alone.
    apple: whether it is a PNG that Apple's tools made for its own devices.
    """

    head: bytes = b""
    start: int = 0
    kept: int = 0
    process: int = 0
    precision: int = 8
    frame: tuple[int, int] = (0, 0)
    components: int = 0
    plain: bool = False
    apple: bool = False

    def __init__(self, size: tuple[int, int] | None = None) -> None:
        self.size = size
        self.info: dict[str, bytes | str] = {}

    def variant(self) -> str | None:
        """The sound kind of a format that no decoder here reads; None: an ordinary one."""
        if self.process == JPEG_LS:
            return "a JPEG-LS image"
        if self.process and self.precision != 8:
            return f"a JPEG of {self.precision} bits per channel"
        if self.process and self.process not in (0xC0, 0xC1, 0xC2):
            return "a lossless, arithmetic or hierarchical JPEG"
        return "a PNG in Apple's own form (CgBI)" if self.apple else None


def jpeg(data: bytes, check: Check) -> Contents:
    """A JPEG without its APPn and COM segments, except those about its colours."""
    contents = Contents()
    kept = [data[:2]]
    frame = b""
    frames = 0
    ordinary = True
    at = since = 2
    for marker, begin, end in _segments(data, check):
        body = data[begin + 4 : end]
        ordinary = ordinary and begin == at  # nothing between two segments
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            # libjpeg takes the colour space from JFIF's and Adobe's segments.
            colours = (marker == 0xE0 and body[:5] == b"JFIF\0") or (
                marker == 0xEE and body[:5] == b"Adobe"
            )
            if not colours:
                kept.append(data[since:begin])
                since = end
            if marker == 0xE1 and body[:6] == b"Exif\0\0":
                contents.info.setdefault("exif", body)
            elif marker == 0xE1 and body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
                contents.info["xmp"] = body
        elif marker in START_OF_FRAME or marker == JPEG_LS:
            contents.process, frame = marker, body
            frames += 1
            ordinary = ordinary and marker in ORDINARY_FRAMES
        else:
            ordinary = ordinary and marker in ORDINARY
        at = end
        if marker == START_OF_SCAN:
            _scans(contents, frame, body)
            contents.plain = ordinary and frames == 1 and contents.precision == 8
            break
    kept.append(data[since:at])
    contents.head, contents.start = b"".join(kept), at
    return contents


def _segments(data: bytes, check: Check) -> Iterator[tuple[int, int, int]]:
    """A JPEG's segments up to its first scan: marker, first byte, end."""
    at = 2
    number = 0
    while (begin := data.find(b"\xff", at)) >= 0:
        number += 1
        if not number % STEP:
            check()
        if data.startswith(FILL, begin):
            # By a pattern: without a copy, whatever the number of them.
            fill = re.compile(rb"\xff+").match(data, begin)
            begin = fill.end() - 1 if fill else begin
        if len(data) < begin + 4:
            return
        marker = data[begin + 1]
        if marker == 0 or marker in ALONE:
            at = begin + 2
            continue
        at = begin + 2 + max(2, int.from_bytes(data[begin + 2 : begin + 4], "big"))
        yield marker, begin, at


def _scans(contents: Contents, frame: bytes, scan: bytes) -> None:
    """Of a JPEG in several scans, how much libjpeg keeps: 2 bytes for each coefficient."""
    if len(frame) < 6 or not scan:
        return
    contents.precision = frame[0]
    height, width, count = struct.unpack_from(">HHB", frame, 1)
    factors = [divmod(byte, 16) for byte in frame[7 : 6 + 3 * count : 3]]
    if not factors or not all(h and v for h, v in factors):
        return
    contents.frame, contents.components = (width, height), count
    if contents.process in PROGRESSIVE or scan[0] < count:
        most_h, most_v = (max(each) for each in zip(*factors, strict=True))
        rows, columns = -(-height // (8 * most_v)), -(-width // (8 * most_h))
        contents.kept = 128 * rows * columns * sum(h * v for h, v in factors)


def png(data: bytes, check: Check) -> Contents:
    """A PNG of the chunks that its pixels are made of: no profiles, texts or further frames."""
    contents = Contents()
    kept: list[bytes] = []
    end = since = 8
    for kind, at, end in _chunks(data, 8, check, png=True):
        if kind not in PNG_CHUNKS:
            kept.append(data[since:at])
            since = end
            contents.apple = contents.apple or kind == b"CgBI"
            _png_metadata(contents, kind, data[at + 8 : min(end - 4, at + 8 + 2 * MAX_METADATA)])
        if kind == b"IEND":
            break
    if since == 8:
        return contents
    kept.append(data[since:end])
    contents.head, contents.start = data[:8] + b"".join(kept), len(data)
    return contents


def _png_metadata(contents: Contents, kind: bytes, body: bytes) -> None:
    if kind == b"eXIf":
        contents.info["exif"] = body
    elif kind == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0\0"):  # not compressed
        contents.info["xmp"] = body
    elif kind in (b"tEXt", b"zTXt") and body.startswith(RAW_EXIF.encode() + b"\0"):
        if RAW_EXIF in contents.info:
            return  # one is enough: each may unpack into a thousand times its bytes
        text = body[22:]
        if kind == b"zTXt":
            import zlib

            try:
                text = zlib.decompressobj().decompress(text[1:], 2 * MAX_METADATA)
            except zlib.error:
                text = b""
        contents.info[RAW_EXIF] = text.decode("latin-1")


def webp(data: bytes, check: Check) -> Contents:
    """A WebP as it is; libwebp looks for what it needs itself."""
    contents = Contents(_webp_size(data))
    if contents.size:
        # The canvas, the one before it, the frame, the copy that Pillow reads from, and its image.
        contents.kept = 20 * contents.size[0] * contents.size[1] + 2 * len(data)
    for kind, at, end in _chunks(data, 12, check, png=False):
        if kind in WEBP_METADATA:
            part = data[at + 8 : min(end, at + 8 + MAX_METADATA)]
            contents.info.setdefault(WEBP_METADATA[kind], part)
    return contents


def _chunks(data: bytes, at: int, check: Check, *, png: bool) -> Iterator[tuple[bytes, int, int]]:
    """A PNG's or a RIFF file's chunks: kind, first byte, end."""
    number = 0
    while at + 8 <= len(data):
        number += 1
        if not number % STEP:
            check()
        if png:
            length, kind = struct.unpack_from(">I4s", data, at)
            end = at + 12 + length
        else:
            kind, length = struct.unpack_from("<4sI", data, at)
            end = at + 8 + length + length % 2
        yield kind, at, end
        at = end


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """RFC 9649, 2.5 to 2.7."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    else:
        return None
    return width, height


def bmp(data: bytes, _check: Check) -> Contents:
    """A BMP as it is; Pillow unpacks run lengths into copies of the picture."""
    contents = Contents()
    if len(data) >= 34 and int.from_bytes(data[14:18], "little") >= 40:
        width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
        if compression in (1, 2):
            contents.size = abs(width), abs(height)
            contents.kept = 4 * abs(width * height)
    return contents


class Format(NamedTuple):
    """A format that is decoded.

    plugin: of Pillow, as its module and class begin; only the one that is needed is imported.
    suffixes: of its files, in lower case.
    signatures: each the first bytes, and those from the ninth on.
    contents: what of a file the plugin gets.
    block: bytes per read. 16 kB of a PNG can hold 16 MB of pixels.
    seconds: processor time per pixel, at the most, of what cannot be stopped once it has begun:
        libwebp decodes a picture in one call, and so does libjpeg the last step of a picture in
        several scans.
    """

    name: str
    plugin: str
    suffixes: tuple[str, ...]
    signatures: tuple[tuple[bytes, bytes], ...]
    contents: Callable[[bytes, Check], Contents]
    block: int = 65_536
    seconds: float = 0.0


def gif(_data: bytes, _check: Check) -> Contents:
    """A GIF as it is; of its frames Pillow reads the first."""
    return Contents()


# The content decides, never the name or the declared type.
# Signatures: ISO 10918-1 B.1.1.3; PNG 3rd ed. 5.2; RFC 9649 2.4; GIF89a 17; BITMAPFILEHEADER.
FORMATS = (
    Format("JPEG", "Jpeg", (".jpg", ".jpeg"), ((b"\xff\xd8\xff", b""),), jpeg, seconds=2e-8),
    Format("PNG", "Png", (".png",), ((b"\x89PNG\r\n\x1a\n", b""),), png, block=16_384),
    Format("WebP", "WebP", (".webp",), ((b"RIFF", b"WEBP"),), webp, seconds=1e-7),
    Format("GIF", "Gif", (".gif",), ((b"GIF87a", b""), (b"GIF89a", b"")), gif),
    Format("BMP", "Bmp", (".bmp",), ((b"BM", b""),), bmp),
)
*_BEFORE, _LAST = (each.name for each in FORMATS)
NAMES = f"{', '.join(_BEFORE)} or {_LAST}"
MEDIA_TYPES = {suffix: f"image/{each.name.lower()}" for each in FORMATS for suffix in each.suffixes}
# Enough of the signatures to recognise an image in text and in what curl makes of it.
BEGINNINGS = tuple(dict.fromkeys(first[:4] for each in FORMATS for first, _ in each.signatures))


def of(data: bytes) -> Format | None:
    """The format of a file; None: it is not decoded."""
    for each in FORMATS:
        for first, ninth in each.signatures:
            if data.startswith(first) and data[8:16].startswith(ninth):
                return each
    return None
