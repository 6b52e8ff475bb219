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
STRING, NUMBER, INTEGER = ({"type": name} for name in ("string", "number", "integer"))
OBJECT: dict[str, Any] = {"type": "object"}
NULL = {"type": "null"}
URL: dict[str, Any] = {**STRING, "anyOf": [{"pattern": pattern} for pattern in URLS]}
IMAGE = {**STRING, "contentEncoding": "base64", "pattern": f"^{BASE64}$"}
SHAPES = ("Scores", "Best", "List", "Values")
# What API Gateway answers by itself, before or instead of the function.
GATEWAY = {
    "413": "Over 10 MB, or over 6 MB as an event, in which an image is base64",
    "429": "Too many requests; try again later",
    "503": "The function did not answer in time",
}


def openapi(models: Models, settings: Settings) -> dict[str, Any]:
    """The description, with examples that this deployment answers."""
    options = _options(models)
    parameters = [
        {"name": name, "in": "query", "required": False, "schema": options[name]}
        for name in Options._fields
    ]
    body = {"required": True, "content": _bodies(options)}

    def post(operation: str, summary: str, description: str, answer: dict[str, Any]) -> Any:
        timed = {
            "description": "Milliseconds of fetch, decode, preprocess and inference",
            "schema": STRING,
        }
        return {
            "post": {
                "operationId": operation,
                "summary": summary,
                "description": description,
                "parameters": parameters,
                "requestBody": body,
                "responses": {
                    "200": {**answer, "headers": {"Server-Timing": timed}},
                    **_failures(),
                },
            }
        }

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
            "/predict": post(
                "predict",
                "Classify an image, or several",
                "One image gets an object, a list of images a list in the same order, in which an "
                "image that failed has its own error.",
                _json("The scores, or a list of them", "Answer", _answers(models)),
            ),
            "/tensor": post(
                "tensor",
                "What the model sees of an image",
                "The image as the model gets it: decoded, resized and scaled as in training, then "
                "shown as a picture. With any option besides `model` the model's answer is beside "
                "it, as /predict gives it. `model` may name several, separated by commas: each "
                "image gets an object with an account by model.",
                _json("The tensor, or a list of them", "Seen"),
            ),
            "/models": _get("models", "The models, with their cards", "Models"),
            "/samples": _get("samples", "Pictures to try, by model", "Samples"),
            "/openapi.json": _get("openapi", "This description", "Description"),
        },
        "components": {
            "schemas": {
                "Predict": _request(options, settings.max_images),
                "Models": _models(models),
                **_answered(),
                **_refused(),
            }
        },
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


def _bodies(options: dict[str, Any]) -> dict[str, Any]:
    """The content types of a request, and what each of them holds."""
    binary: dict[str, Any] = {"schema": {}}
    ways: tuple[tuple[str, str, Any], ...] = (
        ("url", "By its URL", {"url": "https://example.com/photo.jpg"}),
        ("image", "As base64", {"image": PIXEL}),
        ("data", "As a data: URL", {"url": f"data:image/png;base64,{PIXEL}"}),
        ("images", "Several", {"images": [{"image": PIXEL}] * 2}),
    )
    files = _list(
        {"contentMediaType": "application/octet-stream"},
        description="Files, as many as `limits` at /models says",
        minItems=1,
    )
    form = {
        **OBJECT,
        "description": "Other fields are ignored",
        # Beside files a URL that is wrong fails alone.
        "anyOf": [{"required": ["file"]}, {"required": ["url"], "properties": {"url": URL}}],
        "properties": {"file": files, "url": STRING, **options},
    }
    line = _object(
        "url",
        {"url": URL, **options},
        description="`image`, as base64, may be there instead; other fields are ignored",
    )
    return {
        "application/json": {
            "schema": _ref("Predict"),
            "examples": {name: {"summary": way, "value": value} for name, way, value in ways},
        },
        **dict.fromkeys(MEDIA_TYPES.values(), binary),
        "application/octet-stream": binary,
        "multipart/form-data": {"schema": form},
        "application/x-www-form-urlencoded": {"schema": line},
    }


def _request(options: dict[str, Any], max_images: int) -> dict[str, Any]:
    """A request in JSON: one of url, image and images, with options."""
    url = {
        **URL,
        "description": "https:, http: or data:, and s3: where S3_ALLOWED_BUCKETS allows it",
    }
    one = [_object("url", {"url": url}), _object("image", {"image": IMAGE})]
    # What is none of these fails alone, in its place, and the others are answered.
    images = _list({"anyOf": [url, *one, True]}, minItems=1, maxItems=max_images)
    given = {"url": url, "image": IMAGE, "images": images}
    # null is as good as absent, for clients whose languages write it.
    return {
        **OBJECT,
        "properties": {
            name: {"anyOf": [schema, NULL]} for name, schema in {**given, **options}.items()
        },
        "oneOf": [
            {
                "required": [name],
                "properties": {**dict.fromkeys(given, NULL), name: {"not": NULL}},
            }
            for name in given
        ],
    }


def _answered() -> dict[str, Any]:
    """Schemas of what is answered."""
    reliability = _object(
        "right photos unlike_test_photos",
        {
            "right": _or_null(NUMBER, "Share, 0 to 1; null for a picture unlike those photos"),
            "photos": {
                **INTEGER,
                "description": "Number of held-out photos with such a confidence",
            },
            "unlike_test_photos": _or_null(
                {"type": "boolean"}, "null where it is not known, as for probabilities"
            ),
        },
        description="With answer=best, for a softmax model with a calibration: how often such "
        "answers were right on photos held out of training; null without a label",
        type=["object", "null"],
    )
    tensor = {
        "model": STRING,
        "shape": _list(INTEGER, minItems=3, maxItems=3, description="Height, width, channels"),
        "dtype": STRING,
        **dict.fromkeys(("min", "max", "mean"), NUMBER),
        "image": {
            **STRING,
            "pattern": "^data:image/png;base64,",
            "description": "The scaling undone, as a PNG file",
        },
    }
    beside = {
        "description": "As /predict gives it; there if an option was given",
        **_ref(*SHAPES),
    }
    sample = {"name": STRING, "image": {**STRING, "pattern": "^data:image/"}}
    return {
        "Scores": {
            **OBJECT,
            "description": "The model's labels, or those that the options choose",
            "additionalProperties": NUMBER,
        },
        "Best": _object(
            "label score",
            {"label": _or_null(STRING), "score": _or_null(NUMBER), "reliability": reliability},
            additionalProperties=False,
        ),
        "List": _list(_ref("Best")),
        "Values": _list(_or_null(NUMBER)),
        "Answer": _one_or_several(*SHAPES),
        "Tensor": _object(" ".join(tensor), {**tensor, "answer": beside}),
        "ByModel": {
            **OBJECT,
            "description": "Of several models",
            "additionalProperties": _ref("Error", "Tensor"),
        },
        "Seen": _one_or_several("Tensor", "ByModel"),
        "Samples": {
            **OBJECT,
            "additionalProperties": _list(_object("name image", sample)),
        },
        "Description": {**OBJECT, "required": ["openapi", "info", "paths"]},
    }


def _refused() -> dict[str, Any]:
    """Schemas of errors: the function's, and API Gateway's."""
    error = {
        "code": {"enum": sorted({kind.code for kind in errors.every()})},
        "message": {**STRING, "description": "What to do about it"},
    }
    return {
        "Error": _object("error", {"error": _object("code message", error)}),
        "GatewayError": _object("message", {"message": STRING}, description="API Gateway's own"),
        "Failure": _ref("Error", "GatewayError"),
    }


def _models(models: Models) -> dict[str, Any]:
    card = {
        "name": STRING,
        "labels": _list(STRING),
        **dict.fromkeys(("height", "width", "channels"), INTEGER),
        "output": {"enum": ["logits", "probabilities"]},
    }
    more = {
        "activation": {"enum": ["softmax", "sigmoid"], "default": "softmax"},
        **dict.fromkeys(("preprocessing", "provenance", "verification"), OBJECT),
    }
    about = "A model's card (docs/tflite.md)"
    limits = dict.fromkeys(("event_bytes", "image_bytes", "image_pixels", "images"), INTEGER)
    properties = {
        "default": {
            "enum": [*models.installed, None],
            "description": "null: of several models none is; a request names one",
        },
        "models": _list(_object(" ".join(card), card | more, description=about), minItems=1),
        "limits": _object(" ".join(limits), limits, description="How much one request may hold"),
    }
    return _object(" ".join(properties), properties)


def _object(required: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**OBJECT, "required": required.split(), "properties": properties, **more}


def _list(items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


def _or_null(schema: dict[str, Any], description: str = "") -> dict[str, Any]:
    about = {"description": description} if description else {}
    return {"anyOf": [schema, NULL], **about}


def _ref(*schemas: str) -> dict[str, Any]:
    """One of the named schemas."""
    found = [{"$ref": f"#/components/schemas/{schema}"} for schema in schemas]
    return {"anyOf": found} if found[1:] else {**found[0]}


def _one_or_several(*schemas: str) -> dict[str, Any]:
    one = [_ref(schema) for schema in schemas]
    # The error first: it is an object, too.
    return {"anyOf": [*one, _list({"anyOf": [_ref("Error"), *one]})]}


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
    responses = {"200": _json(summary, schema)}
    return {"get": {"operationId": operation, "summary": summary, "responses": responses}}


def _json(description: str, schema: str, examples: dict[str, Any] | None = None) -> dict[str, Any]:
    content = {"schema": _ref(schema), **({"examples": examples} if examples else {})}
    return {"description": description, "content": {"application/json": content}}
