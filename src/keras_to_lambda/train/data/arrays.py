"""Arrays: pictures of one size, in .npz, .npy or idx files or from keras.datasets."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import re
import sys
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_to_lambda.train.data.dataset import (
    SPLIT_NAMES,
    SPLITS,
    DataError,
    Dataset,
    Split,
    completed,
)

# Share of each label for the test, where the data has none: of 10,000 digits, 1,500.
TEST = 0.15
MOST = 10_000  # labels without names: a larger number is damage, or a code and not a position
DIGITS = tuple("0123456789")
# https://github.com/zalandoresearch/fashion-mnist#labels
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
# Names of arrays: what it is, and perhaps of which split, in either order: x_train, test_labels.
IMAGES = ("x", "images", "image", "data", "features", "arr_0")
LABELS = ("y", "labels", "label", "targets", "target", "arr_1")
NAMES = ("label_names", "class_names", "classes", "names", "labels_names", "target_names")
LEAST = 64  # values of a flat picture: fewer are measurements
DARK = 32  # the highest value of pictures that are not of 0..255: sklearn's digits have 0..16
IDX = re.compile(r"(train|t10k)[-.](images|labels)[-.]idx[13][-.]ubyte(\.gz)?")

Array = npt.NDArray[Any]
Parts = dict[str, tuple[Array, Array]]


def assemble(parts: Parts, seed: int, sha256: str, labels: Sequence[str] | None = None) -> Dataset:
    """The data set of images and targets by split.

    Args:
        parts: "train", and "validation" or "test" where the data has them. Images: uint8, or floats
            of 0..1 or 0..255, with no channel axis or 1 or 3 channels, first or last; or flat
            squares; 0 and 1 are black and white. Targets: whole numbers, also as floats,
            (pictures,) or (pictures, 1); one-hot rows; or names.
        seed: of the pictures that are set aside from train. sha256: of the files.
        labels: by target; default: the names or numbers in the targets.
    """
    images = {name: _images(name, given) for name, (given, _) in parts.items()}
    targets, labels = _targets({name: given for name, (_, given) in parts.items()}, labels)
    shape = images["train"].shape[1:]
    for name, array in images.items():
        if len(targets[name]) != len(array) or not array.size:
            raise DataError(
                f"{name}: {len(array)} images and {len(targets[name])} labels; each picture needs "
                "one label, and there must be pictures"
            )
        if array.shape[1:] != shape:
            raise DataError(
                f"{name} has pictures of {array.shape[1:]}, train of {shape}; all need one size"
            )
    given = {
        name: [((name, row), int(target)) for row, target in enumerate(rows.tolist())]
        for name, rows in targets.items()
    }
    splits = completed(given, seed, TEST)
    if len({target for _, target in splits["train"]}) < 2:
        raise DataError("fewer than two labels have pictures to train on")
    return Dataset(
        labels=tuple(labels),
        splits={name: _split(images, sorted(splits[name])) for name in SPLITS},
        broken=(),
        sha256=sha256,
        shape=(shape[0], shape[1], 3 if len(shape) == 3 else 1),
        own_test=bool(given.get("test")),
    )


def _split(images: Mapping[str, Array], members: list[tuple[tuple[str, int], int]]) -> Split:
    rows = [row for (_, row), _ in members]
    targets = np.array([target for _, target in members], np.int32)
    part = members[0][0][0]  # all of a split are of one part
    return Split(targets, [f"row {row}" for row in rows], images[part][rows])


def _images(name: str, images: Array) -> npt.NDArray[np.uint8]:
    if images.ndim == 2 and math.isqrt(size := images.shape[1]) ** 2 == size >= LEAST:
        images = images.reshape(len(images), math.isqrt(size), -1)
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3, 4):
        images = np.moveaxis(images, 1, 3)
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    pictures = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    if images.dtype.kind in "iuf" and pictures and images.size:
        low, high = images.min(), images.max()
        if low >= 0 and high < 1.001:  # rounding
            return np.rint(np.minimum(images, 1) * 255.0).astype(np.uint8)
        if low >= 0 and DARK <= high < 256:
            return images.astype(np.uint8)
        how = "x * std + mean, if standardized"
        if low >= 0 and high < DARK:
            how = f"x * (255 / {high:g})"
        elif low >= -1 and high <= 1:
            how = "x * 127.5 + 127.5"
        raise DataError(
            f"{name}: images are {low:g} to {high:g}; expected values of 0..255 or 0..1: give {how}"
        )
    raise DataError(
        f"{name}: images are {images.dtype} {images.shape}; expected numbers, "
        "(pictures, rows, columns) if grey, or (pictures, rows, columns, 3) if RGB"
    )


def _targets(
    given: dict[str, Array], labels: Sequence[str] | None
) -> tuple[dict[str, Array], Sequence[str]]:
    """Whole numbers from 0, by split, and the labels."""
    flat = {name: _flat(name, array) for name, array in given.items()}
    every = np.concatenate(list(flat.values()))
    names = every.dtype.kind in "US"
    if not names:
        if every.dtype.kind not in "iufb" or (every != np.rint(every)).any():
            raise DataError(f"labels are {every.dtype}; expected whole numbers from 0, or names")
        most = len(labels) if labels else MOST
        if every.size and not (every.min() >= 0 and every.max() < most):
            raise DataError(
                f"labels are numbered {every.min():g} to {every.max():g}; expected 0 to {most - 1}"
            )
        every = every.astype(np.int64)
    if names or not labels:  # numbers may have gaps: Sign Language MNIST has no 9
        found, every = np.unique(every, return_inverse=True)
        labels = _texts(found)
    ends = np.cumsum([len(array) for array in flat.values()])[:-1]
    return dict(zip(flat, np.split(every, ends), strict=True)), labels


def _flat(name: str, targets: Array) -> Array:
    """One target for each picture."""
    if targets.ndim == 2 and targets.shape[1] > 1:
        if not (np.isin(targets, (0, 1)).all() and (targets.sum(axis=1) == 1).all()):
            raise DataError(f"{name}: labels are {targets.shape}, and not one-hot rows")
        return np.asarray(np.argmax(targets, axis=1))
    if not targets.ndim or targets.size != len(targets):
        raise DataError(f"{name}: labels are {targets.shape}; give one for each picture")
    return targets.ravel()


def _texts(values: Array) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values.ravel()]


def load(path: Path, seed: int) -> Dataset:
    """Read images, labels and their names from an .npz file, or from a folder's .npy files."""
    found: dict[str, Array] = {}
    whole = hashlib.sha256()
    for file in sorted(path.glob("*.npy")) if path.is_dir() else [path]:
        data, name = file.read_bytes(), file.stem
        whole.update((file.name.encode() + b"\0" if path.is_dir() else b"") + data)
        try:
            arrays = np.load(io.BytesIO(data), allow_pickle=False)
            named = arrays if isinstance(arrays, Mapping) else {name: arrays}
            for name in named:
                found[name] = np.asarray(named[name])
        except (
            ValueError, EOFError, KeyError, RuntimeError, MemoryError, zlib.error,
            zipfile.BadZipFile,
        ) as error:  # fmt: skip
            raise DataError(
                f"{file}: {name} is damaged, or holds objects: save numbers, or names of labels as "
                ".astype(str), with numpy.savez"
            ) from error
    pairs = _pairs(found)
    if "train" not in pairs or "arr_2" in found:  # more than a pair: in what order?
        raise DataError(
            f"{path} lacks x_train and y_train; it has {', '.join(sorted(found)) or 'no arrays'}"
        )
    used = {name for pair in pairs.values() for name in pair}
    if alone := [name for name, array in found.items() if array.ndim > 2 and name not in used]:
        print(f"{path}: {', '.join(alone)} has no labels, and is not used", file=sys.stderr)
    names = next((_texts(found[name]) for name in NAMES if name in found), None)
    parts = {split: (found[x], found[y]) for split, (x, y) in pairs.items()}
    return assemble(parts, seed, whole.hexdigest(), names)


def has_npy(root: Path) -> bool:
    """Whether a folder has .npy files of images and labels."""
    return bool(_pairs(path.stem for path in root.glob("*.npy")))


def _pairs(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The names of images and labels, by split."""
    found: dict[str, dict[bool, str]] = {}
    for name in names:
        words = re.split(r"[_-]", name.lower())
        splits = [SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES] or [""]
        rest = "_".join(word for word in words if word not in SPLIT_NAMES)
        if rest in IMAGES + LABELS and len(splits) == 1:
            found.setdefault(splits[0], {})[rest in LABELS] = name
    pairs = {split: (own[False], own[True]) for split, own in found.items() if len(own) == 2}
    plain = pairs.pop("", None)
    return {"train": plain} if plain and not pairs else pairs


def has_idx(root: Path) -> bool:
    """Whether a folder has idx files, or one in it: MNIST/raw/, or Kaggle's folder for each."""
    return bool(_idx_files(root))


def _idx_files(root: Path) -> dict[str, Path]:
    """By split and content, as train-images: the files nearest to root, in any spelling."""
    found: dict[str, Path] = {}
    for path in (*sorted(root.glob("*idx[13]?ubyte*")), *sorted(root.glob("*/*idx[13]?ubyte*"))):
        if path.is_file() and (name := IDX.fullmatch(path.name)):
            found.setdefault(f"{name[1]}-{name[2]}", path)
    return found


def load_idx(root: Path, seed: int) -> Dataset:
    """Read the idx files of MNIST and its like (http://yann.lecun.com/exdb/mnist/), plain or .gz.

    Args:
        root: holds train-images-idx3-ubyte, t10k-images-idx3-ubyte (the test) or one of them, with
            labels. Below a folder that is named after Fashion-MNIST they have FASHION's labels.
    """
    files = _idx_files(root)
    near = " ".join(files[min(files)].resolve().parts[-4:-1]).lower()
    labels = FASHION if "fashion" in near else None
    whole = hashlib.sha256()
    parts: Parts = {}
    for name, split in (("train", "train"), ("t10k", "test")):
        if images := files.get(f"{name}-images"):
            targets = files.get(f"{name}-labels")
            if not targets:
                raise DataError(f"{root} has no {name}-labels-idx1-ubyte")
            parts[split] = (_idx(images, whole), _idx(targets, whole))
    if not parts:
        raise DataError(f"{root} has neither train-images-idx3-ubyte nor t10k-images-idx3-ubyte")
    how = "train-images-idx3-ubyte for training, t10k-images-idx3-ubyte for the test"
    if len(parts) == 1:
        how = f"one set alone ({', '.join(parts)}): its pictures are split for all three purposes"
        parts = {"train": next(iter(parts.values()))}
    print(f"{root}: {how}", file=sys.stderr)
    return assemble(parts, seed, whole.hexdigest(), labels)


def _idx(path: Path, whole: hashlib._Hash) -> npt.NDArray[np.uint8]:
    """One file: two zeros, the type, the rank, the shape in big-endian words, the values."""
    data = path.read_bytes()
    try:
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    whole.update(data)
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise DataError(f"{path} is not an idx file of bytes")
    start = 4 + 4 * data[3]
    shape = tuple(int(size) for size in np.frombuffer(data[4:start], ">u4"))
    if len(data) - start != np.prod(shape, dtype=object):
        raise DataError(f"{path} is cut short: its header gives {shape}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
