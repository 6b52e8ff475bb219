"""The playground as one answer: its style, its modules and the models' cards inside its HTML.

A browser has the whole page after one round trip, and the function one invocation for it. The files
below `web` work by themselves, too: nothing is built before a deployment.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

STYLE = '<link rel="stylesheet" href="static/style.css">'
SCRIPT = '<script type="module" src="static/app.js"></script>'
# The two forms of import and export that the page's modules use.
IMPORT = re.compile(r'^import (\{[^}]+\}) from "\./(\w+)\.js";\n', re.MULTILINE)
EXPORT = re.compile(r"^export ((?:async )?(?:const|function|class) ([\w$]+))", re.MULTILINE)


class Joined(NamedTuple):
    """The page without the cards, and what its policy allows besides its own files."""

    head: str
    tail: str
    style: str
    script: str


def page(web: Path, described: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """The page's HTML, and by directive the sources that its policy has to allow."""
    head, tail, style, script = joined(web)
    # In a script element only "</" and "<!--" mean anything to HTML.
    cards = json.dumps(described).replace("<", "\\u003c")
    data = f'<script type="application/json" id="described">{cards}</script>\n'
    return head + data + tail, {"script-src": script, "style-src": style}


@functools.cache
def joined(web: Path) -> Joined:
    """The page with its style and modules inside."""
    html = (web / "index.html").read_text(encoding="utf-8")
    style = (web / "static" / "style.css").read_text(encoding="utf-8")
    script = modules(web / "static", "app")
    html = html.replace(STYLE, f"<style>{style}</style>")
    head, tail = html.split(SCRIPT)
    return Joined(
        head, f'<script type="module">{script}</script>{tail}', _hash(style), _hash(script)
    )


def modules(folder: Path, name: str) -> str:
    """A module with all that it imports, as one: each keeps its scope, and comes after its imports.

    Raises ValueError: modules import each other in a circle.
    """
    done: dict[str, str] = {}

    def add(name: str, above: tuple[str, ...] = ()) -> None:
        if name in above:
            raise ValueError(f"modules import each other in a circle: {' > '.join((*above, name))}")
        if name in done:
            return
        text = (folder / f"{name}.js").read_text(encoding="utf-8")
        for _, other in IMPORT.findall(text):
            add(other, (*above, name))
        exports = ", ".join(exported for _, exported in EXPORT.findall(text))
        text = EXPORT.sub(r"\1", IMPORT.sub(r"const \1 = module_\2;\n", text))
        done[name] = f"const module_{name} = (() => {{\n{text}return {{ {exports} }};\n}})();\n"

    add(name)
    return "".join(done.values()).replace("</", "<\\/")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
