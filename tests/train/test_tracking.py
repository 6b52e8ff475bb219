"""Tracking: TensorBoard's, Weights & Biases' and MLflow's own readers see what was told.

Offline, for real: event files, a wandb file, an SQLite database. No server of theirs is asked.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_to_lambda.runtime.model import card as cards

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ("--size", "32", "--epochs", "3", "--batch-size", "16")
needs_tracking = pytest.mark.skipif(
    not (importlib.util.find_spec("wandb") and importlib.util.find_spec("mlflow")),
    reason="wandb and mlflow are not installed: make tracking",
)


@pytest.fixture(scope="module")
def tracked(pictures, tmp_path_factory):
    """A run told to all three, in a process with their settings for working offline."""
    folder = tmp_path_factory.mktemp("tracking")
    pictures(folder / "data", each=14)
    pytest.importorskip("wandb", reason="make tracking")
    env = {
        **os.environ,
        "WANDB_MODE": "offline",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    # MLflow keeps artifacts below the working directory, unless a server says otherwise.
    (folder / "work").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "keras_to_lambda", "train",
         str(folder / "data"), "-o", str(folder / "shapes"),
         *OPTIONS, "--track", "tensorboard,wandb,mlflow", "--logs", str(folder / "logs")],
        cwd=folder / "work", env={**env, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "shapes" / "training.json").read_text(encoding="utf-8"))
    return folder, record, done.stdout, env


def test_tensorboard_reads_each_epochs_figures(tracked):
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, record, _, _ = tracked
    (logs,) = (folder / "logs").glob("shapes-*")
    events = EventAccumulator(str(logs), size_guidance={"tensors": 0}).Reload()
    for metric in ("loss", "validation_accuracy", "validation_loss", "learning_rate"):
        seen = {e.step: float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors(metric)}
        wanted = {entry["epoch"]: entry[metric] for entry in record["history"]}
        assert seen == pytest.approx(wanted, rel=1e-5)
    (end,) = events.Tensors("test_accuracy_at_the_end")
    accuracy = float(tf.make_ndarray(end.tensor_proto))
    assert accuracy == pytest.approx(record["results"]["test"]["accuracy"], abs=1e-4)
    (text,) = events.Tensors("recipe")
    assert record["data_sha256"].encode() in text.tensor_proto.string_val[0]


def leveldb_log(data):
    """The records of wandb's file behind its header: LevelDB's log format, of 32 kB blocks.

    https://github.com/google/leveldb/blob/main/doc/log_format.md; wandb's own reader is in a
    program of another language.
    """
    at, parts = 0, []
    while at + 7 <= len(data):
        block_left = 32768 - (at + 7) % 32768
        if block_left < 7:
            at += block_left
            continue
        length = int.from_bytes(data[at + 4 : at + 6], "little")
        kind = data[at + 6]  # 1 whole, 2 first, 3 middle, 4 last
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []


@needs_tracking
def test_wandbs_file_has_the_recipe_and_each_epoch(tracked):
    from wandb.proto import wandb_internal_pb2

    folder, record, _, _ = tracked
    (file,) = (folder / "logs" / "wandb").glob("offline-run-*/run-*.wandb")
    losses, config = [], {}
    for data in leveldb_log(file.read_bytes()[7:]):
        entry = wandb_internal_pb2.Record()
        entry.ParseFromString(data)
        items = {
            item.key or "/".join(item.nested_key): item.value_json for item in entry.history.item
        }
        if "loss" in items:
            losses.append(float(items["loss"]))
        for item in [*entry.run.config.update, *entry.config.update]:
            config[item.key] = item.value_json
    assert losses == pytest.approx([e["loss"] for e in record["history"]])
    assert json.loads(config["data_sha256"]) == record["data_sha256"]
    assert json.loads(config["recipe"])["epochs"] == 3


@needs_tracking
def test_mlflow_has_parameters_figures_and_a_registered_model(tracked, monkeypatch):
    _, record, told, env = tracked
    assert "registered as models:/shapes/1" in told
    script = (
        "import json\n"
        "from mlflow.tracking import MlflowClient\n"
        "c = MlflowClient()\n"
        "v = c.get_model_version('shapes', '1')\n"
        "run = c.get_run(v.run_id)\n"
        "losses = [m.value for m in c.get_metric_history(v.run_id, 'loss')]\n"
        "print(json.dumps([run.data.params, losses, run.info.status]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True,
                          timeout=120, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    parameters, losses, status = json.loads(done.stdout.splitlines()[-1])
    assert parameters["recipe.epochs"] == "3"
    assert parameters["data_sha256"] == record["data_sha256"]
    assert losses == pytest.approx([e["loss"] for e in record["history"]])
    assert status == "FINISHED"


@needs_tracking
def test_a_registered_model_is_converted_by_its_name(tracked):
    folder, _, _, env = tracked
    out = folder / "from_registry.tflite"
    command = [sys.executable, "-m", "keras_to_lambda", "convert", "models:/shapes/1", "--samples",
               str(folder / "data"), "-o", str(out)]  # fmt: skip
    done = subprocess.run(command, cwd=folder / "work", env={**env, "PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, timeout=240, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    card = cards.load(out)
    assert card.labels == ("disc", "plain", "stripes")
    assert card.verification["passed"] is True
    assert card.provenance["source_file"] == "shapes.keras"
    command[3] = "models:/shapes/7"
    done = subprocess.run(command, cwd=folder / "work", env={**env, "PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, timeout=240, check=False)  # fmt: skip
    assert done.returncode == 2
    assert "models:/shapes/7 cannot be fetched" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_tracker_is_told(pictures, run, tmp_path):
    data = pictures(tmp_path / "data", each=10)
    status, _, error = run(data, "-o", tmp_path / "out", "--track", "tensorboard,paper")
    assert status == 2
    assert "--track paper: say tensorboard, wandb, mlflow or none" in error
