"""What GET answers: the pages, the models' cards, the sample images, and the API's description.

Imported at the first GET alone.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from keras_to_lambda.runtime.common.aws_lambda import MAX_EVENT_BYTES
from keras_to_lambda.runtime.common.errors import RouteNotFound
from keras_to_lambda.runtime.common.formats import MEDIA_TYPES
from keras_to_lambda.runtime.common.settings import Settings, bundled
from keras_to_lambda.runtime.http.responses import JSON, Content, Page, Redirect, Resource
from keras_to_lambda.runtime.model.registry import Models

WEB = Path(bundled("web"))
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
NO_SITES = "'none'"
# Samples travel together in one answer, which may have 6 MB.
MAX_SAMPLES, MAX_SAMPLE_BYTES = 12, 100_000


def get(resource: Resource, models: Models, settings: Settings) -> Content:
    """A resource, by its name. Raises RouteNotFound: no such file."""
    if resource.name == "index":
        from keras_to_lambda.runtime.http import playground

        html, allowed = playground.page(WEB, described(models, settings))
        return _page(html, TYPES[".html"], settings, allowed)
    if resource.name == "docs":
        return _file(WEB / "docs.html", settings)
    if resource.name == "static":
        # Looked up among the files that are there, so that no path leads elsewhere.
        files = {file.name: file for file in (WEB / "static").iterdir() if file.suffix in TYPES}
        if resource.item not in files:
            raise RouteNotFound("no such file")
        return _file(files[resource.item], settings)
    if resource.name == "slash":
        return Redirect(f"{resource.item}/")
    if resource.name == "samples":
        return Page(json.dumps(samples(models)), JSON)
    if resource.name == "models":
        return described(models, settings)
    from keras_to_lambda.runtime.http.openapi import openapi

    return openapi(models, settings)


def described(models: Models, settings: Settings) -> dict[str, Any]:
    """The models' cards, and how much one request may hold."""
    return {
        "default": models.default,
        "models": [installed.card.to_json() for installed in models.installed.values()],
        "limits": {
            "event_bytes": MAX_EVENT_BYTES,
            "image_bytes": settings.max_image_bytes,
            "image_pixels": settings.max_image_pixels,
            "images": settings.max_images,
        },
    }


def samples(models: Models) -> dict[str, list[dict[str, str]]]:
    """For each model the pictures in the folder `samples` beside its file, as data: URLs.

    Those in folders are named after these, and take turns.
    """

    def data_url(file: Path) -> str:
        content = base64.b64encode(file.read_bytes()).decode()
        return f"data:{MEDIA_TYPES[file.suffix.lower()]};base64,{content}"

    found = {}
    for name, installed in models.installed.items():
        folder = Path(installed.path).parent / "samples"
        groups = [
            sorted(path.glob("*")) if path.is_dir() else [path] for path in sorted(folder.glob("*"))
        ]
        turns = (file for turn in zip_longest(*groups) for file in turn if file)
        found[name] = [
            {
                "name": file.stem if file.parent == folder else file.parent.name,
                "image": data_url(file),
            }
            for file in turns
            if file.suffix.lower() in MEDIA_TYPES and file.stat().st_size <= MAX_SAMPLE_BYTES
        ][:MAX_SAMPLES]
    return found


def _file(file: Path, settings: Settings) -> Page:
    return _page(file.read_text(encoding="utf-8"), TYPES[file.suffix], settings, {})


def _page(content: str, kind: str, settings: Settings, allowed: Mapping[str, str]) -> Page:
    """Text with its policy: nothing comes from elsewhere, and only named pages may hold it.

    Args:
        allowed: by directive what is allowed besides the page's own files.
    """
    policy = (
        "default-src 'self'; "
        + "".join(f"{directive} 'self' {source}; " for directive, source in allowed.items())
        + "img-src 'self' blob: data:; media-src 'self' blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors {settings.embed_origins or NO_SITES}"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
        "Referrer-Policy": "no-referrer",
    }
    return Page(content, kind, headers)
