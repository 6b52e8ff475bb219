"""Endpoint: the deployed function over HTTP, as a client with a key or a signature asks it.

Version is the same of one version of it, past gateway and alias.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote

import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from keras_to_lambda.deploy.alias import SAID_BYTES, Alias, FunctionFailed
from keras_to_lambda.runtime.errors import every

# Over API Gateway's 29 s: its own answer is better than our silence.
TIMEOUT_S = 35


class NotAsked(Exception):
    """The endpoint could not be asked, by no fault that its function would have; what to do."""


@dataclass(frozen=True)
class Reply:
    """What came back. ms: from the request's start to the answer's last byte."""

    status: int
    headers: Mapping[str, str]
    content: Any
    ms: float

    @property
    def code(self) -> str:
        """The error's code: the function's, or API Gateway's, in one form by template.yaml."""
        error = self.content.get("error") if isinstance(self.content, dict) else None
        return str(error.get("code")) if isinstance(error, dict) else ""

    @property
    def own(self) -> bool:
        """Whether the error is the function's own."""
        return self.code in {error.code for error in every()}

    @property
    def cold(self) -> bool | None:
        """Whether a new instance answered; None where no Server-Timing says so."""
        found = re.search(r'start;desc="?(cold|warm)', self.headers.get("server-timing", ""))
        return found and found[1] == "cold"

    @property
    def server_ms(self) -> float | None:
        """The handler's share of the time, by its Server-Timing."""
        found = re.search(r"\btotal;dur=([\d.]+)", self.headers.get("server-timing", ""))
        return float(found[1]) if found else None

    def __str__(self) -> str:
        said = self.content.get("message") if isinstance(self.content, dict) else None
        return " ".join(filter(None, (str(self.status), self.code or str(said or ""))))


class Signature(requests.auth.AuthBase):
    """Signs requests by the credentials that botocore finds (AWS Signature Version 4).

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html

    Args:
        host: of the URL. region: AWS's name of it; the host's own for None.
        profile: of AWS's configuration; the shell's for None.

    Raises:
        NotAsked: no such profile; or no credentials or no region are known.
    """

    def __init__(self, host: str, region: str | None, profile: str | None = None) -> None:
        session = Session(profile=profile)
        try:
            credentials = session.get_credentials()
        except BotoCoreError as error:
            raise NotAsked(f"--iam: {error}") from error
        if credentials is None:
            raise NotAsked("--iam: no AWS credentials; run `aws configure`, or give --profile")
        # ID.execute-api.REGION.amazonaws.com, ID.lambda-url.REGION.on.aws
        named = re.search(r"\.(execute-api|lambda-url)\.([a-z0-9-]+)\.", host)
        service = "lambda" if named and named[1] == "lambda-url" else "execute-api"
        region = region or (named[2] if named else session.get_config_variable("region"))
        if not region:
            raise NotAsked("--iam: the URL has no region in it; give --region")
        self._signer = SigV4Auth(credentials, service, region)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the headers."""
        # Of the headers only the type: what proxies may alter would spoil the signature.
        kept = {k: v for k, v in request.headers.items() if k.lower() == "content-type"}
        signed = AWSRequest(request.method, request.url, headers=kept, data=request.body)
        self._signer.add_auth(signed)
        request.headers.update(dict(signed.headers))
        return request


class Endpoint:
    """The deployed function over HTTP.

    Args:
        url: of the route .../predict, or of what is in front of it.
        key: sent as x-api-key. signature: signs each request.
    """

    def __init__(
        self, url: str, key: str | None = None, signature: Signature | None = None
    ) -> None:
        self.url = url.rstrip("/").removesuffix("/predict") + "/predict"
        self.key, self.signature = key, signature
        self._session = requests.Session()

    def ask(
        self,
        method: str = "POST",
        path: str = "predict",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        known: bool = True,
    ) -> Reply:
        """Ask once.

        Args:
            known: with the credentials, if there are any.

        Raises:
            NotAsked: no answer, not even an error's.
        """
        url = self.url.removesuffix("predict") + path
        own = {"x-api-key": self.key} if known and self.key else {}
        began = time.perf_counter()
        try:
            response = self._session.request(
                method,
                url,
                data=body or None,
                headers={**own, **(headers or {})},
                auth=self.signature if known else None,
                timeout=TIMEOUT_S,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise NotAsked(f"{url} cannot be reached: {_root(error)}") from error
        try:
            content = response.json()
        except ValueError:
            content = None
        return Reply(
            response.status_code,
            {name.lower(): value for name, value in response.headers.items()},
            content,
            (time.perf_counter() - began) * 1000,
        )

    def classify(self, image: bytes, type: str, model: str, *, as_json: bool = False) -> Reply:
        """Send an image to be classified: its bytes as the body, or in JSON as base64.

        Raises:
            NotAsked: as `ask`; or it refuses us, for what no version of the function could help.
        """
        for pause_s in (1, 2, 4, None):
            if as_json:
                body = json.dumps({"image": base64.b64encode(image).decode(), "model": model})
                reply = self.ask(body=body.encode(), headers={"Content-Type": "application/json"})
            else:
                path = f"predict?model={quote(model, safe='')}"
                reply = self.ask(path=path, body=image, headers={"Content-Type": type})
            # Of a gateway's 5xx one alone says nothing yet.
            again = reply.status == 429 or (reply.status >= 500 and pause_s == 1)
            if pause_s is None or not again:
                break
            time.sleep(pause_s)
        refused(reply, self.url)
        return reply


class Version(Endpoint):
    """One version of the function, invoked directly with the events that an HTTP API sends.

    Neither a gateway nor an alias is between, so that whatever is wrong is the version's fault.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """

    def __init__(self, alias: Alias, number: str) -> None:
        super().__init__("")
        self.url = f"{alias.function}:{number}"
        self._alias, self._number = alias, number

    def ask(
        self,
        method: str = "POST",
        path: str = "predict",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        known: bool = True,
    ) -> Reply:
        """Ask once.

        Raises:
            FunctionFailed: it was run, and failed or answers with a 5xx. AliasError: it was not.
        """
        path, _, query = path.partition("?")
        event = {
            "version": "2.0",
            "rawPath": f"/{path}",
            "rawQueryString": query,
            "queryStringParameters": dict(parse_qsl(query, keep_blank_values=True)),
            "headers": {name.lower(): value for name, value in (headers or {}).items()},
            "requestContext": {"http": {"method": method, "path": f"/{path}"}},
            "body": base64.b64encode(body).decode(),
            "isBase64Encoded": True,
        }
        began = time.perf_counter()
        answer = self._alias.invoke(event, self._number).answer
        ms = (time.perf_counter() - began) * 1000
        if not isinstance(answer, dict) or "statusCode" not in answer:
            said = json.dumps(answer)[:SAID_BYTES]
            raise FunctionFailed(f"{self.url} answers a request over HTTP with {said}")
        try:
            content = json.loads(answer.get("body") or "")
        except ValueError:
            content = None
        named = {name.lower(): value for name, value in (answer.get("headers") or {}).items()}
        reply = Reply(int(answer["statusCode"]), named, content, ms)
        if reply.status >= 500:
            raise FunctionFailed(f"{self.url} answers {reply}")
        return reply


def refused(reply: Reply, url: str) -> None:
    """Raise NotAsked for an answer that says nothing about the function's version."""
    if reply.status in {401, 403}:
        raise NotAsked(
            f"{url} answers {reply}: it wants --iam or --api-key KEY, or these may not call it, or "
            "the path is wrong (a stage as /Prod is part of it)"
        )
    if reply.status == 429:
        raise NotAsked(f"{url} answers {reply}: throttled; try again, or raise the stage's limits")
    if reply.status == 404 and not reply.own:
        raise NotAsked(f"{url} answers {reply}: is this the URL of .../predict?")


def _root(error: BaseException) -> str:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return str(error) or type(error).__name__
