"""Photos that were labelled in the playground: its .zip file is data for the commands."""

from __future__ import annotations

import pytest

from keras_to_lambda.class_folders import ClassFolders
from keras_to_lambda.convert.common import samples
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.train import train
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data.dataset import DataError
from tests import labelled_zip


@pytest.fixture
def archive(pictures, tmp_path):
    """Four photos each of disc, plain and stripes, and one that is labelled `a/b`."""
    root = pictures(tmp_path / "data", each=4)
    photos = [(path.parent.name, path) for path in sorted(root.glob("*/*.png"))]
    return labelled_zip.write(tmp_path / "labelled.zip", [*photos, ("a/b", photos[0][1])])


def test_the_zip_is_data_and_train_names_a_label_with_too_few_photos(archive):
    data = sources.load(str(archive), 1)
    assert data.labels == ("a_b", "disc", "plain", "stripes")
    assert sum(map(len, data.splits.values())) == 13
    with pytest.raises(DataError, match="no picture to train on: a_b; each label needs"):
        train.read(str(archive), 1, "fine")


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
    with (
        pytest.raises(ValueError, match=r"^of the caller$"),
        samples.local(archive, 100),
    ):
        raise ValueError("of the caller")  # is no fault of the samples
