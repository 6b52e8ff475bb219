"""Request: what a caller asks for, whatever kind of event it came in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from classifier.errors import InvalidJson, InvalidRequest, MissingImage, TooManyImages
from classifier.sources import Base64, Raw, Source, Url

HOW = 'give {"url": "https://..."}, {"image": "<base64>"} or {"images": [...]}'
SCORES = ("logits", "probabilities")
IMAGE_FIELDS = ("url", "image", "images")
OPTIONS = ("top_k", "scores", "model")


@dataclass(frozen=True, slots=True)
class Request:
    """Images to classify.

    images: at least one.
    many: the caller gave a list, and gets one.
    top_k: only the best so many, best first; None: every label, in the model's order.
    scores: "logits", "probabilities", or None: what the model gives.
    model: a model's name, or None: the only one.
    """

    images: tuple[Source, ...]
    many: bool = False
    top_k: int | None = None
    scores: str | None = None
    model: str | None = None

    @classmethod
    def from_json(
        cls, payload: Any, query: Mapping[str, str] | None = None, max_images: int = 16
    ) -> Request:
        """Read a JSON payload; options may stand in the query as well.

        Raises:
            InvalidJson: not an object. MissingImage, TooManyImages. InvalidRequest: a bad option.
        """
        if not isinstance(payload, dict):
            raise InvalidJson(f"the payload is {_kind(payload)}, not a JSON object; {HOW}")
        given = [name for name in IMAGE_FIELDS if payload.get(name) is not None]
        if not given:
            raise MissingImage(f"no image; {HOW}")
        if len(given) > 1:
            raise InvalidRequest(f"{' and '.join(given)} were given; give one of them")
        if given == ["images"]:
            items = payload["images"]
            if not isinstance(items, list) or not items:
                raise MissingImage('"images" must be a list with at least one image')
            if len(items) > max_images:
                raise TooManyImages(f"{len(items)} images, more than the {max_images} accepted")
            images = tuple(_item(item) for item in items)
        else:
            images = (_item(payload),)
        return cls(images, many=given == ["images"], **_options({**(query or {}), **payload}))

    @classmethod
    def from_body(
        cls,
        body: bytes,
        content_type: str = "",
        query: Mapping[str, str] | None = None,
        max_images: int = 16,
    ) -> Request:
        """Read an HTTP body: JSON, or else the image itself.

        What starts with a brace is JSON whatever its declared type, as no image does and clients
        that send JSON as a form (`curl -d`) are many; what is declared as JSON has to be.

        Raises:
            as `from_json`; MissingImage for an empty body.
        """
        if not body:
            raise MissingImage(f"the body is empty; send an image, or JSON: {HOW}")
        if body.lstrip()[:1] in (b"{", b"[") or content_type.startswith("application/json"):
            try:
                payload = json.loads(body)
            except (ValueError, RecursionError) as error:
                raise InvalidJson(f"the body is not valid JSON ({error}); {HOW}") from error
            return cls.from_json(payload, query, max_images)
        return cls((Raw(body),), **_options(query or {}))


def _kind(value: Any) -> str:
    kinds = {str: "a string", list: "a list", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")


def _item(item: Any) -> Source:
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


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(given) - {*IMAGE_FIELDS, *OPTIONS})
    if unknown:
        raise InvalidRequest(
            f"unknown option {', '.join(unknown)[:100]}; there are {', '.join(OPTIONS)}"
        )
    top_k, scores, model = (given.get(name) for name in OPTIONS)
    if isinstance(top_k, str) and top_k.isdecimal() and len(top_k) < 10:
        top_k = int(top_k)  # from a query
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        raise InvalidRequest("top_k must be a whole number, 1 or more")
    if scores not in (None, *SCORES):
        raise InvalidRequest(f"scores must be one of {', '.join(SCORES)}")
    if model is not None and not isinstance(model, str):
        raise InvalidRequest("model must be a model's name")
    return {"top_k": top_k, "scores": scores, "model": model}
