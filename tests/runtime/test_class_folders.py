"""Folders named after labels: one rule, whatever reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from keras_to_lambda.class_folders import ClassFolders, images

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
def test_labels_that_fold_alike_are_told_apart_by_their_spelling(folder, place):
    assert ClassFolders(("T-shirt", "t shirt", "hat")).place(folder) == place


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "hat"  # above the photos' common folder, so that its name does not count
    for name in (
        "test/T_Shirt/deep/a.jpg",
        "test/Hat/b.png",
        "test/shoe/c.jpg",
        "test/shoe/d.jpg",
        "test/e.jpg",
        "test/.ipynb_checkpoints/f.jpg",
        "test/__MACOSX/hat/._b.png",
        "test/Hat/._b.png",
        "test/Hat/notes.txt",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
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
