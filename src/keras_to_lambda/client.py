"""The HTTP client of an endpoint: an API key or a signature, time-outs, repetitions.

`verify`, `evaluate`, `smoke` and `serve --remote` use it, so that each of them can reach a stack
with `Authentication=iam`, the default.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import NoCredentialsError

from keras_to_lambda import aws
from keras_to_lambda.runtime.common.errors import UserError, every

# Longer than API Gateway's 29 s, whose own answer names the reason.
TIMEOUT_S = 35
# After an answer of 429; a 5xx or a broken connection is repeated once, after the first of them.
PAUSES_S = (1.0, 2.0, 4.0)


class EndpointError(UserError):
    """The endpoint gave no usable answer, for a reason that its caller can correct."""


@dataclass(frozen=True)
class Reply:
    """An HTTP answer. ms: from the request's start to the answer's last byte."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    ms: float

    @property
    def content(self) -> Any:
        """The body's JSON; None if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def code(self) -> str:
        """The error's code: the function's, or API Gateway's, which template.yaml words alike."""
        error = self.content.get("error") if isinstance(self.content, dict) else None
        return str(error.get("code")) if isinstance(error, dict) else ""

    @property
    def own(self) -> bool:
        """Whether the error is the function's own."""
        return self.code in {error.code for error in every()}

    @property
    def cold(self) -> bool | None:
        """Whether a new instance answered; None without Server-Timing."""
        found = re.search(r'start;desc="?(cold|warm)', self.headers.get("server-timing", ""))
        return found and found[1] == "cold"

    @property
    def server_ms(self) -> float | None:
        """The handler's share of the time, by its Server-Timing."""
        found = re.search(r"\btotal;dur=([\d.]+)", self.headers.get("server-timing", ""))
        return float(found[1]) if found else None

    def __str__(self) -> str:
        message = self.content.get("message") if isinstance(self.content, dict) else None
        return " ".join(filter(None, (str(self.status), self.code or str(message or ""))))


class SigV4(requests.auth.AuthBase):
    """Signs requests with the credentials that botocore finds (AWS Signature Version 4).

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html

    Args:
        host: of the URL. region: AWS's name of it; None: the one in the host, or the shell's.
        profile: of AWS's configuration; None: the shell's.

    Raises:
        AwsError: there is no such profile, no credentials or no region.
    """

    def __init__(self, host: str, region: str | None = None, profile: str | None = None) -> None:
        # ID.execute-api.REGION.amazonaws.com, ID.lambda-url.REGION.on.aws
        named = re.search(r"\.(execute-api|lambda-url)\.([a-z0-9-]+)\.", host)
        service = "lambda" if named and named[1] == "lambda-url" else "execute-api"
        session = aws.session(region or (named[2] if named else None), profile)
        with aws.errors("--iam"):
            credentials = session.get_credentials()
            if credentials is None:
                raise NoCredentialsError
        self._signer = SigV4Auth(credentials, service, session.region_name)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the headers."""
        # Only the type is signed: a proxy may change other headers, which would end the signature.
        kept = {k: v for k, v in request.headers.items() if k.lower() == "content-type"}
        signed = AWSRequest(request.method, request.url, headers=kept, data=request.body)
        self._signer.add_auth(signed)
        request.headers.update(dict(signed.headers))
        return request


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options about who calls: an API key, or AWS credentials."""
    group = parser.add_argument_group("the caller")
    known = group.add_mutually_exclusive_group()
    known.add_argument("--api-key", metavar="KEY", help="API key, sent as x-api-key")
    known.add_argument(
        "--iam", action="store_true", help="sign requests with the AWS credentials of this shell"
    )
    aws.add_options(group)


class Client:
    """An endpoint over HTTP.

    Args:
        url: of the route .../predict, of what is before it, or of the emulator's invocations.
        key: sent as x-api-key. signature: signs each request. headers: sent with each request.
        timeout_s: for the connection, and between two parts of the answer.

    Raises:
        EndpointError: the URL is not an http or https URL.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        signature: SigV4 | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        if not (url.startswith(("http://", "https://")) and urlsplit(url).hostname):
            raise EndpointError(f"{url!r} is not an http or https URL")
        self.url = url
        if not url.endswith("/invocations"):
            self.url = url.rstrip("/").removesuffix("/predict") + "/predict"
        self.key, self.signature, self._timeout_s = key, signature, timeout_s
        self._headers = {**(headers or {}), **({"x-api-key": key} if key else {})}
        self._session = requests.Session()

    @classmethod
    def of(
        cls, url: str, args: argparse.Namespace, headers: Mapping[str, str] | None = None
    ) -> Client:
        """The client that `add_options` describes."""
        host = urlsplit(url).netloc
        signature = SigV4(host, args.region, args.profile) if args.iam else None
        return cls(url, args.api_key, signature, headers)

    def request(
        self,
        method: str = "POST",
        path: str | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request, once.

        Args:
            path: beside /predict, with its query; None: the client's own URL.

        Raises:
            EndpointError: no answer.
        """
        url = self.url if path is None else self.url.removesuffix("predict") + path
        began = time.perf_counter()
        try:
            response = self._session.request(
                method,
                url,
                data=body or None,
                headers={**self._headers, **(headers or {})},
                auth=self.signature,
                timeout=self._timeout_s,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            cause = _cause(error)
            said = str(cause) or type(cause).__name__
            raise EndpointError(f"{url} cannot be reached: {said}") from error
        named = {name.lower(): value for name, value in response.headers.items()}
        ms = (time.perf_counter() - began) * 1000
        return Reply(response.status_code, named, response.content, ms)

    def send(
        self,
        path: str | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """POST, and repeat what is throttled (three times) or fails in the gateway (once).

        Raises:
            EndpointError: no answer, also to the repetition.
        """
        for attempt, pause_s in enumerate(PAUSES_S):
            try:
                reply = self.request("POST", path, body, headers)
            except EndpointError as error:
                # A connection that was kept open can have ended; a refused one stays refused.
                if attempt or not isinstance(_cause(error), ConnectionResetError):
                    raise
            else:
                if not (reply.status == 429 or (reply.status >= 500 and attempt == 0)):
                    return reply
            time.sleep(pause_s)
        return self.request("POST", path, body, headers)

    def classify(self, image: bytes, type: str, model: str, *, as_json: bool = False) -> Reply:
        """Send an image to be classified: its bytes as the body, or in JSON as base64.

        Raises:
            EndpointError: as `send`; or `refused`.
        """
        if as_json:
            body = json.dumps({"image": base64.b64encode(image).decode(), "model": model})
            reply = self.send(None, body.encode(), {"Content-Type": "application/json"})
        else:
            path = f"predict?model={quote(model, safe='')}"
            reply = self.send(path, image, {"Content-Type": type})
        refused(reply, self.url)
        return reply


def refused(reply: Reply, url: str) -> None:
    """Raise EndpointError for an answer that is not about the function's version."""
    if reply.status in {401, 403}:
        raise EndpointError(
            f"{url} answers {reply}: use --iam or --api-key KEY, give the caller the permission to "
            "call it, or correct the path (a stage such as /Prod is part of it)"
        )
    if reply.status == 429:
        raise EndpointError(f"{url} answers {reply}: throttled; retry, or raise the stage's limits")
    if reply.status == 404 and not reply.own:
        raise EndpointError(f"{url} answers {reply}: is this the URL of .../predict?")


def _cause(error: BaseException) -> BaseException:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return error
