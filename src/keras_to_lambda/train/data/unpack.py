"""Unpack: pictures of a split as files in class folders, from any DATA.

python -m keras_to_lambda.train.data.unpack DATA DIR MOST   writes at most MOST of the test pictures
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_to_lambda.convert.common.samples import spread
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data.dataset import DataError, neutral

if TYPE_CHECKING:
    from keras_to_lambda.train.data.dataset import Dataset

# The playground offers files of these kinds, up to this size.
SMALL_KINDS, SMALL_BYTES = (".jpg", ".jpeg", ".png"), 100_000
SMALL_SIDE = 400  # pixels: larger photos are scaled down to it
EACH, MOST = 3, 60  # examples of a label, and in all
EXAMPLE = "test-"  # start of their names
SEED = 1  # the default of training, which sets test pictures aside by it


def split(data: Dataset, name: str, folder: Path, most: int) -> None:
    """Write at most `most` pictures of a split: files as they are, rows of arrays as PNG."""
    pictures, card = data.splits[name], neutral(data)
    # All labels are among them, as pictures are sorted by label or shuffled.
    for row in spread(list(range(len(pictures))), most):
        path = _folder(folder, data.labels[pictures.targets[row]])
        (path / f"{row:06}{_ending(pictures.name(row))}").write_bytes(pictures.file(row, card))


def examples(data: Dataset, folder: Path) -> None:
    """Write a few test pictures of each label, small ones, in place of an earlier run's.

    A folder with files of the user in it stays as it is.
    """
    if folder.is_dir() and any(path.is_file() for path in folder.iterdir()):
        return
    for old in folder.glob(f"*/{EXAMPLE}*"):
        old.unlink()
    pictures, card = data.splits["test"], neutral(data)
    each = max(1, min(EACH, MOST // len(data.labels)))
    for target, label in list(enumerate(data.labels))[:MOST]:
        rows = np.flatnonzero(pictures.targets == target)
        for row in spread(rows.tolist(), each):
            content, ending = pictures.file(row, card), _ending(pictures.name(row))
            if ending.lower() not in SMALL_KINDS or len(content) > SMALL_BYTES:
                image = pictures.picture(row, card)
                image.thumbnail((SMALL_SIDE, SMALL_SIDE))
                buffer = io.BytesIO()
                image.save(buffer, "JPEG", quality=85)
                content, ending = buffer.getvalue(), ".jpg"
            (_folder(folder, label) / f"{EXAMPLE}{row:06}{ending}").write_bytes(content)


def _ending(name: str) -> str:
    return Path(name).suffix or ".png"


def _folder(root: Path, label: str) -> Path:
    name = label.replace("/", "_")
    path = root / (f"_{name[1:]}" if name.startswith(".") else name)
    path.mkdir(parents=True, exist_ok=True)
    return path


def main() -> int:
    """Run the command. Returns the exit code: 2 for data that cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", metavar="DATA", help="data, as k2l train takes it")
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder for the class folders")
    parser.add_argument("most", metavar="MOST", type=int, help="number of pictures, at most")
    args = parser.parse_args()
    try:
        split(sources.load(args.data, SEED), "test", args.folder, args.most)
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
