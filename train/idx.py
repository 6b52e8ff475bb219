"""Pictures in idx files, as MNIST and its like are published (http://yann.lecun.com/exdb/mnist/).

python -m train.idx DATA -o DIR   unpacks them into DIR/train, validation and test, as PNG files in
                                  a folder for each label
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from classifier.preprocess import prepare, resize
from train.photos import SPLITS, DataError, Dataset, stratified

if TYPE_CHECKING:
    from collections.abc import Sequence

    from classifier.card import ModelCard

# Of each label, where the files have no split of their own: of MNIST's 10,000 test digits that
# leaves 7,500 to train on, 1,000 for validation, and holds 1,500 back.
VALIDATION, TEST = 0.1, 0.15
UINT8 = 8  # the type that pictures and labels have


@dataclass(frozen=True, slots=True)
class Pictures:
    """One split.

    images: uint8, (pictures, rows, columns), 0..255.
    targets: int32, (pictures,).
    """

    images: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, card: ModelCard, side: int) -> npt.NDArray[np.uint8]:
        """All pictures as the card resizes them, but to `side`: uint8, (n, side, side, 1)."""
        square = dataclasses.replace(card, height=side, width=side)
        return np.stack([resize(Image.fromarray(each), square) for each in self.images]).astype(
            np.uint8
        )

    def tensors(self, card: ModelCard) -> npt.NDArray[np.float32]:
        """All pictures as the function serves them: float32, (pictures, height, width, 1)."""
        return np.stack([prepare(Image.fromarray(each), card) for each in self.images])


def found(root: Path) -> bool:
    """Whether a folder has idx files."""
    return any(root.glob("*-images-idx3-ubyte*"))


def load(root: Path, seed: int) -> Dataset:
    """Read train-images-idx3-ubyte and t10k-images-idx3-ubyte with their labels, or one of them.

    Where there are both, the first is split into train and validation, and the second is the test.

    Raises:
        DataError: a file is missing or damaged.
    """
    parts = {}
    whole = hashlib.sha256()
    for name in ("train", "t10k"):
        if found_here := sorted(root.glob(f"{name}-images-idx3-ubyte*")):
            images = _read(found_here[0], whole)
            labels = _read(_only(root, f"{name}-labels-idx1-ubyte*"), whole)
            if images.ndim != 3 or labels.shape != images.shape[:1]:
                raise DataError(f"{root}: {name} has {images.shape} images, {labels.shape} labels")
            parts[name] = (images, labels.astype(np.int32))
    if not parts:
        raise DataError(f"{root} has neither train-images-idx3-ubyte nor t10k-images-idx3-ubyte")
    images, targets = parts.get("train") or parts["t10k"]
    apart = len(parts) == 2
    rows = stratified(
        list(enumerate(targets.tolist())), seed, VALIDATION, 0.0 if apart else TEST
    )  # fmt: skip
    splits = {name: _chosen(images, targets, [row for row, _ in rows[name]]) for name in SPLITS}
    if apart:
        splits["test"] = Pictures(*parts["t10k"])
    return Dataset(
        labels=tuple(str(label) for label in range(int(targets.max()) + 1)),
        splits=dict(splits),
        broken=(),
        sha256=whole.hexdigest(),
    )


def _chosen(
    images: npt.NDArray[np.uint8], targets: npt.NDArray[np.int32], rows: list[int]
) -> Pictures:
    ordered = np.array(sorted(rows), np.intp)
    return Pictures(images[ordered], targets[ordered])


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
        prog="python -m train.idx",
        description="Unpack idx files (MNIST and its like) into folders of PNG files, split as "
        "`python -m train` splits them.",
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
    with ThreadPoolExecutor() as pool:
        for name, split in data.splits.items():
            for label in data.labels:
                (options.output / name / label).mkdir(parents=True)
            paths = [
                options.output / name / data.labels[target] / f"{row:05}.png"
                for row, target in enumerate(split.targets.tolist())
            ]
            list(pool.map(lambda pair: Image.fromarray(pair[0]).save(pair[1]),
                          zip(split.images, paths, strict=True)))  # fmt: skip
            print(f"{len(split):6,} pictures in {options.output / name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
