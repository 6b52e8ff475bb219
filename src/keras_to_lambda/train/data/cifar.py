"""CIFAR-10 and CIFAR-100 as published, "python version": https://www.cs.toronto.edu/~kriz/cifar.html.

keras.datasets reads its own download alone; here is the folder or archive that a user has.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import shutil
import sys
import tarfile
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from keras_to_lambda.train.data.arrays import Parts, assemble
from keras_to_lambda.train.data.dataset import DataError, Dataset

ARCHIVES = (".tar.gz", ".tgz", ".tar")
# Of each set: its folder, files for training, the test's file and that of the names.
LAYOUTS = (
    ("cifar-10-batches-py", [f"data_batch_{n}" for n in range(1, 6)], "test_batch", "batches.meta"),
    ("cifar-100-python", ["train"], "test", "meta"),
)
FOLDERS = tuple(layout[0] for layout in LAYOUTS)
# In the order of their numbers, for keras.datasets and folders without the file of the names.
LABELS = {
    "cifar10": "airplane automobile bird cat deer dog frog horse ship truck",
    "fine": """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
    camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
    cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
    lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
    oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
    possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
    spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
    train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """,
    "coarse": """
    aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
    household_furniture insects large_carnivores large_man-made_outdoor_things
    large_natural_outdoor_scenes large_omnivores_and_herbivores medium_mammals
    non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2
    """,
}


def found(root: Path) -> bool:
    """Whether a folder is one of the two sets as it is unpacked, or has it in it or one below."""
    return any(_place(root, layout) for layout in LAYOUTS)


def _place(root: Path, layout: tuple[str, list[str], str, str]) -> Path | None:
    """The folder with the file of the names, or with those of both splits: root, or one in it."""
    _, train, test, names = layout
    for folder in (
        root,
        *(found for f in FOLDERS for at in (f, f"*/{f}") for found in root.glob(at)),
    ):
        if any(all((folder / n).is_file() for n in own) for own in ([names], [train[0], test])):
            return folder
    return None


def load(path: Path, seed: int, kind: str) -> Dataset:
    """Read the pictures; train is split into train and validation.

    Args:
        path: the unpacked folder, the folder above it, or the .tar.gz.
        seed: of the pictures that are set aside for validation.
        kind: of the labels of CIFAR-100: fine (100) or coarse (20 groups of five).
    """
    if not path.is_dir():
        with tempfile.TemporaryDirectory(prefix="cifar-") as unpacked:
            try:
                with tarfile.open(path) as archive:
                    for own in archive:
                        # By name alone, as extractall's filter is newer than Python 3.11.0.
                        place = Path(unpacked, Path(own.name).parent.name, Path(own.name).name)
                        if place.parent.name in FOLDERS and (content := archive.extractfile(own)):
                            place.parent.mkdir(exist_ok=True)
                            with content, place.open("wb") as file:
                                shutil.copyfileobj(content, file)
            except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
                raise DataError(f"{path} is damaged, or no tar archive: {error}") from error
            if not found(Path(unpacked)):
                raise DataError(
                    f"{path} has neither {'/ nor '.join(FOLDERS)}/; unpack an archive of other "
                    "data, and give its folder"
                )
            return load(Path(unpacked), seed, kind)
    known = [(folder, *layout) for layout in LAYOUTS if (folder := _place(path, layout))]
    folder, name, train, test, names = known[0]
    prefix = f"{kind}_" if name == FOLDERS[1] else ""
    if kind != "fine" and not prefix:
        raise DataError(f"{name} is CIFAR-10, which has no {kind} labels")
    whole = hashlib.sha256()

    def read(file: str, *keys: str) -> list[Any]:
        """The values of some keys of a file."""
        data = (folder / file).read_bytes()
        whole.update(data)
        values = unpickled(data, f"{name}/{file}")
        found = [values.get(key.encode()) for key in keys]
        if not all(isinstance(value, list | np.ndarray) for value in found):
            raise DataError(f"{name}/{file} lacks {' or '.join(keys)}")
        return found

    labels = LABELS[kind if prefix else "cifar10"].split()
    if (folder / names).is_file():
        labels = [bytes(label).decode() for label in read(names, f"{prefix}label_names")[0]]
    parts: Parts = {}
    missing = [file for file in (*train, test) if not (folder / file).is_file()]
    if not set(train) - set(missing):
        raise DataError(f"{name} lacks {', '.join(missing)}: unpack all of its archive")
    if missing:
        note = f"note: {name} lacks {', '.join(missing)}: what it has is used"
        print(note, file=sys.stderr)
    for split, files in (("train", train), ("test", [test])):
        here = [file for file in files if file not in missing]
        if not here:
            continue
        pairs = [read(file, "data", f"{prefix}labels") for file in here]
        rows, targets = (np.concatenate(each) for each in zip(*pairs, strict=True))
        if rows.dtype != np.uint8 or rows.shape != (len(targets), 3072):
            raise DataError(
                f"{name} has {split} data {rows.dtype} {rows.shape} and {len(targets)} labels; "
                "expected a row of 3072 bytes for each"
            )
        # A row has a red, a green and a blue plane.
        parts[split] = (rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), targets)
    return assemble(parts, seed, whole.hexdigest(), labels)


def unpickled(data: bytes, name: str) -> dict[bytes, Any]:
    """Read a pickle, of Python 2 or 3, of a dict of lists, bytes, numbers and NumPy arrays."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's, about the fields of Python 2
            loaded = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    # Damage comes as any of these: an unknown opcode, an empty stack, a length.
    except (
        pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError,
        OverflowError, MemoryError,
    ) as error:  # fmt: skip
        raise DataError(f"{name} is damaged: {error or type(error).__name__}") from error
    if not isinstance(loaded, dict):
        raise DataError(f"{name} has a {type(loaded).__name__}; expected a dict")
    return loaded


class _Unpickler(pickle.Unpickler):
    ALLOWED = (
        ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
    )  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}; do not use it")
        return super().find_class(module, name)
