"""HTML reports: one self-contained file each, with one look: base.html.jinja.

A report's template extends "base.html.jinja" and fills the block `body`. Each `<h2 id="...">` in it
becomes an entry of the contents.
"""

from __future__ import annotations

import base64
import io
import os
import platform
import re
import shlex
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jinja2
from markupsafe import Markup, escape
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
SECRET = ("--api-key",)  # options whose values are not shown
PRODUCT = "keras-to-lambda"
LIBRARIES = (
    *("tensorflow", "tensorflow-cpu", "keras", "ai-edge-litert"),
    *("numpy", "pillow", "scikit-learn", "scipy"),
)
# Colours for plots. `plot` replaces each by the page's variable of that name, so that a plot
# follows the page from light to dark.
INK, SOFT, LINE = "#1b1b25", "#5b5b6c", "#dcdce6"
SERIES = ("#4f46e6", "#0f766f", "#d9770b", "#db2778", "#0284c8", "#65a30e")
_VARIABLES = {
    INK: "ink",
    SOFT: "soft",
    LINE: "line",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES)},
}
_URL = re.compile(r"(\w+://)([^/?#]*)([^?]*)(\?.*)?")
# Controls but for line ends and tabs; Unicode's bidirectional controls.
_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_HEADING = re.compile(r'<h2 id="([^"]+)">(.*?)</h2>')


class EmbeddedPicture(NamedTuple):
    """A picture of a page. source: a data: URL. lines: style and text, each."""

    source: str
    alt: str
    lines: list[tuple[str, str]]


def render(
    template: Path, *, kind: str, title: str, conclusion: str, command: str = "", **values: Any
) -> str:
    """Fill in a template.

    Args:
        template: extends base.html.jinja.
        kind: what the page reports, such as "Evaluation". title: of what.
        conclusion: two sentences for a reader who stops after them.
        command: the command line that made the page, without secrets.
        values: the template's own.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([HERE, template.parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["contents"] = _HEADING.findall
    return environment.get_template(template.name).render(
        kind=kind,
        title=title,
        conclusion=conclusion,
        made=_made(command),
        **values,
    )


def _shown(value: Any) -> Any:
    """Text without control characters, and without those that reorder the text beside them."""
    return _HIDDEN.sub(_escape, value) if type(value) is str else value


def _escape(character: re.Match[str]) -> str:
    return character[0].encode("unicode_escape").decode()


def command_line(verb: str, arguments: Sequence[str]) -> str:
    """The command line for a report: without keys, and URLs without user and query."""
    words, hidden = ["k2l", verb], False
    for word in arguments:
        option, equals, _ = word.partition("=")
        secret = option in SECRET
        if hidden:
            words.append("...")
        elif secret and equals:
            words.append(f"{option}=...")
        else:
            words.append(_URL.sub(_public, word))
        hidden = secret and not equals and not hidden
    return shlex.join(words)


def _public(url: re.Match[str]) -> str:
    scheme, authority, path, query = url.groups()
    host = "...@" + authority.rpartition("@")[2] if "@" in authority else authority
    return f"{scheme}{host}{path}{'?...' if query else ''}"


def provenance(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A card's provenance as rows for people."""

    def text(value: Any) -> str:
        if isinstance(value, Mapping):
            return ", ".join(f"{name} {text(each)}" for name, each in value.items())
        if isinstance(value, list | tuple):
            return " to ".join(map(text, value))
        return str(value)

    return [(name.replace("_", " "), text(value)) for name, value in record.items() if value]


def _made(command: str) -> list[tuple[str, str]]:
    """When, by which command, with which versions and on which machine."""
    versions = [f"{PRODUCT} {_version(PRODUCT) or '(from source)'}"]
    versions += [f"{name} {found}" for name in LIBRARIES if (found := _version(name))]
    machine = (
        f"{platform.system()} on {platform.machine()}, {os.cpu_count()} processors, "
        f"Python {platform.python_version()}"
    )
    rows = [("date", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"), ("command", command)]
    rows += [("versions", ", ".join(versions)), ("machine", machine)]
    return [(name, value) for name, value in rows if value]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def thumbnail(image: Image.Image, side: int = 128) -> str:
    """A picture as a data: URL, at most `side` pixels; a small one is enlarged by whole steps."""
    small = image.convert("RGB")
    if max(small.size) * 2 <= side:
        step = side // max(small.size)
        small = small.resize((small.width * step, small.height * step), Image.Resampling.NEAREST)
    small.thumbnail((side, side), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def plot(figure: Figure, text: str) -> Markup:
    """A figure as inline SVG whose colours follow the page. The same figure gives the same bytes.

    Args:
        figure: drawn in INK, SOFT, LINE and SERIES.
        text: what the plot shows, for who cannot see it.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with (
        mpl.rc_context({"svg.hashsalt": text, "svg.fonttype": "none"}),
        warnings.catch_warnings(),
    ):
        # Texts stay texts, in the reader's own fonts: matplotlib's need not have the characters.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(
            buffer, format="svg", bbox_inches="tight", transparent=True, metadata=nothing
        )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>| xmlns(:\w+)?=\"[^\"]*\"", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # matplotlib's names are the same in each figure
    svg = re.sub(r"(font: [\d.]+px )[^;\"]*", r"\1system-ui, sans-serif", svg)
    for colour, name in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{name})")
    head = f'<svg class="plot" role="img" aria-label="{escape(text)}" '
    return Markup(svg.replace("<svg ", head, 1))  # noqa: S704  matplotlib escapes texts


def axes(figure: Figure, *place: int, **options: Any) -> Any:
    """A plain pair of axes in the page's colours. place: rows, columns and number of a grid."""
    plain = figure.add_subplot(*place, **options)
    plain.tick_params(colors=SOFT, labelcolor=SOFT, labelsize=9)
    plain.xaxis.label.set_color(SOFT)
    plain.yaxis.label.set_color(SOFT)
    plain.spines[["top", "right"]].set_visible(False)
    plain.spines[["left", "bottom"]].set_color(LINE)
    return plain
