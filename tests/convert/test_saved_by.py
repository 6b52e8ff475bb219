"""Files that older Keras wrote answer as they did there: the numbers are the writing version's own.

The files are small and in the repository, with the scripts that wrote them (saved_by/). `make
test-old-keras` writes them again, with the old versions, and runs these tests on those.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.convert.convert import main
from keras_to_lambda.convert.network import keras_model
from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.inference.telemetry import Stopwatch
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.sources.images import Raw

FOLDER = Path(os.environ.get("SAVED_BY") or Path(__file__).parent / "saved_by" / "files")
INDEXES = {
    path.parent: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(FOLDER.glob("*/index.json"))
}


def models(expected):
    return [
        pytest.param(folder, name, facts, id=f"{folder.name}-{name}")
        for folder, index in INDEXES.items()
        for name, facts in index["models"].items()
        if facts["expected"] == expected
    ]


@pytest.fixture
def run(in_process, tmp_path, capfd):
    """Convert a file: status, the `.tflite`, what was said, and its three pictures."""

    def run(folder, facts, *options):
        pictures = sorted(folder.glob(f"images/{facts['channels']}-*.png"))
        samples = tmp_path / "samples"
        samples.mkdir()
        for picture in pictures:
            (samples / picture.name).write_bytes(picture.read_bytes())
        classes = len(facts.get("answers", [[0] * 4])[0])
        (tmp_path / "labels.txt").write_text(
            "".join(f"class {n}\n" for n in range(max(2, classes))), encoding="utf-8"
        )
        output = tmp_path / "out" / "net.tflite"
        arguments = [str(folder / facts["file"]), "-o", str(output), "--samples", str(samples)]
        arguments += ["--labels", str(tmp_path / "labels.txt"), "--preprocess", "mobilenet_v2"]
        for option in ("head", "backend"):
            if option in facts:
                arguments += [f"--{option}", facts[option]]
        if "custom" in facts:
            arguments += ["--custom", str(Path(__file__).parent / "saved_by" / facts["custom"])]
        status = main([*arguments, *options])
        return status, output, capfd.readouterr(), pictures

    return run


def answers(output, pictures):
    handler = Handler(Settings(model_path=str(output), num_threads=1, log_level="FATAL"))
    return np.stack(
        [handler.pipeline.logits(Raw(p.read_bytes()), Deadline(60), Stopwatch()) for p in pictures]
    )


def test_files_of_at_least_two_old_versions_are_here():
    assert len(INDEXES) >= 2
    assert len(models("loads")) >= 40
    assert len(models("refused")) >= 4


def converted(folder, facts, run):
    """The answers of the converted file, and what it says of its version."""
    status, output, printed, pictures = run(folder, facts)
    assert status == 0, printed.err
    return answers(output, pictures), cards.load(output).provenance["written_by"]


def loaded(folder, facts):
    """The answers of the loaded network, which other tests compare with a conversion's."""
    wanted = {key: facts[key] for key in ("head", "backend") if key in facts}
    if "custom" in facts:
        wanted["custom"] = Path(__file__).parent / "saved_by" / facts["custom"]
    model = keras_model.load(folder / facts["file"], keras_model.Wanted(**wanted))
    graph, mode = model.concrete(), {1: "L", 3: "RGB", 4: "RGBA"}[model.channels]
    found = []
    for path in sorted(folder.glob(f"images/{facts['channels']}-*.png")):
        pixels = np.asarray(Image.open(path).convert(mode), np.float32)
        pixels = pixels.reshape(model.height, model.width, model.channels)
        found.append(keras_model.predict(graph, pixels / 127.5 - 1))
    rows = np.stack(found)
    if model.classes == 1:
        rows = np.concatenate([1 - rows, rows], axis=1)
    return rows, model.written_by


# The folder of each network's first file, which is converted; the others are loaded.
FIRST = {name: f for f, index in reversed(INDEXES.items()) for name in index["models"]}


@pytest.mark.parametrize(("folder", "name", "facts"), models("loads"))
def test_it_answers_as_the_version_that_wrote_it(folder, name, facts, run):
    is_first = FIRST[name] == folder
    served, written = converted(folder, facts, run) if is_first else loaded(folder, facts)
    expected = np.array(facts["answers"])
    if expected.shape[1] == 1:
        expected = np.concatenate([1 - expected, expected], axis=1)
    # Mixed precision was computed in float16 there.
    tolerance = 0.04 if facts.get("nearly") else 2e-5
    np.testing.assert_allclose(served, expected, atol=tolerance * np.ptp(expected))
    assert (served.argmax(axis=1) == expected.argmax(axis=1)).all()
    assert written is None or any(v in written for v in ("1.2.2", "2.2.4", "2.3.1", "2.13", "2.15"))


@pytest.mark.parametrize(("folder", "name", "facts"), models("refused"))
def test_what_cannot_be_is_explained(folder, name, facts, run):
    status, output, printed, _ = run(folder, facts)
    assert status == 2
    assert facts["reason"] in printed.err
    assert "Traceback" not in printed.err
    assert not output.exists()


def test_teachable_machine_needs_one_flag(in_process, tmp_path, capfd):
    folder, facts = next(
        (folder, index["models"]["teachable_machine"])
        for folder, index in INDEXES.items()
        if "teachable_machine" in index["models"]
    )
    model = tmp_path / "keras_model.h5"
    model.write_bytes((folder / facts["file"]).read_bytes())
    (tmp_path / "labels.txt").write_text("0 cat\n1 dog\n2 polar bear\n", encoding="utf-8")
    output = tmp_path / "tm.tflite"
    options = ["--teachable-machine", "--samples", str(folder / "images"), "-o", str(output)]
    assert main([str(model), *options]) == 0
    card = cards.load(output)
    assert card.labels == ("cat", "dog", "polar bear")
    steps = card.preprocessing
    assert (steps.resize, steps.interpolation) == ("crop", "pillow:lanczos")
    assert card.provenance["scaling"] == "mobilenet"
    assert "tf_keras" in card.provenance["loaded_by"]
    pictures = sorted(folder.glob("images/3-*.png"))
    np.testing.assert_allclose(answers(output, pictures), facts["answers"], atol=2e-5)
