"""Version: one version of the function, past gateway and alias."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from urllib.parse import parse_qsl

from keras_to_lambda.client import Client, Reply
from keras_to_lambda.deploy.rollout.alias import SAID_BYTES, Alias, FunctionFailed


class Version(Client):
    """One version of the function, invoked directly with the events that an HTTP API sends.

    No gateway and no alias is between: a fault is the version's own.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """

    def __init__(self, alias: Alias, number: str) -> None:
        self.url, self.key, self.signature = f"{alias.function}:{number}", None, None
        self._alias, self._number = alias, number

    def request(
        self,
        method: str = "POST",
        path: str | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Invoke it once.

        Raises:
            FunctionFailed: it was run, and failed or answers with a 5xx. AwsError: it was not.
        """
        path, _, query = (path or "predict").partition("?")
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
        answer = self._alias.invoke(event, self._number)
        ms = (time.perf_counter() - began) * 1000
        if not isinstance(answer, dict) or "statusCode" not in answer:
            said = json.dumps(answer)[:SAID_BYTES]
            raise FunctionFailed(f"{self.url} answers a request over HTTP with {said}")
        content = (answer.get("body") or "").encode()
        named = {name.lower(): value for name, value in (answer.get("headers") or {}).items()}
        reply = Reply(int(answer["statusCode"]), named, content, ms)
        if reply.status >= 500:
            raise FunctionFailed(f"{self.url} answers {reply}")
        return reply
