"""Tables: photos, labels and splits by CSV and TSV, and pixels."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.convert.common import samples
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data.dataset import DataError
from tests.train.conftest import CLASSES
from tests.train.forms import NAMED, arrays, counts, write_table


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
