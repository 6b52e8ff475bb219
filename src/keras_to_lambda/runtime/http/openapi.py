"""The API's description, of this deployment: its models, limits and error codes.

OpenAPI 3.1, https://spec.openapis.org/oas/v3.1.1
"""

from __future__ import annotations

from typing import Any

from keras_to_lambda.runtime.common import errors
from keras_to_lambda.runtime.common.formats import MEDIA_TYPES
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.inference.request import ANSWERS, MAX_TOP_K, SCORES, Options
from keras_to_lambda.runtime.model.registry import Models

# One grey pixel, which every model answers.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="
)
# As `sources` reads it: either alphabet, with padding or without.
BASE64 = "([A-Za-z0-9+/_-]{4})*([A-Za-z0-9+/_-]{2,3})?={0,2}"
LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
URLS = (
    f"^https?://{LABEL}([.]{LABEL}){{0,8}}(:[1-9][0-9]{{0,3}})?(/[!#-Z^-~]*)?$",
    "^s3://[A-Za-z0-9.-]+/[!-~]+$",
    f"^data:image/[a-z]+;base64,{BASE64}$",
)
SHAPES = ("Scores", "Best", "List", "Values")
# What API Gateway answers by itself, before or instead of the function.
GATEWAY = {
    "413": "Over 10 MB, or over 6 MB as an event, in which an image is base64",
    "429": "Too many requests; try again later",
    "503": "The function did not answer in time",
}


def openapi(models: Models, settings: Settings) -> dict[str, Any]:
    """The description, with examples that this deployment answers."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Image classifier",
            "version": "1",
            "description": "An image, or its URL, in; a score for each label out.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        # Relative to this document, so that it is true below any stage and domain.
        "servers": [{"url": "./"}],
        "paths": {
            "/predict": {
                "post": {
                    "operationId": "predict",
                    "summary": "Classify an image, or several",
                    "description": "One image gets an object, a list of images a list in the "
                    "same order, in which an image that failed has its own error.",
                    "parameters": _parameters(models, *Options._fields),
                    "requestBody": {
                        "required": True,
                        "content": _bodies("Predict", models, *Options._fields),
                    },
                    "responses": {
                        "200": _timed(
                            _json("The scores, or a list of them", "Answer", _answers(models))
                        ),
                        **_failures(),
                    },
                }
            },
            "/tensor": {
                "post": {
                    "operationId": "tensor",
                    "summary": "What the model sees of an image",
                    "description": "The image as the model gets it: decoded, resized and scaled as "
                    "in training, then shown as a picture. With any option besides `model` the "
                    "model's answer is beside it, as /predict gives it. `model` may name several, "
                    "separated by commas: each image gets an object with an account by model.",
                    "parameters": _parameters(models, *Options._fields),
                    "requestBody": {
                        "required": True,
                        "content": _bodies("Predict", models, *Options._fields),
                    },
                    "responses": {
                        "200": _timed(_json("The tensor, or a list of them", "Seen")),
                        **_failures(),
                    },
                }
            },
            "/models": {"get": _get("models", "The models, with their cards", "Models")},
            "/samples": {"get": _get("samples", "Pictures to try, by model", "Samples")},
            "/openapi.json": {"get": _get("openapi", "This description", "Description")},
        },
        "components": {"schemas": _schemas(models, settings)},
    }


def _options(models: Models) -> dict[str, Any]:
    names = sorted(models.installed)
    return {
        "top_k": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_TOP_K,
            "description": "Only the best so many, best first",
            "examples": [3],
        },
        "scores": {
            "enum": list(SCORES),
            "description": "Default: what the model gives, logits for most",
        },
        "model": {
            "enum": names,
            **({"default": models.default} if models.default else {}),
            "description": "Which model answers",
        },
        "answer": {
            "enum": list(ANSWERS),
            "default": ANSWERS[0],
            "description": "scores: {label: score}; best: {label, score} of the best, and how "
            "often such answers were right in testing, if that is known; list: {label, score}, "
            "best first; values: the scores in the order of the model's labels",
        },
        "threshold": {
            "type": "number",
            "description": "Only labels that score as much: others are left out, null in `values`, "
            "and `best` is null where there is none",
            "examples": [0.5],
        },
    }


def _parameters(models: Models, *names: str) -> list[dict[str, Any]]:
    options = _options(models)
    return [
        {"name": name, "in": "query", "required": False, "schema": options[name]} for name in names
    ]


def _bodies(schema: str, models: Models, *names: str) -> dict[str, Any]:
    binary: dict[str, Any] = {"schema": {}}
    options = _options(models)
    chosen = {name: options[name] for name in names}
    url = {"type": "string", "anyOf": [{"pattern": pattern} for pattern in URLS]}
    examples = {
        "url": {"summary": "By its URL", "value": {"url": "https://example.com/photo.jpg"}},
        "image": {"summary": "As base64", "value": {"image": PIXEL}},
        "data": {
            "summary": "As a data: URL",
            "value": {"url": f"data:image/png;base64,{PIXEL}"},
        },
        "images": {"summary": "Several", "value": {"images": [{"image": PIXEL}] * 2}},
    }
    return {
        "application/json": {
            "schema": {"$ref": f"#/components/schemas/{schema}"},
            "examples": examples,
        },
        **dict.fromkeys(MEDIA_TYPES.values(), binary),
        "application/octet-stream": binary,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "description": "Other fields are ignored",
                # Beside files a URL that is wrong fails alone.
                "anyOf": [
                    {"required": ["file"]},
                    {"required": ["url"], "properties": {"url": url}},
                ],
                "properties": {
                    "file": {
                        "description": "Files, as many as `limits` at /models says",
                        "type": "array",
                        "items": {"contentMediaType": "application/octet-stream"},
                        "minItems": 1,
                    },
                    "url": {"type": "string"},
                    **chosen,
                },
            }
        },
        "application/x-www-form-urlencoded": {
            "schema": {
                "type": "object",
                "description": "`image`, as base64, may be there instead; other fields are ignored",
                "required": ["url"],
                "properties": {"url": url, **chosen},
            }
        },
    }


def _schemas(models: Models, settings: Settings) -> dict[str, Any]:
    url: dict[str, Any] = {
        "type": "string",
        "description": "https:, http: or data:, and s3: where S3_ALLOWED_BUCKETS allows it",
        "anyOf": [{"pattern": pattern} for pattern in URLS],
    }
    image = {"type": "string", "contentEncoding": "base64", "pattern": f"^{BASE64}$"}
    one = [
        {"type": "object", "required": ["url"], "properties": {"url": url}},
        {"type": "object", "required": ["image"], "properties": {"image": image}},
    ]
    images = {
        "type": "array",
        # What is none of these fails alone, in its place, and the others are answered.
        "items": {"anyOf": [url, *one, True]},
        "minItems": 1,
        "maxItems": settings.max_images,
    }
    scores = {
        "type": "object",
        "description": "The model's labels, or those that the options choose",
        "additionalProperties": {"type": "number"},
    }
    best = {
        "type": "object",
        "required": ["label", "score"],
        "properties": {
            "label": _or_null("string"),
            "score": _or_null("number"),
            "reliability": {
                "description": "With answer=best, for a softmax model with a calibration: how "
                "often such answers were right on photos held out of training; null without a "
                "label",
                "type": ["object", "null"],
                "required": ["right", "photos", "unlike_test_photos"],
                "properties": {
                    "right": {
                        **_or_null("number"),
                        "description": "Share, 0 to 1; null for a picture unlike those photos",
                    },
                    "photos": {
                        "type": "integer",
                        "description": "Number of held-out photos with such a confidence",
                    },
                    "unlike_test_photos": {
                        **_or_null("boolean"),
                        "description": "null where it is not known, as for probabilities",
                    },
                },
            },
        },
        "additionalProperties": False,
    }
    options = _options(models)

    def request(*names: str) -> dict[str, Any]:
        given = {"url": url, "image": image, "images": images}
        optional = {**given, **{name: options[name] for name in names}}
        return {
            "type": "object",
            # null is as good as absent, for clients whose languages write it.
            "properties": {
                **{name: {"type": "null"} for name in Options._fields},
                **{
                    name: {"anyOf": [schema, {"type": "null"}]} for name, schema in optional.items()
                },
            },
            "oneOf": [
                {
                    "required": [name],
                    "properties": {
                        name: {"not": {"type": "null"}},
                        **{other: {"type": "null"} for other in given if other != name},
                    },
                }
                for name in given
            ],
        }

    return {
        "Predict": request(*Options._fields),
        "Scores": scores,
        "Best": best,
        "List": {"type": "array", "items": {"$ref": "#/components/schemas/Best"}},
        "Values": {"type": "array", "items": _or_null("number")},
        "Answer": _one_or_several(*SHAPES),
        "Tensor": {
            "type": "object",
            "required": ["model", "shape", "dtype", "min", "max", "mean", "image"],
            "properties": {
                "model": {"type": "string"},
                "shape": {
                    "type": "array",
                    "items": {"type": "integer"},
                    "minItems": 3,
                    "maxItems": 3,
                    "description": "Height, width, channels",
                },
                "dtype": {"type": "string"},
                **{name: {"type": "number"} for name in ("min", "max", "mean")},
                "image": {
                    "type": "string",
                    "pattern": "^data:image/png;base64,",
                    "description": "The scaling undone, as a PNG file",
                },
                "answer": {
                    "description": "As /predict gives it; there if an option was given",
                    "anyOf": [{"$ref": f"#/components/schemas/{shape}"} for shape in SHAPES],
                },
            },
        },
        "ByModel": {
            "type": "object",
            "description": "Of several models",
            "additionalProperties": {
                "anyOf": [{"$ref": f"#/components/schemas/{x}"} for x in ("Error", "Tensor")]
            },
        },
        "Seen": _one_or_several("Tensor", "ByModel"),
        "Error": {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["code", "message"],
                    "properties": {
                        "code": {"enum": sorted({kind.code for kind in errors.every()})},
                        "message": {"type": "string", "description": "What to do about it"},
                    },
                }
            },
        },
        "GatewayError": {
            "type": "object",
            "required": ["message"],
            "properties": {"message": {"type": "string"}},
            "description": "API Gateway's own",
        },
        "Failure": {
            "anyOf": [
                {"$ref": f"#/components/schemas/{kind}"} for kind in ("Error", "GatewayError")
            ]
        },
        "Models": _models(models),
        "Samples": {
            "type": "object",
            "additionalProperties": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "image"],
                    "properties": {
                        "name": {"type": "string"},
                        "image": {"type": "string", "pattern": "^data:image/"},
                    },
                },
            },
        },
        "Description": {"type": "object", "required": ["openapi", "info", "paths"]},
    }


def _models(models: Models) -> dict[str, Any]:
    limits = ("event_bytes", "image_bytes", "image_pixels", "images")
    return {
        "type": "object",
        "required": ["default", "models", "limits"],
        "properties": {
            "default": {
                "enum": [*models.installed, None],
                "description": "null: of several models none is; a request names one",
            },
            "models": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "description": "A model's card (runtime/model_file/card.py)",
                    "required": ["name", "labels", "height", "width", "channels", "output"],
                    "properties": {
                        "name": {"type": "string"},
                        "labels": {"type": "array", "items": {"type": "string"}},
                        **{n: {"type": "integer"} for n in ("height", "width", "channels")},
                        "output": {"enum": ["logits", "probabilities"]},
                        "activation": {"enum": ["softmax", "sigmoid"], "default": "softmax"},
                        "preprocessing": {"type": "object"},
                        "provenance": {"type": "object"},
                        "verification": {"type": "object"},
                    },
                },
            },
            "limits": {
                "type": "object",
                "description": "How much one request may hold",
                "required": list(limits),
                "properties": {name: {"type": "integer"} for name in limits},
            },
        },
    }


def _or_null(kind: str) -> dict[str, Any]:
    return {"anyOf": [{"type": kind}, {"type": "null"}]}


def _one_or_several(*schemas: str) -> dict[str, Any]:
    one = [{"$ref": f"#/components/schemas/{schema}"} for schema in schemas]
    failed = {"$ref": "#/components/schemas/Error"}
    # The error first: it is an object, too.
    return {"anyOf": [*one, {"type": "array", "items": {"anyOf": [failed, *one]}}]}


def _answers(models: Models) -> dict[str, Any]:
    [card, *_] = (installed.card for installed in models.installed.values())
    scores = dict.fromkeys(card.labels[:3], 0.5)
    failed = errors.UndecodableImage("the image is damaged").to_json()
    return {
        "one": {"summary": "Of one image", "value": scores},
        "several": {"summary": "Of two, of which one is damaged", "value": [scores, failed]},
    }


def _failures() -> dict[str, Any]:
    codes: dict[str, set[str]] = {}
    for kind in errors.every():
        codes.setdefault(str(kind.status), set()).add(kind.code)
    answers: dict[str, Any] = {}
    for status in sorted({*codes, *GATEWAY}):
        names = sorted(codes.get(status, ()))
        words = [", ".join(names), GATEWAY.get(status, "")]
        schema = "Failure" if all(words) else "Error" if names else "GatewayError"
        examples = {name: {"value": {"error": {"code": name, "message": "..."}}} for name in names}
        answers[status] = _json("; ".join(filter(None, words)), schema, examples)
    return answers


def _get(operation: str, summary: str, schema: str) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "responses": {"200": _json(summary, schema)},
    }


def _timed(answer: dict[str, Any]) -> dict[str, Any]:
    header = {
        "description": "Milliseconds of fetch, decode, preprocess and inference",
        "schema": {"type": "string"},
    }
    return {**answer, "headers": {"Server-Timing": header}}


def _json(description: str, schema: str, examples: dict[str, Any] | None = None) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    if examples:
        content["examples"] = examples
    return {"description": description, "content": {"application/json": content}}
