"""HTTP requests, in the shapes that AWS's gateways and load balancers give them.

They differ in the places of path, method, query and body, and in the headers' form; one class each.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

from keras_to_lambda.runtime.common.errors import (
    InvalidRequest,
    MethodNotAllowed,
    RouteNotFound,
)
from keras_to_lambda.runtime.common.record import Any
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.common.text import clean, encodable
from keras_to_lambda.runtime.events.base import Done, Job, Synchronous
from keras_to_lambda.runtime.http import responses
from keras_to_lambda.runtime.http.responses import (
    READ,
    RESOURCES,
    ROUTES,
    STATIC,
    Content,
    Resource,
)
from keras_to_lambda.runtime.inference.pipeline import Invocation
from keras_to_lambda.runtime.inference.request import Request
from keras_to_lambda.runtime.sources.images import recognised

WORTH_PACKING = 1000  # characters of a page


class HttpApi(Synchronous):
    """API Gateway HTTP APIs, payload format 2.0, and function URLs, which have the same.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
    """

    source = "http-api"
    title = "HTTP"
    http = True
    _packs = True  # whether the sender decodes base64 in an answer of any type

    @classmethod
    def infer(cls, event: dict[Any, Any]) -> bool:
        # An authorizer's event has the request's form too.
        http = _dict(event, "requestContext").get("http")
        return isinstance(http, dict) and "routeArn" not in event

    def jobs(self, settings: Settings) -> Sequence[Job]:
        method = self._method().upper()
        path = self._path()
        if (path + "/").startswith(settings.base_path + "/"):
            path = path[len(settings.base_path) :]
        path = "/" + path.strip("/")
        methods = READ if path.startswith(STATIC) else ROUTES.get(path)
        if methods is None:
            raise RouteNotFound("no such path; there are POST /predict, GET /, /models and more "
                                "in /openapi.json")  # fmt: skip
        if method not in methods:
            raise MethodNotAllowed(
                f"{clean(path)} takes {', '.join(methods)}", allow=", ".join(methods)
            )
        if method == "OPTIONS":
            return [Job(Resource("preflight"))]
        if path.startswith(STATIC):
            return [Job(Resource("static", path[len(STATIC) :]))]
        asked = self._asked()
        if path == "/" and not asked.endswith("/"):
            # The page's links are relative, so that it works below any stage and base path: at
            # .../Prod they would point beside the API.
            return [Job(Resource("slash", asked.rpartition("/")[2]))]
        if path in RESOURCES:
            return [Job(Resource(RESOURCES[path]))]
        kind = _header(self._event, "content-type")
        request = Request.from_body(
            self._body(kind.lower()),
            kind,
            self._query(),
            settings.max_images,
            encoding=_header(self._event, "content-encoding"),
            # As base64 in JSON, which is the longest that an image can be.
            max_bytes=settings.max_image_bytes // 3 * 4 + 65_536,
        )
        return [Job(request._replace(tensor=path == "/tensor"))]

    def do(self, group: Sequence[Job], invocation: Invocation) -> list[Done[Content]]:
        asked = group[0].asked
        if not isinstance(asked, Resource):
            return super().do(group, invocation)
        if asked.name == "preflight":  # headers are the whole answer
            return [Done(group[0], None)]
        from keras_to_lambda.runtime.http import resources  # at the first GET alone

        return [Done(group[0], resources.get(asked, invocation.models, invocation.settings))]

    def answer(self, done: Sequence[Done[Content]], headers: dict[str, str]) -> dict[str, Any]:
        status, own, body = responses.response(done[0].outcome)
        method, tag, packed = self._method().upper(), own.get("ETag"), False
        if tag is not None:
            kept = _header(self._event, "if-none-match").replace("W/", "").split(",")
            if method in READ and tag.removeprefix("W/") in map(str.strip, kept):
                status, body = 304, ""
            packed = self._packs and len(body) >= WORTH_PACKING
            packed = packed and "gzip" in _header(self._event, "accept-encoding")
        if packed:
            import gzip

            body = base64.b64encode(gzip.compress(body.encode(), mtime=0)).decode()
            own = {**own, "Content-Encoding": "gzip"}
        if method == "HEAD":
            # Its GET's headers, the length included, without the body (RFC 9110, 9.3.2).
            length = len(base64.b64decode(body)) if packed else len(body.encode())
            own = own if status == 304 else {**own, "Content-Length": str(length)}
            body, packed = "", False
        return self._envelope(status, {**headers, **own}, body, packed=packed)

    def _envelope(
        self, status: int, headers: dict[str, str], body: str, *, packed: bool
    ) -> dict[str, Any]:
        return {"statusCode": status, "headers": headers, "body": body, "isBase64Encoded": packed}

    def _method(self) -> str:
        return str(self._event["requestContext"]["http"].get("method", ""))

    def _path(self) -> str:
        # A named stage is the path's first part here, unlike in a REST API.
        return self._below_stage(self._asked())

    def _below_stage(self, path: str) -> str:
        stage = str(self._event["requestContext"].get("stage") or "")
        return path[len(stage) + 1 :] if stage and f"{path}/".startswith(f"/{stage}/") else path

    def _asked(self) -> str:
        """The client's path, with stage and base path; "/" where it is missing."""
        context = self._event["requestContext"]
        return str(self._event.get("rawPath") or context["http"].get("path") or "/")

    def _query(self) -> dict[str, str]:
        query = _dict(self._event, "queryStringParameters")
        return {key: str(_last(value)) for key, value in query.items() if value != []}

    def _body(self, content_type: str) -> bytes:
        body = self._event.get("body") or ""
        if not isinstance(body, str):
            raise InvalidRequest("the event's body is not a string")
        if self._event.get("isBase64Encoded"):
            try:
                return binascii.a2b_base64(body, strict_mode=True)
            except ValueError as error:  # binascii.Error is one
                raise InvalidRequest(f"the event's body is not valid base64: {error}") from error
        binary = content_type.startswith(("image/", "application/octet-stream", "multipart/"))
        damaged = "\ufffd" in body[:16] and body[:1] not in ("{", "[", '"')
        if damaged or (binary and body and not recognised(body)):
            raise InvalidRequest(
                "the gateway passed the image on as text, which damages it: list its type in the "
                "API's BinaryMediaTypes, or send JSON with the image as base64"
            )
        if not encodable(body):
            raise InvalidRequest("the event's body has an unpaired surrogate; send valid Unicode")
        return body.encode()


class RestApi(HttpApi):
    """API Gateway REST APIs with proxy integration, payload format 1.0.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """

    source = "rest-api"
    _packs = False  # only types in the API's BinaryMediaTypes; it can compress by itself

    @classmethod
    def infer(cls, event: dict[Any, Any]) -> bool:
        return (
            isinstance(event.get("httpMethod"), str)
            and isinstance(event.get("requestContext"), dict)
            and not {"methodArn", "routeArn"} & event.keys()
        )

    def _method(self) -> str:
        return str(self._event["httpMethod"])

    def _path(self) -> str:
        # A custom domain's base path is in `path` and not in the resource that it was mapped to.
        resource = str(self._event.get("resource") or "")
        if resource in ROUTES and resource != "/":
            return resource
        if resource.startswith(STATIC):
            return STATIC + str(_dict(self._event, "pathParameters").get("file", ""))
        path = str(self._event.get("path") or "/")
        # An HTTP API with this format states its version, and puts a named stage into the path.
        return self._below_stage(path) if self._event.get("version") == "1.0" else path

    def _asked(self) -> str:
        return str(self._event["requestContext"].get("path") or "/")


class LoadBalancer(RestApi):
    """Application Load Balancers. Query values come as they were sent, percent-encoded.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
    A target group with multi-value headers sends lists, and takes nothing else back.
    """

    source = "alb"
    _packs = True

    @classmethod
    def infer(cls, event: dict[Any, Any]) -> bool:
        return RestApi.infer(event) and isinstance(event["requestContext"].get("elb"), dict)

    def _path(self) -> str:
        return str(self._event.get("path") or "/")

    def _query(self) -> dict[str, str]:
        from urllib.parse import unquote_plus

        query = super()._query()
        for key, values in _dict(self._event, "multiValueQueryStringParameters").items():
            if values:
                query[key] = str(_last(values))
        return {unquote_plus(key): unquote_plus(value) for key, value in query.items()}

    def _envelope(
        self, status: int, headers: dict[str, str], body: str, *, packed: bool
    ) -> dict[str, Any]:
        from http import HTTPStatus

        answer = super()._envelope(status, headers, body, packed=packed)
        answer["statusDescription"] = f"{status} {HTTPStatus(status).phrase}"
        if "multiValueHeaders" in self._event:
            headers = answer.pop("headers")
            answer["multiValueHeaders"] = {key: [value] for key, value in headers.items()}
        return answer


class Lattice(HttpApi):
    """VPC Lattice, event structure version 2.0.

    https://docs.aws.amazon.com/vpc-lattice/latest/ug/lambda-functions.html
    """

    source = "lattice"

    @classmethod
    def infer(cls, event: dict[Any, Any]) -> bool:
        context = _dict(event, "requestContext")
        return isinstance(event.get("method"), str) and any("serviceArn" in key for key in context)

    def _method(self) -> str:
        return str(self._event["method"])

    def _path(self) -> str:
        return str(self._event.get("path") or "/").partition("?")[0]

    def _asked(self) -> str:
        return self._path()


class LatticeV1(Lattice):
    """VPC Lattice, event structure version 1.0: the API's default. Other names, no context."""

    @classmethod
    def infer(cls, event: dict[Any, Any]) -> bool:
        return isinstance(event.get("raw_path"), str) and isinstance(event.get("method"), str)

    def __init__(self, event: Any) -> None:
        renamed = {
            "path": event["raw_path"],
            "queryStringParameters": event.get("query_string_parameters"),
            "isBase64Encoded": event.get("is_base64_encoded"),
        }
        super().__init__({**event, **renamed})


# In this order: what is more special comes first.
SOURCES = (HttpApi, LoadBalancer, RestApi, Lattice, LatticeV1)


def _dict(event: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = event.get(key)
    return value if isinstance(value, dict) else {}


def _last(value: Any) -> Any:
    """A value, or the last of several."""
    return (value or [""])[-1] if isinstance(value, list) else value


def _header(event: Mapping[str, Any], name: str) -> str:
    for key, value in {**_dict(event, "multiValueHeaders"), **_dict(event, "headers")}.items():
        if str(key).lower() == name:
            return str(_last(value))
    return ""
