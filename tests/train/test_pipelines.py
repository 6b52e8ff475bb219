"""The systems that this grew from, end to end on small files in the published formats."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import requests
from PIL import Image

from keras_to_lambda import origin
from keras_to_lambda.convert.command import main as convert
from keras_to_lambda.runtime.model import card as cards
from keras_to_lambda.train import tree
from keras_to_lambda.train.command import main as train
from keras_to_lambda.train.evaluate import main as evaluate
from tests.train.published import idx_file, python2

ROOT = Path(__file__).resolve().parents[2]
QUIET = ("--track", "none")


def record_of(output):
    return json.loads((output / "training.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """cifar-100-python with four fine labels below two coarse ones: blocks of colour, noise on."""
    folder = tmp_path_factory.mktemp("cifar") / "cifar-100-python"
    folder.mkdir()
    for seed, (name, count) in enumerate((("train", 160), ("test", 40))):
        rng = np.random.default_rng(seed)
        fine = [number % 4 for number in range(count)]
        pictures = rng.integers(0, 90, (count, 3, 32, 32))
        for picture, label in zip(pictures, fine, strict=True):
            picture[label // 2, :, : 16 + 16 * (label % 2)] += 150
        batch = {
            b"fine_labels": fine,
            b"coarse_labels": [label // 2 for label in fine],
            b"data": pictures.astype(np.uint8).reshape(count, 3072),
        }
        (folder / name).write_bytes(python2(batch))
    names = {
        b"fine_label_names": [b"rose", b"poppy", b"leaf", b"moss"],
        b"coarse_label_names": [b"flowers", b"plants"],
    }
    (folder / "meta").write_bytes(python2(names))
    return folder


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """Bars, upright, lying or both, in idx files."""
    folder = tmp_path_factory.mktemp("mnist")
    for name, count in (("train", 300), ("t10k", 60)):
        targets = np.arange(count) % 3
        rng = np.random.default_rng(count)
        images = rng.integers(0, 60, (count, 28, 28))
        for image, target in zip(images, targets, strict=True):
            at = rng.integers(8, 18)
            if target != 1:
                image[4:24, at : at + 4] = 220
            if target != 0:
                image[at : at + 4, 4:24] = 220
        idx_file(folder / f"{name}-images-idx3-ubyte.gz", images, zipped=True)
        idx_file(folder / f"{name}-labels-idx1-ubyte.gz", targets, zipped=True)
    return folder


def verified(output):
    """The `.tflite` that a training has left in its folder, and its card."""
    path = output / f"{output.name}.tflite"
    card = cards.load(path)
    assert card.verification["passed"] is True
    assert card.verification["judged"] > 0
    origin.check([(str(path), card)])
    return path, card


def folders(root):
    """Pictures that are dark or light, in class folders."""
    random = np.random.default_rng(7)
    for label, least in (("dark", 0), ("light", 160)):
        (root / label).mkdir(parents=True)
        for number in range(30):
            pixels = random.integers(least, least + 96, (24, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.png")
    return root


def table(root):
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in folders(root).rglob("*.png")]
    (root / "all.csv").write_text("\n".join(["path,label", *rows]), encoding="utf-8")
    return root / "all.csv"


def arrays():
    targets = np.arange(90) % 2
    random = np.random.default_rng(7)
    images = 160 * targets[:, np.newaxis, np.newaxis] + random.integers(0, 96, (90, 28, 28))
    return images.astype(np.uint8), targets.astype(np.uint8)


def npz(root):
    root.mkdir()
    images, targets = arrays()
    np.savez(root / "all.npz", x_train=images, y_train=targets)
    return root / "all.npz"


@pytest.fixture
def published(monkeypatch):
    """keras.datasets.mnist, without a network."""
    monkeypatch.setattr(keras.datasets.mnist, "load_data", lambda: (arrays(), arrays()))
    return lambda root: "keras:mnist"


@pytest.mark.parametrize("kind", ["folders", "table", "npz", "published"])
def test_each_kind_of_data_ends_in_a_verified_tflite_and_samples(kind, request, tmp_path, capfd):
    makers = {"folders": folders, "table": table, "npz": npz}
    make = makers.get(kind) or request.getfixturevalue(kind)
    output = tmp_path / "out"
    assert train([str(make(tmp_path / "data")), "-o", str(output), "--model", "mlp", "--epochs",
                  "4", "--batch-size", "8", "--size", "28", *QUIET]) == 0  # fmt: skip
    path, card = verified(output)
    assert card.preprocessing.exif == "apply"
    assert f"next: k2l serve --model {path}" in capfd.readouterr().out
    samples = list(output.glob("samples/*/test-*"))
    assert {sample.parent.name for sample in samples} == set(card.labels)
    assert 2 <= len(samples) <= 6


def test_a_failed_conversion_leaves_the_training_and_says_what_to_do(tmp_path, monkeypatch, capfd):
    output = tmp_path / "my model"
    output.mkdir()
    (output / "my model.tflite").mkdir()  # in the way
    assert train([str(folders(tmp_path / "data")), "-o", str(output), "--model", "mlp", "--epochs",
                  "2", "--batch-size", "8", "--size", "28", *QUIET]) == 1  # fmt: skip
    assert (output / "my model.keras").is_file()
    assert record_of(output)["labels"] == ["dark", "light"]
    error = capfd.readouterr().err
    assert f"{output}/my model.keras is trained and saved, but it was not converted" in error
    assert f"k2l convert '{output}/my model.keras' --samples '{output}/samples' -o" in error


def test_a_kept_epoch_is_converted_by_its_runs_card(tmp_path):
    output = tmp_path / "run"
    data = npz(tmp_path / "data")
    assert train([str(data), "-o", str(output), "--name", "m1", "--model", "mlp", "--epochs", "4",
                  "--batch-size", "8", "--keep-checkpoints", *QUIET]) == 0  # fmt: skip
    kept = next(output.glob("m1.checkpoints/m1-0*.keras"))
    # Both the card beside it, of a run that was cut short, and that of the run's end are found.
    for _ in range(2):
        result = tmp_path / "epoch.tflite"
        assert convert([str(kept), "--samples", str(data), "-o", str(result)]) == 0
        card = cards.load(result)
        assert (card.name, card.labels) == ("epoch", ("0", "1"))
        assert "test_accuracy" not in card.provenance
        (kept.parent / "m1.card.json").unlink(missing_ok=True)
    assert cards.load(output / "m1.tflite").provenance["test_accuracy"] > 0.5


def test_cifar_100_from_pickles_to_a_verified_model_and_its_evaluation(cifar, tmp_path):
    """The residual net on coarse labels, from the folder as it is published."""
    output = tmp_path / "coarse"
    assert train([str(cifar), "-o", str(output), "--labels-kind", "coarse", "--epochs", "6",
                  "--batch-size", "16", *QUIET]) == 0  # fmt: skip
    record = record_of(output)
    assert record["labels"] == ["flowers", "plants"]
    assert record["photos"] == {"train": 144, "validation": 16, "test": 40}
    assert record["results"]["test"]["accuracy"] >= 0.9
    path, described = verified(output)
    assert (described.height, described.channels) == (32, 3)
    assert evaluate([str(path), "--data", str(cifar), "--labels-kind", "coarse"]) == 0
    found = json.loads(next(tmp_path.rglob("*.evaluation.json")).read_text(encoding="utf-8"))
    assert found["model"]["accuracy"]["value"] == record["results"]["test"]["accuracy"]


@pytest.mark.parametrize(
    ("name", "size"), [("MobileNetV2", 48), ("DenseNet121", 48), ("Xception", 72)]
)
def test_each_backbone_of_the_capstones_is_trained_tuned_and_converted(name, size, cifar, tmp_path):
    """CIFAR-100's fine labels; weights of a file, as ImageNet's cannot be downloaded here."""
    keras.utils.set_random_seed(3)
    base = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(size, size, 3)
    )
    base.save_weights(tmp_path / "base.weights.h5")
    output = tmp_path / name.lower()
    options = ("--model", name, "--weights", str(tmp_path / "base.weights.h5"), "--size", str(size),
               "--epochs", "2", "--views", "1", "--fine-tune", "6", "--fine-tune-epochs", "1",
               "--inner", "20", "--dropout", "0.2")  # fmt: skip
    assert train([str(cifar), "-o", str(output), *options, *QUIET]) == 0
    record = record_of(output)
    assert [entry["phase"] for entry in record["history"]] == ["head", "head", "fine-tuning"]
    assert record["recipe"]["network"]["weights"] == "base.weights.h5"
    _, card = verified(output)
    assert card.labels == ("rose", "poppy", "leaf", "moss")
    assert card.preprocessing.scaling in cards.PRESETS
    assert card.provenance["training_command"].startswith("k2l train cifar-100-python")
    assert card.provenance["trained_with"]["keras"] == keras.__version__


def test_mnist_from_idx_files_with_a_perceptron_and_a_tree_compared(mnist, tmp_path, capfd):
    output = tmp_path / "perceptron"
    assert train([str(mnist), "-o", str(output), "--model", "mlp", "--epochs", "8",
                  "--batch-size", "16", *QUIET]) == 0  # fmt: skip
    assert record_of(output)["recipe"]["network"]["kind"] == "perceptron"
    path, card = verified(output)
    assert card.channels == 1
    assert tree.main([str(mnist), "-o", str(tmp_path / "tree")]) == 0
    assert verified(tmp_path / "tree")[1].preprocessing.exif == "apply"
    capfd.readouterr()
    page = tmp_path / "both.html"
    assert evaluate([str(path), "--data", str(mnist), "--against", str(tmp_path / "tree" / "tree"),
                     "-o", str(page)]) == 0  # fmt: skip
    found = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert found["model"]["pictures"] == found["against"]["pictures"] == 60
    assert "McNemar" in page.read_text(encoding="utf-8")


def test_train_and_serve_ends_in_an_endpoint_that_answers(mnist, tmp_path):
    """One command, over HTTP: the labels are the data's, and the answers right."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    output = tmp_path / "bars"
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_to_lambda", "train",
         str(mnist), "-o", str(output), "--epochs", "6",
         "--batch-size", "16", "--serve", str(port), *QUIET],
        cwd=ROOT, stdout=log, stderr=log, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}/predict"
        card = _models(url, process, tmp_path / "log")
        assert card["labels"] == ["0", "1", "2"]
        files = sorted(output.glob("samples/*/*.png"))
        assert len(files) == 9
        right = 0
        for file in files:
            answer = requests.post(
                url, data=file.read_bytes(), headers={"Content-Type": "image/png"}, timeout=30
            ).json()
            right += max(answer, key=answer.get) == file.parent.name
        assert right / len(files) >= 0.9
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=60)
        log.close()
    assert status == 0


def _models(url, process, log):
    """The served model's card, as soon as it is there."""
    until = time.monotonic() + 240
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text(errors="replace")
        try:
            answer = requests.get(url.replace("/predict", "/models"), timeout=5)
            (card,) = answer.json()["models"]
        except requests.ConnectionError:
            time.sleep(0.2)
        else:
            return card
    raise AssertionError("no endpoint after four minutes")
