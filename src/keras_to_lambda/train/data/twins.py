"""Twins: pictures that are nearly the same, in two splits or under two labels.

A picture of the test that is also trained on flatters the accuracy; one that is trained on under
two labels teaches nothing. Three steps, each on fewer pairs:

1. Of each picture the nearest by thumbnails of 16 x 16, on their principal axes. That finds what is
   alike as a whole: the same picture, and others of the same arrangement.
2. Of these pairs, the correlation of the details, thumbnails of 32 x 32 less their own blur, which
   others of the same arrangement do not share.
3. Of colour photos whose details do not fit as they are: the same after one is shifted and
   stretched over the other (Lucas and Kanade's method), which fits a picture to a part of it.

70,000 pictures of 32 x 32 in colour take 72 seconds of processor time, on all cores, and 2 GB.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from keras_to_lambda.runtime.model.card import ModelCard, Preprocessing
from keras_to_lambda.train.data.ahead import ahead
from keras_to_lambda.train.data.dataset import SPLITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keras_to_lambda.train.data.dataset import Dataset, Split

    Bytes = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float32]
    Indices = npt.NDArray[np.int64]

SIDE = 32  # of the thumbnails whose details are compared
BLUR = 1.5  # standard deviation, pixels of these
# How well details correlate, in -1..1. Of the 20,000 pairs of the small clothing data set that are
# most alike as a whole, many taken by one person on one floor, the highest that are not the same
# photo get 0.92 (two pairs of trousers on the same tiles), 0.91 and 0.91; of those in two splits or
# under two labels, 0.88. Of 300 of its photos after JPEG at quality 30, brightness of 0.7 or 1.3,
# contrast of 1.3, half the saturation, a third of the size, or mirrored, 99 of 100 or all are
# found; of those that lack a twentieth of the width and height 99, a tenth 85, a fifth 23; made
# grey 63, turned by two degrees 16; and no pair too many.
COLOUR = 0.93
# Grey pictures are neither fitted nor mirrored: any two ones that are fitted are the same. As they
# are, two of MNIST's 10,000 test digits get 0.96 (ones again), and a digit after JPEG at quality
# 50, noise, or at 0.6 of its brightness 0.98 to 1.
GREY = 0.98
FLAT = 4.0  # standard deviation of a thumbnail, 0..255: what has less is alike only if equal

AXES = 64  # nine tenths of what tells the clothing photos' thumbnails apart
ALIKE = 0.6  # on them, at most 1
NEAREST = 4  # of photos that lack a tenth, 93 of 100 are among them
FITTED = 50_000  # pairs, the most alike first: 20 seconds of a core
PROMISING = 0.6  # of the details of 16 x 16, fitted: others are not fitted at 32 x 32
FURTHEST = 0.3  # of the width or height: how far a picture is shifted or stretched

# How pictures are decoded and made small; it is of no model.
RGB = ModelCard(
    name="thumbnail",
    labels=("one", "other"),
    height=SIDE,
    width=SIDE,
    preprocessing=Preprocessing(interpolation="pillow:bilinear", exif="apply"),
)
BLOCK = 128  # pictures at a time: of 70,000, their likenesses to all are 36 MB
BATCH = 512  # pairs at a time: 6 MB each side


@dataclass(frozen=True, slots=True)
class Twin:
    """Two pictures that are nearly the same.

    first, second: split and index in it; in the order of SPLITS, then of the index.
    similarity: 1.0 if all pixels are equal; else how well the details correlate, below 1.
    same_label: whether both have the same label.
    """

    first: tuple[str, int]
    second: tuple[str, int]
    similarity: float
    same_label: bool


def find(dataset: Dataset) -> list[Twin]:
    """Pairs in two different splits, and pairs in train with different labels; most similar first.

    Photos are compared as colour, with a part cut away, and mirrored; grey pictures as they are. A
    picture that is nearly of one colour has a twin only if all pixels are equal. Of a picture with
    many twins, the NEAREST are found; of equal ones, all.

    Raises:
        ClassifierError: a file has changed since it was checked.
    """
    from threadpoolctl import threadpool_limits

    pictures = _Pictures.of(dataset)
    equal = _equal(dataset, pictures)
    found = dict.fromkeys(equal, 1.0)
    colour = pictures.colour
    for mirrored in (False, True) if colour else (False,):
        # The work is spread over all cores already: threads of the matrix products would wait for
        # each other, ten times as long on a busy machine.
        with threadpool_limits(1, user_api="blas"):
            pairs = _alike(pictures, mirrored)
            scores = _scored(pictures, pairs, mirrored)
        for pair, score in zip(pairs.tolist(), scores.tolist(), strict=True):
            first, second = sorted(pair)
            if score >= (COLOUR if colour else GREY) and (first, second) not in equal:
                near = min(score, 1 - 1e-6)  # the last one is for equal ones
                found[first, second] = max(near, found.get((first, second), 0.0))
    return [
        Twin(
            pictures.place(first),
            pictures.place(second),
            similarity,
            bool(pictures.targets[first] == pictures.targets[second]),
        )
        for (first, second), similarity in sorted(
            found.items(), key=lambda item: (-item[1], item[0])
        )
    ]


def thumbnails(split: Split, side: int) -> Floats:
    """All pictures, stretched to a square: float32, (pictures, side, side, 3), RGB, 0..255."""
    return _small(split, side, "thumbnails").astype(np.float32)


def _small(split: Split, side: int, told: str) -> Bytes:
    small = np.empty((len(split), side, side, 3), np.uint8)
    for index, pixels in enumerate(split.pixels(RGB, side, told)):
        small[index] = pixels
    return small


@dataclass(frozen=True, slots=True)
class _Pictures:
    """All splits in one row.

    small: uint8, (pictures, SIDE, SIDE, 3). splits: int8, (pictures,), positions in SPLITS.
    starts: where each split begins. targets: int32, (pictures,).
    """

    small: Bytes
    splits: npt.NDArray[np.int8]
    starts: tuple[int, ...]
    targets: npt.NDArray[np.int32]

    @classmethod
    def of(cls, dataset: Dataset) -> _Pictures:
        parts = [dataset.splits[name] for name in SPLITS]
        sizes = [len(part) for part in parts]
        return cls(
            small=np.concatenate([_small(part, SIDE, "thumbnails") for part in parts]),
            splits=np.repeat(np.arange(len(SPLITS), dtype=np.int8), sizes),
            starts=tuple(np.cumsum([0, *sizes[:-1]]).tolist()),
            targets=np.concatenate([part.targets for part in parts]),
        )

    @property
    def colour(self) -> bool:
        """Whether any of them is more than grey, by more than JPEG's rounding."""
        return any(
            bool((np.ptp(self.small[start : start + BLOCK], axis=3) > 8).any())
            for start in range(0, len(self.small), BLOCK)
        )

    def place(self, index: int) -> tuple[str, int]:
        """The split's name, and the index in it."""
        split = int(self.splits[index])
        return SPLITS[split], index - self.starts[split]

    def matter(self, rows: Indices) -> npt.NDArray[np.bool_]:
        """Of each pair, bool, (rows, rows): in two splits, or in train under two labels."""
        splits, targets = self.splits[rows], self.targets[rows]
        trained = (splits == 0) & (splits[:, np.newaxis] == 0)
        two_labels = targets != targets[:, np.newaxis]
        return (splits != splits[:, np.newaxis]) | (trained & two_labels)


def _equal(dataset: Dataset, pictures: _Pictures) -> set[tuple[int, int]]:
    """Pairs that matter with all pixels the same."""

    def digest(index: int) -> bytes:
        split, own = pictures.place(index)
        image = dataset.splits[split].picture(own, RGB)
        return hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()

    # Only what has the same thumbnail can be the same.
    same = [rows for rows in _groups(t.tobytes() for t in pictures.small) if len(rows) > 1]
    suspects = [row for rows in same for row in rows]
    found = set()
    for group in _groups(ahead(digest, suspects)):
        rows = np.array([suspects[position] for position in group])
        if len(rows) > 1:
            pairs = np.argwhere(np.triu(pictures.matter(rows), 1))
            found |= {(int(rows[i]), int(rows[j])) for i, j in pairs}
    return found


def _groups(keys: Iterator[bytes]) -> list[list[int]]:
    """The positions of equal keys."""
    groups = defaultdict(list)
    for position, key in enumerate(keys):
        groups[hashlib.sha256(key).digest()].append(position)
    return list(groups.values())


def _alike(pictures: _Pictures, mirrored: bool) -> Indices:
    """Step 1: int64, (pairs, 2), pairs that matter, the most alike first; the second mirrored."""
    # By split, then by label: what does not matter to a picture is then in one piece.
    order = np.lexsort((pictures.targets, pictures.splits))
    own = _coarse(pictures.small[order])
    other = _coarse(pictures.small[order, :, ::-1]) if mirrored else own
    axes = _axes(own[:: max(1, len(own) // 8192)])
    own, other = own @ axes, other @ axes

    def nearest(block: tuple[slice, slice, slice]) -> tuple[Indices, Floats]:
        rows, columns, without = block
        likeness = own[rows] @ other[columns].T
        likeness[:, without] = -1
        size = likeness.shape[1]
        pieces = np.linspace(0, size, min(size, 64), endpoint=False, dtype=int)
        least = np.full((len(likeness), 1), ALIKE, np.float32)
        if len(pieces) > NEAREST:
            # As many pieces have something at least so near: the NEAREST are not further.
            best = np.partition(np.maximum.reduceat(likeness, pieces, axis=1), -NEAREST, axis=1)
            least = np.maximum(least, best[:, -NEAREST, np.newaxis])
        row, column = np.divmod(np.flatnonzero(likeness >= least), size)
        value = likeness[row, column]
        nearer = np.lexsort((-value, row))
        row, column, value = row[nearer], column[nearer], value[nearer]
        kept = np.arange(len(row)) - np.searchsorted(row, row) < NEAREST
        pairs = np.stack([order[row[kept] + rows.start], order[column[kept]]], axis=1)
        return pairs, value[kept]

    found = list(ahead(nearest, _blocks(pictures, order), "neighbours"))
    pairs = np.sort(np.concatenate([pairs for pairs, _ in found]), axis=1)
    values = np.concatenate([values for _, values in found])
    # Each pair once, although both may have found the other.
    pairs, first = np.unique(pairs, axis=0, return_index=True)
    return pairs[np.argsort(-values[first], kind="stable")]


def _axes(rows: Floats) -> Floats:
    """The principal axes of rows, (n, values), nearly: float32, (values, AXES), orthonormal."""
    # Orthogonal iteration; to find all axes takes as long as all the rest.
    axes = np.random.default_rng(0).normal(size=(rows.shape[1], AXES)).astype(np.float32)
    for _ in range(4):
        axes = np.linalg.qr(rows.T @ (rows @ axes))[0]
    return axes


def _blocks(pictures: _Pictures, order: Indices) -> list[tuple[slice, slice, slice]]:
    """Pictures, those they are compared with, and those of these that do not matter to them.

    All are places in the order; the first up to BLOCK of one split and label, the second from 0 on.
    """
    splits, targets = pictures.splits[order], pictures.targets[order]
    change = (np.diff(splits) != 0) | (np.diff(targets) != 0)
    edges = [0, *(np.nonzero(change)[0] + 1).tolist(), len(order)]
    blocks = []
    for start, end in itertools.pairwise(edges):
        split = splits[start]
        whole = slice(*np.searchsorted(splits, [split, split + 1]).tolist())
        # Train is compared with itself alone: the other splits find it from their side.
        pair = (whole, slice(start, end)) if split == 0 else (slice(0, len(order)), whole)
        blocks += [(slice(row, min(row + BLOCK, end)), *pair) for row in range(start, end, BLOCK)]
    return blocks


def _coarse(small: Bytes) -> Floats:
    """Half the side, less the mean, of length 1; 0 if flat: float32, (n, values)."""
    parts = []
    for start in range(0, len(small), BLOCK):
        block = small[start : start + BLOCK].astype(np.float32)
        block = _halved(block).reshape(len(block), -1)
        block -= block.mean(axis=1, keepdims=True)
        block[block.std(axis=1) < FLAT] = 0
        parts.append(block / np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-6))
    return np.concatenate(parts)


def _halved(images: Floats) -> Floats:
    """Images, (n, side, side, ...), at half the side: the mean of each 2 x 2."""
    half = images.shape[1] // 2
    return images.reshape(len(images), half, 2, half, 2, *images.shape[3:]).mean(axis=(2, 4))


def _scored(pictures: _Pictures, pairs: Indices, mirrored: bool) -> Floats:
    """Steps 2 and 3: float32, (pairs,), how well the details correlate."""
    colour = pictures.colour

    def score(start: int) -> Floats:
        chosen = pairs[start : start + BATCH]
        # Of grey ones, a channel is enough.
        first, second = (
            _planes(pictures.small[row, ..., : 3 if colour else 1]) for row in chosen.T
        )
        if mirrored:
            second = np.ascontiguousarray(second[..., ::-1])
        whole = np.ones((len(chosen), SIDE, SIDE), np.float32)
        scores = _correlation(_details(first), _details(second), whole)
        if colour and not mirrored and start < FITTED:
            fitted = np.nonzero(scores < COLOUR)[0]
            scores[fitted] = np.maximum(scores[fitted], _fitted(first[fitted], second[fitted]))
        return scores

    blocks = list(ahead(score, range(0, len(pairs), BATCH), "details"))
    return np.concatenate([np.empty(0, np.float32), *blocks])


def _planes(small: Bytes) -> Floats:
    """uint8, (n, side, side, c) -> float32, (n, c, side, side)."""
    return np.ascontiguousarray(small.transpose(0, 3, 1, 2), np.float32)


def _details(planes: Floats) -> Floats:
    """Planes, (n, ..., side, side), less their blur."""
    side = planes.shape[-1]
    at = np.arange(side, dtype=np.float32)
    # In proportion: at half the side, half the blur.
    kernel = np.exp(-(((at - at[:, np.newaxis]) / (BLUR * side / SIDE)) ** 2) / 2)
    kernel /= kernel.sum(axis=1, keepdims=True)
    # Each axis as one large product: many small ones take ten times as long.
    across = (planes.reshape(-1, side) @ kernel.T).reshape(planes.shape)
    down = np.ascontiguousarray(across.swapaxes(-1, -2)).reshape(-1, side) @ kernel.T
    return planes - down.reshape(planes.shape).swapaxes(-1, -2)


def _correlation(first: Floats, second: Floats, weights: Floats) -> Floats:
    """Of details, (n, c, side, side), where weights, (n, side, side), are 1: float32, (n,)."""
    weights = weights[:, np.newaxis]
    first, second = first * weights, second * weights

    def dot(a: Floats, b: Floats) -> Floats:
        return np.einsum("ncyx,ncyx->n", a, b)

    lengths = np.sqrt(dot(first, first) * dot(second, second))
    return dot(first, second) / np.maximum(lengths, 1e-3)


def _fitted(first: Floats, second: Floats) -> Floats:
    """Step 3: how well details correlate when one picture is laid over the other: float32, (n,).

    Args:
        first, second: planes, float32, (n, 3, SIDE, SIDE).
    """
    scores = np.zeros(len(first), np.float32)
    grey = first.mean(axis=1), second.mean(axis=1)
    half = _halved(grey[0]), _halved(grey[1])
    moves = _fit(*half, np.zeros((len(first), 4), np.float32), 8)
    rough, inside = _laid(_details(half[1])[:, np.newaxis], moves)
    likely = _correlation(_details(half[0])[:, np.newaxis], rough, inside)
    rows = np.nonzero(likely >= PROMISING)[0]
    if len(rows):
        there = _fit(grey[0][rows], grey[1][rows], moves[rows], 6)
        back = _fit(grey[1][rows], grey[0][rows], _inverse(there), 6)
        for moved, here, other in ((there, first, second), (back, second, first)):
            laid, inside = _laid(_details(other[rows]), moved)
            score = _correlation(_details(here[rows]), laid, inside)
            scores[rows] = np.maximum(scores[rows], score)
    return scores


def _fit(first: Floats, second: Floats, moves: Floats, steps: int) -> Floats:
    """Gauss and Newton's steps to the moves that lay the second over the first.

    Args:
        first, second: grey, float32, (n, side, side).
        moves: float32, (n, 4): where to start. The first's pixel x is the second's
            (1 + a) x + b, in -1..1 from edge to edge, and its y is (1 + c) y + d.

    Returns:
        Better moves, none larger than FURTHEST.
    """
    side = first.shape[1]
    at = np.linspace(-1, 1, side, dtype=np.float32)
    # The slopes are laid over as well: where the second ends, those of what was laid are wrong.
    planes = np.stack([second, *np.gradient(second, axis=(1, 2))], axis=1)
    for _ in range(steps):
        moved, inside = _laid(planes, moves)
        laid, y, x = moved[:, 0], moved[:, 1], moved[:, 2]
        # Light and contrast may differ: only what is left then is to be explained by the moves.
        here, there = _centred(first, inside), _centred(laid, inside)
        gain = (here * there).sum(axis=(1, 2)) / np.maximum((there**2).sum(axis=(1, 2)), 1e-3)
        gain = gain[:, np.newaxis, np.newaxis]
        slopes = np.stack([x * at, x, y * at[:, np.newaxis], y], axis=1) * (side - 1) / 2
        slopes = (slopes * (gain * inside)[:, np.newaxis]).reshape(len(first), 4, side * side)
        normal = slopes @ slopes.transpose(0, 2, 1)
        # A flat picture has no slopes: a little of the diagonal keeps the equations solvable.
        damping = 1e-3 * np.trace(normal, axis1=1, axis2=2) + 1e-3
        normal += damping[:, np.newaxis, np.newaxis] * np.eye(4, dtype=np.float32)
        rest = (here - gain * there).reshape(len(first), side * side, 1)
        change = np.linalg.solve(normal, slopes @ rest)[..., 0]
        moves = np.clip(moves + np.clip(change, -0.1, 0.1), -FURTHEST, FURTHEST)
    return moves


def _laid(planes: Floats, moves: Floats) -> tuple[Floats, Floats]:
    """Planes, (n, c, side, side), moved; and where they are, float32, (n, side, side), 0 or 1."""
    side = planes.shape[-1]
    at = np.linspace(-1, 1, side, dtype=np.float32)
    across = ((1 + moves[:, :1]) * at + moves[:, 1:2] + 1) * (side - 1) / 2
    down = ((1 + moves[:, 2:3]) * at + moves[:, 3:] + 1) * (side - 1) / 2
    # Bilinear interpolation as two matrices: each row has the weights of two neighbours.
    x, y = (
        np.maximum(0, 1 - np.abs(places[..., np.newaxis] - np.arange(side, dtype=np.float32)))
        for places in (across, down)
    )
    inside = [(places >= 0) & (places <= side - 1) for places in (down, across)]
    laid = y[:, np.newaxis] @ planes @ x.transpose(0, 2, 1)[:, np.newaxis]
    return laid, (inside[0][:, :, np.newaxis] & inside[1][:, np.newaxis]).astype(np.float32)


def _centred(grey: Floats, weights: Floats) -> Floats:
    """Grey, (n, side, side), less its mean where weights are 1, and 0 where they are 0."""
    count = np.maximum(weights.sum(axis=(1, 2), keepdims=True), 1)
    return (grey - (grey * weights).sum(axis=(1, 2), keepdims=True) / count) * weights


def _inverse(moves: Floats) -> Floats:
    """The moves that undo these."""
    scale = 1 / (1 + moves[:, ::2])
    back = np.stack([scale - 1, -moves[:, 1::2] * scale], axis=2)
    return back.reshape(len(moves), 4).astype(np.float32)
