"""Where image bytes come from: a URL, an object in S3, base64 text, or the bytes themselves."""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Sequence

from keras_to_lambda.runtime.common import formats
from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.errors import (
    ClassifierError,
    InvalidRequest,
    InvalidUrl,
    ObjectNotRead,
    too_many_bytes,
)
from keras_to_lambda.runtime.common.record import NamedTuple
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.common.text import clean, encodable

# Of a name in a result line; browsers and servers have about the same limit.
MAX_URL = 8192
# Downloads at a time for one request. Of each, the whole body may wait in memory for its turn.
SIDE_BY_SIDE = 8
# Of a request's time, the share that downloads of several images may take: one silent host must
# leave time to answer for the others.
SHARE_FOR_DOWNLOADS = 0.7


class Url(NamedTuple):
    """An image to be downloaded: `http:`, `https:`, `s3:` or `data:`."""

    url: str


class Object(NamedTuple):
    """An object in S3. version: its version id, or None for the latest."""

    bucket: str
    key: str
    version: str | None = None


class Base64(NamedTuple):
    """An image as base64 text, standard or URL-safe alphabet (RFC 4648, 4 and 5)."""

    text: str


class Raw(NamedTuple):
    """The image itself."""

    data: bytes


Source = Url | Object | Base64 | Raw
_STANDARD = str.maketrans("-_", "+/")  # base64's URL-safe alphabet as its standard one


# How common images begin; those that are not decoded are named when they are refused.
BEGINNINGS = (
    *formats.BEGINNINGS,
    *(b"II*\0", b"MM\0*", b"\0\0\1\0", b"8BPS", b"\xff\x0a", b"\0\0\0\x0cJXL ", b"\0\0\0\x0cjP  "),
)


def recognised(text: str) -> Url | Base64 | None:
    """What a text plainly is: a URL, or base64 of an image; or None."""
    text = text.strip()
    if text[:8].lower().startswith(("http://", "https://", "s3://", "data:")):
        return Url(text)
    try:
        start = binascii.a2b_base64("".join(text[:64].split())[:16].translate(_STANDARD))
    except ValueError:
        return None
    if len(start) > 9 and (start.startswith(BEGINNINGS) or start[4:8] == b"ftyp"):
        return Base64(text)
    return None


def name(source: Source) -> str:
    """What results may call an image: clean, and without query, user info or data."""
    found = "inline"
    match source:
        case Object(bucket, key):
            found = f"s3://{bucket}/{key}"
        case Url(url) if url[:5].lower() == "s3://":
            found = url
        case Url(url) if "://" in url[:10]:
            scheme, _, rest = url.partition("://")
            host, slash, path = rest.partition("?")[0].partition("#")[0].partition("/")
            found = f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    return clean(found, MAX_URL)


def is_downloaded(source: Source | ClassifierError) -> bool:
    """Whether an image comes from a host or a bucket, and not with the request."""
    match source:
        case Url(url):
            return url[:5].lower() != "data:"
        case Object():
            return True
    return False


def read(source: Source, settings: Settings, deadline: Deadline) -> bytes:
    """The bytes of an image, at most `settings.max_image_bytes`.

    Raises InvalidUrl, InvalidRequest, ImageTooLarge, FetchFailed, DeadlineExceeded.
    """
    limit = settings.max_image_bytes
    match source:
        case Url(url) if not encodable(url):
            raise InvalidUrl("the URL has an unpaired surrogate; send valid Unicode")
        case Object(bucket, key) if not encodable(bucket + key):
            raise InvalidUrl("the object's key has an unpaired surrogate; send valid Unicode")
        case Raw(data):
            pass
        case Base64(text):
            data = _from_base64(text, limit)
        case Url(url) if url[:5].lower() == "data:":
            data = _from_data_url(url, limit)
        case Url(url) if url[:5].lower() == "s3://":
            return read(_object(url), settings, deadline)
        case Url(url):
            from keras_to_lambda.runtime.sources import fetch

            return fetch.fetch(url, settings, deadline)
        case Object(bucket, key, version):
            # Checked first: importing boto3 takes a quarter of a second.
            if bucket not in settings.s3_allowed_buckets:
                raise ObjectNotRead("bucket is not in S3_ALLOWED_BUCKETS")
            from keras_to_lambda.runtime.sources import s3

            return s3.read(bucket, key, version, settings, deadline)
    if len(data) > limit:
        raise too_many_bytes(limit)
    return data


def read_all(
    sources: Sequence[Source | ClassifierError],
    settings: Settings,
    deadline: Deadline,
    side_by_side: int = SIDE_BY_SIDE,
) -> Iterator[bytes | Exception]:
    """The bytes of several images, in their order; downloads run side by side.

    An image that failed, here or before, is its error. At most `side_by_side` bodies are in memory.
    """
    if len(sources) == 1 or not any(isinstance(source, Url | Object) for source in sources):
        for source in sources:
            yield _read_or_error(source, settings, deadline)
        return
    # 3 ms, for lists of URLs alone.
    from concurrent.futures import Future, ThreadPoolExecutor

    deadline = deadline.sooner(deadline.left_s() * SHARE_FOR_DOWNLOADS)
    pool = ThreadPoolExecutor(side_by_side, "fetch")
    try:
        ahead: list[Future[bytes | Exception]] = []
        waiting = iter(sources)
        for _ in sources:
            for source in waiting:
                ahead.append(pool.submit(_read_or_error, source, settings, deadline))
                if len(ahead) == side_by_side:
                    break
            yield ahead.pop(0).result()
    finally:
        # Each ends by its own deadline; their results are not used.
        pool.shutdown(wait=False, cancel_futures=True)


def _read_or_error(
    source: Source | ClassifierError, settings: Settings, deadline: Deadline
) -> bytes | Exception:
    if isinstance(source, ClassifierError):
        return source
    try:
        deadline.remaining_s("the request")
        return read(source, settings, deadline)
    except Exception as error:  # noqa: BLE001  # one image fails alone; the handler sorts them
        return error


def _object(url: str) -> Object:
    bucket, slash, key = url[5:].partition("/")
    if not (bucket and slash and key):
        raise InvalidUrl("an S3 URL is s3://bucket/key")
    return Object(bucket, key)


def _from_base64(text: str, limit: int) -> bytes:
    if len(text) > limit // 3 * 4 + 1024:
        raise too_many_bytes(limit)
    if text[:5].lower() == "data:":  # what a browser's FileReader gives
        return _from_data_url(text, limit)
    # Line breaks, no padding, the URL-safe alphabet: looked for in vain, they cost 3 ms. What is
    # skipped makes the bytes fewer; the strict mode finds it, too, and takes a quarter longer.
    try:
        data = binascii.a2b_base64(text)
        if len(data) == len(text) // 4 * 3 - text.count("=", -2) and len(text) % 4 == 0:
            return data
    except ValueError:  # binascii.Error is one
        pass
    try:
        compact = "".join(text.split()).translate(_STANDARD).rstrip("=")
        return binascii.a2b_base64(compact + "=" * (-len(compact) % 4), strict_mode=True)
    except ValueError as error:
        raise InvalidRequest(f"the image is not valid base64: {error}") from error


def _from_data_url(url: str, limit: int) -> bytes:
    # RFC 2397: data:[<mediatype>][;base64],<data>
    header, comma, body = url.partition(",")
    if not comma:
        raise InvalidUrl("the data: URL has no comma, and so no data")
    if header.lower().endswith(";base64"):
        if body[:5].lower() == "data:":
            raise InvalidUrl("a data: URL is inside another; send the inner one alone")
        return _from_base64(body, limit)
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(body)
