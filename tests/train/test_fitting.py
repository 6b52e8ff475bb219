"""Fitting: phases, checkpoints, resume; augmentation."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_to_lambda.train import train
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data.dataset import DataError
from keras_to_lambda.train.fit import augmentation, fitting
from keras_to_lambda.train.fit.augmentation import Augment
from keras_to_lambda.train.fit.crops import RandomCrops
from keras_to_lambda.train.fit.recipe import (
    ALL,
    AUGMENTATIONS,
    DIGITS,
    ONE_SIZE,
    PHOTOS,
    TRANSFER,
    Backbone,
    Perceptron,
    Phase,
    Recipe,
)


@pytest.fixture(scope="module")
def loaded(shapes):
    return sources.load(str(shapes), 1)


@pytest.fixture(scope="module")
def transfer(loaded, tmp_path_factory):
    """Head, fine-tuning and a larger size on a small MobileNetV2 of random weights."""
    folder = tmp_path_factory.mktemp("transfer")
    keras.utils.set_random_seed(3)
    base = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(32, 32, 3), alpha=0.35
    )
    base.save_weights(folder / "base.weights.h5")
    recipe = dataclasses.replace(
        TRANSFER, network=Backbone("MobileNetV2", str(folder / "base.weights.h5"), 0.35), size=32,
        epochs=2, views=1, fine_tune=12, fine_tune_epochs=2, enlarge=64,
        keep="last", batch_size=16,
    )  # fmt: skip
    card = train.card("shapes", loaded.labels, recipe)
    run = fitting.TrainingRun(recipe, card, loaded, folder / "state", folder / "cache", verbose=0)
    return base, run, run.fit()


def test_a_trained_network_goes_through_head_fine_tuning_and_a_larger_size(transfer):
    _, run, model = transfer
    assert [(e["phase"], e["size"]) for e in run.history] == [
        ("head", 32), ("head", 32), ("fine-tuning", 32), ("fine-tuning", 32), ("larger", 64),
        ("larger", 64),
    ]  # fmt: skip
    assert model.input_shape == (None, 64, 64, 3)
    # Features of the frozen network are computed once: of train, one view, and validation.
    assert len(list(run.cache.glob("features-*.npz"))) == 3
    # The head alone was fitted, but its checkpoint classifies pictures.
    path = max(run.folder.glob("shapes-00[12]-*.keras"))
    assert keras.saving.load_model(path, compile=False).input_shape == (None, 32, 32, 3)


def test_only_the_last_layers_are_tuned_and_batch_normalizations_stay_frozen(transfer):
    base, _, model = transfer
    tuned = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    changed = [
        index
        for index, (before, after) in enumerate(zip(base.layers, tuned.layers, strict=True))
        if not all(map(np.array_equal, before.get_weights(), after.get_weights()))
    ]
    assert changed
    assert min(changed) >= len(base.layers) - 12
    kinds = {type(tuned.layers[index]) for index in changed}
    assert keras.layers.BatchNormalization not in kinds


@pytest.fixture
def perceptron(loaded, tmp_path):
    """Makes short runs of a perceptron."""

    def make(**changes):
        recipe = dataclasses.replace(
            Recipe(), network=Perceptron((8,)), size=16, stages=ONE_SIZE, batch_size=16, **changes
        )
        card = train.card("shapes", loaded.labels, recipe)
        return fitting.TrainingRun(
            recipe, card, loaded, tmp_path / "run", tmp_path / "cache", verbose=0
        )

    return make


def test_a_full_disk_is_named_with_what_is_needed(perceptron, monkeypatch):
    usage = SimpleNamespace(free=12_000_000)
    monkeypatch.setattr(fitting.batches.shutil, "disk_usage", lambda _: usage)
    message = r"take 0\.1 MB, and 0\.5 GB must stay free; the disk of .* has 12\.0 MB free"
    with pytest.raises(DataError, match=message):
        perceptron(epochs=1).fit()


def test_early_stopping_ends_a_phase_and_takes_its_best_epoch(perceptron):
    stopped = perceptron(epochs=30, patience=2, keep="best", learning_rate=1e-9)
    model = stopped.fit()
    accuracies = [entry["validation_accuracy"] for entry in stopped.history]
    assert len(accuracies) < 30
    scores = fitting.logits(model, stopped.data, "validation", stopped.card)
    right = (scores.argmax(axis=1) == stopped.data.splits["validation"].targets).mean()
    assert right == pytest.approx(max(accuracies), abs=1e-4)


def test_labels_are_smoothed_in_training_alone(perceptron):
    run = perceptron(
        epochs=1, learning_rate=1e-9, label_smoothing=0.6, balance=0,
        augmentation=AUGMENTATIONS["none"],
    )  # fmt: skip
    model, [entry] = run.fit(), run.history
    for split, smooth, name in (("train", 0.6, "loss"), ("validation", 0, "validation_loss")):
        truth = np.eye(3)[run.data.splits[split].targets]
        scores = fitting.logits(model, run.data, split, run.card)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smooth)
        assert entry[name] == pytest.approx(float(loss(truth, scores)), abs=2e-3)


@pytest.mark.parametrize(("schedule", "last"), [("plateau:0.5", 5e-10), ("exponential", 1e-11)])
def test_the_learning_rate_follows_its_schedule(perceptron, schedule, last):
    flat = perceptron(epochs=6, schedule=schedule, learning_rate=1e-9)
    flat.fit()  # so small a rate changes no loss
    rates = [entry["learning_rate"] for entry in flat.history]
    assert len(rates) == 6
    assert rates[-1] == pytest.approx(last, rel=0.01)


def test_another_run_does_not_replace_an_interrupted_one(perceptron, loaded):
    first = perceptron(epochs=1)
    first.fit()
    before = first.log.read_text()
    ranges = dataclasses.replace(AUGMENTATIONS["strong"], rotation=5)
    changed = "epochs 2 instead of 1, rotation 5 instead of 18.0"
    with pytest.raises(DataError, match=rf"differs \({changed}\): give its options .* or delete"):
        perceptron(epochs=2, augmentation=ranges).fit()
    other = perceptron(epochs=1)
    other.data = dataclasses.replace(loaded, sha256="other")
    with pytest.raises(DataError, match=r"differs \(other data, or split otherwise\)"):
        other.fit()
    assert first.log.read_text() == before
    assert perceptron(epochs=1).fit()  # all phases are done: the last one is loaded


def test_a_killed_run_continues_from_its_last_epoch(shapes, tmp_path, monkeypatch, capsys):
    """kill -9 after the second epoch; the same command ends with all epochs, each once."""
    output = tmp_path / "shapes"
    line = ["train", str(shapes), "-o", str(output), "--model", "mlp", "--size", "32", "--epochs",
            "6", "--batch-size", "4", "--track", "none"]  # fmt: skip
    log = output / "shapes.checkpoints" / "state" / "history.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_to_lambda", *line],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and not (log.exists() and len(json.loads(log.read_text())) >= 2):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = json.loads(log.read_text())

    def interrupted(_model, _data):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "convert", interrupted)
    assert train.main(line[1:]) == 130
    assert f"continuing after epoch {len(before)}" in capsys.readouterr().out
    # Also of the conversion: nothing is trained again, and a folder that -o did not name is right.
    (tmp_path / "models").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "convert", lambda model, _data: model)
    assert train.main([line[1], *line[4:]]) == 0
    assert "continuing after epoch 6" in capsys.readouterr().out
    entries = json.loads((output / "training.json").read_text(encoding="utf-8"))["history"]
    assert [entry["epoch"] for entry in entries] == [1, 2, 3, 4, 5, 6]
    # At most the last epoch, whose backup may have been cut short, was trained again.
    assert entries[: len(before) - 1] == before[:-1]
    assert not (output / "shapes.checkpoints").exists()
    assert not (output / "shapes.cache").exists()


# Layers of Keras: here only that each range reaches its layer, and none runs for nothing.
@pytest.mark.parametrize(
    ("change", "channels", "names"),
    [
        ({}, 3, []),
        ({"flip": "vertical", "rotation": 10, "cutout": 0.5}, 3, ["RandomErasing"]),
        ({"brightness": 0.1, "contrast": 0.1}, 1, ["RandomContrast", "RandomBrightness"]),
        ({"hue": 0.1, "saturation": (0, 0.6)}, 3, ["RandomHue", "RandomSaturation"]),
        ({"hue": 0.1, "saturation": (0, 0.6)}, 1, []),
    ],
)
def test_each_range_has_its_keras_layer(change, channels, names):
    ranges = dataclasses.replace(AUGMENTATIONS["none"], **change)
    layers = augmentation.of_colours(ranges, channels, seed=1)
    assert [type(layer).__name__ for layer in layers] == names


SIDE = 100  # of the pictures whose crops are read, pixels


def crops(size, count=64, **ranges):
    """Crops of a picture whose colours are its coordinates: (batch, size, size, x and y)."""
    ranges = dataclasses.replace(AUGMENTATIONS["none"], **ranges)
    grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).astype(np.float32)
    images = tf.constant(np.repeat(grid[None], count, axis=0))
    return RandomCrops(ranges, size, seed=1)(images).numpy()


# Each range alone: what part of the picture, and which of its directions, the crops show.
def test_crops_show_what_their_ranges_say():
    whole = crops(SIDE)
    np.testing.assert_allclose(whole[0, 7, 9], (9, 7), atol=1e-3)
    mirrored = crops(SIDE, flip="vertical")
    np.testing.assert_allclose(mirrored[..., 0], whole[..., 0], atol=1e-3)
    assert 10 < (mirrored[:, 0, 0, 1] > 90).sum() < 54
    for zoom in (0.5, 0.8):
        close = crops(40, zoom=(zoom, zoom))
        # Anywhere in the picture, and nowhere beyond it.
        np.testing.assert_allclose(np.ptp(close[..., 0], axis=(1, 2)), zoom * 97.5, atol=0.1)
        starts = close[:, 0, 0] / SIDE
        assert starts.min() >= 0
        assert starts.min() < 0.06 < (1 - zoom) * 0.8 < starts.max() <= 1 - zoom + 0.01
    shifted = crops(SIDE, shift=0.2)[:, 50, 50] - 50
    assert 15 < np.abs(shifted).max() <= 20.01


@pytest.mark.parametrize(
    ("change", "slopes"),
    [
        # Of x and y along a crop's row, x and y along its column.
        ({"rotation": 30}, lambda n: (np.cos(n), np.sin(n), -np.sin(n), np.cos(n))),
        ({"shear": 0.3}, lambda n: (1 + 0 * n, 0 * n, n, 1 + 0 * n)),
        ({"stretch": 0.3}, lambda n: (np.exp(n), 0 * n, 0 * n, np.exp(-n))),
    ],
)
def test_crops_are_turned_sheared_and_stretched(change, slopes):
    made = crops(SIDE, **change)[:, 48:53, 48:53]
    along = made[:, 2, 3] - made[:, 2, 2], made[:, 3, 2] - made[:, 2, 2]
    (xx, xy), (yx, yy) = (part.T for part in along)
    ((name, highest),) = change.items()
    drawn = {"rotation": np.arctan2(xy, xx), "shear": yx, "stretch": np.log(xx)}[name]
    highest = np.radians(highest) if name == "rotation" else highest
    assert highest * 0.8 < np.abs(drawn).max() <= highest + 1e-3
    np.testing.assert_allclose((xx, xy, yx, yy), slopes(drawn), atol=2e-3)


def test_training_pictures_are_stored_as_large_as_their_crops_are_close():
    assert PHOTOS.stored_size(160) == 200
    assert dataclasses.replace(PHOTOS, augmentation=AUGMENTATIONS["none"]).stored_size(160) == 160
    assert DIGITS.stored_size(28) == 28


def test_blends_change_a_share_of_the_pictures_and_their_labels_alike():
    recipe = Recipe(augmentation=AUGMENTATIONS["none"])
    phase = Phase("", 64, 0, 1, mix=0.5, rate=0, layers=ALL)
    images = np.zeros((40, 64, 64, 3), np.uint8)
    images[::2] = 255
    labels = np.eye(2, dtype=np.float32)[np.arange(40) % 2]
    made, truth = (
        part.numpy() for part in Augment(recipe, phase, 1)(tf.constant(images), tf.constant(labels))
    )
    np.testing.assert_allclose(truth.sum(axis=1), 1, atol=1e-5)
    assert np.array_equal(made[20:], images[20:].astype(np.float32))
    assert (np.abs(truth[:20] - labels[:20]) > 0.01).any()
    # White is label 0: its share of the pixels is its share of the label.
    np.testing.assert_allclose(made.mean(axis=(1, 2, 3)) / 255, truth[:, 0], atol=0.05)
