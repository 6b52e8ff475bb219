"""The server refuses a `.tflite` that was not made of the Keras model beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from keras_to_lambda.serve.serve import main

ROOT = Path(__file__).resolve().parents[2]


def test_a_model_trained_again_is_not_served_as_it_was(tmp_path, capsys):
    shutil.copytree(ROOT / "models" / "digits", tmp_path / "digits")
    (tmp_path / "digits" / "digits.keras").write_bytes(b"trained again")
    assert main(["--port", "0", "--model", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "digits.tflite does not match digits.keras (different hash)" in error
    assert f"k2l convert {tmp_path}/digits/digits.keras --samples" in error
