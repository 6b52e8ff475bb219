"""Sources: the DATA of a command line -> a data set."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from keras_to_lambda.class_folders import TABLES, folders, images, unwrapped, unzipped
from keras_to_lambda.convert.common.conversion_errors import listed
from keras_to_lambda.train.data import arrays, cifar, photos, table
from keras_to_lambda.train.data.dataset import DataError, Dataset

# For the help of a command line's DATA.
FORMS = """\
folder      class folders, alone or below train/, validation/ and test/; idx files
            (MNIST); an .npz or pairs of .npy files; CIFAR's python version; a .csv or
            .tsv, or one for each split
.zip        such a folder; the photos that were labelled in the playground
.csv, .tsv  table of photos: columns path, label, and perhaps split
.npz        arrays x_train, y_train, and perhaps x_valid, x_test; or images, labels
.tar.gz     cifar-10-python.tar.gz or cifar-100-python.tar.gz
keras:NAME  mnist, fashion_mnist, cifar10 or cifar100, by keras.datasets
...#coarse  CIFAR-100 with its 20 coarse labels, in any of its forms
"""
COARSE = "#coarse"
PICKLE = re.compile(r"\.(p|pkl|pickle)(\.gz)?$|_batch(_\d)?$")

# Labels of keras.datasets; of cifar100, by the kind of label.
KERAS: dict[str, tuple[str, ...]] = {
    "mnist": arrays.DIGITS,
    "fashion_mnist": arrays.FASHION,
    "cifar10": tuple(cifar.LABELS["cifar10"].split()),
    "cifar100": (),
}


def add(parser: argparse.ArgumentParser, *name: str, **how: Any) -> None:
    """The arguments that name the data. name: of an option, in place of DATA."""
    parser.add_argument(
        *(name or ("data",)), metavar="DATA", help="labelled pictures; see below", **how
    )


def name_of(source: str) -> str:
    """The name of a data set: mnist for mnist.npz, keras:mnist and data/mnist/."""
    path = Path(source.removeprefix("keras:").removesuffix(COARSE))
    return (path.name or path.resolve().name).partition(".")[0] or "data"


def load(source: str, seed: int) -> Dataset:
    """Read a data set.

    Args:
        source: as FORMS has it. keras: downloads to $KERAS_HOME (~/.keras).
        seed: of the pictures that are set aside for a missing split.
    """
    place = source.removesuffix(COARSE)
    labels = "fine" if place == source else "coarse"
    if place.startswith("keras:"):
        return _keras(place.removeprefix("keras:"), seed, labels)
    return _local(Path(place).expanduser(), seed, labels)


def _local(path: Path, seed: int, labels: str) -> Dataset:
    ending = path.suffix.lower()
    if path.name.lower().endswith(cifar.ARCHIVES) or (path.is_dir() and cifar.found(path)):
        return cifar.load(path, seed, labels)
    if labels != "fine":
        raise DataError(f"{path} is not CIFAR-100, which alone has {labels} labels")
    if path.is_dir():
        return _folder(path, seed)
    if ending == ".zip" and path.is_file():
        try:
            root = unzipped(path)
        except ValueError as error:
            raise DataError(str(error)) from error
        try:
            return _local(root, seed, labels)
        except DataError as error:
            raise DataError(str(error).replace(str(root), str(path))) from error
    if ending in TABLES and path.is_file():
        return table.load({path: ""}, seed)
    if ending == ".npz":
        return arrays.load(path, seed)
    if ending == ".npy":
        raise DataError(f"{path} is one array; give the folder with images and labels in two")
    if path.is_file() and (PICKLE.search(path.name) or cifar.found(path.parent)):
        raise DataError(
            f"{path} is a pickle: give the folder with all of CIFAR's files, or save the arrays "
            "with numpy.savez('data.npz', x=images, y=labels), and give data.npz"
        )
    what = "unsupported data format" if path.exists() else "no such file or folder"
    raise DataError(
        f"{what}: {path}; give a folder, a .zip, .csv, .tsv, .npz or .tar.gz, or "
        f"{' or '.join('keras:' + name for name in KERAS)}"
    )


def _folder(root: Path, seed: int) -> Dataset:
    if arrays.has_idx(root):
        return arrays.load_idx(root, seed)
    if arrays.has_npy(root):
        return arrays.load(root, seed)
    if len(packed := sorted(root.glob("*.npz"))) == 1:
        return arrays.load(packed[0], seed)
    tables, splits = table.found(root), photos.has_splits(root)
    if tables and (
        not (splits or photos.has_classes(root))
        # Labels that no folder is named after; GTSRB's test photos have theirs in a table alone.
        or ((len(tables) > 1 or not splits) and table.describes(tables, root))
    ):
        return table.load(tables, seed)
    if not splits and (inside := unwrapped(root)) != root:
        return _folder(inside, seed)
    if folders(root):
        return photos.load(root, seed)
    if count := len(images(root)):
        raise DataError(
            f"{root} has {count} photos but no class folders; move them into one folder per label"
        )
    names = listed(sorted(path.name for path in root.iterdir()), 4)
    raise DataError(
        f"{root} has no data{names and f', but {names}'}; expected class folders (or train/ with "
        "class folders in it), "
        "train-images-idx3-ubyte or t10k-images-idx3-ubyte, data.npy and labels.npy, "
        f"{'/ or '.join(cifar.FOLDERS)}/, or a .csv or .tsv file"
    )


def _keras(name: str, seed: int, kind: str) -> Dataset:
    if name not in KERAS:
        raise DataError(f"keras:{name} is unknown; there are keras:{', keras:'.join(KERAS)}")
    if kind != "fine" and name != "cifar100":
        raise DataError(f"keras:{name} is not CIFAR-100, which alone has {kind} labels")
    options = {"label_mode": kind} if name == "cifar100" else {}
    names = KERAS[name] or tuple(cifar.LABELS[kind].split())
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    try:
        # Keras reports its download on standard output, where ours are results.
        with contextlib.redirect_stdout(sys.stderr):
            train, test = getattr(keras.datasets, name).load_data(**options)
    except Exception as error:  # get_file raises no other where it has no network
        raise DataError(
            f"keras:{name} cannot be downloaded ({str(error)[:300]}): get its files by hand, and "
            "give their folder, .npz or .tar.gz as DATA"
        ) from error
    whole = hashlib.sha256()
    for array in (*train, *test):
        whole.update(np.ascontiguousarray(array).tobytes())
    return arrays.assemble({"train": train, "test": test}, seed, whole.hexdigest(), names)
