"""A `.tflite` beside a Keras model that it was not made of."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from keras_to_lambda import origin
from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.model.registry import Installed
from keras_to_lambda.runtime.model_file import card as cards

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "models" / "digits"


def made_of(sha256, source_file="my.keras"):
    card = cards.load(DIGITS / "digits.tflite")
    return replace(card, provenance={"source_file": source_file, "source_sha256": sha256})


def test_the_shipped_models_are_made_of_what_is_beside_them():
    paths = sorted((ROOT / "models").rglob("*.tflite"))
    assert len(paths) >= 3
    origin.check([Installed(str(path), cards.load(path)) for path in paths])


@pytest.mark.parametrize(
    ("beside", "source_file", "refused"),
    [
        ((), "my.keras", False),
        (("other.keras",), "my.keras", False),
        (("my.keras",), "my.keras", True),
        (("my.h5",), "elsewhere.h5", True),  # of the same name as the .tflite
        (("best.keras",), "best.keras", True),
        (("my.keras",), "../../etc/my.keras", True),  # a card's path is never followed
        (("my.keras",), "foreign.tflite", False),
        (("my.keras", "THE SOURCE best.keras"), "best.keras", False),
    ],
)
def test_models_beside_it_are_compared(beside, source_file, refused, tmp_path):
    sha256 = hashlib.sha256(b"the source").hexdigest()
    for name in beside:
        source = name.startswith("THE SOURCE ")
        path = tmp_path / name.removeprefix("THE SOURCE ")
        path.write_bytes(b"the source" if source else b"another one")
    installed = [Installed(str(tmp_path / "my.tflite"), made_of(sha256, source_file))]
    if refused:
        with pytest.raises(SetupError, match="different hash"):
            origin.check(installed)
    else:
        origin.check(installed)


def test_a_folder_of_that_name_counts_if_it_is_a_saved_model(tmp_path):
    (tmp_path / "my" / "variables").mkdir(parents=True)
    (tmp_path / "my" / "photo.jpg").touch()
    stranger = [Installed(str(tmp_path / "my.tflite"), made_of("0" * 64, "my"))]
    origin.check(stranger)
    (tmp_path / "my" / "saved_model.pb").write_bytes(b"graph")
    with pytest.raises(SetupError):
        origin.check(stranger)
    digest = origin.digest(tmp_path / "my")
    origin.check([Installed(str(tmp_path / "my.tflite"), made_of(digest, "my"))])


def test_a_file_of_another_converter_says_nothing_of_its_source(tmp_path):
    (tmp_path / "my.keras").touch()
    card = replace(made_of("0" * 64), provenance={})
    origin.check([Installed(str(tmp_path / "my.tflite"), card)])


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("serve.serve", ("--port", "0")),
        ("cli.predict", ("--check",)),
        ("cli.predict", (str(ROOT / "samples" / "dress.jpg"),)),
    ],
    ids=["serve", "predict --check", "predict"],
)
def test_a_model_trained_again_is_refused_with_the_command_that_converts_it(
    command, options, tmp_path, capsys
):
    folder = tmp_path / "my digits"
    shutil.copytree(DIGITS, folder)
    (folder / "digits.keras").write_bytes(b"trained again")
    module = pytest.importorskip(f"keras_to_lambda.{command}", exc_type=ImportError)
    assert module.main([*options, "--model", str(folder / "digits.tflite")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "digits.tflite does not match digits.keras (different hash)" in err
    assert (
        f"k2l convert '{folder}/digits.keras' --samples '{folder}/samples' "
        f"-o '{folder}/digits.tflite'"
    ) in err.replace("\\n", "\n")
