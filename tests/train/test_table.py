"""Tables: photos and labels from a CSV or TSV file; what is wrong with one is told by line."""

from __future__ import annotations

import csv
import shutil

import pytest
from PIL import Image

from keras_to_lambda.train.data import table
from keras_to_lambda.train.data.dataset import DataError


@pytest.fixture
def folder(pictures, tmp_path):
    """Ten photos of each of three labels in images/, named disc-000.png and so on."""
    made = pictures(tmp_path / "made", each=10)
    images = tmp_path / "data" / "images"
    images.mkdir(parents=True)
    for path in made.glob("*/*.png"):
        path.rename(images / f"{path.parent.name}-{path.name}")
    return tmp_path / "data"


def rows(folder):
    return [(p.name, p.name.partition("-")[0]) for p in sorted((folder / "images").iterdir())]


def write(folder, header, lines, name="images.csv", delimiter=",", encoding="utf-8"):
    with (folder / name).open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *lines])
    return folder / name


def seen(data):
    """File name -> label, over all splits."""
    return {
        path.name: data.labels[target]
        for split in data.splits.values()
        for path, target in zip(split.paths, split.targets, strict=True)
    }


def sizes(data):
    return {name: len(split) for name, split in data.splits.items()}


@pytest.mark.parametrize(
    ("header", "delimiter", "encoding"),
    [
        (("path", "label"), ",", "utf-8"),
        (("File", "CLASS"), ";", "utf-8-sig"),
        (("file_name", "Category"), "\t", "utf-8"),
        (("image", "target"), ",", "utf-8-sig"),
        ((" ID ", "Label"), ",", "utf-8"),
    ],
)
def test_columns_are_found_by_name_and_parted_as_in_the_header(header, delimiter, encoding, folder):
    path = write(folder, header, rows(folder), delimiter=delimiter, encoding=encoding)
    data = table.load(path, seed=1)
    assert data.labels == ("disc", "plain", "stripes")
    assert sizes(data) == {"train": 24, "validation": 3, "test": 3}
    assert seen(data) == dict(rows(folder))
    assert data.broken == ()


def test_the_first_known_name_counts_not_the_first_column(folder):
    lines = [(number, label, name, "x") for number, (name, label) in enumerate(rows(folder))]
    path = write(folder, ("id", "label", "path", "class"), lines)
    assert seen(table.load(path, seed=1)) == dict(rows(folder))


@pytest.mark.parametrize("place", ["", "images", "images_original", "train"])
def test_photos_are_beside_the_table_or_in_a_folder_and_need_no_extension(place, folder):
    lines = [(name.removesuffix(".png"), "someone", label, "False") for name, label in rows(folder)]
    path = write(folder, ("image", "sender_id", "label", "kids"), lines)
    if place != "images":
        (folder / place).mkdir(exist_ok=True)
        for photo in (folder / "images").iterdir():
            photo.rename(folder / place / photo.name)
    expected = {f"{name}.png": label for name, _, label, _ in lines}
    assert seen(table.load(path, seed=1)) == expected


def test_a_name_with_a_dot_and_no_extension_is_found(folder):
    lines = [("disc.v2", "disc"), *rows(folder)[1:]]
    (folder / "images" / "disc-000.png").rename(folder / "images" / "disc.v2.PNG")
    data = table.load(write(folder, ("image", "label"), lines), seed=1)
    assert seen(data)["disc.v2.PNG"] == "disc"


def test_of_two_files_of_a_name_the_first_is_taken_unless_the_extension_is_given(folder):
    with Image.open(folder / "images" / "disc-000.png") as image:
        image.save(folder / "images" / "disc-000.bmp")
        image.save(folder / "images" / "disc-001.gif")
    lines = [("disc-000", "disc"), ("disc-001.png", "disc"), *rows(folder)[4:]]
    taken = seen(table.load(write(folder, ("image", "label"), lines), seed=1))
    first = {name for name in taken if name.startswith(("disc-000", "disc-001"))}
    assert first == {"disc-000.bmp", "disc-001.png"}


def test_paths_may_leave_the_folder(folder, tmp_path):
    shutil.move(folder / "images", tmp_path / "elsewhere")
    names = sorted((tmp_path / "elsewhere").iterdir())
    lines = [
        (f"../elsewhere/{p.name}" if number % 2 else str(p), p.name.partition("-")[0])
        for number, p in enumerate(names)
    ]
    data = table.load(write(folder, ("path", "label"), lines), seed=1)
    assert len(seen(data)) == 30
    assert data.broken == ()


def test_a_split_column_is_kept_and_what_is_missing_is_set_aside(folder):
    lines = [
        (name, label, "Test" if name.endswith("3.png") else "training" if number % 2 else "")
        for number, (name, label) in enumerate(rows(folder))
    ]
    data = table.load(write(folder, ("path", "label", "Subset"), lines), seed=1)
    assert sizes(data) == {"train": 24, "validation": 3, "test": 3}
    assert {path.name[-5] for path in data.splits["test"].paths} == {"3"}


def test_missing_files_and_labels_are_broken_and_the_others_are_used(folder):
    lines = [
        ("gone.png", "disc"),
        ("disc-001.png", ""),
        ("disc-002", " "),
        ("", "plain"),
        ("plain-001.png", "Not sure"),
        ("plain-002.png", "Not sure"),
        ("plain-003.png", "Not sure"),
        *[row for row in rows(folder) if row[0][-7:] not in ("001.png", "002.png", "003.png")],
    ]
    (folder / "images" / "stripes-000.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    data = table.load(write(folder, ("path", "label"), lines), seed=1)
    broken = dict(data.broken)
    assert broken.pop("images/stripes-000.png").startswith("the image is truncated")
    assert broken == {
        "gone.png": "no such file",
        "disc-001.png": "no label",
        "disc-002": "no label",
        "line 5": "no file name",
    }
    assert data.labels == ("Not sure", "disc", "plain", "stripes")
    assert len(seen(data)) == 3 + 7 + 7 + 6


def test_the_same_row_twice_is_one_photo(folder):
    lines = rows(folder)
    again = [(f"images/../images/{name}", label) for name, label in lines[:5]]
    data = table.load(write(folder, ("path", "label"), [*lines, *again]), seed=1)
    assert sum(sizes(data).values()) == 30


def test_the_hash_is_of_photos_and_labels(folder):
    lines = rows(folder)
    first = table.load(write(folder, ("path", "label"), lines), seed=1).sha256
    assert table.load(write(folder, ("path", "label"), lines), seed=2).sha256 == first
    lines[0] = (lines[0][0], "plain")
    relabelled = table.load(write(folder, ("path", "label"), lines), seed=1).sha256
    assert relabelled != first
    (folder / "images" / lines[-1][0]).write_bytes((folder / "images" / lines[-2][0]).read_bytes())
    assert table.load(folder / "images.csv", seed=1).sha256 not in (first, relabelled)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"no column path, file, .* or id; its first line has: nothing"),
        ("name,label\na,b\n", r"no column path.*its first line has: name, label"),
        ("path,kind\na,b\n", r"no column label, class, category or target.*: path, kind"),
        ("path,label\n", "fewer than two labels"),
        ("path,label\ndisc-000,disc\ndisc-001,disc\n", "fewer than two labels"),
        (
            "path,label\ndisc-000.png,disc\nplain-000,plain\nimages/disc-000.png,plain\n",
            "images/disc-000.png is 'disc' in train in line 2, but 'plain' in train in line 4",
        ),
        (
            "path,label,split\ndisc-000,disc,train\nplain-000,plain,\ndisc-000,disc,test\n",
            "disc-000 is 'disc' in train in line 2, but 'disc' in test in line 4",
        ),
        ("path,label,split\ndisc-000,disc,tset\n", "line 2: the split 'tset' is none of train,"),
        ("path,label,set\ndisc-000,disc,val\nplain-000,plain,test\n", "no row whose split is tr"),
        ("path,label\na,disc\nb,plain\n", "no photo of 'disc' to train on can be read"),
        (b"path,label\n\xff\xfe,b\n", "not UTF-8 text: save it as CSV in UTF-8"),
        (b"PK\x03\x04\0\0", "not UTF-8 text"),
    ],
)
def test_a_wrong_table_is_told_in_one_line(content, message, folder):
    path = folder / "list.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as told:
        table.load(path, seed=1)
    assert "\n" not in str(told.value)


def test_a_table_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        table.load(tmp_path / "list.csv", seed=1)
