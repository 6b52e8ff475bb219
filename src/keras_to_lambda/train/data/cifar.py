"""CIFAR-10 and CIFAR-100 as published, "python version": https://www.cs.toronto.edu/~kriz/cifar.html.

The files are pickles of Python 2, and a pickle can name any function to be called. Here it gets
stand-ins for the four that these files need, and nothing else.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import tarfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from keras_to_lambda.train.data.arrays import assemble
from keras_to_lambda.train.data.dataset import DataError, Dataset

KINDS = ("fine", "coarse")  # of CIFAR-100's labels: 100, or 20 groups of five
SIDE = 32
HOME = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True, slots=True)
class Layout:
    """One of the two sets.

    folder, archive: what they are published as. train, test: the files with pictures.
    names: the file with the labels' names. fine, coarse: the keys of labels and of their names.
    """

    folder: str
    archive: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    fine: tuple[bytes, bytes]
    coarse: tuple[bytes, bytes] | None


CIFAR10 = Layout(
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test=("test_batch",),
    names="batches.meta",
    fine=(b"labels", b"label_names"),
    coarse=None,
)
CIFAR100 = Layout(
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    train=("train",),
    test=("test",),
    names="meta",
    fine=(b"fine_labels", b"fine_label_names"),
    coarse=(b"coarse_labels", b"coarse_label_names"),
)
LAYOUTS = (CIFAR10, CIFAR100)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# In the order of their numbers, for what comes without the files above: keras.datasets.
CIFAR10_LABELS = _words("airplane automobile bird cat deer dog frog horse ship truck")
CIFAR100_FINE = _words(
    """
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
    """
)
CIFAR100_COARSE = _words(
    """
    aquatic_mammals fish flowers food_containers fruit_and_vegetables
    household_electrical_devices household_furniture insects large_carnivores
    large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores
    medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1
    vehicles_2
    """
)


def found(root: Path) -> bool:
    """Whether a folder is one of the two as it is unpacked, or has it in it."""
    return _place(root) is not None


def load(path: Path, seed: int, labels: str = "fine") -> Dataset:
    """Read the pictures: uint8, (pictures, 32, 32, 3); train is split into train and validation.

    Args:
        path: the folder as it is unpacked, one that holds it, or the .tar.gz itself.
        seed: of what is set aside for validation.
        labels: one of KINDS.

    Raises:
        DataError: a part is missing, damaged, or more than a pickle of arrays and lists.
    """
    layout, files = _from_folder(path) if path.is_dir() else _from_archive(path)
    keys = layout.coarse if labels == "coarse" else layout.fine
    if keys is None:
        raise DataError(f"{path} is CIFAR-10, which has no coarse labels: leave them out")
    whole = hashlib.sha256()

    def part(name: str) -> Mapping[Any, Any]:
        data = files[name]()
        whole.update(data)
        return unpickled(data, f"{path}: {name}")

    names = part(layout.names).get(keys[1])
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise DataError(f"{path}: {layout.names} lacks {keys[1].decode()}")
    parts = {}
    for split, batches in (("train", layout.train), ("test", layout.test)):
        read = [_pictures(part(name), keys[0], f"{path}: {name}") for name in batches]
        parts[split] = (
            np.concatenate([images for images, _ in read]),
            np.concatenate([targets for _, targets in read]),
        )
    return assemble(parts, seed, whole.hexdigest(), [name.decode() for name in names])


def _place(root: Path) -> tuple[Layout, Path] | None:
    """Which of the sets it is, and where its files are."""
    for layout in LAYOUTS:
        for folder in (root, root / layout.folder):
            named = folder.is_dir() and folder.resolve().name == layout.folder
            if named or (folder / layout.names).is_file():
                return layout, folder
    return None


def _from_folder(root: Path) -> tuple[Layout, dict[str, Callable[[], bytes]]]:
    if (place := _place(root)) is None:
        raise DataError(
            f"{root} has neither {CIFAR10.folder} nor {CIFAR100.folder}: unpack "
            f"{HOME}{CIFAR10.archive} or {HOME}{CIFAR100.archive} there"
        )
    layout, folder = place
    files = {name: (folder / name).read_bytes for name in _files(layout)}
    _complete(root, layout, {name for name in files if (folder / name).is_file()})
    return layout, files


def _from_archive(path: Path) -> tuple[Layout, dict[str, Callable[[], bytes]]]:
    """Read once from front to end: to go back in a .gz is to begin anew."""
    wanted = {f"{layout.folder}/{name}" for layout in LAYOUTS for name in _files(layout)}
    contents = {}
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = "/".join(Path(member.name).parts[-2:])
                if name in wanted and member.isfile() and (file := archive.extractfile(member)):
                    contents[name] = file.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{path} is damaged, or no tar archive: {error}") from error
    for layout in LAYOUTS:
        own = {
            name: contents[f"{layout.folder}/{name}"]
            for name in _files(layout)
            if f"{layout.folder}/{name}" in contents
        }
        if own:
            _complete(path, layout, set(own))
            return layout, {name: (lambda data=data: data) for name, data in own.items()}
    raise DataError(f"{path} has neither {CIFAR10.folder}/ nor {CIFAR100.folder}/ in it")


def _files(layout: Layout) -> tuple[str, ...]:
    return (layout.names, *layout.train, *layout.test)


def _complete(path: Path, layout: Layout, there: set[str]) -> None:
    if missing := [name for name in _files(layout) if name not in there]:
        raise DataError(
            f"{path} lacks {', '.join(missing)}: get {HOME}{layout.archive}, and unpack all of it"
        )


def _pictures(
    batch: Mapping[Any, Any], key: bytes, name: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images, (pictures, 32, 32, 3), from rows of a red, a green and a blue plane; and targets."""
    data, targets = batch.get(b"data"), batch.get(key)
    if not isinstance(data, _Array) or not isinstance(targets, list):
        raise DataError(f"{name} lacks data or {key.decode()}")
    rows = data.values(name)
    if rows.ndim != 2 or rows.shape[1] != 3 * SIDE * SIDE or len(rows) != len(targets):
        raise DataError(
            f"{name} has data {rows.shape} and {len(targets)} labels; expected a row of "
            f"{3 * SIDE * SIDE} bytes for each"
        )
    if not all(isinstance(target, int) for target in targets):
        raise DataError(f"{name}: {key.decode()} are not all whole numbers")
    planes = rows.reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), np.array(targets, np.int64)


def unpickled(data: bytes, name: str) -> Mapping[Any, Any]:
    """Read a pickle of a dict of lists, bytes, numbers, and uint8 arrays as `_Array`.

    Args:
        data: of Python 2 or 3. name: for messages.

    Raises:
        DataError: damaged, or it wants anything else.
    """
    try:
        found = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except DataError as error:
        raise DataError(f"{name} {error}") from error
    # Damage comes as any of these: an opcode that is none, a stack that is empty, a length.
    except (
        pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError,
        OverflowError, MemoryError,
    ) as error:  # fmt: skip
        raise DataError(f"{name} is damaged: {error or type(error).__name__}") from error
    if not isinstance(found, dict):
        raise DataError(f"{name} holds a {type(found).__name__}; expected a dict")
    return found


class _Array:
    """What a pickled ndarray says of itself; nothing is done with it before it is checked."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def values(self, name: str) -> npt.NDArray[np.uint8]:
        """The array: uint8, any shape."""
        try:
            _, shape, dtype, fortran, raw = self.state
            fits = dtype.name in ("u1", b"u1", b"uint8") and math.prod(shape) == len(raw)
            order = "F" if fortran else "C"
            array = np.frombuffer(raw, np.uint8).reshape(shape, order=order) if fits else None
        except (TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{name} is damaged: {error}") from error
        if array is None:
            raise DataError(f"{name} is damaged: its array is not of bytes, or cut short")
        return array


class _Dtype:
    """What a pickled dtype says of itself: its name. NumPy 2.4 warns of Python 2's other fields."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name

    def __setstate__(self, _: Any) -> None:
        pass


class _Bytes(bytes):
    """How Python 3 writes bytes for Python 2: a call of `_codecs.encode`.

    A class, as the other stand-ins: of a function, a pickle could set attributes.
    """

    def __new__(cls, text: str, _: Any = None) -> Self:
        return super().__new__(cls, text, "latin1")

    def __setstate__(self, _: Any) -> None:
        pass


STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Bytes,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise DataError(f"wants to call {module}.{name}: it is not from {HOME}; do not use it")
        return STAND_INS[module, name]
