"""A Lambda event of any shape: the Request in it, and the answer that its sender expects.

One class for each family of events, with both directions side by side. `detect` tries them in
order and always finds one: what is nobody's event is a direct invocation's payload.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, ClassVar

from classifier import respond
from classifier.errors import (
    ClassifierError,
    InvalidRequest,
    MethodNotAllowed,
    RouteNotFound,
)
from classifier.request import Request
from classifier.settings import Settings

ROUTES: Mapping[str, tuple[str, ...]] = {"/predict": ("POST", "OPTIONS")}


class Direct:
    """An invocation by boto3, awscli, `sam local invoke`, the emulator or Step Functions.

    The event is the payload and the answer is the plain object. A failure is raised: the runtime
    reports it by its class name (https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html).
    """

    source: ClassVar[str] = "direct"

    def __init__(self, event: Any) -> None:
        self._event = event

    @staticmethod
    def infer(event: Any) -> bool:  # noqa: ARG004  # whatever it is
        return True

    def request(self, settings: Settings) -> Request | None:
        return Request.from_json(self._event, max_images=settings.max_images)

    def success(self, body: Any, server_timing: str, settings: Settings) -> Any:
        return body

    def failure(self, error: ClassifierError, server_timing: str, settings: Settings) -> Any:
        # Without its cause and traceback: the runtime would send both to the caller.
        error.__cause__ = error.__context__ = None
        raise error.with_traceback(None)


class HttpApi:
    """API Gateway HTTP APIs and Lambda function URLs, payload format 2.0.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """

    source: ClassVar[str] = "http-api"

    def __init__(self, event: Any) -> None:
        self._event = event

    @staticmethod
    def infer(event: Any) -> bool:
        return isinstance(event, dict) and isinstance(
            _dict(event, "requestContext").get("http"), dict
        )

    def request(self, settings: Settings) -> Request | None:
        """The Request; None for a CORS preflight, which needs no more than headers.

        Raises:
            ClassifierError: any of those that name a malformed request.
        """
        method, path = self._route()
        methods = ROUTES.get(path)
        if methods is None:
            raise RouteNotFound(f"no such path; there is POST {', '.join(ROUTES)}")
        if method not in methods:
            raise MethodNotAllowed(f"{path} takes {', '.join(methods)}", allow=", ".join(methods))
        if method == "OPTIONS":
            return None
        query = {
            key: str(value) for key, value in _dict(self._event, "queryStringParameters").items()
        }
        kind = _header(self._event, "content-type")
        return Request.from_body(self._body(kind), kind, query, settings.max_images)

    def success(self, body: Any, server_timing: str, settings: Settings) -> dict[str, Any]:
        return respond.answer(200 if body is not None else 204, body, server_timing, settings)

    def failure(
        self, error: ClassifierError, server_timing: str, settings: Settings
    ) -> dict[str, Any]:
        return respond.failure(error, server_timing, settings)

    def _route(self) -> tuple[str, str]:
        context = self._event["requestContext"]
        path = str(self._event.get("rawPath") or context["http"].get("path") or "/")
        stage = str(context.get("stage") or "")
        # A named stage is the path's first part here, unlike in payload format 1.0.
        if stage and (path + "/").startswith(f"/{stage}/"):
            path = path[len(stage) + 1 :]
        return str(context["http"].get("method", "")).upper(), "/" + path.strip("/")

    def _body(self, content_type: str) -> bytes:
        body = self._event.get("body") or ""
        if not isinstance(body, str):
            raise InvalidRequest("the event's body is not a string")
        if self._event.get("isBase64Encoded"):
            try:
                return base64.b64decode(body, validate=True)
            except (binascii.Error, ValueError) as error:
                raise InvalidRequest(f"the event's body is not valid base64: {error}") from error
        if body and content_type.startswith(("image/", "application/octet-stream")):
            raise InvalidRequest(
                "the gateway passed the image on as text, which damages it: list its type in the "
                "API's BinaryMediaTypes, or send JSON with the image as base64"
            )
        return body.encode("utf-8", "surrogatepass")


class RestApi(HttpApi):
    """API Gateway REST APIs with proxy integration, payload format 1.0.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """

    source: ClassVar[str] = "rest-api"

    @staticmethod
    def infer(event: Any) -> bool:
        return (
            isinstance(event, dict)
            and isinstance(event.get("httpMethod"), str)
            and isinstance(event.get("requestContext"), dict)
        )

    def _route(self) -> tuple[str, str]:
        path = str(self._event.get("path") or "/")
        return self._event["httpMethod"].upper(), "/" + path.strip("/")


FAMILIES: tuple[type[HttpApi | RestApi | Direct], ...] = (HttpApi, RestApi, Direct)


def detect(event: Any) -> HttpApi | RestApi | Direct:
    """The family of an event. Never raises."""
    return next(family for family in FAMILIES if family.infer(event))(event)


def _dict(event: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = event.get(key)
    return value if isinstance(value, dict) else {}


def _header(event: Mapping[str, Any], name: str) -> str:
    for key, value in _dict(event, "headers").items():
        if key.lower() == name:
            return str(value).lower()
    return ""
