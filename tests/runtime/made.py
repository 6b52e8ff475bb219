"""Pictures and requests, made for tests."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib

from PIL import Image

from keras_to_lambda.runtime.common.settings import MODELS, Settings
from keras_to_lambda.runtime.handler import Handler

CLOTHING, DIGITS, TREE = (
    f"{MODELS}/{name}/{name}.tflite" for name in ("clothing", "digits", "digits-tree")
)


def served(path=MODELS, **settings):
    """A handler of its own: quiet, on one thread."""
    quiet = {"num_threads": 1, "log_level": "FATAL"}
    return Handler(Settings(model_path=str(path), **quiet | settings))


def configured(**environ):
    """A handler by the environment, quiet, that may read the bucket `photos`."""
    quiet = {"S3_ALLOWED_BUCKETS": "photos", "NUM_THREADS": "1", "LOG_LEVEL": "FATAL"}
    return Handler(Settings.from_environ(quiet | environ))


def encoded(image, kind="JPEG", **options):
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def flat(mode, width, height):
    return Image.new(mode, (width, height), 1 if mode in "PL1" else None)


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def chunk(kind, content):
    """A chunk of a PNG."""
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def inline(data):
    """A payload with an image in it."""
    return {"image": base64.b64encode(data).decode()}


def v2(body="", method="POST", path="/predict", *, stage="$default", query=None, **headers):
    """A request as an HTTP API hands it on; body: bytes, text, or what becomes JSON."""
    http = {"method": method, "path": path}
    return {
        "version": "2.0",
        "rawPath": path,
        "headers": _named(headers),
        "queryStringParameters": query,
        "requestContext": {"http": http, "stage": stage},
        **_body(body),
    }


def v1(body="", method="POST", path="/predict", *, query=None, **headers):
    """A request as a REST API hands it on."""
    return {
        "resource": path,
        "path": path,
        "httpMethod": method,
        "headers": _named(headers) or None,
        "queryStringParameters": query,
        "requestContext": {"stage": "Prod", "httpMethod": method},
        **_body(body),
    }


def _named(headers):
    return {name.replace("_", "-"): value for name, value in headers.items()}


def _body(body):
    if isinstance(body, bytes):
        return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    return {
        "body": body if isinstance(body, str) else json.dumps(body),
        "isBase64Encoded": False,
    }


def queue(*bodies, ids=None):
    """An event of SQS with these messages."""
    numbered = ids or [f"m{number}" for number in range(len(bodies))]
    return {
        "Records": [
            {"messageId": message, "eventSource": "aws:sqs", "body": body}
            for message, body in zip(numbered, bodies, strict=True)
        ]
    }


def outcome(answer):
    """Status and error code of an HTTP answer."""
    return answer["statusCode"], json.loads(answer["body"])["error"]["code"]
