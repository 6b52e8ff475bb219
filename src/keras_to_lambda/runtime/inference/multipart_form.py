"""Forms: files and URLs are images, some fields are options, and all else is the page's own affair.

    curl -F file=@dress.jpg -F file=@hat.jpg -F top_k=3 http://.../predict
    curl -d url=https://example.com/dress.jpg -d top_k=3 http://.../predict

Imported at the first form alone, and `multipart` with it.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from urllib.parse import unquote_plus

from multipart import MultipartError, MultipartParser, MultipartPart, parse_options_header

from keras_to_lambda.runtime.common.errors import InvalidRequest, MissingImage, TooManyImages
from keras_to_lambda.runtime.common.text import clean
from keras_to_lambda.runtime.inference.request import Options, field, option
from keras_to_lambda.runtime.sources.images import BEGINNINGS, Base64, Raw, Source, Url, recognised

# Fields beside the images: options, submit buttons, tokens and whatever else a page sends.
MAX_FIELDS = 64
# The name of a form's field. A file that curl sends as a form has line ends in its name.
_FIELD = re.compile(r"[^\x00-\x1f\x7f]{0,64}")
Pair = tuple[str, str | Raw]  # a field's name, and its text or file


def multipart(
    body: bytes, content_type: str, max_images: int
) -> tuple[list[Source], dict[str, str]]:
    """Read a multipart form (RFC 7578) that is in memory.

    Returns:
        Its images, at least one, in their order; and its options.

    Raises InvalidRequest: not a form. MissingImage, TooManyImages.
    """
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    whole = len(body) + 1
    pairs: list[Pair] = []
    try:
        # Names in any encoding: browsers write them in the page's. All in memory, as the body is.
        parts = MultipartParser(
            io.BytesIO(body),
            boundary,
            charset="latin-1",
            part_limit=math.inf,
            spool_limit=whole,
            memory_limit=whole,
        )
        for number, part in enumerate(parts, 1):
            if number > max_images + MAX_FIELDS:
                raise TooManyImages(
                    f"the form has more than {max_images + MAX_FIELDS} parts; at most "
                    f"{max_images} images are accepted"
                )
            name = (part.name or "").encode("latin-1").decode("utf-8", "replace")
            if not _is_file(part):
                pairs.append((name, part.raw.decode("utf-8", "replace")))
            elif part.size or part.filename:
                # A file field that was left empty has no name either; an empty file has, and its
                # place among the answers.
                pairs.append((name, Raw(part.raw)))
    except (MultipartError, ValueError, TypeError) as error:
        raise InvalidRequest(
            f"the body is not the multipart form it claims to be ({clean(error)}); "
            "let your HTTP library set Content-Type, with its boundary"
        ) from error
    return _sorted(pairs, max_images)


def urlencoded(text: str, max_images: int) -> tuple[list[Source], dict[str, str]]:
    """Read a form of `name=value&...` (https://url.spec.whatwg.org/#urlencoded-parsing).

    Returns, Raises:
        as `multipart`.
    """
    pairs: list[Pair] = []
    whole = False  # the last value is a URL with a query, which the client did not encode
    for piece in text.strip().split("&", max_images + MAX_FIELDS):
        name, _, value = piece.partition("=")
        name = unquote_plus(name)
        if whole and option(name) not in Options._fields and field(name) is None:
            before, start = pairs[-1]
            pairs[-1] = (before, f"{start}&{piece}")
            continue
        raw = "://" in value[:10]
        whole = raw and "?" in value
        if not raw:
            value = unquote_plus(value)
            # In base64 a plus sign that was not encoded has become a space.
            if not isinstance(recognised(value), Url) or value[:5].lower() == "data:":
                joined = value.replace(" ", "+")
                value = joined if recognised(joined) else value
        pairs.append((name, value))
    return _sorted(pairs, max_images)


def _sorted(pairs: Sequence[Pair], max_images: int) -> tuple[list[Source], dict[str, str]]:
    images: list[Source] = []
    options: dict[str, str] = {}
    for name, value in pairs:
        if isinstance(value, Raw):
            images.append(value)
        elif not value.strip():
            continue  # as browsers send a field that was left empty
        elif field(name) is None:
            options[name] = value.strip()
        else:
            found = recognised(value)
            if value[:5].lower() == "data:" and "," not in value:
                # curl -F takes what follows a semicolon for the part's type.
                raise InvalidRequest(
                    f"{clean(name)} is a data: URL that was cut off; with curl use "
                    "--form-string, not -F"
                )
            if found or name in ("url", "image"):
                images.append(found or (Url(value) if name == "url" else Base64(value)))
    if not images:
        if not all(_FIELD.fullmatch(name) for name, _ in pairs):  # a file that is sent as a form
            raise MissingImage(
                "the body is not an image, JSON or a form; send a photo with its Content-Type: "
                "curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg'"
            )
        names = clean(", ".join(name for name, _ in pairs if name)) or "none"
        raise MissingImage(
            f"the form has no image; its fields: {names}; add a file or a URL: "
            "curl -F file=@photo.jpg, or curl -d url=https://..."
        )
    if len(images) > max_images:
        raise TooManyImages(f"{len(images)} images, more than the {max_images} accepted")
    return images, options


def _is_file(part: MultipartPart) -> bool:
    # RFC 7578, 4.2: a file has a name; some clients give it in RFC 5987's form, or a type only, or
    # neither.
    return (
        part.filename is not None
        or "filename*" in (part.disposition or "").lower()
        or part.content_type.startswith(("image/", "application/octet-stream"))
        or (part.raw.startswith(BEGINNINGS) and b"\0" in part.raw)
    )
