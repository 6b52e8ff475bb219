"""What GET answers: the page, the models' cards, and the API's description.

Imported at the first GET alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from classifier import errors
from classifier.card import ModelCard
from classifier.models import Models
from classifier.request import SCORES
from classifier.respond import Page
from classifier.settings import Settings

INDEX = Path(__file__).resolve().parent.parent / "web" / "index.html"


def get(name: str, models: Models, settings: Settings) -> Any:
    """One of "index", "models", "openapi"."""
    if name == "index":
        return Page(INDEX.read_text(encoding="utf-8"), "text/html; charset=utf-8")
    if name == "models":
        return {
            "default": models.default,
            "models": [installed.card.to_json() for installed in models.installed.values()],
        }
    return openapi(models, settings)


def openapi(models: Models, settings: Settings) -> dict[str, Any]:
    """The API as OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1)."""
    cards = [installed.card for installed in models.installed.values()]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Image classifier",
            "version": "1",
            "description": "An image, or its URL, in; a score for each label out.",
        },
        "paths": {
            "/predict": {
                "post": {
                    "operationId": "predict",
                    "summary": "Classify an image, or several",
                    "parameters": _options(models),
                    "requestBody": {"required": True, "content": _bodies(settings)},
                    "responses": {
                        "200": _answer("The scores, or a list of them", "Answer"),
                        **_failures(),
                    },
                }
            },
            "/models": {
                "get": {
                    "operationId": "models",
                    "summary": "The models that are served, with their cards",
                    "responses": {"200": _answer("The cards", "Models")},
                }
            },
        },
        "components": {"schemas": _schemas(cards, models, settings)},
    }


def _options(models: Models) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in _option_schemas(models).items()
    ]


def _option_schemas(models: Models) -> dict[str, Any]:
    return {
        "top_k": {"type": "integer", "minimum": 1, "description": "only the best so many"},
        "scores": {"enum": list(SCORES), "description": "default: what the model gives"},
        "model": {"enum": sorted(models.installed), "default": models.default},
    }


def _bodies(settings: Settings) -> dict[str, Any]:
    binary: dict[str, Any] = {"schema": {}}
    return {
        "application/json": {"schema": {"$ref": "#/components/schemas/Request"}},
        **{f"image/{kind}": binary for kind in ("jpeg", "png", "webp", "gif", "bmp")},
        "application/octet-stream": binary,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "file": {
                        "type": "array",
                        "items": {"type": "string", "contentMediaType": "image/*"},
                        "maxItems": settings.max_images,
                    }
                },
            }
        },
    }


def _schemas(cards: list[ModelCard], models: Models, settings: Settings) -> dict[str, Any]:
    url = {"type": "string", "description": "https:, http:, s3: or data:"}
    image = {"type": "string", "contentEncoding": "base64"}
    one = [
        {"type": "object", "required": ["url"], "properties": {"url": url}},
        {"type": "object", "required": ["image"], "properties": {"image": image}},
    ]
    scores = {
        "type": "object",
        "additionalProperties": {"type": "number"},
        "examples": [dict.fromkeys(card.labels[:3], 0.5) for card in cards],
    }
    failed = {"$ref": "#/components/schemas/Error"}
    return {
        "Request": {
            "type": "object",
            "properties": {
                "url": url,
                "image": image,
                "images": {
                    "type": "array",
                    "items": {"anyOf": [url, *one]},
                    "minItems": 1,
                    "maxItems": settings.max_images,
                },
                **_option_schemas(models),
            },
            "additionalProperties": False,
            "oneOf": [{"required": [name]} for name in ("url", "image", "images")],
        },
        "Scores": scores,
        "Answer": {
            "anyOf": [
                {"$ref": "#/components/schemas/Scores"},
                {
                    "type": "array",
                    "items": {"anyOf": [{"$ref": "#/components/schemas/Scores"}, failed]},
                },
            ]
        },
        "Error": {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["code", "message"],
                    "properties": {
                        "code": {"enum": sorted({kind.code for kind in errors.every()})},
                        "message": {"type": "string"},
                    },
                }
            },
        },
        "Models": {
            "type": "object",
            "required": ["default", "models"],
            "properties": {
                "default": {"type": "string"},
                "models": {"type": "array", "items": {"type": "object"}},
            },
        },
    }


def _failures() -> dict[str, Any]:
    codes: dict[int, list[str]] = {}
    for kind in errors.every():
        codes.setdefault(kind.status, []).append(kind.code)
    return {
        str(status): _answer(", ".join(sorted(set(names))), "Error")
        for status, names in sorted(codes.items())
    }


def _answer(description: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}
