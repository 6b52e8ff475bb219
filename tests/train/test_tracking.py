"""Tracking: the readers of TensorBoard, Weights & Biases and MLflow find what was logged.

Offline: event files, a wandb file, an SQLite database.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_to_lambda.convert import source_card
from keras_to_lambda.convert.errors import ConvertError
from keras_to_lambda.convert.load import registries
from keras_to_lambda.runtime.model import card as cards

ROOT = Path(__file__).resolve().parents[2]
needs_tracking = pytest.mark.skipif(
    not (importlib.util.find_spec("wandb") and importlib.util.find_spec("mlflow")),
    reason="wandb and mlflow are not installed: make tracking",
)


@pytest.fixture(scope="module")
def tracked(pictures, tmp_path_factory):
    """A run that all three track, in a process with their settings for working offline."""
    folder = tmp_path_factory.mktemp("tracking")
    pictures(folder / "data", each=14)
    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}",
        "WANDB_MODE": "offline",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    (folder / "work").mkdir()  # MLflow keeps artifacts below it
    done = subprocess.run(
        [sys.executable, "-m", "keras_to_lambda", "train", str(folder / "data"), "-o",
         str(folder / "shapes"), "--size", "32", "--epochs", "3", "--batch-size", "16",
         "--track", "tensorboard,wandb,mlflow", "--logs", str(folder / "logs")],
        cwd=folder / "work", env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "shapes" / "training.json").read_text(encoding="utf-8"))
    return folder, record, done.stdout, env


@needs_tracking
def test_tensorboard_has_each_epoch_s_accuracies(tracked):
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, record, _, _ = tracked
    (logs,) = (folder / "logs").glob("shapes-*")
    for part, field in (("train", "accuracy"), ("validation", "validation_accuracy")):
        events = EventAccumulator(str(logs / part), size_guidance={"tensors": 0}).Reload()
        seen = [float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors("epoch_accuracy")]
        assert seen == pytest.approx([entry[field] for entry in record["history"]], abs=1e-4)


@needs_tracking
def test_wandb_s_file_has_each_epoch_s_metrics(tracked):
    folder, record, _, _ = tracked
    (file,) = (folder / "logs" / "wandb").glob("offline-run-*/run-*.wandb")
    data = file.read_bytes()
    for text in ("epoch/val_accuracy", "epoch/accuracy", record["data_sha256"]):
        assert text.encode() in data


@needs_tracking
def test_mlflow_has_parameters_metrics_and_a_registered_model(tracked):
    folder, record, printed, env = tracked
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
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False
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
def test_a_registered_model_is_converted_by_its_name(tracked):
    folder, _, _, env = tracked
    out = folder / "from_registry.tflite"
    done = subprocess.run(
        [sys.executable, "-m", "keras_to_lambda", "convert", "models:/shapes/1", "--samples",
         str(folder / "data"), "-o", str(out), "--accept-accuracy"],
        cwd=folder / "work", env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    card = cards.load(out)
    assert card.labels == ("disc", "plain", "stripes")
    assert card.verification["passed"] is True


@needs_tracking
def test_an_offline_run_of_wandb_is_a_model_with_its_card(tracked):
    folder, _, printed, _ = tracked
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


def test_a_model_of_wandbs_server_is_fetched_by_its_name(tmp_path, monkeypatch):
    """By a stand-in for the package: it does not prove what W&B's server answers."""
    (tmp_path / "wandb.py").write_text(WANDB)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with registries.local(Path("wandb:/team/shop/shapes")) as model:
        assert model.name == "shapes.keras"
    missing = "wandb:team/shop/x:v1 cannot be fetched: artifact team/shop/x:v1 not found$"
    with pytest.raises(ConvertError, match=missing), registries.local(Path("wandb:team/shop/x:v1")):
        pass
    monkeypatch.delitem(sys.modules, "wandb")


def test_an_unknown_tracker_is_named(pictures, run, tmp_path):
    data = pictures(tmp_path / "data", each=10)
    status, _, error = run(data, "-o", tmp_path / "out", "--track", "tensorboard,paper")
    assert status == 2
    assert "--track paper is unknown; use tensorboard, wandb, mlflow or none" in error
