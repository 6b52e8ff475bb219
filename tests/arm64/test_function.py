"""The function on arm64: the same answers as on x86-64, by the wheels that ship."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from tests.arm64.conftest import ROOT

ANSWER = """
import json, sys
from lambda_function import lambda_handler
with open(sys.argv[1]) as file:
    json.dump([lambda_handler(event) for event in json.load(file)], sys.stdout)
"""
PYTHON_TF = ROOT / ".venv-tf" / "bin" / "python"
MODELS = {path.stem: path for path in (ROOT / "models").glob("*/*.tflite")}


@pytest.fixture
def answers(arm64, tmp_path):
    """What the function says to events, on both machines: scores, (events, labels)."""

    def ask(model: Path, events: list[dict[str, str]]) -> tuple[np.ndarray, np.ndarray]:
        (tmp_path / "events.json").write_text(json.dumps(events), encoding="utf-8")
        settings = {"MODEL_PATH": str(model), "LOG_LEVEL": "FATAL"}
        there = json.loads(arm64.python("-c", ANSWER, tmp_path / "events.json", **settings))
        handler = Handler(Settings.from_environ(settings))
        here = [handler.handle(event, None) for event in events]
        assert [list(answer) for answer in there] == [list(answer) for answer in here]
        return tuple(np.array([list(each.values()) for each in both]) for both in (here, there))

    return ask


def events(folder: Path) -> list[dict[str, str]]:
    """Its pictures, each as a direct invocation has it."""
    pictures = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png"))
    return [{"image": base64.b64encode(path.read_bytes()).decode()} for path in pictures]


def apart(here: np.ndarray, there: np.ndarray) -> float:
    """The largest difference, as a share of the scores' spread."""
    return float(np.abs(here - there).max() / np.ptp(here))


def test_the_check_that_ends_the_images_build_passes(arm64):
    check = ("-m", "keras_to_lambda.runtime.check")
    compared = arm64.python(*check, "--compare", whole=True, MODEL_PATH="models")
    without = arm64.python(*check, MODEL_PATH="models")
    for name in MODELS:
        default = " (default)" if name == "clothing" else ""
        for printed in (compared, without):
            assert f"{name}{default}: 10 labels, hash and inference checked" in printed
    assert compared.count("answers as LiteRT's Interpreter's") == len(MODELS)


def test_every_part_that_is_removed_from_the_image_is_there_to_be_removed(arm64):
    assert "slim: ai_edge_litert" in arm64.slimmed
    assert "has the package changed?" not in arm64.slimmed


@pytest.mark.parametrize("name", sorted(MODELS))
def test_answers_are_those_of_the_other_processor(answers, name):
    samples = MODELS[name].parent / "samples"
    pictures = events(samples if samples.is_dir() else ROOT / "models" / "digits" / "samples")
    here, there = answers(MODELS[name], pictures)
    assert (here.argmax(1) == there.argmax(1)).all()
    assert apart(here, there) < 1e-4  # what conversion allows float32


@pytest.mark.parametrize("quantization", ["float16", "weights", "dynamic", "int8"])
def test_quantized_models_answer_as_on_the_other_processor(answers, tmp_path, quantization):
    if not PYTHON_TF.exists():
        pytest.skip("conversion needs .venv-tf: make setup")
    model = tmp_path / "clothing.tflite"
    command = [
        PYTHON_TF,
        "-m",
        "keras_to_lambda",
        "convert",
        "models/clothing/clothing.keras",
        "-o",
        model,
    ]
    options = ["--quantize", quantization, "--samples", "samples", "--quiet"]
    subprocess.run([*command, *options], cwd=ROOT, check=True, capture_output=True)
    here, there = answers(model, events(ROOT / "samples"))
    assert (here.argmax(1) == there.argmax(1)).all()
    # Where activations are quantized while it runs, a rounding may fall on either side of a half.
    assert apart(here, there) < (0.01 if quantization == "dynamic" else 1e-4)
