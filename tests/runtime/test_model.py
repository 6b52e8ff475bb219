"""The model: what is refused at start, and what it answers on the project's own samples."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.common.settings import MODELS
from keras_to_lambda.runtime.model.interpreter import Classifier
from keras_to_lambda.runtime.model_file import card as cards

pytestmark = pytest.mark.engine

CLOTHING = f"{MODELS}/clothing/clothing.tflite"

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = sorted((ROOT / "samples").glob("*.jpg"))


def test_there_are_samples():
    assert len(SAMPLES) >= 3


@pytest.mark.parametrize("photo", SAMPLES, ids=lambda path: path.stem)
def test_each_sample_is_recognised(photo, handler):
    import base64

    scores = handler.handle({"image": base64.b64encode(photo.read_bytes()).decode()})
    assert max(scores, key=scores.get) == photo.stem


def rewritten(tmp_path, model_bytes, **changes):
    """The default model with another card."""
    path = tmp_path / "model.tflite"
    size = cards.load(CLOTHING).model_bytes
    card = dataclasses.replace(cards.load(CLOTHING), **changes)
    path.write_bytes(cards.join(model_bytes[:size], card))
    return path


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"labels": ("a", "b", "c")}, r"output of shape \(1, 10\), its card has 3 labels"),
        ({"height": 128}, r"shape \(1, 160, 160, 3\)"),
        ({"dtype": "float32"}, "takes uint8, its card says float32"),
    ],
)
def test_a_card_that_is_not_the_models_is_refused(tmp_path, model_bytes, changes, named):
    with pytest.raises(SetupError, match=named):
        Classifier(rewritten(tmp_path, model_bytes, **changes))


def test_a_model_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "model.tflite"
    card = cards.load(CLOTHING)
    path.write_bytes(cards.join(b"\x1c\0\0\0TFL3" + bytes(64), card))
    with pytest.raises(SetupError, match="interpreter cannot load"):
        Classifier(path)
    with pytest.raises(SetupError, match="cannot read the model"):
        Classifier(tmp_path / "absent.tflite")


def test_logits_do_not_depend_on_what_was_asked_before():
    model = Classifier(CLOTHING)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 160, 160, 3)).astype(np.float32)
    images.setflags(write=False)
    first = model.logits(images[0])
    kept = first.copy()
    model.logits(images[1])
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(model.logits(images[0]), kept)


def test_importing_the_function_brings_no_training_web_or_cloud_library():
    code = (
        "import sys, json, lambda_function; "
        "print(json.dumps(sorted({*sys.modules, *(name.split('.')[0] for name in sys.modules)})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "keras_to_lambda.runtime.handler" in loaded
    heavy = {"tensorflow", "keras", "boto3", "botocore", "requests", "waitress", "h5py", "scipy"}
    assert not loaded & heavy
    own = {name for name in loaded if name.startswith("keras_to_lambda.")}
    assert all(name.startswith("keras_to_lambda.runtime") for name in own)


def test_the_terminal_answers_as_the_function_does(handler, jpeg, tmp_path):
    import base64

    photo = tmp_path / "photo.jpg"
    photo.write_bytes(jpeg)
    (tmp_path / "broken.jpg").write_bytes(jpeg[:500])
    command = [
        sys.executable,
        "-m",
        "keras_to_lambda",
        "predict",
        "--format",
        "jsonl",
        "--top-k",
        "10",
    ]
    done = subprocess.run(
        [*command, str(photo), str(tmp_path / "broken.jpg")],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1
    first, second = map(json.loads, done.stdout.splitlines())
    expected = handler.handle({"image": base64.b64encode(jpeg).decode()})
    assert first["scores"] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert second["error"]["code"] == "undecodable_image"
    done = subprocess.run(
        [*command, "--model", "absent.tflite", str(photo)],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 2
    assert "absent.tflite" in done.stderr
    assert "Traceback" not in done.stderr
