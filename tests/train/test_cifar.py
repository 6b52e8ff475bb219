"""CIFAR: the published files, as Python 2 pickled them; damaged and malicious ones refused."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import warnings

import numpy as np
import pytest

from keras_to_lambda.train.data import cifar
from keras_to_lambda.train.data.dataset import DataError
from tests.train.published import python2

FINE, COARSE = [b"ant", b"bee", b"cod", b"eel"], [b"insects", b"fish"]


def pixels(count, seed):
    """Rows as published: 1024 red, 1024 green, 1024 blue values."""
    return np.random.default_rng(seed).integers(0, 256, (count, 3072)).astype(np.uint8)


@pytest.fixture
def hundred(tmp_path):
    """cifar-100-python with 40 pictures to train on and 8 for test."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for seed, (name, count) in enumerate((("train", 40), ("test", 8))):
        fine = [number % 4 for number in range(count)]
        batch = {
            b"filenames": [b"picture_s_%06d.png" % number for number in range(count)],
            b"batch_label": b"training batch 1 of 1",
            b"fine_labels": fine,
            b"coarse_labels": [label // 2 for label in fine],
            b"data": pixels(count, seed),
        }
        (folder / name).write_bytes(python2(batch))
    names = {b"fine_label_names": FINE, b"coarse_label_names": COARSE}
    (folder / "meta").write_bytes(python2(names))
    return folder


@pytest.fixture
def ten(tmp_path):
    """cifar-10-batches-py with five times 12 pictures to train on and 6 for test."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    parts = {f"data_batch_{number}": 12 for number in range(1, 6)} | {"test_batch": 6}
    for seed, (name, count) in enumerate(parts.items()):
        batch = {
            b"batch_label": name.encode(),
            b"labels": [number % 3 for number in range(count)],
            b"data": pixels(count, seed),
            b"filenames": [b"x.png"] * count,
        }
        (folder / name).write_bytes(python2(batch))
    names = {b"num_cases_per_batch": 12, b"label_names": [b"cat", b"dog", b"owl"], b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(python2(names))
    return folder


def archived(folder):
    path = folder.parent / f"{folder.name}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    return path


def sizes(data):
    return {name: len(split) for name, split in data.splits.items()}


def test_the_pickles_of_this_test_are_what_numpy_reads(hundred):
    """So they are in the published format, as another program understands it."""
    with (hundred / "train").open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy 2.4 of the dtype's fields
        batch = pickle.load(file, encoding="bytes")
    assert np.array_equal(batch[b"data"], pixels(40, 0))
    assert batch[b"fine_labels"][:5] == [0, 1, 2, 3, 0]


@pytest.mark.parametrize(("kind", "names"), [("fine", FINE), ("coarse", COARSE)])
def test_cifar_100_has_fine_and_coarse_labels(kind, names, hundred):
    data = cifar.load(hundred, seed=1, labels=kind)
    assert data.labels == tuple(name.decode() for name in names)
    assert data.shape == (32, 32, 3)
    assert sizes(data) == {"train": 36, "validation": 4, "test": 8}
    step = 1 if kind == "fine" else 2
    assert data.splits["test"].targets.tolist() == [n % 4 // step for n in range(8)]
    rows = {name: pixels(count, seed) for seed, (name, count) in
            enumerate((("train", 40), ("test", 8)))}  # fmt: skip
    for name, split in data.splits.items():
        for index, row in enumerate(split.rows):
            plane = rows["test" if name == "test" else "train"][row]
            assert split.targets[index] == row % 4 // step
            assert split.images[index][5, 7].tolist() == [
                plane[5 * 32 + 7],
                plane[1024 + 5 * 32 + 7],
                plane[2048 + 5 * 32 + 7],
            ]


def test_cifar_10_has_its_five_batches_in_order(ten):
    data = cifar.load(ten, seed=1)
    assert data.labels == ("cat", "dog", "owl")
    assert sizes(data) == {"train": 54, "validation": 6, "test": 6}
    whole = np.concatenate([pixels(12, seed) for seed in range(5)])
    train = data.splits["train"]
    assert np.array_equal(train.images[:, 0, 0, 0], whole[train.rows, 0])
    with pytest.raises(DataError, match="CIFAR-10, which has no coarse labels"):
        cifar.load(ten, seed=1, labels="coarse")


@pytest.mark.parametrize("kind", ["hundred", "ten"])
def test_the_archive_and_the_folder_around_are_the_same_data(kind, request):
    folder = request.getfixturevalue(kind)
    direct, around, zipped = (
        cifar.load(path, seed=3) for path in (folder, folder.parent, archived(folder))
    )
    assert cifar.found(folder)
    assert cifar.found(folder.parent)
    assert direct.sha256 == around.sha256 == zipped.sha256
    for name, split in direct.splits.items():
        assert np.array_equal(split.images, zipped.splits[name].images)
        assert np.array_equal(split.targets, zipped.splits[name].targets)


def test_arrays_that_python_3_pickled_anew_are_read_too(hundred):
    before = cifar.load(hundred, seed=1)
    batch = {
        b"fine_labels": [n % 4 for n in range(8)],
        b"data": np.asfortranarray(pixels(8, 1)),
        b"filenames": [],
    }
    (hundred / "test").write_bytes(pickle.dumps(batch, protocol=2))
    after = cifar.load(hundred, seed=1)
    assert np.array_equal(after.splits["test"].images, before.splits["test"].images)


class Malicious:
    """Its pickle calls a function when it is read."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_pickle_is_refused_and_does_not_run(protocol, hundred, tmp_path):
    victim = tmp_path / "victim"
    attack = {b"data": Malicious(os.mkdir, str(victim))}
    data = pickle.dumps(attack, protocol=protocol)
    pickle.loads(data)
    assert victim.is_dir()  # it does what it says
    victim.rmdir()
    (hundred / "train").write_bytes(data)
    with pytest.raises(DataError, match=r"train wants to call \w+\.mkdir: it is not from https"):
        cifar.load(hundred, seed=1)
    with pytest.raises(DataError, match="wants to call"):
        cifar.load(archived(hundred), seed=1)
    assert not victim.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02cbuiltins\neval\nU\x011\x85R.",
        b"\x80\x02c__builtin__\neval\nU\x011\x85R.",
        b"\x80\x04\x8c\x05numpy\x8c\x04load\x93.",
        b"\x80\x02cnumpy.core.multiarray\nfrombuffer\n.",
        b"(S'1'\nibuiltins\neval\n.",
    ],
)
def test_nothing_but_the_four_names_is_given_to_a_pickle(data):
    with pytest.raises(DataError, match="wants to call"):
        cifar.unpickled(data, "x")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "x is damaged"),
        (b"<html>", "x is damaged"),
        (b"\x80\x02}", "x is damaged"),
        (b"\x80\x02U\xffab.", "x is damaged"),
        (b"\x80\x02].", "x holds a list; expected a dict"),
        (b"\x80\x02}Pid\n.", "x is damaged"),
        (b"\x80\x02c_codecs\nencode\n}U\x01aU\x01bsb}.", "x is damaged"),
    ],
)
def test_what_is_no_pickle_of_a_dict_is_told(data, message):
    with pytest.raises(DataError, match=message):
        cifar.unpickled(data, "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({b"data": [1, 2]}, "test lacks data or fine_labels"),
        ({b"fine_labels": None}, "test lacks data or fine_labels"),
        ({b"fine_labels": [0, 1]}, r"has data \(8, 3072\) and 2 labels"),
        ({b"fine_labels": [b"0"] * 8}, "fine_labels are not all whole numbers"),
        ({b"fine_labels": [9] * 8}, "numbered 0 to 9; expected whole numbers from 0, below 4"),
        ({b"data": pixels(8, 1)[:, :3000]}, r"has data \(8, 3000\) and 8 labels"),
        ({b"data": pixels(8, 1).astype(np.float32)}, "its array is not of bytes"),
    ],
)
def test_a_batch_of_another_kind_is_told(change, message, hundred):
    batch = {b"data": pixels(8, 1), b"fine_labels": [n % 4 for n in range(8)]} | change
    (hundred / "test").write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(DataError, match=message):
        cifar.load(hundred, seed=1)


def test_an_array_that_says_another_shape_is_told(hundred):
    path = hundred / "test"
    shape = b"J" + struct.pack("<i", 8) + b"J" + struct.pack("<i", 3072)
    more = b"J" + struct.pack("<i", 9) + b"J" + struct.pack("<i", 3072)
    data = path.read_bytes()
    assert shape in data
    path.write_bytes(data.replace(shape, more))
    with pytest.raises(DataError, match="not of bytes, or cut short"):
        cifar.load(hundred, seed=1)


def test_missing_parts_are_named(ten, hundred, tmp_path):
    (ten / "data_batch_3").unlink()
    (ten / "test_batch").unlink()
    expected = r"lacks data_batch_3, test_batch: get https\S+/cifar-10-python.tar.gz"
    for path in (ten, archived(ten)):
        with pytest.raises(DataError, match=expected):
            cifar.load(path, seed=1)
    (hundred / "meta").unlink()
    with pytest.raises(DataError, match="lacks meta"):
        cifar.load(hundred, seed=1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has neither"):
        cifar.load(tmp_path / "empty", seed=1)


def test_a_damaged_archive_is_told(hundred, tmp_path):
    whole = archived(hundred)
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[:-5000])
    page = tmp_path / "page.tar.gz"
    page.write_bytes(b"<html>not found</html>")
    for path in (cut, page, tmp_path / "missing.tar.gz"):
        with pytest.raises(DataError, match="is damaged, or no tar archive"):
            cifar.load(path, seed=1)
    other = tmp_path / "other.tar.gz"
    with tarfile.open(other, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("train"), io.BytesIO())
    with pytest.raises(DataError, match="has neither cifar-10-batches-py/ nor"):
        cifar.load(other, seed=1)


def test_class_folders_called_train_and_test_are_no_cifar(pictures, tmp_path):
    pictures(tmp_path / "data" / "train", each=1)
    pictures(tmp_path / "data" / "test", each=1)
    assert not cifar.found(tmp_path / "data")


def test_the_published_names_are_all_there():
    assert len(set(cifar.CIFAR10_LABELS)) == 10
    assert len(set(cifar.CIFAR100_FINE)) == 100
    assert len(set(cifar.CIFAR100_COARSE)) == 20
    # All three are numbered alphabetically.
    for names in (cifar.CIFAR10_LABELS, cifar.CIFAR100_FINE, cifar.CIFAR100_COARSE):
        assert list(names) == sorted(names)
