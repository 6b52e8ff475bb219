"""Arrays: pictures that are all of one size, as benchmark sets are published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from keras_to_lambda.train.data.dataset import (
    HELD_OUT,
    SPLITS,
    DataError,
    Dataset,
    Split,
    completed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keras_to_lambda.runtime.model.card import ModelCard

# Of each label, where the set has no test of its own: of MNIST's 10,000 test digits that leaves
# 7,500 to train on, 1,000 for validation, and holds 1,500 back.
TEST = 0.15
# Labels that have no names: a larger number is damage, or a label's code and not its position.
MOST = 10_000


@dataclass(frozen=True, slots=True)
class Pictures(Split):
    """One split.

    images: uint8, (pictures, rows, columns) or (pictures, rows, columns, 3), 0..255.
    rows: int64, (pictures,): where each stands in its file, for its name.
    """

    images: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]

    def name(self, index: int) -> str:
        return f"row {self.rows[index]}"

    def picture(self, index: int, card: ModelCard) -> Image.Image:
        return Image.fromarray(self.images[index]).convert("L" if card.channels == 1 else "RGB")


def plain(
    images: npt.NDArray[np.uint8], targets: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer]]:
    """As `assemble` wants them: without the axis of a single channel, or of a single label."""
    one_channel = images.ndim == 4 and images.shape[3] == 1
    one_label = targets.ndim == 2 and targets.shape[1] == 1
    return images[..., 0] if one_channel else images, targets[:, 0] if one_label else targets


def assemble(
    parts: dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer]]],
    seed: int,
    sha256: str,
    labels: Sequence[str] | None = None,
    validation: float = HELD_OUT,
) -> Dataset:
    """The data set of images and targets by split.

    Args:
        parts: "train", and "validation" or "test" where the set has them: images as `Pictures` has
            them, targets (pictures,).
        seed: of what is set aside from train, a tenth of each label for validation, and TEST.
        sha256: of the files that all this was read from.
        labels: by target; default: the targets' numbers.

    Raises:
        DataError: images or targets are of another type or shape; a label's number is out of
            range; there are fewer than two labels, or one of them has no picture to train on.
    """
    for name, (images, targets) in parts.items():
        grey, rgb = images.ndim == 3, images.ndim == 4 and images.shape[3:] == (3,)
        if images.dtype != np.uint8 or not (grey or rgb):
            raise DataError(
                f"{name}: images are {images.dtype} {images.shape}; expected uint8, 0..255, "
                "(pictures, rows, columns) if grey, or (pictures, rows, columns, 3) if RGB"
            )
        if targets.shape != images.shape[:1] or not images.size:
            raise DataError(
                f"{name} has images {images.shape} and labels {targets.shape}: each picture needs "
                "one label, and there must be pictures"
            )
        if not np.issubdtype(targets.dtype, np.integer):
            raise DataError(f"{name}: labels are {targets.dtype}; expected whole numbers from 0")
        if images.shape[1:] != parts["train"][0].shape[1:]:
            raise DataError(
                f"{name} has pictures of {images.shape[1:]}, but train of "
                f"{parts['train'][0].shape[1:]}: they must be of one size"
            )
    lowest = min(int(targets.min()) for _, targets in parts.values())
    highest = max(int(targets.max()) for _, targets in parts.values())
    if lowest < 0 or highest >= (len(labels) if labels else MOST):
        raise DataError(
            f"labels are numbered {lowest} to {highest}; expected whole numbers from 0, below "
            f"{len(labels) if labels else MOST}"
        )
    if labels is None:
        labels = [str(label) for label in range(highest + 1)]
    given = {
        name: [((name, row), int(target)) for row, target in enumerate(targets.tolist())]
        for name, (_, targets) in parts.items()
    }
    splits = completed(given, seed, validation, TEST)
    trained = {target for _, target in splits["train"]}
    if len(labels) < 2 or len(trained) < len(labels):
        missing = [label for target, label in enumerate(labels) if target not in trained]
        raise DataError(
            f"no picture to train on of {', '.join(missing[:5]) or 'a second label'} (where train "
            "is split, a label needs at least three)"
        )
    shape = parts["train"][0].shape[1:]
    return Dataset(
        labels=tuple(labels),
        splits={name: _chosen(parts, splits[name]) for name in SPLITS},
        broken=(),
        sha256=sha256,
        shape=(shape[0], shape[1], 3 if len(shape) == 3 else 1),
    )


def _chosen(
    parts: dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer]]],
    members: list[tuple[tuple[str, int], int]],
) -> Pictures:
    """A split is of one part: what is set aside comes from train, and all else is as it was."""
    (part,) = {part for (part, _), _ in members}
    rows = np.array(sorted(row for (_, row), _ in members), np.int64)
    images, targets = parts[part]
    whole = len(rows) == len(images)
    return Pictures(
        targets=targets[rows].astype(np.int32),
        images=images if whole else images[rows],
        rows=rows,
    )
