"""Folders named after labels: one rule, whatever reads them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from keras_to_lambda import class_folders
from keras_to_lambda.class_folders import ClassFolders, images, unzipped

LABELS = ("long sleeve", "t-shirt", "Café", "T shirt (old)", "crane [0]", "crane [5]")


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("long sleeve", "long sleeve"),
        ("Long_Sleeve", "long sleeve"),
        ("long  sleeve", "long sleeve"),
        ("long__sleeve", "long sleeve"),
        (" long-sleeve ", "long sleeve"),
        ("T_Shirt", "t-shirt"),
        ("t - shirt", "t-shirt"),
        ("cafe\N{COMBINING ACUTE ACCENT}", "Café"),
        ("CAFÉ", "Café"),
        ("crane [5]", "crane [5]"),
        ("crane", None),
        ("tshirt", None),
        ("", None),
    ],
)
def test_case_spaces_underscores_and_hyphens_do_not_count(folder, label):
    place = ClassFolders(LABELS).place(folder)
    assert (None if place is None else LABELS[place]) == label


@pytest.mark.parametrize(
    ("folder", "place"), [("T-shirt", 0), ("t shirt", 1), ("t_shirt", None), ("hat", 2)]
)
def test_labels_that_fold_alike_are_distinguished_by_their_spelling(folder, place):
    assert ClassFolders(("T-shirt", "t shirt", "hat")).place(folder) == place


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "hat"  # above the photos' common folder, so that its name does not count
    for name in (
        *("T_Shirt/deep/a.jpg", "Hat/b.png", "shoe/c.jpg", "shoe/d.jpg", "e.jpg"),
        *(".ipynb_checkpoints/f.jpg", "__MACOSX/hat/._b.png", "Hat/._b.png", "Hat/notes.txt"),
    ):
        (root / "test" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "test" / name).touch()
    return root / "test"


def test_the_nearest_folder_counts_and_folders_of_tools_are_left_out(tree):
    found = images(tree)
    assert [path.name for path in found] == ["b.png", "a.jpg", "e.jpg", "c.jpg", "d.jpg"]
    assert ClassFolders(("t-shirt", "hat")).truth(found) == [1, 0, None, None, None]


def test_folders_that_match_no_label_are_named(tree):
    folders = ClassFolders(("t-shirt", "hat"))
    assert folders.unmatched(images(tree), tree) == (
        "folders that match no label: shoe (2 photos); name each folder after its label"
    )
    only = [path for path in images(tree) if path.parent.name == "shoe"]
    assert folders.unmatched(only, tree).startswith("folders that match no label: shoe (2 photos)")
    assert folders.unmatched(images(tree / "Hat"), tree / "Hat") == ""
    assert folders.unmatched([Path("a.jpg"), Path("b.jpg")], Path()) == ""


@pytest.fixture
def zipped(tmp_path):
    """A .zip file of empty files."""

    def write(*names):
        path = tmp_path / "photos.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"")
        return path

    return write


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("hat/1.jpg", "dress/2.png", "dress/notes.txt"), ["dress/2.png", "hat/1.jpg"]),
        (("all/hat/1.jpg", "all/dress/2.png"), ["dress/2.png", "hat/1.jpg"]),
        (("hat/1.jpg", "__MACOSX/hat/._1.jpg", "hat/.hidden.jpg"), ["1.jpg"]),
        (("../../hat/1.jpg", "/dress/2.jpg"), ["dress/2.jpg"]),
    ],
    ids=["folders", "within one folder", "one label", "paths that lead out"],
)
def test_the_photos_of_a_zip_are_unpacked_into_a_folder_of_their_own(zipped, names, found):
    root = unzipped(zipped(*names))
    if found == ["1.jpg"]:
        root /= "hat"
    assert [path.relative_to(root).as_posix() for path in images(root)] == found


def test_names_of_a_zip_are_read_as_their_program_meant_them(zipped):
    archive = zipped("Huete/1.jpg", "dress\\2.jpg")
    # UTF-8 without the flag for it, as some programs write it.
    archive.write_bytes(archive.read_bytes().replace(b"Huete", "Hüte".encode()))
    root = unzipped(archive)
    found = {path.relative_to(root).as_posix() for path in images(root)}
    assert found == {"Hüte/1.jpg", "dress/2.jpg"}


def test_a_zip_that_cannot_be_unpacked_is_an_error_in_words(zipped, tmp_path, monkeypatch):
    (tmp_path / "cut.zip").write_bytes(zipped("hat/1.jpg").read_bytes()[:40])
    with pytest.raises(ValueError, match=r"cut.zip cannot be unpacked: File is not a zip file"):
        unzipped(tmp_path / "cut.zip")
    for names, reason in {
        ("hat/1.jpg", "hat\\1.jpg"): "has two files named hat/1.jpg",
        ("hat/1.jpg", "hat/1.jpg/2.jpg"): "cannot be unpacked: Not a directory",
        ("hat/" + "n" * 300 + ".jpg",): "cannot be unpacked: File name too long",
    }.items():
        with pytest.raises(ValueError, match=f"photos.zip {reason}"):
            unzipped(zipped(*names))
    monkeypatch.setattr(class_folders, "SHARE_OF_DISK", -1)
    with pytest.raises(ValueError, match="more than the disk has room for"):
        unzipped(zipped("hat/1.jpg"))
