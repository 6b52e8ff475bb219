"""A receipt's picture: milliseconds against dollars for a million requests, a point a size."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 360, 300, 56, 44, 48
COLOURS = ("#2563eb", "#d97706", "#059669", "#7c3aed")


class Point(NamedTuple):
    """A memory size: what a million requests cost, and how long one takes."""

    label: str
    dollars: float
    ms: float


def draw(path: Path, panels: Sequence[tuple[str, dict[str, Sequence[Point]]]]) -> None:
    """Draw panels side by side; each has a title and a line of points by model."""
    width = WIDTH * len(panels)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" '
        f'viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{HEIGHT}" fill="white"/>',
    ]
    for number, (title, series) in enumerate(panels):
        lines += _panel(title, series, number * WIDTH)
    path.write_text("\n".join([*lines, "</svg>", ""]), encoding="utf-8")


def _panel(title: str, series: dict[str, Sequence[Point]], x0: int) -> list[str]:
    points = [point for each in series.values() for point in each]
    most_usd = _round_up(max((point.dollars for point in points), default=1))
    most_ms = _round_up(max((point.ms for point in points), default=1))
    wide, high = WIDTH - LEFT - 24, HEIGHT - TOP - BOTTOM

    def place(point: Point) -> tuple[float, float]:
        return (
            x0 + LEFT + point.dollars / most_usd * wide,
            TOP + high - point.ms / most_ms * high,
        )

    lines = [f'<text x="{x0 + LEFT}" y="20" font-size="13">{escape(title)}</text>']
    for step in range(5):
        y = TOP + high * step / 4
        x = x0 + LEFT + wide * step / 4
        lines += [
            f'<line x1="{x0 + LEFT}" x2="{x0 + LEFT + wide}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="#e5e7eb"/>',
            f'<text x="{x0 + LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{most_ms * (4 - step) / 4:,.4g}</text>",
            f'<text x="{x:.1f}" y="{TOP + high + 16}" text-anchor="middle">'
            f"{most_usd * step / 4:.3g}</text>",
        ]
    lines.append(
        f'<text x="{x0 + LEFT + wide / 2}" y="{HEIGHT - 10}" text-anchor="middle">'
        "dollars for a million requests (Lambda, x86_64)</text>"
    )
    for colour, (name, each) in zip(COLOURS, series.items(), strict=False):
        places = [place(point) for point in each]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" opacity="0.5"/>')
        for (x, y), point in zip(places, each, strict=True):
            lines += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>',
                f'<text x="{x + 5:.1f}" y="{y - 5:.1f}" font-size="9">{escape(point.label)}</text>',
            ]
        row = list(series).index(name)
        lines.append(
            f'<text x="{x0 + LEFT + wide}" y="{TOP - 8 + 13 * row}" text-anchor="end" '
            f'fill="{colour}">{escape(name)}</text>'
        )
    return lines


def _round_up(value: float) -> float:
    """The next 1, 2, 4, 6 or 8 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** (len(f"{int(value)}") - 1) if value >= 1 else 0.1
    return next(step * power for step in (1, 2, 4, 6, 8, 10, 20) if step * power >= value)
