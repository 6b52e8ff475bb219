"""What is wrong with the input: exit status 2, one clear line, nothing written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.convert import main
from keras_to_lambda.convert.network import keras_model
from keras_to_lambda.runtime.model_file import card as cards


def test_labels_that_are_wrong_are_explained(models, refused, tmp_path, write_json):
    (tmp_path / "labels.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")
    line = refused(models["keras"], names=tmp_path / "labels.txt")
    assert "there are 3 labels, net.keras has 5 outputs: give one" in line
    assert "cannot read the labels" in refused(models["keras"], names=tmp_path / "none.txt")
    path = write_json(tmp_path / "labels.json", {"0": 0.5})
    assert "give a list of labels, or a dictionary" in refused(models["keras"], names=path)
    path.write_text("[", encoding="utf-8")
    assert "is not JSON" in refused(models["keras"], names=path)


def test_without_a_card_labels_and_preprocess_are_asked_for(models, refused, tmp_path):
    line = refused(models["keras"], names=None)
    assert "required: --labels, --preprocess (no net.card.json beside the model)" in line
    assert "k2l detect " in line
    path = tmp_path / "net.keras"
    path.write_bytes(models["keras"].read_bytes())
    (tmp_path / "net.card.json").write_text("{", encoding="utf-8")
    assert "net.card.json is not JSON" in refused(path, names=None)


def test_samples_that_cannot_be_read_are_named(models, convert, refused, tmp_path, capfd):
    folder = tmp_path / "photos"
    assert "no folder of samples" in refused(models["keras"], photos=folder)
    folder.mkdir()
    assert "is an empty folder; expected: " in refused(models["keras"], photos=folder)
    (folder / "a.jpg").write_bytes(b"not a picture")
    assert "none of the samples" in refused(models["keras"], photos=folder)
    for name, colour in (("b.png", "red"), ("c.jpg", "navy"), ("d.webp", "olive")):
        Image.new("RGB", (50, 60), colour).save(folder / name)
    status, output = convert(models["keras"], photos=folder)
    assert status == 0
    verification = cards.load(output).verification
    assert (verification["samples"], verification["skipped"]) == (3, 1)
    assert "1 of 4 samples cannot be read: a.jpg" in capfd.readouterr().err


def test_an_output_that_cannot_be_written_is_named(models, samples, labels, tmp_path, capsys):
    (tmp_path / "file").touch()
    for output, word in (
        (tmp_path / "file" / "net.tflite", str(tmp_path / "file")),
        ("/proc/none/net.tflite", "/proc/none"),
        (tmp_path / "net.onnx", "must end in .tflite"),
    ):
        arguments = [str(models["keras"]), "-o", str(output), "--samples", str(samples)]
        assert main([*arguments, "--labels", str(labels), "--preprocess", "raw"]) == 2
        line = capsys.readouterr().err
        assert line.startswith("k2l convert: ")
        assert word in line
    assert not (tmp_path / "net.onnx").exists()


def test_a_path_that_is_no_model_is_named(refused, tmp_path):
    assert "there is no model at" in refused(tmp_path / "none.keras")
    assert refused(Path("/")) == "k2l convert: there is no model at /"
    (tmp_path / "folder").mkdir()
    assert "not a SavedModel" in refused(tmp_path / "folder")


def test_a_file_of_another_kind_is_named(tmp_path):
    """Others are in test_inspect.py."""
    path = tmp_path / "net.h5"
    for data, words in (
        (bytes(100), "begins neither"),
        (b"\x1c\0\0\0TFL3", "is a .tflite already"),
    ):
        path.write_bytes(data)
        with pytest.raises(ConvertError, match=words):
            keras_model.load(path)


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_a_model_file_cut_short_is_refused(kind, models, tmp_path):
    whole = models[kind].read_bytes()
    path = tmp_path / models[kind].name
    path.write_bytes(whole[: int(0.9 * len(whole))])
    with pytest.raises(ConvertError, match=r"cannot load|was cut short"):
        keras_model.load(path)


@pytest.mark.parametrize("part", ["saved_model.pb", "variables/variables.index"])
def test_a_savedmodel_cut_short_is_refused(part, models, tmp_path):
    folder = shutil.copytree(models["saved_model"], tmp_path / "net_saved")
    path = folder / part
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ConvertError, match="net_saved"):
        keras_model.load(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--size", "224"), "is not HEIGHTxWIDTH"),
        (("--size", "axb"), "is not HEIGHTxWIDTH"),
        (("--size", "32x32"), "takes 40 x 40 pixels, not 32 x 32"),
        (("--head", "other"), "has no output 'other'; it has "),
        (("--custom", "none.py"), "is not a Python file"),
    ],
)
def test_a_wrong_option_is_named(options, message, models, refused):
    assert message in refused(models["keras"], *options)
