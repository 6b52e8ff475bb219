"""Pictures in idx files, as MNIST and its like are published (http://yann.lecun.com/exdb/mnist/).

python -m keras_to_lambda.train.data.idx DATA -o DIR   unpacks them into DIR, as PNG
                                       files in a folder for each label
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from keras_to_lambda.train.data.ahead import ahead
from keras_to_lambda.train.data.arrays import Pictures, assemble
from keras_to_lambda.train.data.dataset import DataError, Dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

UINT8 = 8  # the type that pictures and labels have
DIGITS = tuple("0123456789")
# https://github.com/zalandoresearch/fashion-mnist#labels
FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def found(root: Path) -> bool:
    """Whether a folder has idx files."""
    return any(root.glob("*-images-idx3-ubyte*"))


def load(root: Path, seed: int, labels: Sequence[str] | None = None) -> Dataset:
    """Read train-images-idx3-ubyte and t10k-images-idx3-ubyte with their labels, or one of them.

    Where there are both, the first is split into train and validation, and the second is the test.

    Args:
        root: the folder with the files, plain or as .gz.
        seed: of what is set aside.
        labels: by target; default: FASHION if the folder is called fashion-mnist or fashion, the
            targets' numbers otherwise.

    Raises:
        DataError: a file is missing or damaged.
    """
    if labels is None and root.resolve().name.lower() in ("fashion-mnist", "fashion"):
        labels = FASHION
    parts = {}
    whole = hashlib.sha256()
    for name in ("train", "t10k"):
        if found_here := sorted(root.glob(f"{name}-images-idx3-ubyte*")):
            images = _read(found_here[0], whole)
            parts[name] = (images, _read(_only(root, f"{name}-labels-idx1-ubyte*"), whole))
    if not parts:
        raise DataError(f"{root} has neither train-images-idx3-ubyte nor t10k-images-idx3-ubyte")
    if len(parts) == 1:
        given = {"train": next(iter(parts.values()))}
        name = next(iter(parts))
        print(
            f"{root} has {name}-images-idx3-ubyte alone: its pictures are split into train, "
            "validation and test",
            file=sys.stderr,
        )
    else:
        given = {"train": parts["train"], "test": parts["t10k"]}
        print(
            f"{root}: trained on train-images-idx3-ubyte, tested on t10k-images-idx3-ubyte",
            file=sys.stderr,
        )
    return assemble(given, seed, whole.hexdigest(), labels)


def _only(root: Path, pattern: str) -> Path:
    paths = sorted(root.glob(pattern))
    if not paths:
        raise DataError(f"{root} has no {pattern.rstrip('*')}")
    return paths[0]


def _read(path: Path, whole: hashlib._Hash) -> npt.NDArray[np.uint8]:
    """One file: two zeros, the type, the rank, the shape in big-endian words, the values."""
    data = path.read_bytes()
    try:
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    whole.update(data)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != UINT8:
        raise DataError(f"{path} is not an idx file of bytes")
    start = 4 + 4 * data[3]
    shape = tuple(np.frombuffer(data[4:start], ">u4").astype(int).tolist())
    if len(data) - start != np.prod(shape):
        raise DataError(f"{path} is cut short: its header says {shape}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def main(arguments: Sequence[str] | None = None) -> int:
    """Unpack. Returns the exit code: 2 for wrong files."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_to_lambda.train.data.idx",
        description="Unpack idx files (MNIST and its like) into folders of PNG files, split as "
        "`k2l train` splits them.",
    )
    parser.add_argument("data", metavar="DATA", type=Path, help="the folder with the idx files")
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, required=True, help="a new folder"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the split (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        if options.output.exists():
            raise DataError(f"{options.output} exists already; name a new folder")
        data = load(options.data, options.seed)
    except DataError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    for name, split in data.splits.items():
        _unpack(split, data.labels, options.output / name)
        print(f"{len(split):6,} pictures in {options.output / name}", flush=True)
    return 0


def _unpack(split: Pictures, labels: Sequence[str], folder: Path) -> None:
    """Write each picture below its label: 00000.png and so on, in the split's order."""
    tops = [folder / label.replace("/", "-") for label in labels]
    for top in tops:
        top.mkdir(parents=True)

    def write(index: int) -> None:
        path = tops[split.targets[index]] / f"{index:05}.png"
        Image.fromarray(split.images[index]).save(path)

    for _ in ahead(write, range(len(split)), folder.name):
        pass


if __name__ == "__main__":
    sys.exit(main())
