"""`k2l explore`: counts, sizes, broken files, duplicates and conflicts of generated pictures."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.train import explore
from tests.train.conftest import scene

# By split: cats and dogs.
EACH = {"train": (12, 6), "validation": (3, 3), "test": (2, 8)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Photos of two classes: a dog of train is in test, a cat of train is a dog as well."""
    root = tmp_path_factory.mktemp("explore") / "pets"
    seed = 0
    for split, counts in EACH.items():
        for label, count in zip(("cat", "dog"), counts, strict=True):
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                seed += 1
                scene(seed, (64, 48)).save(root / split / label / f"{number}.png")
    twin = Image.open(root / "train" / "dog" / "1.png").resize((128, 96))
    twin.save(root / "test" / "dog" / "twin.jpg", exif=Image.Exif())
    conflict = root / "train" / "cat" / "2.png"
    (root / "train" / "dog" / "conflict.png").write_bytes(conflict.read_bytes())
    (root / "train" / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    turned = Image.Exif()
    turned[0x0112] = 6
    scene(99, (150, 300)).save(root / "train" / "cat" / "turned.jpg", exif=turned)
    return root


@pytest.fixture(scope="module")
def unreadable(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unreadable")
    for label in ("cat", "dog"):
        (folder / label).mkdir()
        shutil.copy(root / "train" / "cat" / "broken.jpg", folder / label)
    return folder


@pytest.fixture(scope="module")
def found(root):
    return explore.explore(str(root))


def test_counts_are_those_of_the_files(found):
    assert found.counts.tolist() == [[13, 3, 2], [7, 3, 9]]
    assert Counter(map(tuple, found.sizes.tolist())) == {(64, 48): 35, (300, 150): 1, (128, 96): 1}
    assert found.turned == 1
    [(broken, reason)] = found.data.broken
    assert broken.endswith("cat/broken.jpg")
    assert reason


def test_a_picture_in_two_splits_and_one_with_two_labels_are_found(found):
    def names(pair):
        sides = (pair.first, pair.second)
        return [(split, found.data.splits[split].names[index]) for split, index in sides]

    [leak], [conflict] = found.leaks, found.conflicts
    assert names(leak) == [("train", "dog/1.png"), ("test", "dog/twin.jpg")]
    assert names(conflict) == [("train", "cat/2.png"), ("train", "dog/conflict.png")]
    assert conflict.similarity == 1.0


def test_the_sentences_have_the_figures(found):
    assert explore.conclusion(found) == (
        "pets has 37 pictures of 2 classes (20 train, 6 validation, 11 test). To repair before "
        "training: 1 broken file; 1 near-duplicate between splits, which make an accuracy look too "
        "good; 1 pair of the same picture with two labels."
    )
    assert explore.balance(found) == (
        "In train, cat has 13 pictures and dog 7: 1.9 to 1. Always guessing cat is right for 18.2% "
        "of test: the accuracy to beat."
    )
    assert explore.sizes(found) == (
        "3 sizes, from 64 x 48 to 300 x 150 pixels. Of the shorter sides 100.0% below 160, 100.0% "
        "below 224 pixels, which an input of that size enlarges. 1 file with an EXIF orientation: "
        "k2l train turns them, Keras' own loaders do not."
    )


def test_the_page_shows_examples_and_pairs_and_needs_no_network(found):
    page = explore.html(found, "k2l explore pets")
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    sources = re.findall(r'<img src="([^"]{30})', page)
    # Eight examples of cats and seven of dogs, and two pairs.
    assert len(sources) == 15 + 4
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    for text in ("k2l explore pets", "cat/broken.jpg", "train: dog/1.png", 'href="#conflicts"'):
        assert text in page


def test_arrays_are_explored(tmp_path, capsys, monkeypatch):
    images = np.stack([np.asarray(scene(seed, (28, 28)).convert("L")) for seed in range(60)])
    np.savez(tmp_path / "digits.npz", x_train=images, y_train=np.arange(60) % 3)
    monkeypatch.chdir(tmp_path)
    assert explore.main(["digits.npz"]) == 0
    assert "All pictures have 28 x 28 pixels." in Path("digits.exploration.html").read_text("utf-8")
    out = capsys.readouterr().out
    assert "It has no broken files or near-duplicates." in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("nowhere",), "nowhere"),
        (("DATA", "-o", "page.txt"), "must end in .html"),
        (("BROKEN",), "no picture can be read: cat/broken.jpg: "),
    ],
)
def test_wrong_options_are_errors(
    root, unreadable, tmp_path, monkeypatch, capsys, options, message
):
    monkeypatch.chdir(tmp_path)
    places = {"DATA": str(root), "BROKEN": str(unreadable)}
    assert explore.main([places.get(word, word) for word in options]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_labels_are_escaped(tmp_path):
    for label in ("a <b>", "$c_d$"):
        (tmp_path / label).mkdir()
        for number in range(3):
            scene(number, (64, 48)).save(tmp_path / label / f"{number}.png")
    page = explore.html(explore.explore(str(tmp_path)))
    assert "a &lt;b&gt;" in page
    assert "a <b>" not in page
