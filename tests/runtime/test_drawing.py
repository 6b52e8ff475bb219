"""Drawings, as canvases, phones and scanners give them, reach a model as MNIST has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from keras_to_lambda.runtime.common.settings import MODELS
from keras_to_lambda.runtime.image import drawing
from tests.runtime.made import DIGITS, encoded, inline, served

pytestmark = pytest.mark.engine

SAMPLES = sorted((Path(MODELS) / "digits" / "samples").glob("*.png"))
LINES = {"1": [(150, 30, 130, 260)], "7": [(40, 40, 230, 40), (230, 40, 110, 250)]}


def drawn(digit, mode="RGBA", ground=(0, 0, 0, 0), colour="black", size=(280, 280), at=(0, 0)):
    sheet = Image.new(mode, size, ground)
    pen = ImageDraw.Draw(sheet)
    for x1, y1, x2, y2 in LINES[digit]:
        pen.line((x1 + at[0], y1 + at[1], x2 + at[0], y2 + at[1]), colour, 22)
    return sheet


@pytest.fixture(scope="module")
def digits():
    return served(DIGITS)


@pytest.mark.parametrize("digit", ["1", "7"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"colour": "white"},
        {"colour": (30, 60, 200, 255), "size": (500, 300), "at": (180, 10)},
        {"mode": "RGB", "ground": "white"},
        {"mode": "RGB", "ground": (230, 225, 215), "colour": (50, 40, 60)},
        {"mode": "L", "ground": "black", "colour": "white"},
        {"mode": "L", "ground": "black", "colour": "white", "size": (300, 600), "at": (10, 320)},
        {"ground": "white"},
        {"mode": "1", "ground": "white"},
        {"mode": "LA", "ground": (255, 0), "colour": (0, 255)},
    ],
)
def test_a_canvas_is_read_whatever_its_colours_and_place(digit, options, digits):
    assert read(digits, drawn(digit, **options)) == digit


def read(digits, image, kind="PNG"):
    return digits.handle({**inline(encoded(image, kind)), "answer": "best"})["label"]


@pytest.mark.parametrize("digit", ["1", "7"])
def test_a_large_photo_of_ink_on_paper_is_read(digit, digits):
    photo = drawn(digit, "RGB", (225, 220, 200), (40, 40, 90)).resize((2600, 2600))
    assert read(digits, photo, "JPEG") == digit


def lines(paper):
    """Ruled lines, thin and fainter than the ink, that lean a little as a photo has them."""
    for top in range(30, paper.shape[0] - 20, 60):
        for x in range(paper.shape[1]):
            y = top + x // 60
            paper[y : y + 3, x] *= 0.7


def gradient(paper):
    paper *= np.linspace(1, 0.55, paper.shape[1])


def edge(paper):
    """The shadow of a hand or a phone, with a soft edge."""
    rows, columns = np.mgrid[: paper.shape[0], : paper.shape[1]]
    paper *= 1 - 0.45 / (1 + np.exp(-(columns + 0.4 * rows - 500) / 12))


def spot(paper):
    rows, columns = np.mgrid[: paper.shape[0], : paper.shape[1]]
    paper *= 1 - 0.4 * np.exp(-((np.hypot(rows - 260, columns - 220) / 240) ** 4))


@pytest.mark.parametrize(
    ("across", "ground", "colour"),
    [
        *((across, 225, 40) for across in ([lines], [gradient], [edge], [spot], [lines, edge])),
        ([edge], 70, 240),  # chalk
    ],
    ids=["lines", "gradient", "edge", "spot", "lines-edge", "chalk-edge"],
)
def test_a_photo_of_paper_with_lines_or_a_shadow_is_read(across, ground, colour, digits):
    found = []
    for digit in ("1", "7"):
        sheet = drawn(digit, "L", ground, colour, (600, 700), (150, 200))
        paper = np.asarray(sheet, np.float64).copy()
        for change in across:
            change(paper)
        paper += np.random.default_rng(1).normal(scale=4, size=paper.shape)
        photo = Image.fromarray(np.clip(paper, 0, 255).astype(np.uint8))
        found.append(read(digits, photo, "JPEG"))
        made = tensor(photo)
        rows, columns = (made > 60).any(axis=1).nonzero()[0], (made > 60).any(axis=0).nonzero()[0]
        # The digit alone is scaled to 20 of 28 pixels: nothing of the paper is left.
        assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 20
    assert found == ["1", "7"]


def tensor(image):
    return np.asarray(drawing.centred(drawing.ink(image), 28, 28))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_mnist_s_own_pictures_stay_as_they_are(path):
    image = Image.open(path)
    np.testing.assert_array_equal(tensor(image), np.asarray(image))
    # The other way round it is the same digit, but for its faintest pixels.
    inverted = tensor(ImageOps.invert(image)).astype(int)
    assert np.abs(inverted - np.asarray(image)).mean() < 12


def test_ink_fits_20_of_28_pixels_around_its_centre_of_mass():
    made = tensor(drawn("7"))
    rows, columns = made.any(axis=1).nonzero()[0], made.any(axis=0).nonzero()[0]
    assert (len(rows), len(columns)) == (20, 18)
    weights = made / made.sum()
    assert (weights.sum(axis=0) * np.arange(0.5, 28)).sum() == pytest.approx(14, abs=0.51)
    assert (weights.sum(axis=1) * np.arange(0.5, 28)).sum() == pytest.approx(14, abs=0.51)
    # A small drawing in a corner comes to the same.
    small = Image.new("RGBA", (900, 900))
    small.paste(drawn("7"), (600, 20))
    np.testing.assert_array_equal(tensor(small), made)


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGBA", (280, 280)),
        Image.new("RGB", (280, 280), "white"),
        Image.new("L", (28, 28), 0),
        Image.new("L", (1, 1), 7),
        Image.new("RGB", (1, 900), (250, 250, 250)),
    ],
)
def test_a_blank_sheet_is_black(image):
    made = tensor(image)
    assert made.shape == (28, 28)
    assert not made.any()


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 40), (3, 3), (40, 2)])
def test_any_picture_has_the_model_s_size(size):
    noise = np.random.default_rng(1).integers(0, 256, (*size[::-1], 4), dtype=np.uint8)
    assert tensor(Image.fromarray(noise)).shape == (28, 28)


def test_16_bits_are_read_by_their_high_byte(digits):
    grey = np.asarray(drawn("7", "L", "black", "white")).astype(np.uint16) * 257
    assert read(digits, Image.fromarray(grey)) == "7"
