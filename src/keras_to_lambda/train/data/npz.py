"""Pictures in an .npz file, as keras publishes mnist.npz."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_to_lambda.train.data.arrays import assemble, plain
from keras_to_lambda.train.data.dataset import DataError, Dataset

# Split -> what its arrays' names end in.
ENDINGS = {
    "train": ("train",),
    "validation": ("valid", "val", "validation"),
    "test": ("test",),
}


def load(path: Path, seed: int) -> Dataset:
    """Read x_train, y_train and, if they are there, x_valid (or x_val) and x_test with their y.

    Args:
        path: holds images, uint8, (pictures, rows, columns), or with 1 or 3 channels; and labels,
            whole numbers, (pictures,) or (pictures, 1).
        seed: of what is set aside for splits that are missing.

    Raises:
        DataError: an array is missing, damaged, or of another kind.
    """
    try:
        data = path.read_bytes()
        arrays = np.load(io.BytesIO(data), allow_pickle=False)
        if not isinstance(arrays, Mapping):
            raise DataError(f"{path} is a single array: save images and labels with numpy.savez")
        parts = {
            split: plain(np.asarray(arrays[x]), np.asarray(arrays[y]))
            for split, (x, y) in _pairs(path, list(arrays)).items()
        }
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except (
        ValueError, EOFError, KeyError, RuntimeError, MemoryError, zlib.error, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise DataError(
            f"{path} is damaged, or holds objects and not only numbers: save uint8 images and "
            "whole-number labels with numpy.savez"
        ) from error
    return assemble(parts, seed, hashlib.sha256(data).hexdigest())


def _pairs(path: Path, names: list[str]) -> dict[str, tuple[str, str]]:
    """Images' and labels' names, by split."""
    pairs = {}
    for split, endings in ENDINGS.items():
        there = [end for end in endings if f"x_{end}" in names or f"y_{end}" in names]
        if len(there) > 1:
            raise DataError(f"{path} has both x_{there[0]} and x_{there[1]}: keep one of them")
        for end in there or (["train"] if split == "train" else []):
            for name in (f"x_{end}", f"y_{end}"):
                if name not in names:
                    raise DataError(
                        f"{path} lacks {name}; it has {', '.join(names) or 'no arrays'}"
                    )
            pairs[split] = (f"x_{end}", f"y_{end}")
    return pairs
