"""Sources: what a person names on the command line -> a data set."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_to_lambda.class_folders import images
from keras_to_lambda.train.data import cifar, idx, npz, photos, table
from keras_to_lambda.train.data.arrays import assemble, plain
from keras_to_lambda.train.data.dataset import DataError, Dataset

# For the help of a command line's DATA.
FORMS = """\
a folder    of class folders, alone or below train/, validation/ and test/; of
            idx files (MNIST); of CIFAR's python version; with images.csv
.csv, .tsv  photos, relative to it: columns path, label, and perhaps split
.npz        arrays x_train, y_train, and perhaps x_valid, x_test
.tar.gz     cifar-10-python.tar.gz or cifar-100-python.tar.gz
keras:NAME  mnist, fashion_mnist, cifar10 or cifar100, by keras.datasets
git:URL     a repository with one of these folders; clothing is short for
            git:https://github.com/alexeygrigorev/clothing-dataset-small
"""

SHORT = {"clothing": "git:https://github.com/alexeygrigorev/clothing-dataset-small"}
LISTS = tuple(
    f"{name}.{ending}"
    for name in ("images", "labels", "data", "metadata", "train")
    for ending in ("csv", "tsv")
)
ARCHIVES = (".tar.gz", ".tgz", ".tar")


@dataclass(frozen=True, slots=True)
class Published:
    """A set of keras.datasets. url: where its file is, or its files are. labels: their names."""

    url: str
    labels: tuple[str, ...] | None = None


KERAS = {
    "mnist": Published("https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"),
    "fashion_mnist": Published(
        "https://github.com/zalandoresearch/fashion-mnist/tree/master/data/fashion", idx.FASHION
    ),
    "cifar10": Published(cifar.HOME + cifar.CIFAR10.archive, cifar.CIFAR10_LABELS),
    "cifar100": Published(cifar.HOME + cifar.CIFAR100.archive, cifar.CIFAR100_FINE),
}


def add_kind(parser: argparse.ArgumentParser) -> None:
    """The option for `load`'s labels."""
    parser.add_argument(
        "--labels-kind",
        choices=cifar.KINDS,
        default="fine",
        help="of CIFAR-100: its 100 fine or 20 coarse ones (default: %(default)s)",
    )


def name_of(source: str) -> str:
    """The name of a data set: the last part of its path, or of what follows keras: or git:."""
    scheme, _, rest = source.partition(":")
    path = Path(rest if scheme in ("keras", "git") else source)
    return (path.name or path.resolve().name).partition(".")[0] or "data"


def load(source: str, seed: int, *, labels: str = "fine") -> Dataset:
    """Read a data set.

    Args:
        source: one of these.
            A folder of class folders, alone or below train, validation and test: `photos`.
            A folder of idx files: `idx`.
            A folder that is, or holds, cifar-10-batches-py or cifar-100-python: `cifar`.
            A folder with one of LISTS in it and no class folders: `table`.
            A .csv or .tsv: `table`. A .npz: `npz`. A .tar.gz (.tgz, .tar): `cifar`.
            keras: and a name of KERAS: downloaded by keras.datasets to $KERAS_HOME (~/.keras).
            git: and a URL, or a name of SHORT that is no file here: cloned once, to
            $XDG_CACHE_HOME/keras-to-lambda (~/.cache/keras-to-lambda).
        seed: of what is set aside where the data is not split.
        labels: of CIFAR-100: one of `cifar.KINDS`.

    Raises:
        DataError: it is not there, cannot be downloaded, is damaged, or not enough; the message
            says what to do.
    """
    path = Path(source).expanduser()
    if source in SHORT and not path.exists():
        source = SHORT[source]
    if labels not in cifar.KINDS:
        raise DataError(f"labels are {' or '.join(cifar.KINDS)}, not {labels!r}")
    scheme, _, rest = source.partition(":")
    if scheme == "keras":
        return _keras(rest, seed, labels)
    if scheme == "git":
        path = cloned(source if rest.startswith("//") else rest)
    try:
        return _local(source, path, seed, labels)
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror or error}") from error


def _local(source: str, path: Path, seed: int, labels: str) -> Dataset:
    if cifar.found(path) or path.name.lower().endswith(ARCHIVES):
        return cifar.load(path, seed, labels)
    if labels != "fine":
        raise DataError(f"{source} is not CIFAR-100, which alone has {labels} labels")
    if path.is_dir():
        return _folder(path, seed)
    if path.suffix.lower() in (".csv", ".tsv"):
        return table.load(path, seed)
    if path.suffix.lower() == ".npz":
        return npz.load(path, seed)
    what = "unsupported data format" if path.exists() else "no such file or folder"
    raise DataError(
        f"{what}: {source}; give a folder, a .csv, .tsv, .npz or .tar.gz, "
        f"{', '.join('keras:' + name for name in KERAS)}, git:URL or {', '.join(SHORT)}"
    )


def _folder(root: Path, seed: int) -> Dataset:
    if idx.found(root):
        return idx.load(root, seed)
    lists = [root / name for name in LISTS if (root / name).is_file()]
    if lists and not photos.found(root, table.FOLDERS):
        if len(lists) > 1:
            raise DataError(
                f"{root} has {' and '.join(path.name for path in lists)}: name the one to read, "
                f"as {lists[0]}"
            )
        return table.load(lists[0], seed)
    if not any(path.is_dir() and path.name[0] != "." for path in root.iterdir()):
        if count := len(images(root)):
            raise DataError(
                f"{root} holds {count} photos but no class folders; move them into one folder per "
                "label"
            )
        raise DataError(
            f"{root} has no data: looked for class folders (or train/ with class folders in it), "
            "train-images-idx3-ubyte or t10k-images-idx3-ubyte, "
            f"{cifar.CIFAR10.folder}/, {cifar.CIFAR100.folder}/, and {', '.join(LISTS)}"
        )
    return photos.load(root, seed)


def _keras(name: str, seed: int, labels: str) -> Dataset:
    if name not in KERAS:
        raise DataError(f"keras:{name} is unknown; there are keras:{', keras:'.join(KERAS)}")
    known = KERAS[name]
    names = known.labels
    options = {}
    if name == "cifar100":
        options = {"label_mode": labels}
        names = cifar.CIFAR100_FINE if labels == "fine" else cifar.CIFAR100_COARSE
    elif labels != "fine":
        raise DataError(f"keras:{name} is not CIFAR-100, which alone has {labels} labels")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    try:
        # Keras tells of its download on standard output, where ours is results.
        with contextlib.redirect_stdout(sys.stderr):
            train, test = getattr(keras.datasets, name).load_data(**options)
    except Exception as error:  # get_file raises no other where it has no network
        raise DataError(
            f"keras:{name} cannot be downloaded ({_line(str(error))}): get {known.url} by hand, "
            f"and name {_by_hand(name)} on the command line in place of keras:{name}"
        ) from error
    parts = {"train": plain(*train), "test": plain(*test)}
    whole = hashlib.sha256()
    for pictures, targets in parts.values():
        whole.update(np.ascontiguousarray(pictures))
        whole.update(np.ascontiguousarray(targets))
    return assemble(parts, seed, whole.hexdigest(), names)


def _by_hand(name: str) -> str:
    if name == "fashion_mnist":
        return "a folder fashion-mnist with its four files in it"
    return f"the file {KERAS[name].url.rpartition('/')[2]}"


def cloned(url: str) -> Path:
    """The folder of a git repository's newest state, cloned if it is not there yet.

    Raises:
        DataError: there is no git, or it cannot clone.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keras-to-lambda"
    # Two repositories may have one name.
    name = url.rstrip("/").rpartition("/")[2].removesuffix(".git")
    target = cache / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
    if target.is_dir():
        return target
    by_hand = f"get {url} by hand, and name its folder on the command line"
    git = shutil.which("git")
    if git is None:
        raise DataError(f"git is not installed, and {url} needs it: install it, or {by_hand}")
    print(f"cloning {url} to {target}", file=sys.stderr, flush=True)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Renamed when it is whole: what is cut short is never taken for the data.
        with tempfile.TemporaryDirectory(dir=cache, prefix=".cloning-") as draft:
            done = subprocess.run(  # noqa: S603  # our own command, no shell
                [git, "clone", "--quiet", "--depth", "1", "--", url, f"{draft}/whole"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            )
            if done.returncode:
                raise DataError(f"git cannot clone {url} ({_line(done.stderr)}): {by_hand}")
            try:
                Path(draft, "whole").rename(target)
            except OSError:
                if not target.is_dir():  # somebody else was faster: theirs is as good
                    raise
    except OSError as error:
        raise DataError(f"{target} cannot be written ({error.strerror}): {by_hand}") from error
    return target


def _line(text: str) -> str:
    """A program's complaint in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = next((line for line in lines if line.startswith("fatal:")), None)
    return (first or (lines or ["no reason given"])[-1])[:300]
