"""Arrays: npz, npy, idx, CIFAR and keras.datasets."""

from __future__ import annotations

import gzip
import pickle
import struct
import tarfile
from collections import Counter

import keras
import numpy as np
import pytest

from keras_to_lambda.convert.common import samples
from keras_to_lambda.train.data import cifar, sources
from keras_to_lambda.train.data.cifar import LABELS
from keras_to_lambda.train.data.dataset import DataError, neutral
from tests.train.forms import IMAGES, TARGETS, arrays, counts

FORMS = {
    "published": {"x_train": IMAGES, "y_train": TARGETS},
    "with_a_test": {"x_train": IMAGES, "y_train": TARGETS, "x_test": IMAGES, "y_test": TARGETS},
    "split_first": {"train_images": IMAGES, "train-labels": TARGETS},
    "no_split": {"data": IMAGES, "labels": TARGETS},
    "zero_to_one": {"X": IMAGES / 255.0, "y": TARGETS},
    "large_floats": {"x": IMAGES.astype(np.float32), "y": TARGETS.astype(np.float64)},
    "a_channel": {"images": IMAGES[..., np.newaxis], "labels": TARGETS[:, np.newaxis]},
    "one_hot": {"x": IMAGES, "y": np.eye(3)[TARGETS]},
    "named": {"x": IMAGES, "y": TARGETS, "class_names": np.array(["0", "1", "2"])},
    "sklearn": {"data": IMAGES, "target": TARGETS, "target_names": np.array(["0", "1", "2"])},
    "features": {"features": IMAGES, "labels": TARGETS},
    "singular": {"image": IMAGES, "label": TARGETS},
    "without_names": {"arr_0": IMAGES, "arr_1": TARGETS},
    "flat": {"x": IMAGES.reshape(30, 64), "y": TARGETS},
    "binary": {"x": np.uint8(IMAGES > 127), "y": TARGETS},
    "channels_first": {"x": IMAGES[:, np.newaxis], "y": TARGETS},
    "texts": {"x": IMAGES, "y": np.array(["0", "1", "2"])[TARGETS]},
}


@pytest.mark.parametrize(
    ("saved", "form"), [*(("npz", form) for form in FORMS), ("npy", "no_split")]
)
def test_arrays_are_read_as_people_save_them(form, saved, tmp_path):
    if saved == "npz":
        np.savez(tmp_path / "all.npz", **FORMS[form])
        data = sources.load(str(tmp_path / "all.npz"), 1)
    else:
        for name, array in FORMS[form].items():
            np.save(tmp_path / f"{name}.npy", array)
        data = sources.load(str(tmp_path), 1)
    assert data.labels == ("0", "1", "2")
    assert data.shape == (8, 8, 1)
    assert counts(data)["test"] == (30 if form == "with_a_test" else 6)
    split = data.splits["train"]
    for index in (0, 11):
        row = int(split.names[index].removeprefix("row "))
        wanted = np.uint8(IMAGES[row] > 127) * 255 if form == "binary" else IMAGES[row]
        assert np.array_equal(np.asarray(split.picture(index, neutral(data))), wanted)
        assert split.targets[index] == TARGETS[row]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x_train": IMAGES}, "lacks x_train and y_train; it has x_train"),
        ({"x": IMAGES, "y": TARGETS[:9]}, "30 images and 9 labels"),
        ({"arr_0": IMAGES, "arr_1": IMAGES, "arr_2": TARGETS}, "lacks x_train and y_train; it has"),
        ({"x": IMAGES - 500.0, "y": TARGETS}, r"expected values of 0..255.*give x \* std \+ mean"),
        ({"x": IMAGES / 127.5 - 1, "y": TARGETS}, r"give x \* 127.5 \+ 127.5"),
        ({"x": IMAGES.reshape(30, 4, 16)[..., :9].reshape(30, 36), "y": TARGETS}, r"\(30, 36\)"),
        ({"x": IMAGES, "y": TARGETS.astype(str).astype(object)}, "y is damaged, or .*astype"),
        ({"x": IMAGES, "y": TARGETS - 1}, "numbered -1 to 1"),
        ({"x": IMAGES, "y": TARGETS + 0.5}, "expected whole numbers"),
        ({"x": IMAGES, "y": np.ones((30, 3))}, "not one-hot"),
        ({"x": IMAGES, "y": TARGETS * 0}, "fewer than two labels have pictures"),
        ({"x": IMAGES // 15, "y": TARGETS}, r"images are 0 to 17; .* give x \* \(255 / 17\)"),
    ],
)
def test_faults_of_arrays_have_a_remedy(given, message, tmp_path):
    np.savez(tmp_path / "all.npz", **given)
    with pytest.raises(DataError, match=message):
        sources.load(str(tmp_path / "all.npz"), 1)


def test_labels_without_pictures_and_pictures_without_labels(tmp_path, capsys):
    given = {"x_train": IMAGES, "y_train": TARGETS * 2, "x_test": IMAGES}
    np.savez(tmp_path / "all.npz", **given)
    assert sources.load(str(tmp_path / "all.npz"), 1).labels == ("0", "2", "4")
    assert "x_test has no labels, and is not used" in capsys.readouterr().err


def idx_file(path, values):
    """MNIST's format (http://yann.lecun.com/exdb/mnist/)."""
    values = np.asarray(values, np.uint8)
    data = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    data += values.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def test_idx_files_are_read_as_kaggle_has_them(tmp_path):
    images, targets = arrays()
    for name, values in (("images.idx3", images), ("labels.idx1", targets)):
        folder = tmp_path / "fashion" / f"train-{name}-ubyte"
        folder.mkdir(parents=True)
        idx_file(folder / f"train-{name}-ubyte", values)
    data = sources.load(str(tmp_path), 1)
    assert data.labels[:3] == ("T-shirt/top", "Trouser", "Pullover")
    assert sum(counts(data).values()) == 30


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files_are_read_and_their_pictures_serve_as_samples(ending, tmp_path, capsys):
    for name, count in (("train", 60), ("t10k", 15)):
        images, targets = arrays(count)
        idx_file(tmp_path / f"{name}-images-idx3-ubyte{ending}", images)
        idx_file(tmp_path / f"{name}-labels-idx1-ubyte{ending}", targets)
    data = sources.load(str(tmp_path), 1)
    assert counts(data) == {"train": 54, "validation": 6, "test": 15}
    assert "t10k-images-idx3-ubyte for the test" in capsys.readouterr().err
    with samples.local(tmp_path, 9) as folder:
        found = sorted(folder.rglob("*.png"))
    assert Counter(path.parent.name for path in found) == {"0": 3, "1": 3, "2": 3}
    (tmp_path / f"train-images-idx3-ubyte{ending}").unlink()
    path = tmp_path / "train-images-idx3-ubyte"
    idx_file(path, images)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="is cut short"):
        sources.load(str(tmp_path), 1)


def python2(value):
    """A pickle of protocol 2 as Python 2 wrote it: its `str` are SHORT_BINSTRING or BINSTRING."""

    def text(value):
        short = b"U" + bytes([len(value) % 256]) if len(value) < 256 else None
        return (short or b"T" + struct.pack("<i", len(value))) + value

    def put(value):
        if isinstance(value, bytes):
            return text(value)
        if isinstance(value, int):
            return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
        if isinstance(value, list):
            return b"](" + b"".join(map(put, value)) + b"e"
        if isinstance(value, dict):
            return b"}(" + b"".join(put(k) + put(v) for k, v in value.items()) + b"u"
        # What NumPy 1 of Python 2 says of an array: _reconstruct(ndarray, (0,), 'b'), then its
        # state: version, shape, dtype('u1', 0, 1) with its own, Fortran order, the values.
        made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ" + b"\xff" * 4
        dtype += b"J" + b"\xff" * 4 + b"K\x00tb"
        shape = b"".join(b"J" + struct.pack("<i", size) for size in value.shape) + b"\x86"
        return made + b"(K\x01" + shape + dtype + b"\x89" + text(value.tobytes()) + b"tb"

    return b"\x80\x02" + put(value) + b"."


def cifar_100(folder, packed):
    """Four fine labels below two coarse ones; the first channel has the fine label's value."""
    for name, count in (("train", 40), ("test", 8)):
        fine = [number % 4 for number in range(count)]
        pictures = np.zeros((count, 3, 32, 32), np.uint8)
        pictures[:, 0] = 50 * np.array(fine)[:, np.newaxis, np.newaxis]
        batch = {
            b"fine_labels": fine,
            b"coarse_labels": [label // 2 for label in fine],
            b"data": pictures.reshape(count, 3072),
        }
        (folder / name).write_bytes(packed(batch))
    names = {
        b"fine_label_names": [b"rose", b"poppy", b"leaf", b"moss"],
        b"coarse_label_names": [b"flowers", b"plants"],
    }
    (folder / "meta").write_bytes(packed(names))


@pytest.mark.parametrize(
    ("kind", "labels", "packed"),
    [("fine", ("rose", "poppy", "leaf", "moss"), pickle.dumps),
     ("coarse", ("flowers", "plants"), python2)],
)  # fmt: skip
def test_cifar_100_has_fine_and_coarse_labels(kind, labels, packed, tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    cifar_100(folder, packed)
    with tarfile.open(tmp_path / "cifar-100-python.tar.gz", "w:gz") as archive:
        archive.add(folder, "cifar-100-python")
    for source in (folder, tmp_path / "cifar-100-python.tar.gz"):
        data = sources.load(f"{source}#coarse" if kind == "coarse" else str(source), 1)
        assert data.labels == labels
        assert data.shape == (32, 32, 3)
        assert len(data.splits["test"]) == 8
        for index in range(8):
            fine = data.splits["test"].picture(index, neutral(data)).getpixel((5, 5))[0] // 50
            wanted = fine if kind == "fine" else fine // 2
            assert data.splits["test"].targets[index] == wanted


def test_cifar_without_its_names_has_the_published_ones(tmp_path):
    cifar_100(tmp_path, pickle.dumps)
    (tmp_path / "meta").unlink()
    assert sources.load(str(tmp_path), 1).labels == tuple(LABELS["fine"].split())
    with pytest.raises(DataError, match=r"train is a pickle: give the folder"):
        sources.load(str(tmp_path / "train"), 1)


def test_cifar_10_with_some_of_its_files_is_used(tmp_path, capsys):
    batch = {b"labels": [n % 10 for n in range(100)], b"data": np.zeros((100, 3072), np.uint8)}
    for name in ("data_batch_1", "data_batch_4"):
        (tmp_path / name).write_bytes(pickle.dumps(batch))
    names = LABELS["cifar10"].split()
    meta = {b"label_names": [name.encode() for name in names]}
    (tmp_path / "batches.meta").write_bytes(pickle.dumps(meta))
    data = sources.load(str(tmp_path), 1)
    assert data.labels == tuple(names)
    assert sum(map(len, data.splits.values())) == 200
    assert "lacks data_batch_2, data_batch_3, data_batch_5, test_batch" in capsys.readouterr().err
    for name in ("data_batch_1", "data_batch_4"):
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match=r"lacks data_batch_1, .* unpack all of its archive"):
        sources.load(str(tmp_path), 1)


def test_what_a_pickle_would_call_is_refused_and_not_called(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("trace").touch, ())

    np.savez(tmp_path / "all.npz", x=np.array([Trap()], object), y=TARGETS)
    with pytest.raises(DataError, match="holds objects"):
        sources.load(str(tmp_path / "all.npz"), 1)
    with pytest.raises(DataError, match="wants to call"):
        cifar.unpickled(pickle.dumps({b"data": Trap()}), "train")
    assert not (tmp_path / "trace").exists()
    with pytest.raises(DataError, match="is damaged"):
        cifar.unpickled(b"\x80\x02}(U\x04da", "train")


@pytest.mark.parametrize(
    ("name", "options", "first", "classes"),
    [
        ("mnist", {}, "0", 10),
        ("cifar10", {}, "airplane", 10),
        ("cifar100", {"label_mode": "fine"}, "apple", 100),
        ("cifar100#coarse", {"label_mode": "coarse"}, "aquatic_mammals", 20),
        ("fashion_mnist", {}, "T-shirt/top", 10),
    ],
)
def test_keras_datasets_are_read_by_name(name, options, first, classes, monkeypatch):
    """Keras itself reads KERAS_HOME or the network; here, a stand-in for its arrays."""
    targets = np.arange(5 * classes) % classes
    images = np.zeros((len(targets), 8, 8, 3), np.uint8)

    def load_data(**given):
        assert given == options
        return (images, targets[:, np.newaxis]), (images, targets[:, np.newaxis])

    monkeypatch.setattr(getattr(keras.datasets, name.partition("#")[0]), "load_data", load_data)
    data = sources.load(f"keras:{name}", 1)
    assert (data.labels[0], len(data.labels)) == (first, classes)
    assert len(data.splits["test"]) == len(targets)
