"""What is wrong with the input: exit status 2, one clear line, nothing written."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import pytest
from PIL import Image

from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.convert import main
from keras_to_lambda.convert.sandbox.sandbox import Sandbox
from keras_to_lambda.runtime.model_file import card as cards


def test_a_wrong_label_count_names_both_numbers(models, refused, tmp_path, write_json):
    (tmp_path / "labels.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")
    line = refused(models["keras"], names=tmp_path / "labels.txt")
    assert "there are 3 labels, net.keras has 5 outputs: give one" in line


def test_labels_that_cannot_be_read_are_named(models, refused, tmp_path, write_json):
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


def test_samples_that_are_missing_or_all_broken_are_named(models, refused, tmp_path):
    assert "no folder of samples" in refused(models["keras"], photos=tmp_path / "none")
    (tmp_path / "photos").mkdir()
    assert "no photos" in refused(models["keras"], photos=tmp_path / "photos")
    (tmp_path / "photos" / "a.jpg").write_bytes(b"not a picture")
    assert "none of the samples" in refused(models["keras"], photos=tmp_path / "photos")


def test_a_broken_sample_among_good_ones_is_counted(models, convert, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"not a picture")
    for name, colour in (("b.png", "red"), ("c.jpg", "navy"), ("d.webp", "olive")):
        Image.new("RGB", (50, 60), colour).save(folder / name)
    status, output = convert(models["keras"], photos=folder)
    assert status == 0
    verification = cards.load(output).verification
    assert (verification["samples"], verification["skipped"]) == (3, 1)


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


@pytest.mark.parametrize(
    ("python", "words"),
    [("/none/python", "cannot be run: No such file"), ("/bin/false", "crashed (exit status 1)")],
)
def test_an_interpreter_that_cannot_be_run_is_named(python, words):
    with pytest.raises(ConvertError) as error:
        Sandbox(python=Path(python)).call("tests.convert.jobs:double", number=2)
    assert words in str(error.value)


def test_a_path_that_is_no_model_is_named(refused, tmp_path):
    assert "there is no model at" in refused(tmp_path / "none.keras")
    (tmp_path / "folder").mkdir()
    assert "not a SavedModel" in refused(tmp_path / "folder")
    (tmp_path / "net.onnx").write_bytes(b"\0" * 100)
    assert "not a .keras, .h5 or .tflite file" in refused(tmp_path / "net.onnx")


@pytest.mark.parametrize("kind", ["keras", "h5"])
@pytest.mark.parametrize("share", [0.0, 0.9])
def test_a_model_file_cut_short_is_refused(kind, share, models, refused, tmp_path):
    whole = models[kind].read_bytes()
    path = tmp_path / models[kind].name
    path.write_bytes(whole[: int(share * len(whole))])
    line = refused(path)
    assert "cannot load" in line or "was cut short" in line


@pytest.mark.parametrize("part", ["saved_model.pb", "variables/variables.index"])
def test_a_savedmodel_cut_short_is_refused(part, models, refused, tmp_path):
    folder = shutil.copytree(models["saved_model"], tmp_path / "net_saved")
    path = folder / part
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "net_saved" in refused(folder)


def test_an_h5_of_weights_alone_is_refused(network, refused, tmp_path):
    network().save_weights(tmp_path / "net.weights.h5")
    assert "weights without the network" in refused(tmp_path / "net.weights.h5")


def test_a_network_that_is_no_image_classifier_is_refused(network, refused, tmp_path):
    path = tmp_path / "net.keras"
    keras.Sequential([keras.Input((7,)), keras.layers.Dense(5)]).save(path)
    assert "an image classifier maps" in refused(path)
    network(classes=1).save(path)
    assert "give two labels" in refused(path)
    one = network()
    other = keras.Input((3,))
    both = one.output + keras.layers.Dense(5)(other)
    keras.Model([one.input, other], both).save(path)
    assert "has 2 inputs" in refused(path)


STRANGE = """
import keras
import tensorflow as tf

class Strange(keras.layers.Layer):
    def call(self, x):
        return tf.math.erfinv(tf.tanh(x))
"""


def test_an_operator_that_the_interpreter_lacks_is_named_with_its_layer(network, refused, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(STRANGE, encoding="utf-8")
    names = {}
    exec(compile(STRANGE, str(own), "exec"), names)
    network(extra=names["Strange"](name="strange")).save(tmp_path / "net.keras")
    line = refused(tmp_path / "net.keras", "--custom", str(own))
    assert "lacks an operator" in line
    assert "Erfinv (layer 'strange')" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--size", "224"), "is not HEIGHTxWIDTH"),
        (("--size", "axb"), "is not HEIGHTxWIDTH"),
        (("--size", "32x32"), "takes 40 x 40 pixels, not 32 x 32"),
        (("--max-memory", "0"), "must be more than 0"),
        (("--head", "other"), "has no output 'other'; it has "),
        (("--custom", "none.py"), "is not a Python file"),
    ],
)
def test_a_wrong_option_is_named(options, message, models, refused):
    assert message in refused(models["keras"], *options)
