"""Page: one HTML file with its pictures and plots in it, that asks nothing of any network."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).resolve().parent / "pages"


def render(template: str, **values: Any) -> str:
    """Fill in a template of pages/, which extends base.html.jinja and needs a `title`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


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


def plot(figure: Figure) -> str:
    """A figure as a data: URL, SVG. The same figure gives the same bytes."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "keras-to-lambda"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
