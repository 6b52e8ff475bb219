"""Pixels: the pictures of a split, decoded and resized once, in a file mapped into memory."""

from __future__ import annotations

import hashlib
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from keras_to_lambda.train.data.dataset import DataError, Dataset, Split

if TYPE_CHECKING:
    from keras_to_lambda.runtime.model.card import ModelCard


def stored(
    data: Dataset, split: str, card: ModelCard, side: int, folder: Path
) -> npt.NDArray[np.uint8]:
    """All pictures as the card resizes them, but to `side`.

    Args:
        folder: keeps the file for the next time; made if need be.

    Returns:
        uint8, (pictures, side, side, channels), read from the disk when looked at.

    Raises:
        DataError: the disk has no room for it.
    """
    pictures = data.splits[split]
    steps = card.preprocessing
    how = f"{steps.resize}-{steps.exif}"
    name = f"{split}-{members(pictures)}-{how}-{side}x{card.channels}.npy"
    path = folder / data.sha256[:16] / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (len(pictures), side, side, card.channels)
        _room(path.parent, math.prod(shape))
        draft = path.with_suffix(".part")
        file = np.lib.format.open_memmap(draft, mode="w+", dtype=np.uint8, shape=shape)
        for row, picture in enumerate(pictures.pixels(card, side, f"decoding {split}")):
            file[row] = picture
        file.flush()
        del file
        draft.replace(path)
    return np.load(path, mmap_mode="r")


def members(split: Split) -> str:
    """Which pictures of the data a split has: the seed decides that."""
    whole = hashlib.sha256(split.targets.tobytes())
    for index in range(len(split)):
        whole.update(split.name(index).encode())
    return whole.hexdigest()[:12]


def _room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free - 500_000_000:
        raise DataError(
            f"the decoded pictures take {size / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB "
            "free: choose a smaller --size, or --cache on another disk"
        )
