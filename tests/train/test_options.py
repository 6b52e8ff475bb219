"""The options of `k2l train`: what they make, and what is said of those that are wrong."""

from __future__ import annotations

import json
import math
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_to_lambda.runtime.model.card import ModelCard
from keras_to_lambda.train import options
from keras_to_lambda.train.command import _parser, main, named
from keras_to_lambda.train.data import arrays, photos
from keras_to_lambda.train.data.dataset import DataError
from keras_to_lambda.train.recipe import (
    ALL,
    AUGMENTATIONS,
    DIGITS,
    PHOTOS,
    SMALL,
    TRANSFER,
    Backbone,
    Perceptron,
)
from tests.train.published import idx_file

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(pictures, tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("options") / "data", each=10)


@pytest.fixture(scope="module")
def data(folder):
    return photos.load(folder, 1)


def small(channels, side=28):
    shape = (60, side, side) if channels == 1 else (60, side, side, 3)
    images = np.zeros(shape, np.uint8)
    return arrays.assemble({"train": (images, np.arange(60) % 3)}, 1, "x")


def recipe(data, *given):
    return options.recipe(_parser().parse_args(["DATA", *given]), data)


def test_each_kind_of_data_has_its_recipe(data):
    assert recipe(data) == PHOTOS
    assert recipe(small(1)) == DIGITS
    assert recipe(small(3, 32)) == SMALL
    assert recipe(small(1, 20)).size == 20
    assert recipe(small(1, 90)).size == PHOTOS.size
    assert recipe(small(1, 90)).channels == 1


def test_a_trained_network_has_its_own(data):
    assert recipe(data, "--model", "mobilenetv2") == TRANSFER
    assert recipe(small(3, 32), "--model", "MobileNetV2").size == 96
    scratch = recipe(data, "--model", "ResNet50", "--weights", "none")
    assert scratch.network == Backbone("ResNet50", None)
    assert scratch.scaling == "resnet"
    assert len(scratch.phases()) == 1
    assert scratch.phases()[0].layers == ALL


def test_an_mlp_is_trained_at_one_size(data):
    made = recipe(small(1), "--model", "mlp")
    assert made.network == Perceptron()
    assert made.size == 28
    (phase,) = recipe(data, "--model", "mlp").phases()
    assert {stage.size for stage in phase.stages} == {64}


def test_phases_follow_one_another(data):
    made = recipe(
        data, "--model", "MobileNetV2", "--size", "150", "--epochs", "7", "--fine-tune", "30",
        "--fine-tune-epochs", "4", "--enlarge", "299", "--enlarge-epochs", "3",
        "--fine-tune-rate", "0.0002",
    )  # fmt: skip
    told = [(p.name, p.size, p.epochs, p.layers, p.learning_rate) for p in made.phases()]
    assert told == [
        ("head", 150, 7, 0, 1e-3),
        ("fine-tuning", 150, 4, 30, 2e-4),
        ("larger", 299, 3, 30, 2e-4),
    ]
    assert made.served_size == 299
    assert recipe(data, "--model", "MobileNetV2", "--fine-tune", "all").fine_tune_layers == ALL


def test_augmentation_starts_from_a_name_and_changes_one_thing(data):
    made = recipe(data, "--augment", "light", "--rotation", "30", "--cutout", "0.5", "--no-flip",
                  "--zoom", "0.5", "0.9").augmentation  # fmt: skip
    light = AUGMENTATIONS["light"]
    assert made.rotation == pytest.approx(math.pi / 6)
    assert (made.erased, made.mirror, made.zoom) == (0.5, False, (0.5, 0.9))
    assert (made.shear, made.brightness) == (light.shear, light.brightness)
    mixed = recipe(data, "--mixup", "0.3")
    assert {stage.mix for stage in mixed.phases()[0].stages} == {0.3}
    none = recipe(data, "--augment", "none")
    assert {stage.mix for stage in none.phases()[0].stages} == {0.0}
    assert recipe(data, "--augment", "none", "--mixup", "0.1").stages[0][2] == 0.1
    assert recipe(data, "--hue", "0", "--saturation", "1", "1").augmentation.saturation == (1, 1)
    transfer = recipe(data, "--model", "MobileNetV2", "--mixup", "0.3")
    assert transfer.phases()[0].stages[0].mix == 0.3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--model", "ResNet51"), "no model named ResNet51; there are residual, mlp, and those of"),
        (("--weights", "imagenet"), "--weights and --width are for the networks of keras"),
        (("--model", "mlp", "--width", "0.5"), "--weights and --width are for the networks"),
        (("--fine-tune", "3"), "--fine-tune, --enlarge and --views are for a trained network"),
        (
            ("--model", "VGG16", "--weights", "none", "--enlarge", "300"),
            "are for a trained network",
        ),
        (("--model", "VGG16", "--enlarge", "100"), "--enlarge 100 is not larger than --size 224"),
        (("--size", "31"), "--size must be at least 32 for this network"),
        (("--fine-tune-rate", "0.1"), "--fine-tune-epochs and --fine-tune-rate go with"),
        (("--model", "VGG16", "--enlarge-epochs", "2"), "--enlarge-epochs goes with --enlarge"),
        (("--model", "VGG16", "--weight-decay", "0.1"), "--weight-decay goes with --optimizer"),
        (("--model", "VGG16", "--views", "0", "--mixup", "0.5"), "leaves nothing to augment"),
        (("--zoom", "1.2", "0.8"), "--zoom wants the lower share first"),
    ],
)
def test_options_that_do_not_go_together_are_told(given, message, data):
    with pytest.raises(DataError, match=re.escape(message)):
        recipe(data, *given)


def test_weights_that_are_not_there_leave_no_folder_behind(folder, tmp_path, capsys):
    output = tmp_path / "models" / "photos"
    given = ["--model", "MobileNetV2", "--weights", str(tmp_path / "gone.h5")]
    assert main([str(folder), "-o", str(output), "--track", "none", *given]) == 2
    told = capsys.readouterr()
    assert "no weights at" in told.err
    assert "augmentation" not in told.out
    assert not output.parent.exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--epochs", "0"), "must be from 1 to"),
        (("--batch-size", "1"), "must be from 2 to"),
        (("--learning-rate", "fast"), "'fast' is not a number"),
        (("--seed", "-1"), "must be from 0 to 2147483647"),
        (("--fine-tune", "half"), "'half' is not a whole number"),
        (("--schedule", "linear"), "'linear' is unknown; choose from cosine, constant, exp"),
    ],
)
def test_a_value_out_of_range_exits_with_2(given, message, capsys, folder, tmp_path):
    with pytest.raises(SystemExit) as caught:
        main([str(folder), "-o", str(tmp_path / "out"), *given])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_data_that_is_not_there_is_told_before_tensorflow_is_imported(tmp_path):
    script = (
        "import sys; from keras_to_lambda.train.command import main\n"
        f"status = main([{str(tmp_path / 'gone')!r}])\n"
        "assert 'tensorflow' not in sys.modules\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("k2l train: error: ")
    assert done.stderr.count("\n") == 1


def test_a_model_is_not_put_in_another_ones_place_unasked(folder, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "models" / "data"
    there.mkdir(parents=True)
    record = {"recipe": {"size": 3}, "data_sha256": "x"}
    (there / "training.json").write_text(json.dumps(record), encoding="utf-8")
    status, _, error = run(folder)
    assert status == 2
    assert "models/data has a model that was trained otherwise" in error


def test_a_port_that_is_taken_is_told_before_the_training(folder, run, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, out, error = run(folder, "-o", tmp_path / "out", "--serve", port)
    assert (status, out) == (2, "")
    assert f"port {port} cannot be had: say --serve {port + 1}" in error


def test_an_output_that_is_a_file_exits_with_2(folder, run, tmp_path):
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    status, _, error = run(folder, "-o", tmp_path / "out")
    assert status == 2
    assert "is a file" in error


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("photos/cats and dogs/", "cats and dogs"),
        ("data/mnist.npz", "mnist"),
        ("cifar-100-python.tar.gz", "cifar-100-python"),
        ("keras:fashion_mnist", "fashion_mnist"),
        ("git:https://example.org/someone/birds.git", "birds"),
        ("clothing", "clothing"),
    ],
)
def test_a_model_is_called_as_its_data(source, name):
    assert named(source) == name


def test_idx_files_are_trained_on_by_the_recipe_of_the_digits(tmp_path, capfd):
    """One epoch on squares, dark or light: the whole way to a grey model and its record."""
    root = tmp_path / "data"
    root.mkdir()
    targets = np.arange(240) % 2
    squares = np.full((240, 28, 28), 40) + 160 * targets[:, None, None]
    idx_file(root / "t10k-images-idx3-ubyte", squares)
    idx_file(root / "t10k-labels-idx1-ubyte", targets)
    out = tmp_path / "squares"
    arguments = ["--epochs", "1", "--batch-size", "16", "--track", "none"]
    assert main([str(root), "-o", str(out), *arguments]) == 0
    assert "test accuracy" in capfd.readouterr().out
    card = ModelCard.from_json(json.loads((out / "squares.card.json").read_text()))
    assert (card.labels, card.height, card.width, card.channels) == (("0", "1"), 28, 28, 1)
    import keras

    model = keras.models.load_model(out / "squares.keras")
    assert model.input_shape == (None, 28, 28, 1)
    assert model.output_shape == (None, 2)
    record = json.loads((out / "training.json").read_text())
    assert record["results"]["test"]["photos"] == 36
    assert record["recipe"]["augmentation"]["mirror"] is False


def test_the_preview_shows_each_picture_as_it_is_served_and_crops_of_it(data, tmp_path):
    from PIL import Image

    from keras_to_lambda.train import preview
    from keras_to_lambda.train.command import card

    made = recipe(data, "--size", "64")
    preview.write(made, card("any", data.labels, made), data, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        step = preview.SIDE + preview.GAP
        assert sheet.size == ((1 + preview.CROPS) * step - 4, preview.ROWS * step - 4)
        tile = np.asarray(sheet)[: preview.SIDE, : preview.SIDE].astype(float)
        crop = np.asarray(sheet)[: preview.SIDE, step : step + preview.SIDE].astype(float)
    row = int(np.random.default_rng(made.seed).permutation(len(data.splits["train"]))[0])
    plain = data.splits["train"].picture(row, card("any", data.labels, made))
    wanted = np.asarray(plain.resize((64, 64), 2).resize((128, 128))).astype(float)
    assert np.abs(tile - wanted).mean() < 1
    assert np.abs(crop - wanted).mean() > 5
