"""Remote: a deployed stack's page and API at a local address, each request signed for its caller.

A page in a browser cannot sign requests. This application forwards them with the credentials of the
shell, so it answers this machine's own pages alone.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from keras_to_lambda import aws
from keras_to_lambda.client import Client, EndpointError, SigV4
from keras_to_lambda.serve.gateway import MAX_BODY_BYTES, StartResponse

HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?")
# Headers that are passed on, of a request and of an answer.
SENT = ("Accept", "Content-Encoding", "Content-Type", "If-None-Match")
RETURNED = (
    *("allow", "cache-control", "content-security-policy", "content-type", "etag", "location"),
    *("permissions-policy", "referrer-policy", "retry-after", "server-timing", "vary"),
    *("x-content-type-options", "x-request-id"),
)
CODES = {400: "invalid_request", 403: "forbidden", 413: "image_too_large", 502: "unreachable"}


class Remote:
    """The application; url: of the deployed route .../predict. key, signature: as of a Client."""

    def __init__(self, url: str, key: str | None, signature: SigV4 | None) -> None:
        self._arguments = (url, key, signature)
        self._own = threading.local()  # connections are not shared between threads
        self.url = Client(*self._arguments).url

    def __call__(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        if reason := refusal(environ):
            return _answer(start, 403, reason)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > MAX_BODY_BYTES:
            return _answer(start, 413, HTTPStatus(413).phrase)
        body = environ["wsgi.input"].read(length)
        # PEP 3333: bytes, each as one character.
        named = environ["PATH_INFO"].encode("latin-1").lstrip(b"/")
        if b".." in named.split(b"/"):  # it would leave the API's stage
            return _answer(start, 400, "the path has a '..' segment; use the path itself")
        path = quote(named)
        if environ.get("QUERY_STRING"):
            path += f"?{environ['QUERY_STRING']}"
        names = {name: name.replace("-", "_").upper() for name in SENT}
        headers = {
            name: environ.get(variable) or environ.get(f"HTTP_{variable}", "")
            for name, variable in names.items()
        }
        if not hasattr(self._own, "client"):
            self._own.client = Client(*self._arguments)
        try:
            reply = self._own.client.request(
                environ["REQUEST_METHOD"], path, body, {k: v for k, v in headers.items() if v}
            )
        except EndpointError as error:
            return _answer(start, 502, str(error))
        returned = [(name, reply.headers[name]) for name in RETURNED if name in reply.headers]
        start(f"{reply.status} {http.client.responses.get(reply.status, '')}", returned)
        return [reply.body]


def refusal(environ: dict[str, Any]) -> str:
    """Why a request is not forwarded; "" if it is: another site's page may not use the credentials.

    A site's page can send requests to this machine, and its host name can lead here.
    """
    host = environ.get("HTTP_HOST", "").lower()
    if not HOST.fullmatch(host):
        return "this address answers 127.0.0.1 and localhost alone"
    origin = environ.get("HTTP_ORIGIN")
    if origin and origin.lower().partition("://")[2] != host:
        return f"requests of pages of {origin} are not forwarded"
    if environ.get("HTTP_SEC_FETCH_SITE", "none") not in {"none", "same-origin"}:
        return "requests of other sites' pages are not forwarded"
    return ""


def address(remote: str, region: str | None, profile: str | None) -> str:
    """The URL of a URL, or of a stack's output `Url`.

    Raises:
        AwsError: there is no such stack. EndpointError: it has no API.
    """
    if "://" in remote:
        return remote
    outputs = aws.stack(remote, aws.session(region, profile))["Outputs"]
    if "Url" not in outputs:
        raise EndpointError(f"stack {remote} has no output Url; give the API's URL")
    return str(outputs["Url"])


def _answer(start: StartResponse, status: int, message: str) -> list[bytes]:
    start(f"{status} {HTTPStatus(status).phrase}", [("Content-Type", "application/json")])
    return [json.dumps({"error": {"code": CODES[status], "message": message}}).encode()]
