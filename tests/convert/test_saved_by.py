"""Files that older Keras wrote answer as they did there: the numbers are the writing version's own.

The files are small and in the repository, with what wrote them (saved_by/). `make test-old-keras`
writes those of TensorFlow again, with the old versions, and runs these tests on them.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.convert import main
from keras_to_lambda.convert.network import keras_model
from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.inference.telemetry import Stopwatch
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.sources.images import Raw

HERE = Path(__file__).parent / "saved_by"
FOLDER = Path(os.environ.get("SAVED_BY") or HERE / "files")
INDEXES = {
    path.parent: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(FOLDER.glob("*/index.json"))
}
# Converted as well, for their operators; the others are loaded.
CONVERTED = ("sequential", "mobilenet", "recurrent", "tf_operators", "saved_mobilenet", "plain")
FIRST = {name: f for f, index in reversed(INDEXES.items()) for name in index["models"]}
SCALED = ("--preprocess", "mobilenet_v2")


def models(expected):
    return [
        pytest.param(folder, name, facts, id=f"{folder.name}-{name}")
        for folder, index in INDEXES.items()
        for name, facts in index["models"].items()
        if facts["expected"] == expected
    ]


def test_files_of_at_least_two_old_versions_are_here():
    assert len(INDEXES) >= 2
    assert len(models("loads")) >= 40
    assert len(models("refused")) >= 4


@pytest.fixture
def converted(in_process, tmp_path):
    """Convert a file: what the function answers to its pictures, and the card."""

    def run(model, pictures, labels, *options):
        output = tmp_path / "out" / "net.tflite"
        (tmp_path / "samples").mkdir()
        for picture in pictures:
            shutil.copy(picture, tmp_path / "samples")
        (tmp_path / "labels.txt").write_text("\n".join(labels), encoding="utf-8")
        arguments = [str(model), "-o", str(output), "--samples", str(tmp_path / "samples")]
        assert main([*arguments, "--labels", str(tmp_path / "labels.txt"), *options]) == 0
        settings = Settings(model_path=str(output), num_threads=1, log_level="FATAL")
        pipeline = Handler(settings).pipeline
        raw = [Raw(path.read_bytes()) for path in pictures]
        rows = [pipeline.logits(photo, Deadline(60), Stopwatch()) for photo in raw]
        return np.stack(rows), cards.load(output)

    return run


def loaded(folder, facts):
    """The answers of the loaded network."""
    wanted = {key: facts[key] for key in ("head", "backend") if key in facts}
    wanted["custom"] = HERE / facts["custom"] if "custom" in facts else None
    model = keras_model.load(folder / facts["file"], keras_model.Wanted(**wanted))
    graph, mode = model.concrete(), {1: "L", 3: "RGB", 4: "RGBA"}[model.channels]
    found = []
    for path in pictures_of(folder, facts):
        pixels = np.asarray(Image.open(path).convert(mode), np.float32)
        pixels = pixels.reshape(model.height, model.width, model.channels)
        found.append(keras_model.predict(graph, pixels / 127.5 - 1))
    rows = np.stack(found)
    if model.classes == 1:
        rows = np.concatenate([1 - rows, rows], axis=1)
    return rows, model.written_by


def pictures_of(folder, facts):
    return sorted(folder.glob(f"images/{facts['channels']}-*.png"))


@pytest.mark.parametrize(("folder", "name", "facts"), models("loads"))
def test_it_answers_as_the_version_that_wrote_it(folder, name, facts, converted):
    expected = np.array(facts["answers"])
    if expected.shape[1] == 1:
        expected = np.concatenate([1 - expected, expected], axis=1)
    if name in CONVERTED and FIRST[name] == folder:
        labels = [f"class {n}" for n in range(expected.shape[1])]
        options = ["--backend", facts["backend"]] if "backend" in facts else []
        pictures = pictures_of(folder, facts)
        found, card = converted(folder / facts["file"], pictures, labels, *SCALED, *options)
        written = card.provenance["written_by"]
    else:
        found, written = loaded(folder, facts)
    # Mixed precision was computed in float16 there.
    tolerance = 0.04 if facts.get("nearly") else 2e-5
    np.testing.assert_allclose(found, expected, atol=tolerance * np.ptp(expected))
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()
    assert written is None or any(v in written for v in ("1.2.2", "2.2.4", "2.3.1", "2.13", "2.15"))


@pytest.mark.parametrize(("folder", "name", "facts"), models("refused"))
def test_what_cannot_be_is_explained(folder, name, facts):
    with pytest.raises(ConvertError, match=facts["reason"]):
        loaded(folder, facts)


def test_teachable_machine_needs_one_flag(converted, tmp_path):
    folder = FIRST["teachable_machine"]
    facts = INDEXES[folder]["models"]["teachable_machine"]
    model = shutil.copy(folder / facts["file"], tmp_path / "keras_model.h5")
    labels = ("0 cat", "1 dog", "2 polar bear")
    found, card = converted(model, pictures_of(folder, facts), labels, "--teachable-machine")
    assert card.labels == ("cat", "dog", "polar bear")
    steps = card.preprocessing
    assert (steps.resize, steps.interpolation) == ("crop", "pillow:lanczos")
    assert card.provenance["scaling"] == "mobilenet"
    assert "tf_keras" in card.provenance["loaded_by"]
    np.testing.assert_allclose(found, facts["answers"], atol=2e-5)
