"""Data: class folders, splits, zips, and what is refused."""

from __future__ import annotations

import shutil
import tarfile

import keras
import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.class_folders import ClassFolders
from keras_to_lambda.convert.common import samples
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.train import train
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data.dataset import SPLITS, DataError, completed, joined, neutral
from tests import labelled_zip
from tests.train.conftest import CLASSES
from tests.train.forms import IMAGES, NAMED, TARGETS, counts, write_table


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
        np.savez(root / "data.npz", x=IMAGES, y=np.array(["0", "1", "2"])[TARGETS])
    data = sources.load(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "all"), 1)
    wanted = ("0", "1", "2") if content == "arrays" else tuple(f"a {label}" for label in CLASSES)
    assert data.labels == wanted


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
