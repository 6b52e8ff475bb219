"""Forms of DATA for tests: arrays and tables."""

from __future__ import annotations

import csv

import numpy as np

from tests.train.conftest import CLASSES


def counts(data):
    return {name: len(split) for name, split in data.splits.items()}


def arrays(count=30, side=8, channels=0):
    targets = np.arange(count) % 3
    shape = (count, side, side, channels) if channels else (count, side, side)
    images = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    return images, targets


def write_table(root, rows, name="images.csv"):
    with (root / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t" if name.endswith("tsv") else ",").writerows(rows)
    return root / name


IMAGES, TARGETS = arrays()
# Photos of the class folders of conftest, and their labels.
NAMED = [(f"{c}/{n:03}.png", c) for c in CLASSES for n in range(4)]
