"""Signatures: what a file that is not decoded is, for the error message.

Imported when a file is refused. Signatures are those of the formats' own specifications, as the
registries of media types name them (https://www.iana.org/assignments/media-types).
"""

from __future__ import annotations

from typing import Literal

from keras_to_lambda.runtime.common.errors import UnsupportedFormat
from keras_to_lambda.runtime.common.formats import NAMES

TARGA = "a Targa image (TGA); convert it to JPEG or PNG"
CONVERT = "; convert it to JPEG or PNG"
LINK = "; link to the image file, not to a page that shows it"

# First bytes, where they begin, name. The first that fits.
IMAGES: tuple[tuple[tuple[bytes, ...], int, str], ...] = (
    ((b"CR\x02\0",), 8, "a Canon raw photo (CR2)"),
    ((b"IIU\0",), 0, "a Panasonic raw photo (RW2)"),
    ((b"IIRO", b"IIRS", b"MMOR"), 0, "an Olympus raw photo (ORF)"),
    ((b"FUJIFILMCCD-RAW",), 0, "a Fujifilm raw photo (RAF)"),
    ((b"FOVb",), 0, "a Sigma raw photo (X3F)"),
    ((b"HEAPCCDR",), 6, "a Canon raw photo (CRW)"),
    ((b"\0MRM",), 0, "a Minolta raw photo (MRW)"),
    ((b"II\xbc",), 0, "a JPEG XR image"),
    ((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), 0, "a JPEG 2000 image"),
    ((b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x0a"), 0, "a JPEG XL image"),
    ((b"8BPS",), 0, "a Photoshop document (PSD)"),
    ((b"icns",), 0, "an Apple icon (ICNS)"),
    ((b"DICM",), 128, "a DICOM image"),
    ((b"%!PS", b"\xc5\xd0\xd3\xc6"), 0, "a PostScript or EPS document"),
    ((b"DDS ",), 0, "a DirectDraw texture (DDS)"),
    ((b"\xabKTX ",), 0, "a Khronos texture (KTX)"),
    ((b"qoif",), 0, "a QOI image"),
    ((b"FLIF",), 0, "a FLIF image"),
    ((b"BPG\xfb",), 0, "a BPG image"),
    ((b"\x76\x2f\x31\x01",), 0, "an OpenEXR image"),
    ((b"#?RADIANCE", b"#?RGBE"), 0, "a Radiance HDR image"),
    ((b"SIMPLE  =",), 0, "a FITS image"),
    ((b"farbfeld",), 0, "a farbfeld image"),
    ((b"gimp xcf",), 0, "a GIMP document (XCF)"),
    ((b"AT&TFORM",), 0, "a DjVu document"),
    ((b"\x01\xda",), 0, "an SGI image"),
    ((b"\x59\xa6\x6a\x95",), 0, "a Sun raster image"),
    ((b"\xd7\xcd\xc6\x9a", b"\x01\0\x09\0\0\x03"), 0, "a Windows metafile (WMF)"),
    ((b" EMF",), 40, "a Windows metafile (EMF)"),
    ((b"/* XPM", b"! XPM2"), 0, "an XPM image"),
    ((b"\x0a\x05\x01", b"\x0a\x03\x01", b"\x0a\x02\x01"), 0, "a PCX image"),
    ((b"\x8aMNG\r\n\x1a\n",), 0, "an MNG animation"),
    ((b"\x8bJNG\r\n\x1a\n",), 0, "a JNG image"),
    ((b"ILBM",), 8, "an IFF image (ILBM)"),
    ((b"PBM ",), 8, "an IFF image (PBM)"),
    ((b"TRUEVISION-XFILE.\0",), -18, "a Targa image (TGA)"),
)
PNM = {
    **dict.fromkeys((b"P%d" % n for n in range(1, 8)), "a PNM image (PBM, PGM, PPM or PAM)"),
    **dict.fromkeys((b"PF", b"Pf"), "a PFM image"),
}
ICONS = {b"\0\0\x01\0": "an icon (ICO)", b"\0\0\x02\0": "a cursor (CUR)"}
FRAME = "; send one frame as JPEG or PNG"
OTHERS: tuple[tuple[tuple[bytes, ...], int, str], ...] = (
    ((b"%PDF",), 0, "a PDF document; convert the page to JPEG or PNG"),
    ((b"\x1aE\xdf\xa3",), 0, "a Matroska or WebM video" + FRAME),
    ((b"AVI ",), 8, "an AVI video" + FRAME),
    ((b"FLV\x01", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"0&\xb2u\x8ef\xcf\x11"), 0, "a video" + FRAME),
    ((b"WAVE",), 8, "a sound file; send an image"),
    ((b"ID3", b"fLaC"), 0, "a sound file; send an image"),
    ((b"OggS",), 0, "an Ogg file" + FRAME),
    (
        (b"PK\x03\x04", b"PK\x05\x06"),
        0,
        "a ZIP archive or an Office document; send the image in it",
    ),
    ((b"\x1f\x8b",), 0, "gzip-compressed data; send the image itself"),
    ((b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"), 0, "compressed data; send the image itself"),
    ((b"ustar",), 257, "a tar archive; send the image in it"),
    ((b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07"), 0, "an archive; send the image in it"),
    ((b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",), 0, "an Office document; send the image in it"),
    ((b"\x93NUMPY", b"\x89HDF\r\n\x1a\n"), 0, "an array (NumPy or HDF5); send it as PNG"),
    ((b"\x7fELF", b"MZ"), 0, "a program; send an image"),
)
# ISO base media files name their brands in the first box (ISO 14496-12, 4.3). The first fits.
BRANDS: tuple[tuple[frozenset[bytes], str], ...] = tuple(
    (frozenset(brand.ljust(4).encode() for brand in brands.split()), name)
    for brands, name in (
        ("avif avis avio", "an AVIF image" + CONVERT),
        ("heic heix heim heis hevc hevx hevm hevs", "a HEIC image" + CONVERT),
        ("crx", "a Canon raw photo (CR3)" + CONVERT),
        ("jp2 jpx jpm jph", "a JPEG 2000 image" + CONVERT),
        ("jxl", "a JPEG XL image" + CONVERT),
        ("mif1 mif2 msf1 miaf MiHB avci avcs jpeg vvic", "a HEIF image" + CONVERT),
        ("M4A M4B M4P", "a sound file; send an image"),
    )
)
# Beginnings of the base64 text of what is decoded.
BASE64 = (b"/9j/", b"iVBORw0KGgo", b"R0lGOD", b"UklGR", b"Qk")


def unsupported(data: bytes) -> UnsupportedFormat:
    """The error for a file that is not decoded: what it is, never its bytes, and what to do."""
    seen = _seen(data)
    if seen is None:
        return UnsupportedFormat(
            f"not an image in a supported format: the first bytes match none; send {NAMES}"
        )
    return UnsupportedFormat(f"not supported: it is {seen}")


def _seen(data: bytes) -> str | None:
    if not data:
        return f"empty; send {NAMES}"
    for table, advice in ((IMAGES, CONVERT), (OTHERS, "")):
        for marks, at, name in table:
            start = at if at >= 0 else len(data) + at
            if start >= 0 and data.startswith(marks, start):
                return name + advice
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff(data) + CONVERT
    if data[4:6] not in (b"", b"\0\0") and data[:4] in ICONS:  # a Targa has 0 there
        return ICONS[data[:4]] + CONVERT
    if data[:2] == b"BA" and data[14:16] == b"BM":
        return "an OS/2 bitmap array" + CONVERT
    if data[4:8] == b"ftyp":
        return _branded(data)
    if data[4:8] in (b"moov", b"mdat", b"wide", b"skip", b"free"):
        return "a QuickTime video" + FRAME
    if data[:2] in PNM and data[2:3].isspace():
        return PNM[data[:2]] + CONVERT
    return _text(data) or _tga(data)


def _tiff(data: bytes) -> str:
    """A TIFF, or the camera's raw photo that it holds, by the tags of its first directory."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    at = int.from_bytes(data[4:8], order)
    count = int.from_bytes(data[at : at + 2], order)
    tags = {
        int.from_bytes(data[entry : entry + 2], order)
        for entry in range(at + 2, min(at + 2 + 12 * count, len(data) - 11), 12)
    }
    if 0xC612 in tags:  # DNGVersion
        return "a raw photo (DNG)"
    raw = {0x010F, 0x014A} <= tags  # Make and SubIFDs: a preview in front of the sensor's data
    return "a camera's raw photo (NEF, ARW or the like)" if raw else "a TIFF image"


def _branded(data: bytes) -> str:
    box = data[8 : min(max(int.from_bytes(data[:4], "big"), 12), 512)]
    brands = [box[:4], *(box[at : at + 4] for at in range(8, len(box), 4))]
    video = "a video (MP4 or QuickTime)" + FRAME
    return next((name for names, name in BRANDS if not names.isdisjoint(brands)), video)


def _tga(data: bytes) -> str | None:
    """Targa has no signature: a header of 18 bytes whose fields all make sense."""
    if len(data) < 18:
        return None
    palette, kind, depth = data[1], data[2], data[16]
    sane = palette in (0, 1) and kind in (1, 2, 3, 9, 10, 11) and depth in (8, 15, 16, 24, 32)
    sides = data[12:14] != b"\0\0" and data[14:16] != b"\0\0" and not data[17] & 0xC0
    return TARGA if sane and sides and (palette == 1) == (kind in (1, 9)) else None


PAGE = (b"<!doctype html", b"<html", b"<head", b"<body", b"<title")
# Beginnings of a text in lower case, without white space in front, and what it is.
TEXTS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"<!--",), "an HTML page" + LINK),
    ((b"<?xml",), f"an XML document; send {NAMES}"),
    ((b"--",), "a multipart form; let your HTTP library set Content-Type, with its boundary"),
    ((b"{\\rtf",), "an RTF document; send the image in it"),
    ((b"{", b"["), f"JSON; send {NAMES}"),
    ((b"http://", b"https://"), 'a URL; send it as {"url": "..."}'),
    ((b"data:image/",), 'a data: URL; send it as {"url": "..."}'),
    ((b"version https://git-lfs",), "a pointer of Git LFS; send the image that it points to"),
    ((b"#define",), "an XBM image" + CONVERT),
)
# What has to be in these texts, too.
ALSO = {b"--": b"content-disposition:", b"#define": b"_width"}


def _text(data: bytes) -> str | None:
    start = data[:1024]
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        start = start.decode("utf-16", "replace").encode()
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    lower = start.lower()
    before, svg, _ = lower.partition(b"<svg")  # a page may have drawings in it
    if before.startswith(PAGE) or (before.startswith((b"<?xml", b"<!--")) and b"<html" in before):
        return "an HTML page" + LINK
    if svg:
        return "an SVG drawing" + CONVERT
    for marks, name in TEXTS:
        if lower.startswith(marks) and ALSO.get(marks[0], b"") in lower:
            return name
    bare = start.lstrip(b"\"'")
    if bare.startswith(BASE64) and bare[:64].translate(None, b"+/=-_\r\n\"'").isalnum():
        return 'an image as base64 text; send it as {"image": "..."}'
    return None
