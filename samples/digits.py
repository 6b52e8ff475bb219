"""Digits as MNIST's are, of strokes written here: pictures to train on without its files.

python -m samples.digits FILE.npz writes EACH of each, in varied hands.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

Points = list[tuple[float, float]]

SIDE = 400  # of the sheet that is written on, pixels
# MNIST: scaled to fit 20 x 20, then put into 28 x 28 with the centre of mass in the middle
# (http://yann.lecun.com/exdb/mnist/).
SIZE, INNER = 28, 20
EACH = 250  # pictures of each digit in a data set
WOBBLE = 0.045  # of varied hands: enough that a few digits are hard to tell
# Each stroke's points, in shares of the sheet; a curve goes through them.
DIGITS: dict[str, list[Points]] = {
    "0": [[(0.55, 0.16), (0.38, 0.24), (0.30, 0.50), (0.38, 0.78), (0.53, 0.84), (0.67, 0.70),
           (0.71, 0.45), (0.64, 0.22), (0.52, 0.16)]],
    "1": [[(0.56, 0.14), (0.53, 0.38), (0.50, 0.62), (0.47, 0.86)]],
    "2": [[(0.32, 0.30), (0.42, 0.18), (0.58, 0.17), (0.67, 0.30), (0.60, 0.47), (0.44, 0.64),
           (0.29, 0.81), (0.38, 0.82), (0.54, 0.79), (0.74, 0.80)]],
    "3": [[(0.32, 0.22), (0.47, 0.15), (0.63, 0.22), (0.63, 0.36), (0.45, 0.46), (0.63, 0.52),
           (0.70, 0.67), (0.58, 0.82), (0.42, 0.85), (0.29, 0.78)]],
    "4": [[(0.36, 0.16), (0.31, 0.36), (0.28, 0.52), (0.42, 0.53), (0.70, 0.50)],
          [(0.66, 0.17), (0.63, 0.40), (0.60, 0.62), (0.58, 0.86)]],
    "5": [[(0.70, 0.17), (0.54, 0.18), (0.38, 0.19), (0.36, 0.32), (0.34, 0.45), (0.50, 0.42),
           (0.64, 0.50), (0.67, 0.66), (0.57, 0.81), (0.42, 0.85), (0.28, 0.80)]],
    "6": [[(0.62, 0.15), (0.47, 0.27), (0.36, 0.48), (0.34, 0.69), (0.45, 0.84), (0.60, 0.80),
           (0.67, 0.66), (0.58, 0.54), (0.44, 0.57), (0.36, 0.68)]],
    "7": [[(0.29, 0.21), (0.45, 0.20), (0.70, 0.19), (0.61, 0.40), (0.53, 0.62), (0.48, 0.86)]],
    "8": [[(0.66, 0.24), (0.54, 0.15), (0.40, 0.21), (0.39, 0.36), (0.52, 0.47), (0.64, 0.61),
           (0.60, 0.78), (0.47, 0.85), (0.35, 0.75), (0.40, 0.60), (0.54, 0.46), (0.65, 0.35),
           (0.66, 0.24)]],
    "9": [[(0.66, 0.32), (0.56, 0.19), (0.41, 0.22), (0.34, 0.37), (0.42, 0.50), (0.56, 0.48),
           (0.66, 0.32), (0.66, 0.50), (0.61, 0.69), (0.54, 0.87)]],
}  # fmt: skip


def curve(points: Points, steps: int = 16) -> Points:
    """A Catmull-Rom spline through the points."""
    padded = np.array([points[0], *points, points[-1]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, np.newaxis]
    parts = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        parts.append(
            0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2
                   + (3 * b - a - 3 * c + d) * t**3)
        )  # fmt: skip
    return [(float(x), float(y)) for x, y in np.concatenate([*parts, [padded[-1]]])]


def leaning(points: Points, lean: float) -> Points:
    """Points turned by `lean`, radians, about the middle of the sheet."""
    across, down = math.cos(lean), math.sin(lean)
    return [
        (0.5 + (x - 0.5) * across - (y - 0.5) * down, 0.5 + (x - 0.5) * down + (y - 0.5) * across)
        for x, y in points
    ]


def written(strokes: list[Points], width: int, lean: float) -> Image.Image:
    """The strokes, white on black, with a round pen of `width` pixels: mode "L", SIDE x SIDE."""
    half = width / 2
    sheet = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(sheet)
    for stroke in strokes:
        line = [(x * SIDE, y * SIDE) for x, y in curve(leaning(stroke, lean))]
        pen.line(line, fill=255, width=width, joint="curve")
        for x, y in line:
            pen.ellipse((x - half, y - half, x + half, y + half), fill=255)
    return sheet


def centred(sheet: Image.Image) -> Image.Image:
    """As MNIST's: the ink's box scaled to fit INNER, its centre of mass in the middle of SIZE."""
    ink = sheet.crop(sheet.getbbox())
    scale = INNER / max(ink.size)
    width, height = (max(1, round(side * scale)) for side in ink.size)
    small = ink.resize((width, height), Image.Resampling.BOX)
    values = np.asarray(small, np.float64)
    rows, columns = np.indices(values.shape)
    x, y = ((axis * values).sum() / values.sum() + 0.5 for axis in (columns, rows))
    left, top = (
        min(max(round(SIZE / 2 - middle), 0), SIZE - side)
        for middle, side in ((x, width), (y, height))
    )
    whole = Image.new("L", (SIZE, SIZE))
    whole.paste(small, (left, top))
    return whole


def varied(label: str, random: np.random.Generator) -> Image.Image:
    """A digit in another hand each time, as MNIST's are: mode "L", SIZE x SIZE."""
    shift = random.normal(0, 0.035, 2)
    stretch = random.uniform(0.6, 1.35)
    strokes = [
        [
            (
                0.5 + (x - 0.5) * stretch + shift[0] + random.normal(0, WOBBLE),
                y + shift[1] + random.normal(0, WOBBLE),
            )
            for x, y in stroke
        ]
        for stroke in DIGITS[label]
    ]
    pen, lean = int(random.integers(16, 46)), random.normal(math.radians(4), math.radians(16))
    return centred(written(strokes, pen, lean))


def data_set(path: Path) -> None:
    """Write an .npz file of EACH pictures of each digit, in varied hands."""
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(10, dtype=np.uint8), EACH)
    images = np.stack([np.asarray(varied(str(label), random)) for label in labels])
    np.savez_compressed(path, x_train=images, y_train=labels)


if __name__ == "__main__":
    data_set(Path(sys.argv[1]))
