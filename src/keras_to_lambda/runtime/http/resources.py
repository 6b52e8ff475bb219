"""What GET answers: the pages, the models' cards, the sample images, and the API's description.

Imported at the first GET alone.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
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
STYLE = '<link rel="stylesheet" href="static/style.css">'
SCRIPT = '<script type="module" src="static/app.js"></script>'
# The two forms of import and export that the page's modules use.
IMPORT = re.compile(r'^import (\{[^}]+\}) from "\./(\w+)\.js";\n', re.MULTILINE)
EXPORT = re.compile(r"^export ((?:async )?(?:const|function|class) ([\w$]+))", re.MULTILINE)
# Samples travel together in one answer, which may have 6 MB.
MAX_SAMPLES, MAX_SAMPLE_BYTES = 12, 100_000


def get(resource: Resource, models: Models, settings: Settings) -> Content:
    """A resource, by its name. Raises RouteNotFound: no such file."""
    if resource.name == "index":
        return _index(models, settings)
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


def _index(models: Models, settings: Settings) -> Page:
    """The playground as one answer: its style, its modules and the models' cards inside its HTML.

    A browser has the whole page after one round trip, and the function one invocation for it. The
    files below `web` work by themselves, too: nothing is built before a deployment.
    """
    head, tail, allowed = _joined(WEB)
    # In a script element only "</" and "<!--" mean anything to HTML.
    cards = json.dumps(described(models, settings)).replace("<", "\\u003c")
    data = f'<script type="application/json" id="described">{cards}</script>\n'
    return _page(head + data + tail, TYPES[".html"], settings, allowed)


@functools.cache
def _joined(web: Path) -> tuple[str, str, dict[str, str]]:
    """The page before and behind the cards, and by directive what its policy has to allow."""
    style = (web / "static" / "style.css").read_text(encoding="utf-8")
    script = _modules(web / "static", "app")
    html = (web / "index.html").read_text(encoding="utf-8")
    head, tail = html.replace(STYLE, f"<style>{style}</style>").split(SCRIPT)
    allowed = {
        directive: f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for directive, text in (("script-src", script), ("style-src", style))
    }
    return head, f'<script type="module">{script}</script>{tail}', allowed


def _modules(folder: Path, name: str) -> str:
    """A module with all that it imports, as one: each keeps its scope, behind its imports."""
    done: dict[str, str] = {}

    def add(name: str) -> None:
        text = (folder / f"{name}.js").read_text(encoding="utf-8")
        for _, other in IMPORT.findall(text):
            if other not in done:
                add(other)
        exports = ", ".join(exported for _, exported in EXPORT.findall(text))
        text = EXPORT.sub(r"\1", IMPORT.sub(r"const \1 = module_\2;\n", text))
        done[name] = f"const module_{name} = (() => {{\n{text}return {{ {exports} }};\n}})();\n"

    add(name)
    return "".join(done.values()).replace("</", "<\\/")


def _file(file: Path, settings: Settings) -> Page:
    return _page(file.read_text(encoding="utf-8"), TYPES[file.suffix], settings, {})


def _page(content: str, kind: str, settings: Settings, allowed: Mapping[str, str]) -> Page:
    """Text with its policy: nothing comes from elsewhere, and only named pages may hold it."""
    # `allowed`: by directive what is allowed besides the page's own files.
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
