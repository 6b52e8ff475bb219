"""CIFAR-10 and CIFAR-100 as published, "python version": https://www.cs.toronto.edu/~kriz/cifar.html.

keras.datasets reads its own download alone; here is the folder or archive that a user has.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from keras_to_lambda.train.data.arrays import Array, Parts, assemble
from keras_to_lambda.train.data.dataset import DataError, Dataset

KINDS = ("fine", "coarse")  # labels of CIFAR-100: 100, or 20 groups of five
SIDE = 32
HOME = "https://www.cs.toronto.edu/~kriz/"
ARCHIVES = (".tar.gz", ".tgz", ".tar")


class CifarLayout(NamedTuple):
    """One of the two sets: its folder, its files, and the keys of targets and labels by kind."""

    folder: str
    train: tuple[str, ...]
    test: str
    names: str
    keys: dict[str, tuple[bytes, bytes]]


FINE, COARSE = (b"fine_labels", b"fine_label_names"), (b"coarse_labels", b"coarse_label_names")
LAYOUTS = (
    CifarLayout(
        "cifar-10-batches-py", tuple(f"data_batch_{number}" for number in range(1, 6)),
        "test_batch", "batches.meta", {"fine": (b"labels", b"label_names")},
    ),
    CifarLayout("cifar-100-python", ("train",), "test", "meta", {"fine": FINE, "coarse": COARSE}),
)  # fmt: skip
FOLDERS = tuple(layout.folder for layout in LAYOUTS)
# In the order of their numbers, for keras.datasets, which has no names.
LABELS = {
    "cifar10": "airplane automobile bird cat deer dog frog horse ship truck",
    "fine": """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle
    bowl boy bridge bus butterfly camel can castle caterpillar cattle
    chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
    dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
    lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
    mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
    plain plate poppy porcupine possum rabbit raccoon ray road rocket
    rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
    train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """,
    "coarse": """
    aquatic_mammals fish flowers food_containers fruit_and_vegetables
    household_electrical_devices household_furniture insects large_carnivores
    large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores
    medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1
    vehicles_2
    """,
}


def found(root: Path) -> bool:
    """Whether a folder is one of the two sets as it is unpacked, or has it in it."""
    return _place(root) is not None


def load(path: Path, seed: int, kind: str) -> Dataset:
    """Read the pictures; train is split into train and validation.

    Args:
        path: the unpacked folder, the folder above it, or the .tar.gz.
        seed: of the pictures that are set aside for validation.
        kind: of the labels, one of KINDS.

    Raises:
        DataError: a part is missing, damaged, or more than a pickle of arrays and lists.
    """
    if not path.is_dir():
        with tempfile.TemporaryDirectory(prefix="cifar-") as unpacked:
            _unpack(path, Path(unpacked))
            return load(Path(unpacked), seed, kind)
    place = _place(path)
    if place is None:
        raise DataError(f"{path} has neither {'/ nor '.join(FOLDERS)}/")
    layout, folder = place
    if kind not in layout.keys:
        raise DataError(
            f"{layout.folder} is CIFAR-10, which has no {kind} labels: omit --labels-kind"
        )
    whole = hashlib.sha256()

    def read(name: str) -> dict[bytes, Any]:
        if not (folder / name).is_file():
            raise DataError(f"{folder.name} lacks {name}: unpack all of the archive from {HOME}")
        data = (folder / name).read_bytes()
        whole.update(data)
        return unpickled(data, f"{folder.name}/{name}")

    targets, names = layout.keys[kind]
    labels = read(layout.names).get(names)
    if not isinstance(labels, list):
        raise DataError(f"{folder.name}/{layout.names} lacks {names.decode()}")
    parts: Parts = {}
    for split, files in (("train", layout.train), ("test", (layout.test,))):
        batches = [_batch(read(name), targets, f"{folder.name}/{name}") for name in files]
        images, numbers = zip(*batches, strict=True)
        parts[split] = (np.concatenate(images), np.concatenate(numbers))
    return assemble(parts, seed, whole.hexdigest(), [bytes(label).decode() for label in labels])


def _place(root: Path) -> tuple[CifarLayout, Path] | None:
    for layout in LAYOUTS:
        for folder in (root, root / layout.folder):
            if (folder / layout.names).is_file():
                return layout, folder
    return None


def _unpack(path: Path, folder: Path) -> None:
    try:
        with tarfile.open(path) as archive:
            wanted = [own for own in archive if Path(own.name).parent.name in FOLDERS]
            archive.extractall(folder, wanted, filter="data")
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{path} is damaged, or no tar archive: {error}") from error


def _batch(batch: dict[bytes, Any], key: bytes, name: str) -> tuple[npt.NDArray[np.uint8], Array]:
    """Images, (pictures, 32, 32, 3), from rows of a red, a green and a blue plane; and targets."""
    rows, targets = batch.get(b"data"), batch.get(key)
    if not isinstance(rows, np.ndarray) or not isinstance(targets, list):
        raise DataError(f"{name} lacks data or {key.decode()}")
    if rows.dtype != np.uint8 or rows.shape != (len(targets), 3 * SIDE * SIDE):
        raise DataError(
            f"{name} has data {rows.dtype} {rows.shape} and {len(targets)} labels; expected a row "
            f"of {3 * SIDE * SIDE} bytes for each"
        )
    return rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), np.array(targets)


def unpickled(data: bytes, name: str) -> dict[bytes, Any]:
    """Read a pickle, of Python 2 or 3, of a dict of lists, bytes, numbers and NumPy arrays.

    Raises:
        DataError: damaged, or anything else is in it: a pickle can name any function to be called.
    """
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


ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
}  # fmt: skip


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}; do not use it")
        return super().find_class(module, name)
