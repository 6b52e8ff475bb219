"""Generated pictures of three classes that are easy to tell apart, and a short run on them."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from PIL import Image, ImageDraw

# TensorFlow 2.21's EagerTensor.__array__ has no `copy` keyword, which NumPy 2 deprecates: every
# np.array(variable) inside Keras warns.
TENSORFLOW_WARNINGS = ("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning",)
# The augmentation turns hues and mirrors: classes must differ in shape.
CLASSES = ("disc", "plain", "stripes")


def pytest_configure(config):
    for line in TENSORFLOW_WARNINGS:
        config.addinivalue_line("filterwarnings", line)


def draw(label, random):
    dark, light = random.integers(0, 60, 3), random.integers(190, 256, 3)
    image = Image.new("RGB", (48, 40), tuple(int(v) for v in light))
    pen = ImageDraw.Draw(image)
    ink = tuple(int(v) for v in dark)
    if label == "disc":
        x, y, r = random.integers(18, 30), random.integers(16, 24), random.integers(10, 15)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=ink)
    elif label == "stripes":
        step, first = int(random.integers(6, 9)), int(random.integers(0, 6))
        for x in range(first, 48, step):
            pen.rectangle((x, 0, x + step // 2 - 1, 40), fill=ink)
    return image


def scene(seed, size=(96, 80)):
    """A picture of soft coloured shapes with some grey texture, like no other seed's."""
    random = np.random.default_rng(seed)
    image = np.zeros((size[1], size[0], 3))
    for cells, weight in ((3, 0.5), (9, 0.3), (24, 0.2)):
        values = random.integers(0, 256, (cells, cells, 3 if cells == 3 else 1))
        values = np.broadcast_to(values, (cells, cells, 3)).astype(np.uint8)
        small = Image.fromarray(values)
        image += weight * np.asarray(small.resize(size, Image.Resampling.BICUBIC), float)
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def pictures():
    """Fill a folder with class folders of pictures; the same ones on each call."""

    def fill(folder, each=20, classes=CLASSES, seed=11):
        random = np.random.default_rng(seed)
        for label in classes:
            (folder / label).mkdir(parents=True)
            for number in range(each):
                draw(label, random).save(folder / label / f"{number:03}.png")
        return folder

    return fill


@pytest.fixture(scope="session")
def shapes(pictures, tmp_path_factory):
    """A folder of twenty pictures of each class, which tests only read."""
    return pictures(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture
def run(capfd):
    """A command in this process: exit status, standard output and standard error."""

    def call(main, *arguments):
        capfd.readouterr()
        return main([str(argument) for argument in arguments]), *capfd.readouterr()

    return call
