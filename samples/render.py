"""Render the sample pictures: garments laid on a floor, drawn here, not photographed.

python samples/render.py rewrites them; the same version of numpy and Pillow gives the same files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 600, 800
OVERSAMPLED = 2
HERE = Path(__file__).resolve().parent
# What the playground offers to try; small, as all of it travels in one answer.
SMALL = HERE.parent / "models" / "clothing" / "samples"

Floats = npt.NDArray[np.float64]
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Garment:
    """What is drawn.

    outline: the right half's points from the top of the middle line to its bottom, in shares of the
        picture's width and height; the left half is its mirror.
    colour, floor: RGB in 0..255, of the cloth and of the ground.
    lines: seams and hems, each a list of points of the right half, mirrored likewise.
    """

    outline: Points
    colour: tuple[int, int, int]
    floor: tuple[int, int, int]
    lines: tuple[Points, ...] = ()
    seed: int = 0


GARMENTS = {
    "t-shirt": Garment(
        outline=[
            (0.50, 0.235), (0.545, 0.228), (0.585, 0.200), (0.605, 0.185), (0.70, 0.215),
            (0.755, 0.250), (0.885, 0.385), (0.80, 0.455), (0.725, 0.395), (0.72, 0.55),
            (0.722, 0.70), (0.728, 0.815), (0.62, 0.826), (0.50, 0.828),
        ],
        colour=(44, 62, 108), floor=(176, 138, 98),
        lines=(
            [(0.50, 0.252), (0.552, 0.243), (0.598, 0.212), (0.622, 0.190)],
            [(0.735, 0.236), (0.712, 0.31), (0.725, 0.395)],
            [(0.868, 0.370), (0.788, 0.440)],
            [(0.725, 0.80), (0.62, 0.811), (0.50, 0.813)],
        ),
        seed=1,
    ),
    "longsleeve": Garment(
        outline=[
            (0.50, 0.205), (0.545, 0.200), (0.585, 0.175), (0.605, 0.160), (0.69, 0.190),
            (0.735, 0.235), (0.80, 0.42), (0.845, 0.60), (0.875, 0.775), (0.80, 0.795),
            (0.755, 0.63), (0.705, 0.45), (0.695, 0.385), (0.69, 0.55), (0.692, 0.72),
            (0.70, 0.815), (0.60, 0.826), (0.50, 0.828),
        ],
        colour=(128, 36, 44), floor=(205, 200, 192),
        lines=(
            [(0.50, 0.222), (0.552, 0.215), (0.598, 0.187), (0.622, 0.165)],
            [(0.712, 0.212), (0.690, 0.29), (0.695, 0.385)],
            [(0.870, 0.745), (0.794, 0.765)],
            [(0.697, 0.80), (0.60, 0.811), (0.50, 0.813)],
        ),
        seed=2,
    ),
    "pants": Garment(
        outline=[
            (0.50, 0.100), (0.60, 0.098), (0.678, 0.100), (0.682, 0.135), (0.715, 0.27),
            (0.715, 0.45), (0.700, 0.65), (0.690, 0.90), (0.600, 0.908), (0.555, 0.905),
            (0.545, 0.70), (0.528, 0.50), (0.508, 0.345), (0.50, 0.338),
        ],
        colour=(52, 74, 112), floor=(196, 168, 132),
        lines=(
            [(0.50, 0.135), (0.60, 0.133), (0.682, 0.135)],
            [(0.600, 0.135), (0.625, 0.185), (0.698, 0.205)],
            [(0.690, 0.885), (0.600, 0.893), (0.555, 0.890)],
            [(0.50, 0.135), (0.50, 0.338)],
        ),
        seed=3,
    ),
    "shorts": Garment(
        outline=[
            (0.50, 0.240), (0.62, 0.238), (0.735, 0.240), (0.740, 0.285), (0.785, 0.42),
            (0.830, 0.62), (0.845, 0.715), (0.70, 0.745), (0.555, 0.750), (0.535, 0.62),
            (0.508, 0.515), (0.50, 0.508),
        ],
        colour=(150, 136, 104), floor=(120, 92, 68),
        lines=(
            [(0.50, 0.283), (0.62, 0.281), (0.740, 0.283)],
            [(0.640, 0.283), (0.680, 0.36), (0.772, 0.38)],
            [(0.841, 0.695), (0.70, 0.725), (0.556, 0.730)],
            [(0.50, 0.283), (0.50, 0.508)],
        ),
        seed=4,
    ),
    "skirt": Garment(
        outline=[
            (0.50, 0.215), (0.58, 0.213), (0.655, 0.217), (0.660, 0.262), (0.705, 0.40),
            (0.765, 0.60), (0.815, 0.765), (0.70, 0.802), (0.58, 0.815), (0.50, 0.817),
        ],
        colour=(116, 38, 60), floor=(214, 206, 196),
        lines=(
            [(0.50, 0.262), (0.58, 0.260), (0.660, 0.264)],
            [(0.811, 0.748), (0.70, 0.786), (0.58, 0.799), (0.50, 0.801)],
            [(0.555, 0.29), (0.60, 0.55), (0.635, 0.78)],
        ),
        seed=5,
    ),
    "dress": Garment(
        outline=[
            (0.50, 0.165), (0.545, 0.158), (0.575, 0.125), (0.585, 0.085), (0.625, 0.085),
            (0.632, 0.16), (0.645, 0.225), (0.628, 0.32), (0.622, 0.375), (0.68, 0.55),
            (0.745, 0.74), (0.785, 0.885), (0.66, 0.915), (0.50, 0.925),
        ],
        colour=(178, 52, 70), floor=(188, 180, 170),
        lines=(
            [(0.50, 0.372), (0.56, 0.374), (0.622, 0.375)],
            [(0.778, 0.868), (0.66, 0.899), (0.50, 0.909)],
            [(0.545, 0.40), (0.585, 0.62), (0.62, 0.88)],
        ),
        seed=6,
    ),
}  # fmt: skip


def spline(points: Points, steps: int = 12) -> Points:
    """A Catmull-Rom curve through the points (https://doi.org/10.1016/B978-0-12-079050-0.50020-5)."""
    ends = [points[0], *points, points[-1]]
    curve = []
    for before, start, end, after in zip(ends, ends[1:], ends[2:], ends[3:], strict=False):
        for t in np.linspace(0, 1, steps, endpoint=False):
            weights = (
                -0.5 * t + t**2 - 0.5 * t**3,
                1 - 2.5 * t**2 + 1.5 * t**3,
                0.5 * t + 2 * t**2 - 1.5 * t**3,
                -0.5 * t**2 + 0.5 * t**3,
            )
            group = (before, start, end, after)
            x, y = (
                sum(w * p[axis] for w, p in zip(weights, group, strict=True)) for axis in (0, 1)
            )
            curve.append((x, y))
    return [*curve, points[-1]]


def clouds(rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int]) -> Floats:
    """Smooth noise: (height, width), about -1..1, with so many cells down and across."""
    coarse = Image.fromarray(rng.normal(size=cells).astype(np.float32))
    return np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float64) / 1.5


def blurred(mask: Image.Image, radius: float) -> Floats:
    """A mask's soft version: (height, width), 0..1."""
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(radius)), np.float64) / 255


def ground(rng: np.random.Generator, size: tuple[int, int], colour: tuple[int, int, int]) -> Floats:
    """A floor of planks: (height, width, 3), 0..255."""
    width, _ = size
    plank = width // 4
    columns = (np.arange(width) + plank // 3) // plank
    shades = 1 + 0.05 * rng.normal(size=columns.max() + 1)
    grain = 0.035 * clouds(rng, size, (6, 90)) + 0.02 * clouds(rng, size, (30, 300))
    shade = shades[columns][None, :] * (1 + grain)
    gaps = ((np.arange(width) + plank // 3) % plank) < width // 300
    shade = shade * np.where(gaps, 0.72, 1.0)[None, :]
    return np.array(colour, np.float64)[None, None, :] * shade[..., None]


def render(garment: Garment) -> Image.Image:
    """One picture, 600 x 800, RGB."""
    rng = np.random.default_rng(garment.seed)
    size = WIDTH * OVERSAMPLED, HEIGHT * OVERSAMPLED
    width, height = size
    wobble = rng.normal(scale=0.012, size=2)

    def both_sides(points: Points) -> tuple[Points, Points]:
        right = [(x * width, y * height) for x, y in spline(points)]
        # No garment lies quite symmetrically; in the middle the two halves meet.
        left = [
            ((1 - x + wobble[0] * (2 * x - 1)) * width, (y + wobble[1] * (2 * x - 1)) * height)
            for x, y in spline(points)
        ]
        return right, left

    mask = Image.new("L", size)
    right, left = both_sides(garment.outline)
    ImageDraw.Draw(mask).polygon([*right, *reversed(left)], fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(OVERSAMPLED))
    inside = np.asarray(mask, np.float64) / 255

    picture = ground(rng, size, garment.floor)
    shadow = np.roll(blurred(mask, 11 * OVERSAMPLED), (9 * OVERSAMPLED, 7 * OVERSAMPLED), (0, 1))
    contact = np.roll(blurred(mask, 3 * OVERSAMPLED), (3 * OVERSAMPLED, 2 * OVERSAMPLED), (0, 1))
    picture *= (1 - 0.35 * shadow - 0.2 * contact * (1 - inside))[..., None]

    # Cloth: long folds lit from the left, creases, weave; darker where it turns down at its edge.
    folds = 1.4 * clouds(rng, size, (5, 7)) + 0.8 * clouds(rng, size, (9, 16))
    lit = np.gradient(folds, axis=1) * width / 26 + np.gradient(folds, axis=0) * height / 60
    edge = blurred(mask, 7 * OVERSAMPLED)
    weave = rng.normal(scale=0.02, size=(height, width))
    shade = 1 + 0.16 * np.tanh(lit) + weave - 0.55 * (1 - edge)
    cloth = np.array(garment.colour, np.float64)[None, None, :] * shade[..., None]
    cloth += 10 * np.clip(lit, 0, 1)[..., None]

    seams = Image.new("L", size)
    pen = ImageDraw.Draw(seams)
    for line in garment.lines:
        for half in both_sides(line):
            pen.line(half, fill=255, width=2 * OVERSAMPLED)
    drawn = blurred(seams, 0.8 * OVERSAMPLED)
    raised = np.roll(drawn, 3 * OVERSAMPLED, 0)
    cloth *= (1 - 0.45 * drawn + 0.10 * raised)[..., None]

    picture = picture * (1 - inside[..., None]) + cloth * inside[..., None]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    picture *= (1.05 - 0.10 * (x**2 + y**2) - 0.05 * x - 0.04 * y)[..., None]
    whole = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    small = np.asarray(whole.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS), np.float64)
    noisy = small + rng.normal(scale=2.2, size=small.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    SMALL.mkdir(exist_ok=True)
    for name, garment in GARMENTS.items():
        picture = render(garment)
        picture.save(HERE / f"{name}.jpg", quality=85)
        half = picture.resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.LANCZOS)
        half.save(SMALL / f"{name}.jpg", quality=80)
        print(f"{name}.jpg")
