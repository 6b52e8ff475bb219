"""k2l predict: formats, folders, pipes, accuracy, exit status; by the real command."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from keras_to_lambda.cli import output, predict
from keras_to_lambda.cli.evaluation import Evaluation, wilson

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"


@pytest.fixture
def run(capsys, monkeypatch):
    """`k2l predict` in the project's folder: exit status, standard output, standard error."""
    monkeypatch.chdir(ROOT)

    def call(*arguments):
        try:
            status = predict.main([*map(str, arguments)])
        except SystemExit as stopped:
            status = stopped.code
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=status, stdout=out, stderr=err)

    return call


@pytest.fixture
def labelled(tmp_path):
    """Folders named after labels: four right, one in the wrong one, and one that is no image."""
    for name, label in (("dress", "dress"), ("pants", "pants"), ("skirt", "dress")):
        for copy in "ab" if name != "skirt" else "a":
            folder = tmp_path / "test" / label
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(SAMPLES / f"{name}.jpg", folder / f"{name}-{copy}.jpg")
    return tmp_path / "test"


def test_one_image_has_a_bar_for_each_label(run):
    done = run("samples/t-shirt.jpg", "--top-k", "4")
    assert done.returncode == 0
    name, *rows = done.stdout.splitlines()
    assert name == "samples/t-shirt.jpg"
    assert len(rows) == 4
    label, bar, share, logit = rows[0].split()
    assert (label, share) == ("t-shirt", "85.3%")
    assert float(logit) == pytest.approx(3.398, abs=0.01)
    assert bar.count("█") == 20


@pytest.mark.parametrize(("encoding", "bar"), [("ascii", "#" * 12), ("utf-8", "█" * 12 + "▌")])
def test_a_bar_is_as_fine_as_the_terminals_encoding_allows(encoding, bar):
    out = SimpleNamespace(encoding=encoding)
    assert output.bar(12.5 / 24, 24, out) == bar.ljust(24)


def test_a_folder_is_a_line_each_and_tells_how_fast_it_was(run, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    done = run("samples")
    assert done.returncode == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        [f"samples/{label}.jpg", label]
        for label in ("dress", "longsleeve", "pants", "shorts", "skirt", "t-shirt")
    ]
    assert "6 images in " in done.stderr
    assert "a second (2 at a time)" in done.stderr
    assert done.stderr.startswith("model: clothing; others, by --model: digits, digits-tree\n")


def test_folders_named_after_labels_give_accuracy_and_a_confusion_matrix(labelled, run):
    done = run(labelled)
    assert done.returncode == 0
    assert "not dress" in next(line for line in done.stdout.splitlines() if "skirt-a" in line)
    *_, accuracy, _, head, dress, pants, skirt = done.stdout.splitlines()
    assert accuracy.startswith("accuracy 80.0% of 5 images (95 % interval 37.6% to 96.4%)")
    assert head.split() == ["dress", "pants", "skirt"]
    assert dress.split() == ["dress", "2", ".", "1"]
    assert pants.split() == ["pants", ".", "2", "."]
    assert skirt.split() == ["skirt", ".", ".", "."]


def test_json_has_everything_once_and_csv_a_row_for_each_label(labelled, run):
    (labelled / "pants" / "broken.jpg").write_bytes(b"no image")
    done = run(labelled, "--format", "json", "--scores", "probabilities", "--top-k", "2")
    assert done.returncode == 1
    whole = json.loads(done.stdout)
    assert whole["model"] == "clothing"
    assert len(whole["images"]) == 6
    assert whole["evaluation"]["accuracy"] == 0.8
    assert whole["evaluation"]["confusion"][0][0] == 2
    good = whole["images"][0]
    assert good["truth"] == "dress"
    assert [label in good["scores"] for label in ("dress", "hat")] == [True, False]
    assert len(good["scores"]) == 2
    assert 0.9 < good["scores"]["dress"] <= 1
    broken = next(each for each in whole["images"] if "broken" in each["image"])
    assert broken["error"]["code"] == "unsupported_format"
    assert "1 failed" in done.stderr

    done = run(labelled, "--format", "csv", "--top-k", "2")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(rows[0]) == ["image", "truth", "rank", "label", "score", "error"]
    assert len(rows) == 5 * 2 + 1
    assert [row["rank"] for row in rows[:4]] == ["1", "2", "1", "2"]
    assert [row["error"] for row in rows if row["error"]] == ["unsupported_format"]
    assert "accuracy 80.0%" in done.stderr  # what a program reads stays as it is


def test_a_pipe_and_a_data_url_are_images(run, monkeypatch):
    image = (SAMPLES / "pants.jpg").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(image)))
    done = run("-", "--format", "jsonl")
    record = json.loads(done.stdout)
    assert record["image"] == "-"
    assert max(record["scores"], key=record["scores"].get) == "pants"
    done = run("data:,not-an-image", "samples/pants.jpg", "--format", "jsonl")
    assert done.returncode == 1
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["error"]["code"] == "unsupported_format"
    assert "scores" in second


def test_another_installed_model_is_named_and_a_file_is_a_path(run):
    three = ROOT / "models" / "digits" / "samples" / "3.png"
    for model in ("digits", "models/digits/digits.tflite"):
        done = run(three, "--model", model, "--format", "jsonl")
        scores = json.loads(done.stdout)["scores"]
        assert max(scores, key=scores.get) == "3"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give at least one IMAGE"),
        (("samples/pants.jpg", "--model", "samples"), "no .tflite file in samples"),
        (("absent.jpg",), "no such file: absent.jpg"),
        (("LICENSE", "--top-k", "0"), "--top-k must be 1 or more"),
        (("samples/pants.jpg", "--model", "cats"), "there is clothing, digits, digits-tree"),
        (("samples/pants.jpg", "--model", "absent.tflite"), "absent.tflite"),
        (("events",), "no images in events"),
    ],
)
def test_wrong_use_is_status_2_and_a_sentence(arguments, message, run):
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_reader_that_goes_away_is_no_failure():
    command = f"{sys.executable} -m keras_to_lambda predict samples --format csv | head -1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("image,truth")


def test_many_classes_are_reported_by_what_was_confused_most():
    labels = tuple(f"label {number}" for number in range(100))
    confusion = np.eye(100, dtype=np.int64) * 9
    confusion[3, 7] = 5
    text = output.confusion(Evaluation(labels, confusion))
    assert text.splitlines()[0].startswith("accuracy 99.4% of 905 images")
    assert "     5  label 3 taken for label 7 (of 14)" in text
    assert len(text.splitlines()) == 3


def test_progress_is_shown_on_a_terminal_alone(run, monkeypatch):
    pytest.importorskip("tqdm")
    assert "/6 [" not in run("samples").stderr
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert "/6 [" in run("samples").stderr


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_the_published_one(right, total, low, high):
    assert wilson(right, total) == pytest.approx((low, high), abs=5e-5)


@pytest.fixture
def evaluation():
    scores = np.float32([[2, 1, 0], [0, 3, 1], [5, 0, 0], [0, 1, 2], [1, 0, 2], [0, 4, 1]])
    return Evaluation.of(("a", "b", "c"), scores, np.int32([0, 0, 0, 2, 2, 1]))


def test_rows_are_the_truth_and_columns_the_prediction(evaluation):
    assert evaluation.confusion.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 2]]
    assert evaluation.photos == 6
    assert evaluation.accuracy == pytest.approx(5 / 6)
    assert evaluation.interval == pytest.approx((0.4365, 0.9699), abs=5e-5)


def test_the_commonest_confusions_are_named(evaluation):
    assert evaluation.worst() == [("a", "b", 1, 3)]
