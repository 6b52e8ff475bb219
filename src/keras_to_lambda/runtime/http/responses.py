"""Paths and the resource at each; a result or an error as status, headers, body."""

from __future__ import annotations

from collections.abc import Mapping

from keras_to_lambda.runtime.common import text
from keras_to_lambda.runtime.common.errors import ClassifierError, MethodNotAllowed
from keras_to_lambda.runtime.common.record import Any, NamedTuple
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.inference import telemetry
from keras_to_lambda.runtime.inference.telemetry import Stopwatch

READ = ("GET", "HEAD", "OPTIONS")
ROUTES: Mapping[str, tuple[str, ...]] = {
    "/predict": ("POST", "OPTIONS"),
    "/tensor": ("POST", "OPTIONS"),
    "/": READ,
    "/docs": READ,
    "/models": READ,
    "/samples": READ,
    "/openapi.json": READ,
}
RESOURCES = {
    "/": "index",
    "/docs": "docs",
    "/models": "models",
    "/samples": "samples",
    "/openapi.json": "openapi",
}
STATIC = "/static/"  # the page's scripts and styles


class Resource(NamedTuple):
    """What an HTTP client may get besides predictions.

    name: "index", "docs", "static", "models", "samples", "openapi", "slash", or "preflight".
    item: which one; of "slash", the path's last part.
    """

    name: str
    item: str = ""


JSON = "application/json; charset=utf-8"


class Page(NamedTuple):
    """Text that stays the same until the next deployment; `headers` are its own."""

    content: str
    type: str
    headers: Mapping[str, str] = {}  # a NamedTuple's default is never written to


class Redirect(NamedTuple):
    """The other place to look, relative to the requested one."""

    location: str


# What an HTTP client gets: JSON, a page, a redirect, or nothing but headers.
Content = Page | Redirect | dict[str, "Any"] | list["Any"] | None


def response(outcome: Content | ClassifierError) -> tuple[int, dict[str, str], str]:
    """A result or an error as status, the headers that are this answer's own, and body."""
    if isinstance(outcome, ClassifierError):
        allowed = {"Allow": outcome.allow} if isinstance(outcome, MethodNotAllowed) else {}
        own = {"Content-Type": JSON, **allowed}
        return outcome.status, own, text.to_json(outcome.to_json())
    if outcome is None:
        return 204, {}, ""
    if isinstance(outcome, Page):
        import hashlib

        # Browsers keep it and revalidate it: after a deployment no page is half old and half new.
        digest = hashlib.sha256(outcome.content.encode()).hexdigest()[:16]
        own = {
            "Content-Type": outcome.type,
            "Cache-Control": "no-cache",
            "ETag": f'W/"{digest}"',
            "Vary": "Accept-Encoding",
        }
        return 200, {**own, **outcome.headers}, outcome.content
    if isinstance(outcome, Redirect):
        from urllib.parse import quote

        return 308, {"Location": quote(outcome.location, safe="/", errors="replace")}, ""
    return 200, {"Content-Type": JSON}, text.to_json(outcome)


def headers(settings: Settings, watch: Stopwatch, *, cold: bool) -> dict[str, str]:
    """What every answer has."""
    own = {
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Access-Control-Allow-Origin": settings.cors_origin,
        "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
        # The last four: API keys, and requests signed with AWS credentials.
        "Access-Control-Allow-Headers": (
            "Content-Type, Authorization, X-Api-Key, X-Amz-Content-Sha256, X-Amz-Date, "
            "X-Amz-Security-Token"
        ),
        # Without these a browser hides the timings and ids from scripts of another origin.
        "Access-Control-Expose-Headers": "Server-Timing, X-Request-Id",
        "Timing-Allow-Origin": settings.cors_origin,
        "Server-Timing": watch.server_timing(cold),
    }
    if watch.request_id:
        own["X-Request-Id"] = text.header(watch.request_id)
    if telemetry.trace_id():
        own["X-Amzn-Trace-Id"] = text.header(telemetry.trace_id())
    return own
