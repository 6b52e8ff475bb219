"""AWS Signature Version 4 as the receiver checks it, from the specification, without botocore.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import io
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl, quote

HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>\w+)/(?P<scope>[\w/-]+), "
    r"SignedHeaders=(?P<names>[\w;-]+), Signature=(?P<signature>[0-9a-f]{64})"
)


def valid(environ: dict[str, Any], body: bytes, secret: str = "secret") -> bool:
    """Whether a WSGI request is signed with the secret."""
    given = HEADER.fullmatch(environ.get("HTTP_AUTHORIZATION", ""))
    if not given:
        return False
    values = {key.removeprefix("HTTP_").replace("_", "-").lower(): v for key, v in environ.items()}
    pairs = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    query = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in pairs)
    request = "\n".join((
        environ["REQUEST_METHOD"],
        quote(quote(environ["PATH_INFO"], safe="/-_.~"), safe="/-_.~"),
        "&".join(f"{name}={value}" for name, value in query),
        *(f"{name}:{values[name].strip()}" for name in given["names"].split(";")),
        "",
        given["names"],
        hashlib.sha256(body).hexdigest(),
    ))  # fmt: skip
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{values['x-amz-date']}\n{given['scope']}\n{digest}"
    key = f"AWS4{secret}".encode()
    for part in (*given["scope"].split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex() == given["signature"]


def guarded(application: Any) -> Callable[..., Iterable[bytes]]:
    """A WSGI application behind a gateway with the stage /Prod that wants a signature or a key."""

    def answer(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if not environ.get("HTTP_X_API_KEY") and not valid(environ, body):
            start("403 Forbidden", [("Content-Type", "application/json")])
            return [b'{"message": "Forbidden"}']
        path = environ["PATH_INFO"].removeprefix("/Prod")
        return application({**environ, "PATH_INFO": path, "wsgi.input": io.BytesIO(body)}, start)

    return answer
