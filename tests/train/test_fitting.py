"""Fitting: phases, checkpoints, resume; augmentation; tracking; the files of a run."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_to_lambda.convert.common import source_card
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.load import registries
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.train import train
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.fit import augmentation, fitting, history
from keras_to_lambda.train.fit.augmentation import Augment
from keras_to_lambda.train.fit.recipe import (
    AUGMENTATIONS,
    ONE_SIZE,
    TRANSFER,
    Backbone,
    Perceptron,
    Recipe,
)

QUIET = ("--track", "none")
K2L = (sys.executable, "-m", "keras_to_lambda")
ROOT = Path(__file__).resolve().parents[2]
TRACKERS = all(map(importlib.util.find_spec, ("wandb", "mlflow")))
needs_tracking = pytest.mark.skipif(
    not TRACKERS, reason="wandb and mlflow are not installed: make tracking"
)


@pytest.fixture(scope="module")
def data(pictures, tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("fitting") / "shapes", each=20)


def record_of(output):
    return json.loads((output / "training.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Of a process in which Weights & Biases and MLflow work offline."""
    folder = tmp_path_factory.mktemp("tracking")
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}",
        "WANDB_MODE": "offline",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


@pytest.fixture(scope="module")
def command_run(data, environment, tmp_path_factory):
    """A whole command: from scratch, tracked, checkpoints kept, converted."""
    folder = tmp_path_factory.mktemp("trained")  # MLflow keeps artifacts below it
    where = "tensorboard,wandb,mlflow" if TRACKERS else "tensorboard"
    done = subprocess.run(
        [*K2L, "train", str(data), "-o", str(folder / "shapes"), "--size", "32", "--epochs", "3",
         "--batch-size", "16", "--augment", "light", "--keep-checkpoints", "--track", where,
         "--logs", str(folder / "logs")],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture(scope="module")
def trained(command_run):
    return command_run[0] / "shapes"


def test_a_run_ends_in_a_verified_tflite_with_curves_and_samples(trained):
    card = cards.load(trained / "shapes.tflite")
    assert card.labels == ("disc", "plain", "stripes")
    assert card.verification["passed"] is True
    record = record_of(trained)
    assert card.provenance["data_sha256"] == record["data_sha256"]
    assert card.provenance["test_accuracy"] == record["results"]["test"]["accuracy"]
    assert sorted(path.parent.name for path in trained.glob("samples/*/*.png")) == [
        *["disc"] * 2, *["plain"] * 2, *["stripes"] * 2,
    ]  # fmt: skip
    assert (trained / "shapes.training.png").read_bytes().startswith(b"\x89PNG")
    text = (trained / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"**Test accuracy {record['results']['test']['accuracy']:.3f}** on 6 photos" in text


def test_the_history_has_both_accuracies_of_every_epoch(trained):
    entries = record_of(trained)["history"]
    assert [entry["epoch"] for entry in entries] == [1, 2, 3]
    for entry in entries:
        assert 0 <= entry["accuracy"] <= 1
        assert 0 <= entry["validation_accuracy"] <= 1
        assert entry["loss"] > 0
        assert entry["size"] == 32


def test_several_histories_are_drawn_in_one_plot(trained, tmp_path, capsys):
    entries = record_of(trained)["history"]
    figure = history.plot({"slow": entries, "fast": entries})
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["slow", "fast"]
    assert [line.get_linestyle() for line in figure.axes[1].lines] == ["--", "-"] * 2
    paths = [str(trained / "training.json")] * 2
    assert history.main([*paths, "-o", str(tmp_path / "both.png")]) == 0
    assert (tmp_path / "both.png").exists()
    assert history.main([str(tmp_path / "both.png")]) == 2


def test_a_kept_checkpoint_is_a_whole_model_with_its_card(trained):
    folder = trained / "shapes.checkpoints"
    paths = sorted(folder.glob("*.keras"))
    assert 1 <= len(paths) <= 3
    assert {path.suffix for path in folder.iterdir()} == {".keras", ".json"}
    entries = {entry["epoch"]: entry for entry in record_of(trained)["history"]}
    for path in paths:
        _, epoch, accuracy = path.stem.split("-")
        assert entries[int(epoch)]["validation_accuracy"] == float(accuracy)
        model = keras.saving.load_model(path, compile=False)
        assert (model.input_shape, model.output_shape) == ((None, 32, 32, 3), (None, 3))
        assert source_card.place(path) == path.with_suffix(".card.json")
        assert json.loads(source_card.place(path).read_text())["height"] == 32


@pytest.fixture(scope="module")
def transfer(data, tmp_path_factory):
    """Head, fine-tuning and a larger size on a small MobileNetV2 of random weights."""
    folder = tmp_path_factory.mktemp("transfer")
    keras.utils.set_random_seed(3)
    base = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(32, 32, 3), alpha=0.35
    )
    base.save_weights(folder / "base.weights.h5")
    recipe = dataclasses.replace(
        TRANSFER, network=Backbone("MobileNetV2", str(folder / "base.weights.h5"), 0.35), size=32,
        epochs=3, views=1, fine_tune_layers=12, fine_tune_epochs=2, enlarge=64, enlarge_epochs=1,
        keep="last", batch_size=16,
    )  # fmt: skip
    loaded = sources.load(str(data), 1)
    card = train.card("shapes", loaded.labels, recipe)
    run = fitting.TrainingRun(recipe, card, loaded, folder / "state", folder / "cache", verbose=0)
    return base, run, run.fit()


def test_a_trained_network_goes_through_head_fine_tuning_and_a_larger_size(transfer):
    _, run, model = transfer
    assert [(e["phase"], e["size"]) for e in run.history] == [
        ("head", 32), ("head", 32), ("head", 32), ("fine-tuning", 32), ("fine-tuning", 32),
        ("larger", 64),
    ]  # fmt: skip
    assert model.input_shape == (None, 64, 64, 3)


def test_only_the_last_layers_are_tuned_and_batch_normalizations_stay_frozen(transfer):
    base, _, model = transfer
    tuned = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    changed = [
        index
        for index, (before, after) in enumerate(zip(base.layers, tuned.layers, strict=True))
        if any(
            not np.array_equal(a, b)
            for a, b in zip(before.get_weights(), after.get_weights(), strict=True)
        )
    ]
    assert changed
    assert min(changed) >= len(base.layers) - 12
    kinds = {type(tuned.layers[index]) for index in changed}
    assert keras.layers.BatchNormalization not in kinds


def test_the_features_of_a_frozen_network_are_computed_once(transfer, data, capsys):
    _, run, _ = transfer
    again = fitting.TrainingRun(
        dataclasses.replace(run.recipe, enlarge=0, learning_rate=2e-3), run.card, run.data,
        run.folder.parent / "again", run.cache, verbose=0,
    )  # fmt: skip
    again.fit()
    assert "computed once" not in capsys.readouterr().out


def test_a_head_s_checkpoint_classifies_pictures(transfer):
    _, run, _ = transfer
    path = max(run.folder.glob("shapes-00[123]-*.keras"))
    assert keras.saving.load_model(path, compile=False).input_shape == (None, 32, 32, 3)


@pytest.fixture
def perceptron(data, tmp_path):
    """Makes short runs of a perceptron."""
    loaded = sources.load(str(data), 1)

    def make(**changes):
        recipe = dataclasses.replace(
            Recipe(), network=Perceptron((8,)), size=16, stages=ONE_SIZE, batch_size=16, **changes
        )
        card = train.card("shapes", loaded.labels, recipe)
        return fitting.TrainingRun(
            recipe, card, loaded, tmp_path / "run", tmp_path / "cache", verbose=0
        )

    return make


def test_early_stopping_ends_a_phase_and_takes_its_best_epoch(perceptron):
    stopped = perceptron(epochs=30, patience=2, keep="best", learning_rate=1e-9)
    model = stopped.fit()
    accuracies = [entry["validation_accuracy"] for entry in stopped.history]
    assert len(accuracies) < 30
    scores = fitting.logits(model, stopped.data, "validation", stopped.card)
    right = (scores.argmax(axis=1) == stopped.data.splits["validation"].targets).mean()
    assert right == pytest.approx(max(accuracies), abs=1e-4)


def test_a_plateau_lowers_the_learning_rate_by_its_factor(perceptron):
    flat = perceptron(epochs=6, schedule="plateau", plateau_factor=0.5, learning_rate=1e-9)
    flat.fit()  # so small a rate changes no loss
    rates = [entry["learning_rate"] for entry in flat.history]
    assert rates[0] == pytest.approx(1e-9)
    assert rates[-1] == pytest.approx(5e-10)


def test_another_run_does_not_continue_this_one(perceptron, capsys):
    for rate in (1e-3, 2e-3):
        one = perceptron(epochs=1, learning_rate=rate)
        one.fit()
        assert len(one.history) == 1
    assert "has another run: starting from the beginning" in capsys.readouterr().out


def test_a_killed_run_continues_from_its_last_epoch(data, tmp_path, monkeypatch, capsys):
    """kill -9 after the second epoch; the same command ends with all epochs, each once."""
    output = tmp_path / "shapes"
    line = ["train", str(data), "-o", str(output), "--size", "32", "--epochs", "6", "--batch-size",
            "16", *QUIET]  # fmt: skip
    log = output / "shapes.checkpoints" / "history.json"
    process = subprocess.Popen([*K2L, *line], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (log.exists() and len(json.loads(log.read_text())) >= 2):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = json.loads(log.read_text())
    monkeypatch.setattr(train.convert_and_serve, "convert", lambda model, _data: model)
    assert train.main(line[1:]) == 0
    assert f"continuing after epoch {len(before)}" in capsys.readouterr().out
    entries = record_of(output)["history"]
    assert [entry["epoch"] for entry in entries] == [1, 2, 3, 4, 5, 6]
    # At most the last epoch, whose backup may have been cut short, was trained again.
    assert entries[: len(before) - 1] == before[:-1]
    assert not (output / "shapes.checkpoints").exists()


def test_a_folder_that_was_not_named_is_not_overwritten(data, trained, run, tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "shapes").symlink_to(trained)
    monkeypatch.chdir(tmp_path)
    status, _, error = run(data, "--size", "32", "--epochs", "1", *QUIET)
    assert status == 2
    assert "models/shapes has a model of other options or data" in error


# Tracking: the readers of TensorBoard, Weights & Biases and MLflow find what was logged.


def test_tensorboard_has_each_epoch_s_accuracies(command_run):
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, record = command_run[0], record_of(command_run[0] / "shapes")
    (logs,) = (folder / "logs").glob("shapes-*")
    for part, field in (("train", "accuracy"), ("validation", "validation_accuracy")):
        events = EventAccumulator(str(logs / part), size_guidance={"tensors": 0}).Reload()
        seen = [float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors("epoch_accuracy")]
        assert seen == pytest.approx([entry[field] for entry in record["history"]], abs=1e-4)


@needs_tracking
def test_wandb_s_file_has_each_epoch_s_metrics(command_run):
    folder, record = command_run[0], record_of(command_run[0] / "shapes")
    (file,) = (folder / "logs" / "wandb").glob("offline-run-*/run-*.wandb")
    data = file.read_bytes()
    for text in ("epoch/val_accuracy", "epoch/accuracy", record["data_sha256"]):
        assert text.encode() in data


@needs_tracking
def test_mlflow_has_parameters_metrics_and_a_registered_model(command_run, environment):
    folder, printed = command_run
    record = record_of(folder / "shapes")
    assert "registered as models:/shapes/1" in printed
    script = (
        "import json\n"
        "from mlflow.tracking import MlflowClient\n"
        "c = MlflowClient()\n"
        "v = c.get_model_version('shapes', '1')\n"
        "run = c.get_run(v.run_id)\n"
        "seen = [m.value for m in c.get_metric_history(v.run_id, 'val_accuracy')]\n"
        "print(json.dumps([run.data.params, seen, run.info.status, v.tags]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    parameters, seen, status, tags = json.loads(done.stdout.splitlines()[-1])
    assert parameters["recipe.epochs"] == "3"
    assert parameters["data_sha256"] == record["data_sha256"]
    wanted = [entry["validation_accuracy"] for entry in record["history"]]
    assert seen == pytest.approx(wanted, abs=1e-4)
    assert status == "FINISHED"
    served = (folder / "shapes" / "shapes.tflite").read_bytes()
    assert tags == {"sha256": hashlib.sha256(served).hexdigest()}


@needs_tracking
def test_a_registered_model_is_converted_by_its_name(data, command_run, environment):
    folder = command_run[0]
    out = folder / "from_registry.tflite"
    done = subprocess.run(
        [*K2L, "convert", "models:/shapes/1", "--samples",
         str(data), "-o", str(out), "--accept-accuracy"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    card = cards.load(out)
    assert card.labels == ("disc", "plain", "stripes")
    assert card.verification["passed"] is True


@needs_tracking
def test_an_offline_run_of_wandb_is_a_model_with_its_card(command_run):
    folder, printed = command_run
    (run,) = (folder / "logs" / "wandb").glob("offline-run-*")
    assert f"convert takes wandb:{run / 'files'} as MODEL" in printed
    with registries.local(Path(f"wandb:{run}")) as model:
        assert model.read_bytes() == (folder / "shapes" / "shapes.keras").read_bytes()
        assert source_card.load(source_card.place(model)).labels == ("disc", "plain", "stripes")


WANDB = """
class Error(Exception):
    pass

class Api:
    def artifact(self, name, type):
        if name != "team/shop/shapes:latest":
            raise ValueError(f"artifact {name} not found\\nsecond line")
        return self

    def download(self, root):
        open(root + "/shapes.keras", "w").close()
        return root
"""


@pytest.fixture
def stand_in(monkeypatch):
    """Puts code in the place of a package, for one test."""

    def put(package, code):
        module = types.ModuleType(package)
        exec(code, vars(module))
        monkeypatch.setitem(sys.modules, package, module)

    return put


def test_a_model_of_wandbs_server_is_fetched_by_its_name(stand_in):
    """By a stand-in for the package: it does not prove what W&B's server answers."""
    stand_in("wandb", WANDB)
    with registries.local(Path("wandb:/team/shop/shapes")) as model:
        assert model.name == "shapes.keras"
    missing = "wandb:team/shop/x:v1 cannot be fetched: artifact team/shop/x:v1 not found$"
    with pytest.raises(ConvertError, match=missing), registries.local(Path("wandb:team/shop/x:v1")):
        pass


MLFLOW = """
import pathlib
from types import SimpleNamespace

class MlflowException(Exception):
    pass

def download_artifacts(artifact_uri, dst_path):
    path = pathlib.Path(dst_path, artifact_uri.rpartition("/")[2])
    path.touch()
    return str(path)

artifacts = SimpleNamespace(download_artifacts=download_artifacts)
"""


def test_a_file_of_a_registered_model_is_fetched_by_its_name(stand_in):
    """By a stand-in for the package, which gives the file's path as MLflow does."""
    stand_in("mlflow", MLFLOW)
    with registries.local(Path("models:/shapes/1/best.keras")) as model:
        assert model.name == "best.keras"
        assert model.is_file()
    none = "should hold one .keras or .h5 file; it has none$"
    with pytest.raises(ConvertError, match=none), registries.local(Path("models:/shapes/1/a.txt")):
        pass


def test_an_unknown_tracker_is_named(data, run, tmp_path):
    status, _, error = run(data, "-o", tmp_path / "out", "--track", "tensorboard,paper")
    assert status == 2
    assert "--track paper is unknown; use tensorboard, wandb, mlflow or none" in error


# Layers of Keras: here only that each range reaches its layer, and none runs for nothing.
@pytest.mark.parametrize(
    ("change", "channels", "names"),
    [
        ({}, 3, []),
        ({"flip": "vertical"}, 3, ["RandomFlip"]),
        ({"rotation": 10}, 3, ["RandomRotation"]),
        ({"shift": 0.1}, 3, ["RandomTranslation"]),
        ({"shear": 0.1}, 3, ["RandomShear"]),
        ({"zoom": (0.8, 1.1)}, 3, ["RandomZoom"]),
        ({"brightness": 0.1, "contrast": 0.1}, 1, ["RandomContrast", "RandomBrightness"]),
        ({"hue": 0.1, "saturation": (0, 0.6)}, 3, ["RandomHue", "RandomSaturation"]),
        ({"hue": 0.1, "saturation": (0, 0.6)}, 1, []),
        ({"cutout": 0.5}, 3, ["RandomErasing"]),
    ],
)
def test_each_range_has_its_keras_layer(change, channels, names):
    ranges = dataclasses.replace(AUGMENTATIONS["none"], **change)
    layers = augmentation.of_pictures(ranges, channels, seed=1)
    assert [type(layer).__name__ for layer in layers] == names


def test_a_vertical_flip_turns_half_of_the_pictures_upside_down():
    recipe = Recipe(augmentation=dataclasses.replace(AUGMENTATIONS["none"], flip="vertical"))
    images = np.zeros((64, 8, 8, 3), np.uint8)
    images[:, :4] = 200
    made, _ = Augment(recipe, 0.0, 1)(tf.constant(images), tf.ones((64, 2)))
    turned = made.numpy()[:, 0, 0, 0] == 0
    assert 10 < turned.sum() < 54
    assert np.array_equal(made.numpy()[~turned], images[~turned].astype(np.float32))
    assert np.array_equal(made.numpy()[turned], images[turned][:, ::-1].astype(np.float32))


def test_blends_change_a_share_of_the_pictures_and_their_labels_alike():
    recipe = Recipe(augmentation=AUGMENTATIONS["none"])
    images = np.zeros((40, 64, 64, 3), np.uint8)
    images[::2] = 255
    labels = np.eye(2, dtype=np.float32)[np.arange(40) % 2]
    made, truth = (part.numpy() for part in Augment(recipe, 0.5, 1)(
        tf.constant(images), tf.constant(labels)
    ))  # fmt: skip
    np.testing.assert_allclose(truth.sum(axis=1), 1, atol=1e-5)
    assert np.array_equal(made[20:], images[20:].astype(np.float32))
    assert (np.abs(truth[:20] - labels[:20]) > 0.01).any()
    # White is label 0: its share of the pixels is its share of the label.
    np.testing.assert_allclose(made.mean(axis=(1, 2, 3)) / 255, truth[:, 0], atol=0.05)


def test_the_sheet_shows_pictures_beside_augmented_ones(data, tmp_path):
    loaded = sources.load(str(data), 1)
    recipe = Recipe(size=32)
    augmentation.sheet(recipe, train.card("a", loaded.labels, recipe), loaded, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
