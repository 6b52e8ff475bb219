"""Gateway: a WSGI application that does to the handler what API Gateway and the emulator do.

POST /predict becomes a payload format 2.0 event, binary bodies in base64, and the answer's envelope
becomes the response. The emulator's invocation URL takes the event itself.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from classifier.errors import ClassifierError

INVOCATION_PATH = "/2015-03-31/functions/function/invocations"
# What a synchronous invocation takes, and so API Gateway in front of it
# (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
TEXT = ("application/json", "application/x-www-form-urlencoded", "text/")

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Gateway:
    """The application; `handler` is called as Lambda calls it."""

    def __init__(self, handler: Callable[[Any], Any]) -> None:
        self._handler = handler

    def __call__(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > MAX_PAYLOAD_BYTES:
            too_long = {"message": "Request Entity Too Large"}
            return _send(start, 413, {"Content-Type": "application/json"}, json.dumps(too_long))
        body = environ["wsgi.input"].read(length)
        if environ["PATH_INFO"] == INVOCATION_PATH:
            return self._invoke(body, start)
        answer = self._handler(_event(environ, body))
        return _send(start, answer["statusCode"], answer["headers"], answer["body"])

    def _invoke(self, body: bytes, start: StartResponse) -> Iterable[bytes]:
        """As the emulator: status 200, and in the body the answer or the raised error."""
        try:
            event = json.loads(body)
        except ValueError as error:
            result: Any = {"errorType": "Runtime.UnmarshalError", "errorMessage": str(error)}
        else:
            try:
                result = self._handler(event)
            except ClassifierError as error:
                result = {"errorType": type(error).__name__, "errorMessage": str(error)}
        return _send(start, 200, {"Content-Type": "application/json"}, json.dumps(result))


def _event(environ: dict[str, Any], body: bytes) -> dict[str, Any]:
    """A payload format 2.0 event of a WSGI request."""
    headers = {
        key[5:].replace("_", "-").lower(): value
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    kind = environ.get("CONTENT_TYPE", "")
    if kind:
        headers["content-type"] = kind
    # API Gateway passes text types on as text, and everything else as base64.
    binary = bool(body) and not kind.startswith(TEXT)
    if not binary:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            binary = True
    path, query = environ["PATH_INFO"] or "/", environ.get("QUERY_STRING", "")
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "queryStringParameters": dict(parse_qsl(query, keep_blank_values=True)),
        "requestContext": {
            "http": {
                "method": environ["REQUEST_METHOD"],
                "path": path,
                "protocol": environ.get("SERVER_PROTOCOL", "HTTP/1.1"),
                "sourceIp": environ.get("REMOTE_ADDR", ""),
                "userAgent": environ.get("HTTP_USER_AGENT", ""),
            },
            "stage": "$default",
        },
        "body": base64.b64encode(body).decode() if binary else text,
        "isBase64Encoded": binary,
    }


def _send(start: StartResponse, status: int, headers: dict[str, str], body: str) -> list[bytes]:
    start(f"{status} {HTTPStatus(status).phrase}", list(headers.items()))
    return [body.encode()]
