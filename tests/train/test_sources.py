"""Sources: every form that DATA can have, and what is said where nothing is found."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data.dataset import DataError
from keras_to_lambda.train.data.photos import Photos

ROOT = Path(__file__).resolve().parents[2]


def sizes(data):
    return {name: len(split) for name, split in data.splits.items()}


def listed(folder, name="images.csv"):
    """Make a table of class folders' photos, which move to images/."""
    (folder / "images").mkdir()
    lines = [("path", "label")]
    for path in sorted(folder.glob("*/*.png")):
        flat = f"{path.parent.name}-{path.name}"
        path.rename(folder / "images" / flat)
        lines.append((flat, path.parent.name))
    for path in folder.iterdir():
        if path.name != "images":
            path.rmdir()
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return folder


def idx_file(path, values):
    values = np.asarray(values, np.uint8)
    sizes = np.array(values.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()))


def test_a_folder_of_class_folders(pictures, tmp_path):
    data = sources.load(str(pictures(tmp_path / "data", each=10)), 1)
    assert data.labels == ("disc", "plain", "stripes")
    assert sizes(data) == {"train": 24, "validation": 3, "test": 3}


def test_a_folder_of_idx_files(tmp_path):
    idx_file(tmp_path / "t10k-images-idx3-ubyte.gz", np.zeros((40, 4, 5)))
    idx_file(tmp_path / "t10k-labels-idx1-ubyte.gz", np.arange(40) % 2)
    assert sources.load(str(tmp_path), 1).shape == (4, 5, 1)


@pytest.mark.parametrize("name", ["images.csv", "labels.tsv"])
def test_a_list_or_the_folder_with_it(name, pictures, tmp_path):
    folder = listed(pictures(tmp_path / "data", each=10), name)
    data = sources.load(str(folder), 1)
    assert sizes(data) == {"train": 24, "validation": 3, "test": 3}
    assert sources.load(str(folder / name), 1).sha256 == data.sha256


def test_folders_of_originals_and_copies_beside_a_list_are_no_classes(pictures, tmp_path):
    folder = listed(pictures(tmp_path / "data", each=10))
    (folder / "images").rename(folder / "images_original")
    shutil.copytree(folder / "images_original", folder / "images_compressed")
    data = sources.load(str(folder), 1)
    assert data.labels == ("disc", "plain", "stripes")
    assert {path.parent.name for path in data.splits["train"].paths} == {"images_original"}


def test_class_folders_win_over_a_list(pictures, tmp_path):
    folder = pictures(tmp_path / "data", each=10)
    (folder / "labels.csv").write_text("nothing,of,use\n", encoding="utf-8")
    assert sources.load(str(folder), 1).labels == ("disc", "plain", "stripes")


def test_two_lists_are_not_chosen_from(pictures, tmp_path):
    folder = listed(pictures(tmp_path / "data", each=3))
    shutil.copy(folder / "images.csv", folder / "labels.csv")
    with pytest.raises(DataError, match=r"images\.csv and labels\.csv: name the one to read"):
        sources.load(str(folder), 1)


def test_an_npz_file(tmp_path):
    x, y = np.zeros((30, 4, 4), np.uint8), np.arange(30) % 2
    np.savez(tmp_path / "small.NPZ.npz", x_train=x, y_train=y)
    assert sources.load(str(tmp_path / "small.NPZ.npz"), 1).labels == ("0", "1")


def test_a_home_folder_is_understood(pictures, tmp_path, monkeypatch):
    pictures(tmp_path / "data", each=3)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(sources.load("~/data", 1).labels) == 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "nowhere",
            r"no such file or folder: nowhere; give a folder, .*keras:mnist.*git:URL or clothing",
        ),
        ("photo.jpg", r"unsupported data format: photo\.jpg; give a folder, a \.csv"),
        ("empty", r"looked for class folders .*idx3-ubyte.*cifar-100-python/, and images\.csv"),
        ("none.csv", r"none\.csv cannot be read: No such file"),
        ("none.tar.gz", r"none\.tar\.gz is damaged, or no tar archive"),
        ("keras:imagenet", "keras:imagenet is unknown; there are keras:mnist, keras:fashion"),
    ],
)
def test_what_cannot_be_read_is_told_with_what_was_looked_for(
    source, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=message) as told:
        sources.load(source, 1)
    assert "\n" not in str(told.value)


def test_kinds_of_labels_are_cifar_100s(pictures, tmp_path):
    folder = str(pictures(tmp_path / "data", each=3))
    with pytest.raises(DataError, match="is not CIFAR-100, which alone has coarse labels"):
        sources.load(folder, 1, labels="coarse")
    with pytest.raises(DataError, match="keras:mnist is not CIFAR-100"):
        sources.load("keras:mnist", 1, labels="coarse")
    with pytest.raises(DataError, match="labels are fine or coarse, not 'finer'"):
        sources.load(folder, 1, labels="finer")


def test_what_the_system_refuses_is_told():
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        sources.load("n" * 300, 1)


def test_every_form_is_in_the_help():
    for name in (*sources.KERAS, *sources.SHORT, "git:URL", ".npz"):
        assert name in sources.FORMS
    assert sources.SHORT["clothing"] in sources.FORMS
    assert max(map(len, sources.FORMS.splitlines())) <= 80


KERAS = """
import json, sys
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data.dataset import DataError
found = {}
for source in sys.argv[1:]:
    try:
        data = sources.load(source, 1)
        found[source] = [list(data.labels), {k: len(v) for k, v in data.splits.items()},
                         data.splits["test"].images[:, 3, 4].tolist(), data.sha256]
    except DataError as error:
        found[source] = str(error)
print(json.dumps(found))
"""


def test_keras_datasets_from_its_cache_and_without_a_network(tmp_path):
    """Keras looks at no hash of Fashion-MNIST's files: these are small. A proxy that is none."""
    cache = tmp_path / "keras" / "datasets" / "fashion-mnist"
    cache.mkdir(parents=True)
    for name, count in (("train", 40), ("t10k", 20)):
        values = np.arange(count)[:, np.newaxis, np.newaxis] * np.ones((1, 28, 28))
        idx_file(cache / f"{name}-images-idx3-ubyte.gz", values)
        idx_file(cache / f"{name}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-c", KERAS, "keras:fashion_mnist", "keras:mnist", "keras:cifar100"],
        env={**os.environ, **nowhere, "no_proxy": "", "KERAS_HOME": str(tmp_path / "keras")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)  # and nothing else: Keras's own words go to standard error
    labels, counts, pixels, digest = found["keras:fashion_mnist"]
    assert (labels[0], labels[4], labels[9]) == ("T-shirt/top", "Coat", "Ankle boot")
    assert counts == {"train": 30, "validation": 10, "test": 20}
    assert pixels == list(range(20))
    assert len(digest) == 64
    for name, url, file in (
        ("mnist", "tf-keras-datasets/mnist.npz", "mnist.npz"),
        ("cifar100", "kriz/cifar-100-python.tar.gz", "cifar-100-python.tar.gz"),
    ):
        told = found[f"keras:{name}"]
        assert f"keras:{name} cannot be downloaded (URL fetch failure" in told
        assert f"{url} by hand, and name the file {file} on the command line" in told
        assert "\n" not in told


def git(*arguments, cwd):
    subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True)


@pytest.fixture
def repository(pictures, tmp_path, monkeypatch):
    """A repository of class folders, with nobody's own settings; and an empty cache."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    folder = pictures(tmp_path / "shapes.git", each=10)
    git("init", "-q", cwd=folder)
    git("add", ".", cwd=folder)
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "1", cwd=folder)
    return folder


def test_a_git_repository_is_cloned_once(repository, tmp_path, capfd):
    data = sources.load(f"git:file://{repository}", 1)
    assert isinstance(data.splits["train"], Photos)
    assert sizes(data) == {"train": 24, "validation": 3, "test": 3}
    assert data.sha256 == sources.load(str(repository), 1).sha256
    (clone,) = (tmp_path / "cache" / "keras-to-lambda").iterdir()
    assert clone.name.startswith("shapes-")
    told = capfd.readouterr()
    assert "cloning file://" in told.err
    assert told.out == ""
    shutil.rmtree(repository)
    assert sources.load(f"git:file://{repository}", 1).sha256 == data.sha256
    assert "cloning" not in capfd.readouterr().err


def test_a_repository_that_is_not_there_leaves_nothing_and_says_what_to_do(repository, tmp_path):
    url = f"file://{tmp_path}/none"
    with pytest.raises(DataError) as told:
        sources.load(f"git:{url}", 1)
    assert f"git cannot clone {url} (fatal: " in str(told.value)
    assert f"get {url} by hand, and name its folder on the command line" in str(told.value)
    assert "\n" not in str(told.value)
    assert list((tmp_path / "cache" / "keras-to-lambda").iterdir()) == []


def test_a_url_is_no_option_of_git(repository, tmp_path):
    with pytest.raises(DataError, match=r"fatal: .*'--upload-pack=touch"):
        sources.load(f"git:--upload-pack=touch {tmp_path}/ran", 1)
    assert not (tmp_path / "ran").exists()


def test_without_git_it_is_told(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="git is not installed, and file:///x needs it: install"):
        sources.load("git:file:///x", 1)


def test_a_cache_that_cannot_be_written_is_told(repository, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match="cannot be written"):
        sources.load(f"git:file://{repository}", 1)


def test_a_short_name_is_a_repository_unless_a_folder_is_called_so(
    repository, monkeypatch, pictures, tmp_path
):
    monkeypatch.setitem(sources.SHORT, "shapes", f"git:file://{repository}")
    monkeypatch.chdir(tmp_path)
    assert sizes(sources.load("shapes", 1))["train"] == 24
    pictures(tmp_path / "shapes", each=20)
    assert sizes(sources.load("shapes", 1))["train"] == 48


def test_photos_without_class_folders_are_counted_and_have_a_remedy(tmp_path):
    for name in ("a.jpg", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    with pytest.raises(DataError, match="holds 2 photos but no class folders; move them into one"):
        sources.load(str(tmp_path), 1)
