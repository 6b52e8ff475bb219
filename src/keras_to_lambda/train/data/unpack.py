"""Unpack: pictures of a split as files in class folders, from any DATA.

python -m keras_to_lambda.train.data.unpack DATA DIR MOST   writes at most MOST of the test
pictures; of all pictures, if DATA has no test split
"""

from __future__ import annotations

import dataclasses
import io
import sys
from pathlib import Path

import numpy as np

from keras_to_lambda.convert.common.samples import spread
from keras_to_lambda.runtime.common.errors import UserError
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data.dataset import SEED, Dataset, joined, neutral

# The playground offers files of these kinds, up to this size.
SMALL_KINDS, SMALL_BYTES = (".jpg", ".jpeg", ".png"), 100_000
SMALL_SIDE = 400  # pixels: larger photos are scaled down to it
EACH, MOST = 3, 60  # examples of a label, and in all
EXAMPLE = "test-"  # start of their names


def split(data: Dataset, name: str, folder: Path, most: int) -> None:
    """Write at most `most` pictures of a split: files as they are, rows of arrays as PNG."""
    # All labels are among them, as pictures are sorted by label or shuffled.
    for row in spread(list(range(len(data.splits[name]))), most):
        _write(data, name, row, folder)


def examples(data: Dataset, folder: Path) -> None:
    """Write a few test pictures of each label, small ones, in place of an earlier run's.

    A folder with files of the user in it stays as it is.
    """
    if folder.is_dir() and any(path.is_file() for path in folder.iterdir()):
        return
    for old in folder.glob(f"*/{EXAMPLE}*"):
        old.unlink()
    for target in range(min(MOST, len(data.labels))):
        rows = np.flatnonzero(data.splits["test"].targets == target).tolist()
        for row in spread(rows, max(1, min(EACH, MOST // len(data.labels)))):
            _write(data, "test", row, folder, EXAMPLE)


def _write(data: Dataset, name: str, row: int, root: Path, prefix: str = "") -> None:
    """Write a picture into its label's folder. prefix: of its name; then it is a small file."""
    pictures, card = data.splits[name], neutral(data)
    content, ending = pictures.file(row, card), Path(pictures.names[row]).suffix or ".png"
    if prefix and (ending.lower() not in SMALL_KINDS or len(content) > SMALL_BYTES):
        image, buffer = pictures.picture(row, card), io.BytesIO()
        image.thumbnail((SMALL_SIDE, SMALL_SIDE))
        image.save(buffer, "JPEG", quality=85)
        content, ending = buffer.getvalue(), ".jpg"
    label = data.labels[pictures.targets[row]].replace("/", "_")
    folder = root / (f"_{label[1:]}" if label.startswith(".") else label)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{prefix}{row:06}{ending}").write_bytes(content)


if __name__ == "__main__":
    source, to, count = sys.argv[1:]
    try:
        loaded = sources.load(source, SEED)
        if not loaded.own_test:
            every = joined(loaded.splits.values())
            loaded = dataclasses.replace(loaded, splits={"test": every})
        split(loaded, "test", Path(to), int(count))
    except (UserError, OSError) as error:
        sys.exit(str(error))
