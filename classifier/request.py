"""Request: what a caller asks for, whatever kind of event it came in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from classifier.errors import (
    ClassifierError,
    InvalidJson,
    InvalidRequest,
    MissingImage,
    TooManyImages,
)
from classifier.sources import Base64, Raw, Source, Url
from classifier.text import clean, encodable

HOW = 'give {"url": "https://..."}, {"image": "<base64>"} or {"images": [...]}'
SCORES = ("logits", "probabilities")
IMAGE_FIELDS = ("url", "image", "images")


class Options(NamedTuple):
    """How a caller wants to be answered.

    top_k: only the best so many, best first; None: every label, in the model's order.
    scores: "logits", "probabilities", or None: what the model gives.
    model: a model's name, or None: the default one.
    """

    top_k: int | None = None
    scores: str | None = None
    model: str | None = None

    @classmethod
    def merged(cls, query: Mapping[str, str], body: Mapping[str, Any]) -> Options:
        """Read options that may stand in the query, in the body, or in both if they are the same.

        Raises:
            InvalidRequest: as `read`; or one stands in both and differs.
        """
        first = cls.read(query)._asdict()
        second = cls.read({name: value for name, value in body.items() if value is not None})
        for name, value in second._asdict().items():
            if None not in (value, first[name]) and value != first[name]:
                raise InvalidRequest(f"{name} is given twice: the query and the body differ")
            if value is None:
                second = second._replace(**{name: first[name]})
        return second

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Options:
        """Read the options of a payload or query.

        Raises:
            InvalidRequest: one is unknown or wrong.
        """
        unknown = sorted(set(given) - set(cls._fields))
        if unknown:
            raise InvalidRequest(
                f"unknown option {clean(', '.join(unknown))}; there are {', '.join(cls._fields)}"
            )
        top_k, scores, model = (given.get(name) for name in cls._fields)
        if isinstance(top_k, str) and top_k.isdecimal() and len(top_k) < 10:
            top_k = int(top_k)  # from a query
        if isinstance(top_k, float) and top_k.is_integer():
            top_k = int(top_k)  # 3.0 is an integer in JSON Schema, and in JavaScript
        if top_k is not None and (type(top_k) is not int or top_k < 1):
            raise InvalidRequest("top_k must be a whole number, 1 or more")
        if scores not in (None, *SCORES):
            raise InvalidRequest(f"scores must be one of {', '.join(SCORES)}")
        if model is not None and not (isinstance(model, str) and model and encodable(model)):
            raise InvalidRequest("model must be a model's name")
        return cls(top_k, scores, model)


class Request(NamedTuple):
    """Images to classify.

    images: at least one; of a list, one that cannot be an image is its error.
    many: the caller gave a list, and gets one.
    tensor: asked is what the model would see, not what it answers.
    """

    images: tuple[Source | ClassifierError, ...]
    many: bool = False
    options: Options = Options()
    tensor: bool = False

    def for_tensor(self) -> Request:
        """The same images; of the options, only the model matters.

        Raises:
            InvalidRequest: another one was given.
        """
        if self.options.top_k is not None or self.options.scores is not None:
            raise InvalidRequest("a tensor has no scores: of the options, give model alone")
        return self._replace(tensor=True)

    @classmethod
    def from_json(
        cls, payload: Any, query: Mapping[str, str] | None = None, max_images: int = 16
    ) -> Request:
        """Read a JSON payload; options may stand in the query as well.

        Raises:
            InvalidJson: not an object. MissingImage, TooManyImages. InvalidRequest: a bad option.
        """
        if not isinstance(payload, dict):
            raise InvalidJson(f"the payload is {kind(payload)}, not a JSON object; {HOW}")
        given = [name for name in IMAGE_FIELDS if payload.get(name) is not None]
        if not given:
            raise MissingImage(f"no image; {HOW}")
        if len(given) > 1:
            raise InvalidRequest(f"{' and '.join(given)} were given; give one of them")
        rest = {name: value for name, value in payload.items() if name not in IMAGE_FIELDS}
        options = Options.merged(query or {}, rest)
        if given != ["images"]:
            return cls((image(payload),), False, options)
        items = payload["images"]
        if not isinstance(items, list) or not items:
            raise MissingImage('"images" must be a list with at least one image')
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
    ) -> Request:
        """Read an HTTP body: JSON, a multipart form, or else the image itself.

        What starts with a brace is JSON whatever its declared type, as no image does and clients
        that send JSON as a form (`curl -d`) are many; what is declared as JSON has to be.

        Raises:
            as `from_json`; MissingImage for an empty body.
        """
        if not body:
            raise MissingImage(f"the body is empty; send an image, or JSON: {HOW}")
        declared = content_type.partition(";")[0].strip().lower()
        if body.lstrip()[:1] in (b"{", b"[") or declared == "application/json":
            try:
                payload = json.loads(body)
            except (ValueError, RecursionError) as error:
                raise InvalidJson(f"the body is not valid JSON ({error}); {HOW}") from error
            return cls.from_json(payload, query, max_images)
        if declared == "multipart/form-data":
            from classifier import form

            images, fields = form.read(body, content_type, max_images)
            options = Options.merged(query or {}, fields)
            return cls(tuple(images), len(images) > 1, options)
        return cls((Raw(body),), False, Options.read(query or {}))


def kind(value: Any) -> str:
    """What a JSON value is, for messages; never the value."""
    kinds = {str: "a string", list: "a list", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "an object" if isinstance(value, dict) else "a number")


def image(item: Any) -> Source:
    """The image in a JSON value: {"url": ...}, {"image": ...}, or a URL.

    Raises:
        MissingImage: there is none.
    """
    if isinstance(item, str):
        return Url(item)
    if isinstance(item, dict):
        match item:
            case {"url": str(url)}:
                return Url(url)
            case {"image": str(text)}:
                return Base64(text)
    raise MissingImage(
        'an image must be {"url": "<string>"} or {"image": "<base64 string>"}, or a URL'
    )


def image_or_error(item: Any) -> Source | ClassifierError:
    """One of several images; the others can be answered without it."""
    try:
        return image(item)
    except ClassifierError as error:
        return error
