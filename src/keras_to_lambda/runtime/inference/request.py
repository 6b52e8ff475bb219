"""Request: the images and options of a caller, from any kind of event."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

from keras_to_lambda.runtime.common.errors import (
    ClassifierError,
    ImageTooLarge,
    InvalidJson,
    InvalidRequest,
    MissingImage,
    TooManyImages,
    UnsupportedFormat,
)
from keras_to_lambda.runtime.common.formats import BEGINNINGS
from keras_to_lambda.runtime.common.record import Any, NamedTuple
from keras_to_lambda.runtime.common.text import clean, encodable
from keras_to_lambda.runtime.sources.images import Base64, Raw, Source, Url, recognised

HOW = 'give {"url": "https://..."}, {"image": "<base64>"} or {"images": [...]}'
FORM = "application/x-www-form-urlencoded"
MAX_CODINGS = 4  # of one body
# How images begin after `curl -d @FILE`, which leaves out CR, LF and NUL; every image has a NUL.
STRIPPED = tuple(first for first in BEGINNINGS if len(first) > 2)  # BM may be text
MAX_NAME = 20  # longer ones are none of NAMES
# Of so many other members it is looked at whether one is a misspelt option, and how alike both are.
MAX_OTHERS, ALIKE = 64, 0.75
SCORES = ("logits", "probabilities")
ANSWERS = ("scores", "best", "list", "values")
# Text of a number as JSON writes it (RFC 8259, 6), and of one that top_k can be.
# Compiled at the first use, as that takes a millisecond of a cold start.
NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?"
WHOLE = "[1-9][0-9]{0,8}"
MAX_TOP_K = 999_999_999
# What clients call an image. Capitals, hyphens and underscores make no difference.
NAMES = {
    "url": "url imageurl imgurl photourl pictureurl fileurl uri imageuri s3uri link src href",
    "image": "image img photo picture pic file imagefile upload data imagedata content bytes "
    "base64 b64 imagebase64 imageb64 base64image",
    "images": "images imgs photos pictures files urls imageurls",
}
FIELDS = {name: field for field, names in NAMES.items() for name in names.split()}


class Options(NamedTuple):
    """How a caller wants to be answered.

    top_k: only the best so many, best first; None: every label, in the model's order.
    scores: "logits", "probabilities", or None: what the model gives.
    model: a model's name, or None: the default one.
    answer: the shape, one of ANSWERS, or None: "scores".
    threshold: only labels that score as much; None: every label.
    """

    top_k: int | None = None
    scores: str | None = None
    model: str | None = None
    answer: str | None = None
    threshold: float | None = None

    @classmethod
    def read(
        cls, query: Mapping[str, Any] | None, body: Mapping[str, Any] | None = None
    ) -> Options:
        """Read the options of a query and of a body, which counts first; all else is ignored.

        Raises InvalidRequest: one is wrong or misspelt.
        """
        if not (query or body):
            return cls()
        given = _by_option(query or {}) | _by_option(body or {})
        for name in NAMES:
            if name in given:  # of a query, as those of a body have been taken out
                raise InvalidRequest(f"unknown option {name}; send the image in the body")
        _refuse_misspelt([x for x in given if x not in cls._fields and len(x) <= MAX_NAME])
        top_k, scores, model, answer, threshold = (given.get(name) for name in cls._fields)
        if isinstance(top_k, str) and re.fullmatch(WHOLE, top_k):
            top_k = int(top_k)  # from a query
        if isinstance(top_k, float) and top_k.is_integer():
            top_k = int(top_k)  # 3.0 is an integer in JSON Schema, and in JavaScript
        if top_k is not None and (type(top_k) is not int or not 1 <= top_k <= MAX_TOP_K):
            raise InvalidRequest(f"top_k must be a whole number, 1 to {MAX_TOP_K:,}")
        for name, value, choices in (("scores", scores, SCORES), ("answer", answer, ANSWERS)):
            if value not in (None, *choices):
                raise InvalidRequest(f"{name} must be one of {', '.join(choices)}")
        if model is not None and not (isinstance(model, str) and model):
            raise InvalidRequest("model must be a model's name")
        return cls(top_k, scores, model, answer, _number(threshold, "threshold"))


def _by_option(members: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in members.items():
        if not (encodable(name) and (not isinstance(value, str) or encodable(value))):
            raise InvalidRequest("the request has an unpaired surrogate; send valid Unicode")
        if value is not None and found.setdefault(option(name), value) != value:
            raise InvalidRequest(f"{option(name)} was given twice; give it once")
    return found


def _refuse_misspelt(others: list[str]) -> None:
    """Ignored, an option that is misspelt would give another answer than was meant."""
    if others:
        import difflib  # for these requests alone

        for other in others[:MAX_OTHERS]:
            for near in difflib.get_close_matches(other.lower(), Options._fields, 1, ALIKE):
                raise InvalidRequest(f"unknown option {clean(other)}; use {near}")


def _number(value: Any, name: str) -> float | None:
    """An option that is a number, or text of one as in a query; None: it was not given."""
    if value is None:
        return None
    try:
        text = isinstance(value, str) and not re.fullmatch(NUMBER, value)
        number = math.nan if isinstance(value, bool) or text else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidRequest(f"{name} must be a number")
    return number


class Request(NamedTuple):
    """Images to classify.

    images: at least one; of a list, one that cannot be an image is its error.
    many: the caller gave a list, and gets one.
    tensor: the model's input is wanted, with its answer if an option is given.
    """

    images: tuple[Source | ClassifierError, ...]
    many: bool = False
    options: Options = Options()
    tensor: bool = False

    @classmethod
    def from_json(
        cls, payload: Any, query: Mapping[str, str] | None = None, max_images: int = 16
    ) -> Request:
        """Read a JSON payload; options may be in the query as well.

        Raises:
            InvalidJson: not an object. MissingImage, TooManyImages. InvalidRequest: a bad option.
        """
        if isinstance(payload, str):
            found = recognised(payload)
            if found:
                return cls((found,), False, Options.read(query))
            if payload.lstrip()[:1] == "{":  # an object that was made JSON twice
                payload = _loads(payload)
        if isinstance(payload, list) and any(map(_has_image, payload[: max_images + 1])):
            payload = {"images": payload}
        if not isinstance(payload, dict):
            raise InvalidJson(f"the payload is {kind(payload)}, not a JSON object; {HOW}")
        rest = {name: value for name, value in payload.items() if field(name) is None}
        given = [name for name in payload if name not in rest and payload[name] is not None]
        if not given:
            raise MissingImage(f"no image in the request{_among(payload)}; {HOW}")
        if len(given) > 1:
            raise InvalidRequest(f"{clean(' and '.join(given))} were given; give one of them")
        options = Options.read(query, rest)
        items = payload[given[0]]
        if field(given[0]) != "images":
            return cls((image({given[0]: items}),), False, options)
        if not isinstance(items, list) or not items:
            seen = "an empty list" if items == [] else kind(items)
            raise MissingImage(
                f"{clean(given[0])} must be a list with at least one image, got {seen}; give "
                f'{{"{clean(given[0])}": ["https://..."]}}, or {{"url": "https://..."}} for one'
            )
        if len(items) > max_images:
            raise TooManyImages(f"{len(items)} images, more than the {max_images} accepted")
        return cls(tuple(image_or_error(item) for item in items), True, options)

    @classmethod
    def from_body(
        cls,
        body: bytes,
        content_type: str = "",
        query: Mapping[str, str] | None = None,
        max_images: int = 16,
        *,
        encoding: str = "",
        max_bytes: int = 20_000_000,
    ) -> Request:
        """Read an HTTP body: JSON, a form, a URL, base64 text, or else the image itself.

        What it is decides, whatever its declared type, as clients that declare another are many
        (`curl -d` calls everything a form); what is declared as JSON or a form has to be one.

        Args:
            encoding: the Content-Encoding; gzip is known without it.
            max_bytes: the most that the body may have when it is unpacked.

        Raises as `from_json`; MissingImage for an empty body; UnsupportedFormat, ImageTooLarge.
        """
        body = _unpacked(body, encoding, max_bytes).removeprefix(b"\xef\xbb\xbf")
        if not body:
            raise MissingImage(
                "the body is empty: does the file exist? curl sends nothing for a missing one; "
                f"send an image, or JSON: {HOW}"
            )
        declared = content_type.partition(";")[0].strip().lower()
        if declared == "multipart/form-data":
            from keras_to_lambda.runtime.inference import multipart_form

            return cls._of_form(*multipart_form.multipart(body, content_type, max_images), query)
        if declared == FORM and body.startswith(STRIPPED) and b"\0" not in body:
            raise InvalidRequest(
                "the body is an image without its zeros and line ends; with curl use "
                "--data-binary @photo.jpg, not -d"
            )
        text = _text(body)
        found = recognised(text) if text else None
        if text and not found and "%" in text[:64]:
            from urllib.parse import unquote

            found = recognised(unquote(text))  # as `curl --data-urlencode` sends it
        if found:
            return cls((found,), False, Options.read(query))
        if declared.endswith("json") or (text and text[:64].lstrip()[:1] in ("{", "[", '"')):
            return cls.from_json(_loads(text or body), query, max_images)
        if not text or declared.startswith("image/") or text[:64].lstrip()[:1] == "<":
            return cls((Raw(body),), False, Options.read(query))
        if declared == FORM or field(text[:20].partition("=")[0].strip()):
            from keras_to_lambda.runtime.inference import multipart_form

            return cls._of_form(*multipart_form.urlencoded(text, max_images), query)
        raise UnsupportedFormat(
            f"the body is text of {len(text)} characters, but no JSON object, form, URL or base64 "
            f"of an image; send the image's bytes, or {HOW}"
        )

    @classmethod
    def _of_form(
        cls, images: list[Source], fields: dict[str, str], query: Mapping[str, str] | None
    ) -> Request:
        return cls(tuple(images), len(images) > 1, Options.read(query, fields))


def field(name: str) -> str | None:
    """The one of NAMES that a name means; None: none of them."""
    return FIELDS.get(name) or (FIELDS.get(_simple(name)) if len(name) <= MAX_NAME else None)


def option(name: str) -> str:
    """The option that a name means, written in any language's way (topK, top-k); else the name."""
    return OPTIONS.get(_simple(name), name) if len(name) <= MAX_NAME else name


def _simple(name: str) -> str:
    """A name without what differs between languages: capitals, hyphens, underscores, brackets."""
    name = name.partition("[")[0] if name.endswith("]") else name  # images[], images[0]
    return name.lower().replace("_", "").replace("-", "")


OPTIONS = {_simple(name): name for name in Options._fields}


def _among(payload: Mapping[str, Any]) -> str:
    return f" (fields: {clean(', '.join(payload))})" if payload else ""


def _loads(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidJson(f"the body is not valid JSON ({clean(error)}); {HOW}") from error


def _text(body: bytes) -> str | None:
    """A body that is text, or None: an image of any format is not."""
    try:
        # Windows writes text files in UTF-16, with a byte order mark.
        text = body.decode("utf-16" if body[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    """A body without its content codings (RFC 9110, 8.4.1); gzip is known without their header.

    Raises UnsupportedFormat: a coding that is not read. InvalidRequest: damaged. ImageTooLarge.
    """
    if not encoding and body[:2] != b"\x1f\x8b":
        return body
    from keras_to_lambda.runtime.sources import content_coding

    for name in [*content_coding.names(encoding)[:MAX_CODINGS], "gzip", "gzip"]:
        if name in content_coding.NOT_UNPACKED:
            raise UnsupportedFormat(f"the body's Content-Encoding is {name}; send it plain or gzip")
        try:
            body = content_coding.unpacked(body, name, limit)
        except content_coding.DamagedEncoding as error:
            raise InvalidRequest(f"the body is {name} that is damaged or cut off") from error
        except ImageTooLarge as error:
            raise ImageTooLarge(f"the body has more than {limit:,} bytes when unpacked") from error
    return body


def kind(value: Any) -> str:
    """What a JSON value is, for messages; never the value."""
    kinds = {str: "a string", list: "a list", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "an object" if isinstance(value, dict) else "a number")


def image(item: Any) -> Source:
    """The image in a JSON value: {"url": ...}, {"image": ...}, or a URL.

    A URL where base64 is expected is a URL, and the reverse.

    Raises MissingImage: there is none.
    """
    if isinstance(item, str):
        return recognised(item) or Url(item)
    wrong = ""
    if isinstance(item, dict):
        by_field = {field(name): name for name, value in item.items() if value is not None}
        for of, source, what in (("url", Url, "URL"), ("image", Base64, "base64")):
            name = by_field.get(of, "")
            value = item.get(name) if name else None
            if isinstance(value, dict):  # {"image_url": {"url": ...}}
                inner = {field(name): text for name, text in value.items()}
                value = inner.get("url") or inner.get("image")
            if isinstance(value, str):
                return recognised(value) or source(value)
            if value is not None:
                wrong = wrong or f"{clean(name)} must be a {what} string, got {kind(value)}"
    if wrong:
        raise MissingImage(wrong)
    raise MissingImage(
        f"no image in {kind(item)}{_among(item) if isinstance(item, dict) else ''}; "
        'an image must be {"url": "<string>"} or {"image": "<base64 string>"}, or a URL'
    )


def _has_image(item: Any) -> bool:
    """Whether a list's item makes it one of images."""
    if isinstance(item, str):
        return recognised(item) is not None
    return isinstance(item, dict) and any(map(field, item))


def image_or_error(item: Any) -> Source | ClassifierError:
    """One of several images; the others can be answered without it."""
    try:
        return image(item)
    except ClassifierError as error:
        return error
