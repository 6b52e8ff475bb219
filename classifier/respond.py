"""Result or error -> the answer that an HTTP gateway expects of a function.

Payload formats 1.0 and 2.0 take the same object: status, headers, body.
"""

from __future__ import annotations

import json
from typing import Any

from classifier.errors import ClassifierError, MethodNotAllowed
from classifier.settings import Settings


def answer(
    status: int, body: Any, server_timing: str, settings: Settings, **headers: str
) -> dict[str, Any]:
    """An HTTP answer with a JSON body, or with none where `body` is None.

    `server_timing` is the header's value (https://www.w3.org/TR/server-timing/).
    """
    return {
        "statusCode": status,
        "headers": {
            "Content-Type": "application/json; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Access-Control-Allow-Origin": settings.cors_origin,
            "Access-Control-Allow-Methods": "POST, OPTIONS",
            "Access-Control-Allow-Headers": "Content-Type, Authorization, X-Api-Key",
            # Without these two a browser hides the timings from scripts of another origin.
            "Access-Control-Expose-Headers": "Server-Timing",
            "Timing-Allow-Origin": settings.cors_origin,
            "Server-Timing": server_timing,
            **headers,
        },
        "body": "" if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False),
        "isBase64Encoded": False,
    }


def failure(error: ClassifierError, server_timing: str, settings: Settings) -> dict[str, Any]:
    """An error as an HTTP answer."""
    headers = {"Allow": error.allow} if isinstance(error, MethodNotAllowed) else {}
    return answer(error.status, error.to_json(), server_timing, settings, **headers)
