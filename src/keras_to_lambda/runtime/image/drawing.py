"""Drawings, made into what a model of MNIST's digits was trained on: light ink on black, centred.

Ink on transparency, dark on white, light on black, and photos of ink on paper are all read: paper
with lines, and paper with a shadow across it. MNIST's own pictures stay as they are. Imported for
cards with `drawing` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import numpy.typing as npt

# MNIST's digits were scaled to fit 20 of 28 pixels, then put where their centre of mass is in the
# middle (http://yann.lecun.com/exdb/mnist/). For other sizes in proportion.
INNER = 20 / 28
LONGEST = 1000  # pixels; the decoder makes larger pictures smaller
FAINT = 32  # of 255: less contrast is a blank sheet
DIGITS = 6  # halves are rounded alike whatever the order of the sums before
WEAK = 4  # less than one part in so many of the strongest ink is paper
PARTS = 10  # in each direction, of which the paper is compared
UNEVEN = 24  # of 255: their paper differs more than this where light falls unevenly
STEP = 5  # pixels
STROKE = 0.2  # of the shorter side: what is darker than its surroundings and wider is a shadow
THICKNESSES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # pixels
BROAD = 4  # pixels: of strokes from this thickness on, what is a third as thick is a line
NEAR = 0.01  # of the longer side: weak ink so far from strong ink is a stroke's edge, not a line


def ink(image: Image.Image) -> Image.Image:
    """The ink of a picture: mode "L", light on black; where that is what came, unchanged."""
    image = image.convert("RGBA" if image.has_transparency_data else "L")
    if image.mode == "RGBA":
        alpha = image.getchannel("A")
        if _paper(np.asarray(alpha)) < 128:
            return alpha
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("L")
    grey = np.asarray(image)
    paper = _paper(grey)
    if paper == 0:
        return image
    uneven = _is_uneven(grey)
    far = _evened(grey) if uneven else np.abs(grey - np.float64(paper))
    strongest = far.max()
    if strongest < FAINT:
        return Image.new("L", image.size)
    far[far * WEAK < strongest] = 0
    far[~_strokes(far)] = 0
    if uneven:
        far = _inside(far)
    return Image.fromarray(np.rint(far * 255 / strongest).astype(np.uint8))


def _is_uneven(grey: npt.NDArray[np.uint8]) -> bool:
    """Whether light falls unevenly: the paper differs between parts of the picture."""
    if min(grey.shape) < PARTS * PARTS:
        return False
    parts = [np.median(part) for rows in np.array_split(grey, PARTS) for part in
             np.array_split(rows, PARTS, axis=1)]  # fmt: skip
    low, high = np.percentile(parts, (15, 85))
    return bool(high - low > UNEVEN)


def _evened(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """How far each pixel is from the paper around it, 0 to 255, as if light fell evenly."""
    light = grey.astype(np.float64)
    size = max(3, round(STROKE * min(grey.shape)) | 1)
    # Ink is far from all paper, in light and in shadow, and covers little.
    least, low, high, most = np.percentile(light, (0.2, 15, 85, 99.8)) + 1
    if most / high > low / least:
        bright: npt.NDArray[np.float64] = light - _opened(light, size)
        return bright
    dark: npt.NDArray[np.float64] = _closed(light, size) - light
    return dark * 255 / np.maximum(light + dark, 1)


def _inside(far: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Without the little that touches the border: the corners of a shadow."""
    there = far > 0
    outer = np.zeros_like(there)
    outer[[0, -1]], outer[:, [0, -1]] = there[[0, -1]], there[:, [0, -1]]
    size = 0
    while outer.sum() > size:
        size = outer.sum()
        outer = _widened(outer, STEP) & there
    return far if far[outer].sum() * 2 > far[there].sum() else np.where(outer, 0, far)


def _strokes(far: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Where strokes are, and not the paper's lines, which are thinner or weaker."""
    there = far > 0
    weights = far**2
    most = weights.sum() / 2
    thickness = 1
    for size in THICKNESSES:
        if weights[_opened(there, size)].sum() < most:
            break
        thickness = size
    if thickness >= BROAD:
        size = thickness // 3 + 1
        broad: npt.NDArray[np.bool_] = _widened(_opened(there, size), size)
        return there & broad
    near = max(2, round(NEAR * max(far.shape)))
    near_ink: npt.NDArray[np.bool_] = _widened(far * 2 >= far.max(), 2 * near + 1)
    return there & near_ink


def centred(image: Image.Image, width: int, height: int) -> Image.Image:
    """Ink at the model's size, scaled and centred as MNIST's digits are; if it is so, unchanged."""
    grey = np.asarray(image.convert("L"))
    if _is_prepared(grey, width, height):
        return image
    sheet = np.zeros((height, width), np.uint8)
    strong = grey.astype(np.int16) * WEAK >= max(int(grey.max()), 1)
    if strong.any():
        left, top, right, bottom = _box(strong)
        scale = _whole(INNER * min(width, height)) / max(right - left, bottom - top)
        columns = max(1, _whole((right - left) * scale))
        rows = max(1, _whole((bottom - top) * scale))
        part = grey[top:bottom, left:right].astype(np.float64)
        means = _means(_means(part, rows).T, columns).T
        small = np.rint(means.round(DIGITS)).astype(np.uint8)
        x, y = _middle(small)
        left = min(max(_whole(width / 2 - x), 0), width - columns)
        top = min(max(_whole(height / 2 - y), 0), height - rows)
        sheet[top : top + rows, left : left + columns] = small
    return Image.fromarray(sheet).convert(image.mode)


def _means(values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Rows as `count` rows, each the mean of the area that it covers."""
    sums = np.vstack([np.zeros_like(values[:1]), values.cumsum(axis=0)])
    edges = np.arange(count + 1) * len(values) / count
    below = np.minimum(edges.astype(np.intp), len(values) - 1)
    share = (edges - below)[:, np.newaxis]
    means: npt.NDArray[np.float64] = np.diff(
        sums[below] * (1 - share) + sums[below + 1] * share, axis=0
    )
    return means * count / len(values)


def _whole(number: float) -> int:
    return int(round(number, DIGITS) + 0.5)


def _is_prepared(grey: npt.NDArray[np.uint8], width: int, height: int) -> bool:
    if grey.shape != (height, width) or not grey.any():
        return False
    left, top, right, bottom = _box(grey > 0)
    inner = INNER * min(width, height)
    x, y = _middle(grey)
    # MNIST's middles are up to a pixel below and to the right of the sheet's.
    return abs(max(right - left, bottom - top) - inner) <= 1.5 and all(
        -1 <= at - side / 2 <= 1.5 for at, side in ((x, width), (y, height))
    )


def _paper(grey: npt.NDArray[np.uint8]) -> int:
    """The median of the border."""
    border = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    return int(np.sort(border)[len(border) // 2])


def _widened(values: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """The largest value of the square of `size` pixels around each, by doubling its side."""
    for axis in (0, 1):
        before = (size - 1) // 2
        margin = [(0, 0), (0, 0)]
        margin[axis] = (before, size - 1 - before)
        values = np.moveaxis(np.pad(values, margin, mode="edge"), axis, 0)
        done = 1
        while done < size:
            step = min(done, size - done)
            values = np.maximum(values[:-step], values[step:])
            done += step
        values = np.moveaxis(values, 0, axis)
    return values


def _narrowed(values: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    return ~_widened(~values, size) if values.dtype == bool else -_widened(-values, size)


def _closed(values: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Without what is darker than its surroundings and narrower than `size`."""
    return _narrowed(_widened(values, size), size)


def _opened(values: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Without what is brighter than its surroundings and narrower than `size`."""
    return _widened(_narrowed(values, size), size)


def _box(there: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    columns, rows = np.flatnonzero(there.any(axis=0)), np.flatnonzero(there.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _middle(grey: npt.NDArray[Any]) -> tuple[float, float]:
    """The centre of mass, in pixels from the left and the top."""
    weights = grey.astype(np.float64)
    height, width = grey.shape
    total = weights.sum()
    x = (weights.sum(axis=0) * (np.arange(width) + 0.5)).sum() / total
    y = (weights.sum(axis=1) * (np.arange(height) + 0.5)).sum() / total
    return float(x), float(y)
