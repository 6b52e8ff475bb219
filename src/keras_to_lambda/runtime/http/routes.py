"""Routes: the paths of the HTTP interface, and the resource at each."""

from __future__ import annotations

from collections.abc import Mapping

from keras_to_lambda.runtime.common.record import NamedTuple

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
