"""Gateway: a WSGI application that does to the handler what API Gateway and the emulator do.

An HTTP request becomes a payload format 2.0 event, binary bodies in base64, and the answer's
envelope becomes the response:
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
The emulator's invocation URL takes the event itself.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from keras_to_lambda.runtime.common.aws_lambda import INVOCATIONS_PATH, MAX_EVENT_BYTES, TIMEOUT_S

# API Gateway's own limit; the function that it asks takes MAX_EVENT_BYTES, base64 and all.
MAX_BODY_BYTES = 10 * 1024 * 1024
# Calls of the function at a time; while each waits for a slow host, the next one is a 503.
MAX_CALLS = 32
TEXT = ("application/json", "application/x-www-form-urlencoded", "text/")
JSON = {"content-type": "application/json"}

StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]  # PEP 3333


class Context:
    """What Lambda hands to a handler beside the event, as far as one asks for it.

    https://docs.aws.amazon.com/lambda/latest/dg/python-context.html
    """

    function_name = "local"

    def __init__(self, request_id: str, timeout_s: float) -> None:
        self.aws_request_id = request_id
        self._end = time.monotonic() + timeout_s

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the time-out."""
        return max(0, round((self._end - time.monotonic()) * 1000))


class TimedOut(Exception):
    """The function did not answer within its time-out."""


class Busy(Exception):
    """As many calls as are allowed are under way: Lambda's throttling (429), a gateway's 503."""


class Gateway:
    """The application; `handler` is called as Lambda calls it, from several threads.

    timeout_s: the function's. A call that takes longer is answered for, as there. No process is
        killed here: its thread ends at the deadline that the handler sets itself by its context.
    max_calls: how many POST requests may be under way, and how many others, those after their
        time-out included.
    invocations: whether INVOCATIONS_PATH takes events. Who may post there can claim to be any AWS
        service, so that a public server must not have it.
    """

    def __init__(
        self,
        handler: Callable[[Any, Context], Any],
        timeout_s: float = TIMEOUT_S,
        max_calls: int = MAX_CALLS,
        *,
        invocations: bool = True,
    ) -> None:
        self._handler, self._timeout_s = handler, timeout_s
        self._invocations = {INVOCATIONS_PATH} if invocations else frozenset[str]()
        # A page waits for no host: it is given while every call is taken.
        self._calls, self._pages = (threading.BoundedSemaphore(max_calls) for _ in range(2))

    def __call__(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > MAX_BODY_BYTES:
            return _refuse(start, 413)
        body = environ["wsgi.input"].read(length)
        if environ["PATH_INFO"] in self._invocations and environ["REQUEST_METHOD"] == "POST":
            return self._invoke(body, start)
        request_id = str(uuid.uuid4())
        event = _event(environ, body, request_id)
        # Without the body, the event is some headers; that saves writing megabytes as JSON here.
        if len(event["body"]) + len(json.dumps({**event, "body": ""})) > MAX_EVENT_BYTES:
            return _refuse(start, 413)
        try:
            slots = self._calls if environ["REQUEST_METHOD"] == "POST" else self._pages
            answer = self._call(event, request_id, slots)
            return _send(start, *_response(answer))
        except Busy:
            return _refuse(start, 503)
        except TimedOut as error:
            print(f"serve: {request_id} {error}", file=sys.stderr, flush=True)
        except Exception:  # noqa: BLE001  # a gateway gives no reason
            traceback.print_exc()
        return _refuse(start, 500)

    def _invoke(self, body: bytes, start: StartResponse) -> Iterable[bytes]:
        """As the emulator: status 200, and in the body the answer or the raised error."""
        request_id = str(uuid.uuid4())
        try:
            event = json.loads(body)
        except (ValueError, RecursionError) as error:
            message = f"{error}; this path takes JSON; send images to /predict"
            result: Any = {"errorType": "Runtime.UnmarshalError", "errorMessage": message}
        else:
            try:
                result = self._call(event, request_id, self._calls)
            except Busy:
                return _refuse(start, 503)
            except TimedOut as error:
                message = f"RequestId: {request_id} Error: {error}"
                result = {"errorType": "Sandbox.Timedout", "errorMessage": message}
            except Exception as error:  # noqa: BLE001  # the answer is its name, as there
                result = {"errorType": type(error).__name__, "errorMessage": str(error)}
        # The runtime of Python 3.12 and later escapes nothing.
        return _send(start, 200, JSON, json.dumps(result, ensure_ascii=False).encode())

    def _call(self, event: Any, request_id: str, slots: threading.BoundedSemaphore) -> Any:
        """The handler's answer, or what it raised.

        Raises:
            TimedOut, Busy
        """
        if not slots.acquire(blocking=False):
            raise Busy
        outcome: list[Any] = []
        failed: list[Exception] = []

        def work() -> None:
            try:
                outcome.append(self._handler(event, Context(request_id, self._timeout_s)))
            except Exception as error:  # noqa: BLE001  # raised again below
                failed.append(error)
            finally:
                slots.release()

        # A daemon, so that one that hangs does not keep the server from ending.
        thread = threading.Thread(target=work, name=request_id, daemon=True)
        thread.start()
        thread.join(self._timeout_s)
        if failed:
            raise failed[0]
        if not outcome:
            raise TimedOut(f"Task timed out after {self._timeout_s:.2f} seconds")
        return outcome[0]


def _event(environ: dict[str, Any], body: bytes, request_id: str) -> dict[str, Any]:
    """A payload format 2.0 event of a WSGI request."""
    headers = {
        key[5:].replace("_", "-").lower(): value
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    kind = environ.get("CONTENT_TYPE", "")
    if kind:
        headers["content-type"] = kind
    if environ.get("CONTENT_LENGTH"):
        headers["content-length"] = environ["CONTENT_LENGTH"]
    cookies = headers.pop("cookie", "")
    # API Gateway passes text types on as text, and everything else as base64.
    binary = bool(body) and not kind.startswith(TEXT)
    if not binary:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            binary = True
    # PEP 3333: bytes, each as one character.
    path = (environ["PATH_INFO"] or "/").encode("latin-1").decode("utf-8", "replace")
    query = environ.get("QUERY_STRING", "")
    values: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        values[key] = f"{values[key]},{value}" if key in values else value
    now = datetime.now(UTC)
    host = headers.get("host", "localhost")
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "local",
            "domainName": host.rpartition(":")[0] or host,
            "domainPrefix": host.partition(".")[0],
            "http": {
                "method": environ["REQUEST_METHOD"],
                "path": path,
                "protocol": environ.get("SERVER_PROTOCOL", "HTTP/1.1"),
                "sourceIp": environ.get("REMOTE_ADDR", ""),
                "userAgent": environ.get("HTTP_USER_AGENT", ""),
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S %z"),
            "timeEpoch": round(now.timestamp() * 1000),
        },
        "body": base64.b64encode(body).decode() if binary else text,
        "isBase64Encoded": binary,
    }
    if cookies:
        event["cookies"] = [cookie.strip() for cookie in cookies.split(";")]
    if values:
        event["queryStringParameters"] = values
    return event


def _response(answer: Any) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a function's answer.

    Raises:
        ValueError, TypeError: it is none, which the gateway answers for.
    """
    if not (isinstance(answer, dict) and "statusCode" in answer):
        # Payload format 2.0 takes any JSON for the body of a success.
        return 200, JSON, json.dumps(answer).encode()
    body = answer.get("body") or ""
    content = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
    headers = {str(key): str(value) for key, value in (answer.get("headers") or {}).items()}
    return int(answer["statusCode"]), headers, content


def _refuse(start: StartResponse, status: int) -> list[bytes]:
    """What API Gateway answers by itself."""
    body = json.dumps({"message": HTTPStatus(status).phrase}).encode()
    headers = {**JSON, "retry-after": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else JSON
    return _send(start, status, headers, body)


def _send(start: StartResponse, status: int, headers: dict[str, str], body: bytes) -> list[bytes]:
    start(f"{status} {HTTPStatus(status).phrase}", list(headers.items()))
    return [body]
