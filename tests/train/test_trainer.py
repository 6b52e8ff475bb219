"""`k2l train` from pictures to a served model, on generated pictures."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from keras_to_lambda.runtime.model import card as cards
from keras_to_lambda.train.command import card, main
from keras_to_lambda.train.data import photos
from keras_to_lambda.train.feeds import order
from keras_to_lambda.train.recipe import ONE_SIZE, TRANSFER, Backbone, Head, Recipe
from keras_to_lambda.train.trainer import Stopped, Trainer

EPOCHS = 24
OPTIONS = ("--size", "32", "--batch-size", "16", "--learning-rate", "0.004", "--track", "none")


@pytest.mark.parametrize(("photos_", "batch_size"), [(10, 3), (64, 64), (37, 5)])
def test_an_epochs_order_is_a_permutation_that_the_seed_decides(photos_, batch_size):
    rows = order(photos_, batch_size, 1, 0)
    assert rows.shape == (photos_ // batch_size, batch_size)
    assert rows.dtype == np.int32
    assert len(set(rows.ravel().tolist())) == rows.size
    assert set(rows.ravel().tolist()) <= set(range(photos_))
    assert order(photos_, batch_size, 1, 0).tolist() == rows.tolist()
    assert order(photos_, batch_size, 1, 1).tolist() != rows.tolist()
    assert order(photos_, batch_size, 2, 0).tolist() != rows.tolist()


def test_stages_add_up_and_end_at_the_full_size():
    (phase,) = Recipe().phases()
    assert [(s.size, s.epochs) for s in phase.stages] == [(96, 92), (128, 84), (160, 44)]
    for epochs in range(1, 40):
        (phase,) = Recipe(size=64, epochs=epochs).phases()
        assert phase.epochs == epochs
        assert phase.stage(epochs - 1) is phase.stages[-1]


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    """A whole run, with one broken picture among the others."""
    folder = tmp_path_factory.mktemp("train")
    data = pictures(folder / "data", each=40)
    (data / "disc" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    status = main(
        [str(data), "-o", str(folder / "shapes"), "--epochs", str(EPOCHS), *OPTIONS, "--seed", "4"]
    )
    assert status == 0
    return folder / "shapes"


def test_a_run_writes_models_cards_reports_and_samples_and_nothing_else(trained):
    assert sorted(path.name for path in trained.iterdir()) == [
        "MODEL_CARD.md",
        "samples",
        "shapes.augmentation.png",
        "shapes.card.json",
        "shapes.keras",
        "shapes.report.html",
        "shapes.report.md",
        "shapes.tflite",
        "training.json",
    ]
    samples = sorted(path.relative_to(trained) for path in trained.glob("samples/*/*"))
    assert len(samples) == 9
    assert {path.parent.name for path in samples} == {"disc", "plain", "stripes"}


def test_a_run_learns_what_can_be_learnt(trained):
    record = json.loads((trained / "training.json").read_text(encoding="utf-8"))
    assert record["results"]["validation"]["photos"] == 12
    assert record["results"]["test"]["photos"] == 12
    right = sum(record["results"][name]["accuracy"] * 12 for name in ("validation", "test"))
    assert right / 24 >= 0.8
    assert record["history"][-1]["epoch"] == EPOCHS
    assert record["history"][-1]["loss"] < record["history"][0]["loss"]
    assert record["skipped"][0][0] == "disc/broken.png"
    assert record["photos"] == {"train": 96, "validation": 12, "test": 12}
    # Paths are of one machine: only their last part is told.
    assert record["command"].startswith("k2l train data -o shapes --epochs")


def test_the_card_says_how_the_model_is_to_be_served(trained):
    card = cards.load_json(trained / "shapes.card.json")
    assert card.labels == ("disc", "plain", "stripes")
    assert (card.height, card.width, card.output) == (32, 32, "logits")
    assert card.preprocessing.interpolation == "pillow:bilinear"
    assert card.preprocessing.scaling == "mobilenet_v2"
    assert card.provenance["seed"] == 4


def test_the_report_tells_accuracy_interval_and_skipped_files(trained):
    text = (trained / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert text.startswith("# shapes\n")
    assert "**Test accuracy " in text
    assert "95 % interval" in text
    assert "Files skipped as broken: 1." in text


def test_a_run_ends_in_a_verified_tflite(trained):
    card = cards.load(trained / "shapes.tflite")
    assert card.name == "shapes"
    assert card.preprocessing.exif == "apply"
    assert card.verification["samples"] == 12
    assert card.labels == ("disc", "plain", "stripes")
    assert card.preprocessing.interpolation == "pillow:bilinear"
    assert card.provenance["trained_by"] == "k2l train"
    assert card.verification["passed"] is True
    digest = hashlib.sha256((trained / "shapes.keras").read_bytes()).hexdigest()
    assert card.provenance["source_sha256"] == digest


@pytest.fixture
def trainer(pictures, tmp_path):
    """Make a trainer of a short run on the same pictures, with the same checkpoints."""
    root = pictures(tmp_path / "data", each=12)

    def make(recipe, checkpoints="checkpoints", **more):
        data = photos.load(root, recipe.seed)
        folder = tmp_path / checkpoints
        return Trainer(
            recipe, card("any", data.labels, recipe), data, folder, tmp_path / "cache", **more
        )

    return make


def recipe(**changes):
    """Two epochs, which are two stages."""
    return Recipe(**{"size": 32, "epochs": 2, "batch_size": 10, "seed": 3, **changes})


def test_a_finished_run_has_nothing_left_to_do_and_another_does_not_go_on_from_it(trainer, capsys):
    first = trainer(recipe(epochs=1))
    first.run()
    again = trainer(recipe(epochs=1))
    again.run()
    assert again.history == first.history
    for a, b in zip(again.result().get_weights(), first.result().get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    capsys.readouterr()
    other = trainer(recipe(epochs=1, learning_rate=1e-3))
    other.run()
    assert "is of another run: starting from the beginning" in capsys.readouterr().out
    assert other.history != first.history


def test_the_best_epochs_are_kept_by_name_and_the_best_is_taken(trainer, tmp_path):
    import keras

    run = trainer(recipe(epochs=8, keep="best", learning_rate=0.004))
    run.run()
    accuracies = [entry["validation_accuracy"] for entry in run.history]
    files = sorted((tmp_path / "checkpoints").glob("*.keras"))
    assert 1 <= len(files) <= 3
    _, epoch, accuracy = files[-1].stem.split("-")
    assert float(accuracy) == max(accuracies)
    # Of equal accuracies, the one with the lowest loss.
    best = min(
        (entry["validation_loss"], entry["epoch"])
        for entry in run.history
        if entry["validation_accuracy"] == max(accuracies)
    )
    assert int(epoch) == best[1]
    saved = keras.saving.load_model(files[-1], compile=False)
    for mine, theirs in zip(run.result().get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_an_earlier_runs_epochs_are_not_taken_for_this_ones(trainer, tmp_path):
    """Higher epochs of a run that was stopped: by name they would come last."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("any-018-0.9000.keras", "any-019-0.9100.keras", "any-020-0.9200.keras"):
        (folder / name).write_bytes(b"another run's")
    run = trainer(recipe(epochs=1, keep="best"))
    run.run()
    assert [path.name[:7] for path in folder.glob("*.keras")] == ["any-001"]
    assert run.result().count_params() > 0


def test_a_run_of_other_labels_on_the_same_files_is_another(trainer, capsys):
    first = trainer(recipe(epochs=1))
    first.run()
    other = trainer(recipe(epochs=1))
    other.data = dataclasses.replace(other.data, labels=("a", "b", "c"))
    other.__post_init__()
    capsys.readouterr()
    other.run()
    assert "is of another run" in capsys.readouterr().out


def test_phases_after_a_stop_are_those_of_a_run_without(trainer, weights_file):
    """Stopped in the second of three phases, in a process that has built other networks before."""
    path, _ = weights_file
    made = dataclasses.replace(
        TRANSFER, **{**SMALL, "network": Backbone("MobileNetV2", str(path), 0.35), "epochs": 2},
        head=Head((8,), dropout=0.5),
    )  # fmt: skip
    whole = trainer(made, "whole")
    whole.run()
    stopped = trainer(made, "stopped")

    def watch(entry):
        stopped.asked_to_stop = entry["phase"] == "fine-tuning"

    stopped.watch = [watch]
    with pytest.raises(Stopped):
        stopped.run()
    resumed = trainer(made, "stopped")
    resumed.run()
    assert [_timeless(e) for e in resumed.history] == [_timeless(e) for e in whole.history]
    for mine, theirs in zip(
        resumed.result().get_weights(), whole.result().get_weights(), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def _timeless(entry):
    return {name: value for name, value in entry.items() if name != "seconds"}


def test_patience_ends_a_phase(trainer):
    """A learning rate of nearly nothing: the loss hardly falls, the averaged weights' even less."""
    run = trainer(recipe(epochs=30, patience=2, learning_rate=0.9, schedule="constant"))
    run.run()
    losses = [entry["validation_loss"] for entry in run.history]
    assert len(losses) < 30
    assert min(losses) == losses[-3]


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_learns_and_the_saved_model_is_float32(trainer, precision):
    run = trainer(recipe(epochs=6, precision=precision, learning_rate=0.004))
    run.run()
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    model = run.result()
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert {str(weight.dtype) for weight in model.weights} == {"float32"}


@pytest.mark.parametrize("schedule", ["cosine", "constant", "exponential", "plateau"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_each_schedule_and_optimizer_learns(trainer, schedule, optimizer):
    run = trainer(
        recipe(epochs=5, schedule=schedule, optimizer=optimizer, learning_rate=0.003,
               stages=ONE_SIZE)
    )  # fmt: skip
    run.run()
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    rates = [entry["learning_rate"] for entry in run.history]
    assert (rates[-1] < rates[1]) == (schedule in ("cosine", "exponential"))


def test_class_weights_make_all_classes_count_the_same(trainer, monkeypatch, tmp_path):
    from keras_to_lambda.train.loop import _class_weights

    run = trainer(recipe(balance=1.0))
    targets = run.data.splits["train"].targets
    counts = np.bincount(targets)
    weights = _class_weights(run)
    np.testing.assert_allclose(weights * counts, (weights * counts)[0])
    np.testing.assert_allclose(weights[targets].mean(), 1)
    assert _class_weights(trainer(recipe(balance=0.0))).tolist() == [1, 1, 1]


SMALL = {"network": Backbone("MobileNetV2", None, 0.35), "size": 64, "epochs": 3, "views": 2,
         "batch_size": 8, "fine_tune_layers": 20, "fine_tune_epochs": 2, "fine_tune_rate": 1e-3,
         "enlarge": 96, "enlarge_epochs": 1, "seed": 3}  # fmt: skip


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """Of a network that has learnt nothing, and the network: what is frozen shows all the same."""
    import keras

    keras.utils.set_random_seed(1)
    base = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(64, 64, 3), alpha=0.35
    )
    # As after training, each layer's output has a spread: else nothing comes through to the head.
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    pictures = np.random.default_rng(2).uniform(-1, 1, (16, 64, 64, 3)).astype(np.float32)
    for _ in range(12):
        base(pictures, training=True)
    path = tmp_path_factory.mktemp("weights") / "base.weights.h5"
    base.save_weights(path)
    return path, base


def test_a_trained_network_is_frozen_then_its_last_layers_are_tuned_then_it_is_enlarged(
    trainer, weights_file
):
    path, base = weights_file
    network = Backbone("MobileNetV2", str(path), 0.35)
    made = dataclasses.replace(TRANSFER, **{**SMALL, "network": network, "keep": "last"})
    run = trainer(made)
    run.run()
    assert [(e["phase"], e["size"]) for e in run.history] == (
        [("head", 64)] * 3 + [("fine-tuning", 64)] * 2 + [("larger", 96)]
    )
    model = run.result()
    assert model.input_shape == (None, 96, 96, 3)
    (inner,) = [layer for layer in model.layers if layer.name.startswith("mobilenetv2")]
    moved = {
        mine.name
        for mine, theirs in zip(inner.layers, base.layers, strict=True)
        if any(
            not np.array_equal(a, b)
            for a, b in zip(mine.get_weights(), theirs.get_weights(), strict=True)
        )
    }
    last = {layer.name for layer in inner.layers[-20:]}
    norms = {layer.name for layer in inner.layers if "bn" in layer.name.lower()}
    assert moved <= last - norms
    assert moved  # the last epoch's weights, not the phase's start


def test_only_the_head_is_trained_without_fine_tuning(trainer, weights_file):
    path, base = weights_file
    network = Backbone("MobileNetV2", str(path), 0.35)
    made = dataclasses.replace(
        TRANSFER, network=network, size=64, epochs=4, views=1, batch_size=8, seed=3
    )
    run = trainer(made)
    run.run()
    (inner,) = [layer for layer in run.result().layers if layer.name.startswith("mobilenetv2")]
    for mine, theirs in zip(inner.get_weights(), base.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    # What the head was trained on is what the whole network makes of a picture.
    tensors = next(run.data.splits["validation"].tensors(run.card))
    scores = np.asarray(run.result()(tensors))
    right = float(np.mean(scores.argmax(axis=1) == run.data.splits["validation"].targets))
    assert right == pytest.approx(max(e["validation_accuracy"] for e in run.history), abs=1e-4)
