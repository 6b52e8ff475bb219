"""Near-duplicates: pictures that are nearly the same, in two splits or under two labels.

A test picture that is also trained on makes the accuracy look better than it is. Pictures are
compared by ImageHash's perceptual hash, photos by its difference hash as well.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from keras_to_lambda.train.data.dataset import SPLITS, Dataset

SIDE = 16  # of a hash; it has SIDE * SIDE bits
BITS = SIDE * SIDE
# Bits in which hashes of near-duplicates differ, at most. Clothes on the same floor, photographed
# by the same person, differ in 58 and more.
PHOTO_P, PHOTO_D = 56, 50
GREY_P = 14  # handwritten digits are more alike than photos
FLAT = 4.0  # standard deviation, 0..255: what has less has no frequencies to compare
COLOURED = 2.0  # mean distance of the channels, 0..255
BLOCK = 256  # pictures at a time: of 70,000, their distances to all are 72 MB
MOST = 10_000  # pairs
OF_EQUAL = 20  # equal pictures of which pairs are made


class Fingerprint(NamedTuple):
    """What a picture is compared by.

    digest: of its pixels. limits: the bits in which a duplicate may differ, of the two hashes;
    negative where only an equal picture is a duplicate. hashes: bool, (4, BITS): perceptual and
    difference hash, and both of the mirrored picture.
    """

    digest: bytes
    limits: tuple[int, int]
    hashes: npt.NDArray[np.bool_]


class NearDuplicate(NamedTuple):
    """Two pictures that are nearly the same.

    first, second: split and index in it; in the order of SPLITS, then of the index.
    similarity: 1.0 for equal pixels, else the share of equal bits of the perceptual hashes.
    """

    first: tuple[str, int]
    second: tuple[str, int]
    similarity: float

    @property
    def leak(self) -> bool:
        """Whether they are in two splits; if not, they have two labels in one."""
        return self.first[0] != self.second[0]


def fingerprint(picture: Image.Image) -> Fingerprint:
    """What a picture is compared by. Its mode is RGB or L."""
    digest = hashlib.sha256(repr((picture.mode, picture.size)).encode() + picture.tobytes())
    tiny = np.asarray(picture.convert("RGB").resize((32, 32)), np.float32)
    small = picture.convert("L").resize((4 * SIDE, 4 * SIDE), Image.Resampling.LANCZOS)
    coloured = np.ptp(tiny, axis=2).mean() > COLOURED
    flat = tiny.std(axis=(0, 1)).max() < FLAT
    hashes = [
        kind(side, SIDE).hash.ravel()
        for side in (small, ImageOps.mirror(small))
        for kind in (imagehash.phash, imagehash.dhash)
    ]
    limits = (-1, -1) if flat else (PHOTO_P, PHOTO_D) if coloured else (GREY_P, BITS)
    return Fingerprint(digest.digest(), limits, np.array(hashes))


def find(data: Dataset, every: Sequence[Fingerprint]) -> list[NearDuplicate]:
    """Pairs in two splits, and pairs in one split with two labels; the most similar first.

    every: the fingerprint of each picture, one split after the other.
    """
    place = [(name, index) for name in SPLITS for index in range(len(data.splits[name]))]
    targets = np.concatenate([data.splits[name].targets for name in SPLITS])
    found: dict[tuple[int, int], float] = {}
    for one, two, similarity in itertools.chain(_equal(every), _near(every)):
        apart = place[one][0] != place[two][0] or targets[one] != targets[two]
        if apart and len(found) < MOST:
            found.setdefault((one, two), similarity)
    return [
        NearDuplicate(place[one], place[two], similarity)
        for (one, two), similarity in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    ]


def _equal(prints: Sequence[Fingerprint]) -> Iterator[tuple[int, int, float]]:
    groups = defaultdict(list)
    for index, own in enumerate(prints):
        groups[own.digest].append(index)
    for group in groups.values():
        # The ends of a group are the most likely to be in two splits.
        few = group if len(group) <= OF_EQUAL else group[: OF_EQUAL // 2] + group[-OF_EQUAL // 2 :]
        for one, two in itertools.combinations(few, 2):
            yield one, two, 1.0


def _near(prints: Sequence[Fingerprint]) -> Iterator[tuple[int, int, float]]:
    hashes = np.stack([own.hashes for own in prints])
    limits = np.array([own.limits for own in prints])
    # Of +1 and -1, a product is how many bits are equal, less how many are not.
    signs = hashes[:, (0, 2)].astype(np.float32) * 2 - 1
    for start in range(0, len(prints), BLOCK):
        rows = slice(start, start + BLOCK)
        for mirrored in (0, 1):
            distance = (BITS - signs[rows, 0] @ signs[start:, mirrored].T) / 2
            # A photo may have become grey: then the stricter limit of the two holds.
            allowed = np.minimum(limits[rows, 0, np.newaxis], limits[start:, 0])
            near, far = np.nonzero(distance <= allowed)
            one, two = near + start, far + start
            other = hashes[one, 1] != hashes[two, 1 + 2 * mirrored]
            kept = (two > one) & (other.sum(axis=1) <= np.minimum(limits[one, 1], limits[two, 1]))
            # Digits have no mirrored duplicates: a mirrored one is another picture.
            kept &= (np.minimum(limits[one, 0], limits[two, 0]) == PHOTO_P) | (mirrored == 0)
            for i, j, bits in zip(one[kept], two[kept], distance[near, far][kept], strict=True):
                yield int(i), int(j), min(1 - float(bits) / BITS, 1 - 1e-6)
