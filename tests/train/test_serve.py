"""`k2l train ... --serve`: one command from pictures to an endpoint, and what it leaves behind."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest
import requests
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from keras_to_lambda.convert import convert
from keras_to_lambda.convert.common import source_card
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.load import registries
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.train import train
from keras_to_lambda.train.fit import history, tracking

K2L = (sys.executable, "-m", "keras_to_lambda")
ROOT = Path(__file__).resolve().parents[2]
TRACKERS = all(map(importlib.util.find_spec, ("wandb", "mlflow")))
needs_tracking = pytest.mark.skipif(
    not TRACKERS, reason="wandb and mlflow are not installed: make tracking"
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Of a process in which Weights & Biases and MLflow work offline."""
    folder = tmp_path_factory.mktemp("tracking")
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}",
        "PYTHONUNBUFFERED": "1",
        "WANDB_MODE": "offline",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


@pytest.fixture(scope="module")
def served(shapes, environment, tmp_path_factory):
    """From scratch, tracked, checkpoints kept, converted, served: folder, output, an answer."""
    folder = tmp_path_factory.mktemp("trained")  # MLflow keeps artifacts below it
    where = "tensorboard,wandb,mlflow" if TRACKERS else "tensorboard"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "printed.txt").open("w") as printed:
        server = subprocess.Popen(
            [*K2L, "train", str(shapes), "-o", str(folder / "shapes"), "--size", "32", "--epochs",
             "3", "--batch-size", "16", "--augment", "light", "--keep-checkpoints", "--track",
             where, "--serve", str(port)],
            cwd=folder, env=environment, stdout=printed, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            while server.poll() is None:
                try:
                    requests.get(f"{url}/models", timeout=5).raise_for_status()
                    break
                except requests.RequestException:
                    time.sleep(0.2)
            text = (folder / "printed.txt").read_text()
            assert server.returncode is None, text
            image = base64.b64encode((shapes / "disc" / "000.png").read_bytes()).decode()
            answer = requests.post(f"{url}/predict", json={"image": image}, timeout=30).json()
        finally:
            server.terminate()
            server.wait()
    return folder, text, answer


@pytest.fixture(scope="module")
def trained(served):
    return served[0] / "shapes"


@pytest.fixture(scope="module")
def record(trained):
    return json.loads((trained / "training.json").read_text(encoding="utf-8"))


def test_one_command_ends_in_a_verified_endpoint_with_curves_and_samples(served, trained, record):
    assert set(served[2]) == {"disc", "plain", "stripes"}
    assert "retracing" not in served[1]
    card = cards.load(trained / "shapes.tflite")
    assert card.labels == ("disc", "plain", "stripes")
    assert card.verification["passed"] is True
    assert card.provenance["data_sha256"] == record["data_sha256"]
    assert card.provenance["test_accuracy"] == record["results"]["test"]["accuracy"]
    assert sorted(path.parent.name for path in trained.glob("samples/*/*.png")) == [
        *["disc"] * 2, *["plain"] * 2, *["stripes"] * 2,
    ]  # fmt: skip
    for picture in ("training", "augmentation"):
        assert (trained / f"shapes.{picture}.png").read_bytes().startswith(b"\x89PNG")
    low, high = record["results"]["test"]["interval_95"]
    assert 0 < low < record["results"]["test"]["accuracy"] <= high


def test_the_history_has_both_accuracies_of_every_epoch(record):
    entries = record["history"]
    assert [(entry["epoch"], entry["size"]) for entry in entries] == [(1, 32), (2, 32), (3, 32)]
    assert all(0 <= e["accuracy"] <= 1 and 0 <= e["validation_accuracy"] <= 1 for e in entries)
    figure = history.plot({"slow": entries, "fast": entries})
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["slow", "fast"]
    assert [line.get_linestyle() for line in figure.axes[1].lines] == ["--", "-"] * 2


def test_a_kept_checkpoint_is_a_whole_model_with_its_card(trained, record, tmp_path):
    folder = trained / "shapes.checkpoints"
    paths = sorted(folder.glob("*.keras"))
    assert 1 <= len(paths) <= 3
    assert {path.suffix for path in folder.iterdir()} == {".keras", ".json"}
    entries = {entry["epoch"]: entry for entry in record["history"]}
    for path in paths:
        _, epoch, accuracy = path.stem.split("-")
        assert entries[int(epoch)]["validation_accuracy"] == float(accuracy)
        model = keras.saving.load_model(path, compile=False)
        assert (model.input_shape, model.output_shape) == ((None, 32, 32, 3), (None, 3))
        assert source_card.place(path) == path.with_suffix(".card.json")
        assert json.loads(source_card.place(path).read_text())["height"] == 32
    output = tmp_path / "epoch.tflite"
    line = [str(paths[-1]), "--samples", str(trained / "samples"), "-o", str(output), "--quiet"]
    assert convert.main([*line, "--accept-accuracy"]) == 0
    assert cards.load(output).labels == ("disc", "plain", "stripes")


def test_the_docs_code_draws_feature_maps(trained, shapes, tmp_path, monkeypatch):
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "photos").symlink_to(trained)
    (trained / "photos.keras").symlink_to(trained / "shapes.keras")
    shutil.copy(shapes / "disc" / "000.png", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    exec(code, {})
    assert (tmp_path / "maps.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_was_not_named_is_not_overwritten(
    shapes, trained, run, tmp_path, monkeypatch
):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "shapes").symlink_to(trained)
    monkeypatch.chdir(tmp_path)
    status, _, error = run(train.main, shapes, "--size", "32", "--epochs", "1", "--track", "none")
    assert status == 2
    assert "models/shapes has a model: give another folder" in error


def test_a_port_in_use_is_named_before_the_training(run, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, _, error = run(train.main, tmp_path, "--serve", port)
    assert status == 2
    assert f"port {port} is not available: use --serve {port + 1}" in error


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--track", "tensorboard,paper", "'paper' is unknown; use tensorboard, wandb, mlflow"),
        ("--track", "absent", "absent is not installed: `make tracking` adds it"),
        ("--serve", "99999", "must be from 1 to 65535"),
    ],
)
def test_a_wrong_option_is_named_before_the_data_is_read(
    option, value, message, monkeypatch, capsys
):
    monkeypatch.setitem(tracking.TRACKERS, "absent", tracking.TensorBoard)
    with pytest.raises(SystemExit) as ended:
        train.main(["no-data", option, value])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


# Tracking: the readers of TensorBoard, Weights & Biases and MLflow find what was logged.


def test_tensorboard_has_each_epoch_s_accuracies(served, record):
    (logs,) = (served[0] / "runs").glob("shapes-*")
    for part, field in (("train", "accuracy"), ("validation", "validation_accuracy")):
        events = EventAccumulator(str(logs / part), size_guidance={"tensors": 0}).Reload()
        seen = [float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors("epoch_accuracy")]
        assert seen == pytest.approx([entry[field] for entry in record["history"]], abs=1e-4)


@needs_tracking
def test_an_offline_run_of_wandb_has_metrics_and_a_model_with_its_card(served, record):
    folder, printed, _ = served
    (run,) = (folder / "runs" / "wandb").glob("offline-run-*")
    (file,) = run.glob("run-*.wandb")
    for text in ("epoch/val_accuracy", "epoch/accuracy", record["data_sha256"]):
        assert text.encode() in file.read_bytes()
    assert f"convert takes wandb:{run / 'files'} as MODEL" in printed
    with registries.local(Path(f"wandb:{run}")) as model:
        assert model.read_bytes() == (folder / "shapes" / "shapes.keras").read_bytes()
        assert source_card.load(source_card.place(model)).labels == ("disc", "plain", "stripes")


@needs_tracking
def test_mlflow_has_parameters_metrics_and_a_registered_model(served, record, environment):
    folder, printed, _ = served
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
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    parameters, seen, status, tags = json.loads(done.stdout.splitlines()[-1])
    assert parameters["epochs"] == "3"
    assert parameters["data_sha256"] == record["data_sha256"]
    wanted = [entry["validation_accuracy"] for entry in record["history"]]
    assert seen == pytest.approx(wanted, abs=1e-4)
    assert status == "FINISHED"
    tflite = (folder / "shapes" / "shapes.tflite").read_bytes()
    assert tags == {"sha256": hashlib.sha256(tflite).hexdigest()}


@needs_tracking
def test_a_registered_model_is_converted_by_its_name(shapes, served, environment):
    out = served[0] / "from_registry.tflite"
    done = subprocess.run(
        [*K2L, "convert", "models:/shapes/1", "--samples", str(shapes), "-o", str(out),
         "--accept-accuracy"],
        cwd=served[0], env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    card = cards.load(out)
    assert card.labels == ("disc", "plain", "stripes")
    assert card.verification["passed"] is True


# Stand-ins for the packages: they do not prove what a server answers.
class _Wandb:
    class Error(Exception):
        pass

    def artifact(self, name, type):
        if name != "team/shop/shapes:latest":
            raise ValueError(f"artifact {name} not found\nsecond line")
        return self

    def download(self, root):
        Path(root, "shapes.keras").touch()
        return root


def _download_artifacts(artifact_uri, dst_path):
    path = Path(dst_path, artifact_uri.rpartition("/")[2])
    path.touch()
    return str(path)


PACKAGES = {
    "wandb": SimpleNamespace(Api=_Wandb, Error=_Wandb.Error),
    "mlflow": SimpleNamespace(
        MlflowException=RuntimeError,
        artifacts=SimpleNamespace(download_artifacts=_download_artifacts),
    ),
}


@pytest.mark.parametrize(
    ("package", "name", "file", "missing", "message"),
    [
        ("wandb", "wandb:/team/shop/shapes", "shapes.keras", "wandb:team/shop/x:v1",
         "wandb:team/shop/x:v1 cannot be fetched: artifact team/shop/x:v1 not found$"),
        ("mlflow", "models:/shapes/1/best.keras", "best.keras", "models:/shapes/1/a.txt",
         "should hold one .keras or .h5 file; it has none$"),
    ],
)  # fmt: skip
def test_a_model_of_a_registry_is_fetched_by_its_name(
    package, name, file, missing, message, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, PACKAGES[package])
    with registries.local(Path(name)) as model:
        assert model.name == file
        assert model.is_file()
    with pytest.raises(ConvertError, match=message), registries.local(Path(missing)):
        pass
