"""Data: every form of DATA, its labels, its splits, its faults."""

from __future__ import annotations

import csv
import gzip
import pickle
import shutil
import struct
import tarfile
from collections import Counter

import keras
import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.class_folders import ClassFolders
from keras_to_lambda.convert.common import samples
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.train import train
from keras_to_lambda.train.data import cifar, sources
from keras_to_lambda.train.data.cifar import LABELS
from keras_to_lambda.train.data.dataset import SPLITS, DataError, completed, joined, neutral
from tests import labelled_zip
from tests.train.conftest import CLASSES


def counts(data):
    return {name: len(split) for name, split in data.splits.items()}


def arrays(count=30, side=8, channels=0):
    targets = np.arange(count) % 3
    shape = (count, side, side, channels) if channels else (count, side, side)
    images = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    return images, targets


def test_class_folders_are_split_by_the_seed_alone(pictures, tmp_path):
    root = pictures(tmp_path / "data", each=20)
    data = sources.load(str(root), 1)
    assert data.labels == CLASSES
    assert counts(data) == {"train": 48, "validation": 6, "test": 6}
    again, other = sources.load(str(root), 1), sources.load(str(root), 2)
    names = [each.splits["test"].names for each in (data, again, other)]
    assert names[0] == names[1] != names[2]
    assert data.sha256 == again.sha256
    everything = joined(data.splits[name] for name in SPLITS)
    assert len({everything.path(index) for index in range(len(everything))}) == 60
    assert everything.picture(59, neutral(data)).size == (48, 40)


def test_folders_are_read_as_flow_from_directory_reads_them(pictures, tmp_path, capsys):
    pictures(tmp_path / "flat", each=8)
    for label in ("x", "y"):
        (tmp_path / "deep" / label / "er").mkdir(parents=True)
        for path in (tmp_path / "flat" / "disc").iterdir():
            (tmp_path / "deep" / label / "er" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "deep" / "between").mkdir()
    (tmp_path / "deep" / ".ipynb_checkpoints").mkdir()
    data = sources.load(str(tmp_path / "deep"), 1)
    theirs = keras.utils.image_dataset_from_directory(tmp_path / "deep", verbose=False)
    assert list(data.labels) == theirs.class_names == ["between", "x", "y"]
    assert sum(counts(data).values()) == len(theirs.file_paths) == 16
    assert data.broken == ()
    train.read(str(tmp_path / "deep"), 1)
    assert "no photos of between; kept as a label" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.heic", b"\0\0\0\x18ftypheic" + bytes(12), "convert it to JPEG or PNG"),
        ("notes.txt", b"no picture", "image"),
        ("photo", None, ""),
    ],
)
def test_a_file_is_read_by_its_content_or_named(name, content, reason, pictures, tmp_path):
    for label in ("disc", "only"):
        (tmp_path / label).mkdir()
        for number in range(4):
            Image.new("RGB", (8, 8)).save(tmp_path / label / f"{number}.png")
    path = tmp_path / "only" / name
    path.write_bytes(content or (tmp_path / "disc" / "0.png").read_bytes())
    data = sources.load(str(tmp_path), 1)
    assert sum(counts(data).values()) == 8 + (not content)
    assert [file for file, _ in data.broken] == [f"only/{name}"] * bool(content)
    assert all(reason in why for _, why in data.broken)


def test_splits_of_the_data_are_kept_and_a_broken_file_is_left_out(pictures, tmp_path):
    for number, name in enumerate(("Training", "val", "testing")):
        pictures(tmp_path / name, each=5, seed=number)
    (tmp_path / "val" / "disc" / "000.png").write_bytes(b"not a picture")
    data = sources.load(str(tmp_path), 1)
    assert counts(data) == {"train": 15, "validation": 14, "test": 15}
    ((name, reason),) = data.broken
    assert name == "val/disc/000.png"
    assert reason


@pytest.mark.parametrize(
    ("train_folder", "test_folder"),
    [
        ("training_set", "test_set"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("all/train", "all/Test-Set"),
        ("Train_Data", "Test_Data"),
        ("1_train", "2_eval"),
        ("trainset/images", "testset"),
    ],
)
def test_splits_are_found_by_other_names_and_in_one_folder(
    train_folder, test_folder, pictures, tmp_path
):
    pictures(tmp_path / train_folder, each=5)
    pictures(tmp_path / test_folder, each=4)
    data = sources.load(str(tmp_path), 1)
    assert data.labels == CLASSES
    assert counts(data) == {"train": 12, "validation": 3, "test": 12}


def test_class_folders_in_one_folder_are_found_and_may_end_like_a_split(pictures, tmp_path):
    pictures(tmp_path / "all", each=5, classes=("bullet_train/a", "disc"))
    assert sources.load(str(tmp_path), 1).labels == ("bullet_train", "disc")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "test has no files; the test split is set aside from train"),
        (("unknown/1.png", "unknown/2.png"), "test has 2 files, none in a folder of a class: they"),
        (("1.png", "2.png"), "test has 2 files, none in a folder of a class: they have no labels"),
    ],
)
def test_a_split_without_class_folders_is_reported(files, message, pictures, tmp_path, capsys):
    pictures(tmp_path / "train", each=5)
    (tmp_path / "test" / "unknown").mkdir(parents=True)
    for name in files:
        Image.new("RGB", (8, 8)).save(tmp_path / "test" / name)
    assert counts(sources.load(str(tmp_path), 1))["test"] == 3
    assert message in capsys.readouterr().err


def test_links_to_class_folders_are_followed_and_not_in_circles(pictures, tmp_path):
    elsewhere = pictures(tmp_path / "elsewhere", each=6, classes=("far", "disc"))
    root = pictures(tmp_path / "data", each=6, classes=("ring",))
    (root / "disc").symlink_to(elsewhere / "disc")
    (root / "ring" / "again").symlink_to(root)
    data = sources.load(str(root), 1)
    assert data.labels == ("disc", "ring")
    assert sum(map(len, data.splits.values())) == 12


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("disc",), "^disc: no picture can be read: disc/000.png: .*; 4 files in all"),
        (CLASSES, "^train: no picture can be read: disc/000.png: .*; 12 files in all"),
    ],
)
def test_a_label_or_split_without_a_readable_photo_is_an_error(
    folders, message, pictures, tmp_path
):
    root = pictures(tmp_path / "data", each=4)
    for path in (path for folder in folders for path in (root / folder).iterdir()):
        path.write_bytes(b"not a picture")
    with pytest.raises(DataError, match=message):
        sources.load(str(root), 1)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ((), "has no data; expected class folders"),
        (("one",), "fewer than two class folders"),
        (("train/a", "train/b", "test/a", "test/c"), "has classes that train/ lacks: c"),
        (("test/a", "test/b"), "lacks train/"),
        (("train/a", "train/b", "val/a", "valid/a"), "keep one of them"),
        (("train", "test1"), "test1, train, without class folders in them: move .* or add a table"),
        (("a", "b", "all/a", "all/b"), "all has folders that are labels beside it: a, b; give a"),
    ],
)
def test_faults_of_folders_have_a_remedy(folders, message, tmp_path):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8)).save(tmp_path / folder / f"{number}.png")
    with pytest.raises(DataError, match=message):
        sources.load(str(tmp_path), 1)


def write_table(root, rows, name="images.csv"):
    with (root / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t" if name.endswith("tsv") else ",").writerows(rows)
    return root / name


@pytest.mark.parametrize("name", ["images.csv", "photos.tsv", "train.csv"])
def test_a_table_names_photos_labels_and_splits(name, pictures, tmp_path):
    root = pictures(tmp_path / "images", each=4).parent
    rows = [("image", "Label", "subset")]
    rows += [(f"{c}/{n:03}", c, ("", "", "val", "test")[n]) for c in CLASSES for n in range(4)]
    rows += [("gone", "disc", ""), ("disc/000", "", "")]
    path = write_table(root, rows, name)
    if name == "train.csv":  # as Kaggle's folders have it
        write_table(root, [("image", "label"), ("x", "y")], "sample_submission.csv")
        write_table(root, [("image",), ("x",)], "test.csv")
    data = sources.load(str(path if name == "photos.tsv" else root), 1)
    assert counts(data) == {"train": 6, "validation": 3, "test": 3}
    assert data.splits["test"].names[0] == "disc/003.png"
    assert set(data.broken) == {("gone", "no such file"), ("disc/000", "no label")}


@pytest.mark.parametrize("header", [("filepath", "labels"), ("image_name", "class_name")])
def test_all_photos_of_a_table_without_splits_are_samples(header, pictures, tmp_path):
    pictures(tmp_path / "images", each=4)
    rows = [(f"{c}/{n:03}.png", c) for c in CLASSES for n in range(4)]
    with samples.local(write_table(tmp_path, [header, *rows]), 99) as folder:
        assert len(samples.photos(folder, 99)) == 12


NAMED = [(f"{c}/{n:03}.png", c) for c in CLASSES for n in range(4)]
FLAT = [(f"{label}{number}.png", label) for label in CLASSES for number in range(4)]
# Folders of the photos, and tables beside them, as Kaggle and annotation tools have them.
TABLES = {
    "names in two folders": (
        ("part_1", "part_2"),
        {"meta.csv": [("image_id", "dataset", "dx"), *((p[:-4], "x", c) for p, c in FLAT)]},
    ),
    "paths of another machine": (
        ("images/all",),
        {"list.csv": [("file", "class"), *((rf"C:\me\{p}", c) for p, c in FLAT)]},
    ),
    "a column for each label": (
        ("images",),
        {"l.csv": [("id", *CLASSES), *((p, *(int(c == d) for d in CLASSES)) for p, c in FLAT)]},
    ),
    "a table for each split": (
        ("train_images",),
        {
            "my_train.csv": [("path", "label"), *FLAT[::2]],
            "my_test.csv": [("path", "label"), *FLAT[1::2]],
            "results.csv": [("epoch", "loss")],
        },
    ),
    "a table in a split's folder": (
        ("train",),
        {"train/_classes.csv": [("file", "label"), *FLAT]},
    ),
}


@pytest.mark.parametrize("form", TABLES)
def test_a_table_is_found_with_its_photos(form, tmp_path):
    folders, tables = TABLES[form]
    for number, (name, _) in enumerate(FLAT):
        folder = tmp_path / folders[number % len(folders)]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name)
    for name, rows in tables.items():
        write_table(tmp_path, rows, name)
    data = sources.load(str(tmp_path), 1)
    assert (data.labels, data.broken) == (CLASSES, ())
    assert counts(data)["test"] == (6 if form == "a table for each split" else 3)
    for split in data.splits.values():
        for index, target in enumerate(split.targets):
            assert split.path(index).name.startswith(CLASSES[target])


def test_numbers_are_in_their_own_order_in_a_table(pictures, tmp_path):
    pictures(tmp_path, each=4)
    rows = [(name, {"disc": 10, "plain": 9, "stripes": 0}[label]) for name, label in NAMED]
    path = write_table(tmp_path, [("path", "label"), *rows])
    assert sources.load(str(path), 1).labels == ("0", "9", "10")


def test_photos_with_a_table_are_samples_by_its_labels(pictures, tmp_path):
    pictures(tmp_path / "photos", each=4)
    write_table(
        tmp_path, [("path", "label"), *((f"photos/{name}", label[:2]) for name, label in NAMED)]
    )
    with samples.local(tmp_path, 99) as folder:
        assert Counter(p.parent.name for p in samples.photos(folder, 99)) == dict.fromkeys(
            ("di", "pl", "st"), 4
        )


@pytest.mark.parametrize("form", ["label first", "label last", "no header", "a test"])
def test_a_table_of_pixels_is_read(form, tmp_path):
    images, targets = arrays()
    pixels = images.reshape(30, 64)
    columns = [pixels, targets] if form == "label last" else [targets, pixels]
    rows = np.column_stack(columns).tolist()
    header = ["label", *map("1x{}".format, range(64))]
    if form == "label last":
        header.append(header.pop(0))
    path = write_table(tmp_path, rows if form == "no header" else [header, *rows], "my_train.csv")
    if form == "a test":
        write_table(tmp_path, [header, *rows[:6]], "my_test.csv")
        path = tmp_path
    data = sources.load(str(path), 1)
    row = int(data.splits["train"].names[0].removeprefix("row "))
    assert np.array_equal(data.splits["train"].items[0], images[row])
    with pytest.raises(DataError, match="could not convert"):
        sources.load(str(write_table(tmp_path, [header, [*rows[0][:-1], "x"]])), 1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("Name", "kind")], r"has no column path \(filepath, .* has: Name, kind"),
        ([map("c{}".format, range(14))], "c10, c11 and 2 more"),
        ([("path", "label"), ("a.png", "x"), ("a.png", "y")], "keep one of them"),
        ([("path", "label", "split"), ("a.png", "x", "other")], "unknown split 'other'"),
        ([("path", "label"), ("a.png", "x")], "fewer than two labels"),
    ],
)
def test_faults_of_a_table_have_a_remedy(rows, message, tmp_path):
    with pytest.raises(DataError, match=message):
        sources.load(str(write_table(tmp_path, rows)), 1)


IMAGES, TARGETS = arrays()
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


@pytest.mark.parametrize("content", ["table", "arrays"])
def test_a_zip_is_read_as_its_folder(content, pictures, tmp_path):
    root = tmp_path / "all"
    pictures(root / "photos", each=4)
    if content == "table":
        write_table(
            root, [("path", "label"), *((f"photos/{name}", f"a {label}") for name, label in NAMED)]
        )
    else:
        shutil.rmtree(root / "photos")
        np.savez(root / "data.npz", **FORMS["texts"])
    data = sources.load(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "all"), 1)
    wanted = ("0", "1", "2") if content == "arrays" else tuple(f"a {label}" for label in CLASSES)
    assert data.labels == wanted


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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnist.pkl.gz", "is a pickle: give .*, or save the arrays with numpy.savez"),
        ("data_batch_1", "is a pickle: give the folder with all of CIFAR's files"),
        ("all.zip", "all.zip has no data, but x.npy; expected class folders"),
        ("all.tar.gz", "all.tar.gz has neither .*; unpack an archive of other data"),
    ],
)
def test_an_unsupported_file_has_a_remedy(name, message, tmp_path):
    if name == "all.tar.gz":
        tarfile.open(tmp_path / name, "w:gz").close()
    else:
        np.savez(tmp_path / "x.npz", x=IMAGES)
        (tmp_path / "x.npz").rename(tmp_path / name)
    with pytest.raises(DataError, match=message):
        sources.load(str(tmp_path / name), 1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("keras:imagenet", "keras:imagenet is unknown; there are keras:mnist"),
        ("keras:mnist#coarse", "is not CIFAR-100, which alone has coarse labels"),
        ("no/such/place", "no such file or folder: no/such/place; give a folder"),
    ],
)
def test_an_unknown_source_is_named(source, message):
    names = ("m.npz", "keras:m", "x/m/", "m.tar.gz", "m#coarse")
    assert {sources.name_of(name) for name in names} == {"m"}
    with pytest.raises(DataError, match=message):
        sources.load(source, 1)


def test_each_class_keeps_a_picture_in_every_split():
    members = [(f"{number:02}", number % 2) for number in range(6)]
    made = completed({"train": members}, seed=1)
    assert {name: [target for _, target in made[name]] for name in SPLITS} == {
        "train": [0, 1], "validation": [0, 1], "test": [0, 1],
    }  # fmt: skip


@pytest.fixture
def archive(pictures, tmp_path):
    """The playground's: four photos each of disc, plain and stripes, one labelled `a/b`."""
    root = pictures(tmp_path / "data", each=4)
    photos = [(path.parent.name, path) for path in sorted(root.glob("*/*.png"))]
    return labelled_zip.write(tmp_path / "labelled.zip", [*photos, ("a/b", photos[0][1])])


def test_the_zip_is_data_and_train_names_a_label_with_too_few_photos(archive):
    data = sources.load(str(archive), 1)
    assert data.labels == ("a_b", "disc", "plain", "stripes")
    assert sum(map(len, data.splits.values())) == 13
    with pytest.raises(DataError, match="no picture to train on: a_b; each label needs"):
        train.read(str(archive), 1)


def test_samples_of_convert_are_all_photos_of_the_zip(archive, tmp_path):
    with samples.local(archive, 100) as root:
        photos = samples.photos(root, 100)
        truth = ClassFolders(("a/b", "disc", "plain", "stripes")).truth(photos)
        assert truth == [0, *[1] * 4, *[2] * 4, *[3] * 4]
    (tmp_path / "cut.zip").write_bytes(archive.read_bytes()[:-30])
    with (
        pytest.raises(ConvertError, match=r"--samples: .*cut.zip cannot be unpacked"),
        samples.local(tmp_path / "cut.zip", 100),
    ):
        pass
    for label in CLASSES:
        (tmp_path / "tif" / label).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "tif" / label / "1.tif")
    with (
        pytest.raises(ConvertError, match=r"--samples .*/tif: no photos: train: .* TIFF image"),
        samples.local(tmp_path / "tif", 100),
    ):
        pass
    with (
        pytest.raises(ValueError, match=r"^of the caller$"),
        samples.local(archive, 100),
    ):
        raise ValueError("of the caller")  # is no fault of the samples
