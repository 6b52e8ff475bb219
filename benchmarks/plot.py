"""The figures as bars: docs/benchmarks.svg."""

from __future__ import annotations

from html import escape
from pathlib import Path

ROW, LABEL, WIDTH = 24, 250, 720


def bars(path: Path, title: str, values: dict[str, float], unit: str) -> None:
    """Draw horizontal bars, labelled, on one scale from 0."""
    most = max(values.values())
    height = ROW * len(values) + 44
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="8" y="22" font-size="15">{escape(title)}</text>',
    ]
    for row, (name, value) in enumerate(values.items()):
        y = 36 + row * ROW
        length = value / most * (WIDTH - LABEL - 90)
        colour = "#2563eb" if name.startswith("handler") else "#9ca3af"
        lines += [
            f'<text x="{LABEL - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABEL}" y="{y + 3}" width="{length:.1f}" height="{ROW - 8}" '
            f'fill="{colour}"/>',
            f'<text x="{LABEL + length + 6:.1f}" y="{y + 15}">{value:,.0f} {unit}</text>',
        ]
    path.write_text("\n".join([*lines, "</svg>", ""]), encoding="utf-8")
