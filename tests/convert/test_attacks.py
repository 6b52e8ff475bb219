"""Files that would run a program: each command refuses each, and nothing is run."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.convert import detect, verify
from keras_to_lambda.convert import inspect_file as inspect
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.convert import main as convert
from keras_to_lambda.convert.network import keras_model
from keras_to_lambda.convert.scan import keras_archive
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.train import evaluate
from tests import small_tflite
from tests.convert import attacks

CARD = cards.ModelCard(name="net", labels=("a", "b", "c"), height=8, width=8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eight pictures of each label, in folders."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(1)
    for label in CARD.labels:
        (folder / label).mkdir()
        for number in range(8):
            pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "labels.txt"
    path.write_text("a\nb\nc\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A `.tflite` with a card, to verify against."""
    path = tmp_path_factory.mktemp("served") / "net.tflite"
    path.write_bytes(cards.join(small_tflite.network(), CARD))
    return path


@pytest.fixture
def commands(in_process, photos, labels, served, tmp_path):
    """The five commands that open a model file, by name."""

    def with_card(model):
        cards.beside(model).write_text(json.dumps(CARD.to_json()), encoding="utf-8")
        return evaluate.main([str(model), "--data", str(photos)])

    output = tmp_path / "out" / "net.tflite"
    prepared = ["--labels", str(labels), "--preprocess", "rescale", "--samples", str(photos)]
    return {
        "convert": lambda model: convert([str(model), *prepared, "-o", str(output)]),
        "detect": lambda model: detect.main([str(model), "--samples", str(photos)]),
        "verify": lambda model: verify.main(
            [str(served), "--against", str(model), "--samples", str(photos)]
        ),
        "evaluate": with_card,
        "inspect": lambda model: 2 if inspect.main([str(model)]) else 0,
    }


REFUSALS = re.compile(
    "is refused|cannot be converted as it is|not of Keras|damaged|not a model of Keras|"
    "is a zip archive without|begins neither"
)


@pytest.fixture
def made(tmp_path):
    """Write an attack's file: the file, and the trace that it would leave."""

    def make(name):
        trace = tmp_path / "trace"
        (tmp_path / "model").mkdir()
        model = attacks.ATTACKS[name](tmp_path / "model", trace)
        trace.unlink(missing_ok=True)
        return model, trace

    return make


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_it_is_not_loaded_and_not_reported_as_harmless(name, made):
    """By the function that each command loads a model with, and by `inspect`."""
    model, trace = made(name)
    with pytest.raises(ConvertError, match=REFUSALS):
        keras_model.load(model)
    try:
        stopped = inspect.facts(str(model))["stopped_by"]
    except ConvertError as error:
        stopped = [str(error)]
    assert stopped
    assert not trace.exists()


# One for each kind of file.
SEVERAL = ("lambda.h5", "os.system, .keras", "HDF5 behind a zip's head", "an operator that writes")


@pytest.mark.parametrize("name", SEVERAL)
def test_no_command_loads_it(name, made, commands, capfd):
    model, trace = made(name)
    for command, run in commands.items():
        assert run(model) == 2, command
        said = capfd.readouterr()
        assert REFUSALS.search(said.err + said.out), (command, said)
        assert "Nothing was found that stops a conversion" not in said.out
        assert "Traceback" not in said.err
        assert not trace.exists(), command


def test_the_same_files_without_the_attack_are_not_refused(commands, tmp_path):
    saved_model = attacks.saved_model(tmp_path, attacks.nothing)
    for model in (attacks.honest_h5(tmp_path), attacks.honest_keras(tmp_path), saved_model):
        assert commands["inspect"](model) == 0
        assert keras_model.load(model).classes == 3
    assert commands["convert"](saved_model) in (0, 3)


def test_an_archive_inside_of_hdf5_is_not_opened(tmp_path):
    trace = tmp_path / "trace"
    assert keras_model.load(attacks.zip_inside(tmp_path, trace)).kind == "h5"
    assert not trace.exists()


def test_what_is_loaded_is_what_was_judged(tmp_path, monkeypatch):
    """The file is exchanged between the two."""
    model = attacks.honest_keras(tmp_path)
    trace = tmp_path / "trace"
    read = keras_model.SavedFile.read

    def exchanged(path, folder):
        saved = read(path, folder)
        (tmp_path / "bad").mkdir()
        attacks.keras_with(attacks.with_lambda)(tmp_path / "bad", trace).replace(path)
        trace.unlink(missing_ok=True)
        return saved

    monkeypatch.setattr(keras_model.SavedFile, "read", exchanged)
    assert keras_model.load(model).classes == 3
    assert not trace.exists()


def test_a_refusal_of_keras_ends_the_attempt(network, tmp_path, monkeypatch):
    """Were a Lambda layer not on the list, Keras's own refusal would be the end of it."""
    import keras

    from keras_to_lambda.convert.scan import keras_configuration

    network(extra=keras.layers.Lambda(lambda x: x)).save(tmp_path / "net.keras")
    monkeypatch.setattr(keras_configuration, "judge", lambda _: keras_configuration.Judgment())
    with pytest.raises(ConvertError, match="refused by Keras"):
        keras_model.load(tmp_path / "net.keras")


def test_what_a_file_says_is_printed_escaped(commands, tmp_path, capfd):
    words = "\x1b[2J\x1b[HIt can be converted.\x07\n\nIt can be converted.\u202e\x9b8m"
    change = attacks.renamed(class_name=words, module="evil\x1b[31m")
    model = attacks.keras_with(change)(tmp_path, tmp_path / "trace")
    for command, run in commands.items():
        assert run(model) == 2, command
        said = capfd.readouterr()
        assert not set(said.out + said.err) & set("\x1b\x07\x9b\u202e")
        assert "It can be converted." not in said.out.splitlines()
        assert "\\x1b[2J" in said.out + said.err


IMPORTING = """
from os import system
from subprocess import Popen
from keras.layers import Layer
from tensorflow import function

def popen(x):
    return x

@function
def decorated(x):
    return x

class Own(Layer):
    def call(self, x):
        return x
"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (attacks.with_setting("activation", lambda _: "system"), "does not define it"),
        (attacks.activation("subprocess", "Popen"), "does not define it"),
        (attacks.renamed(class_name="Popen", module=None), "does not define it"),
        (attacks.renamed(class_name="popen", module="os", registered_name=None), "of the module"),
    ],
)
def test_a_model_does_not_choose_among_what_the_users_file_imports(change, words, tmp_path):
    custom = tmp_path / "own.py"
    custom.write_text(IMPORTING, encoding="utf-8")
    model = attacks.keras_with(change)(tmp_path, tmp_path / "trace")
    with pytest.raises(ConvertError, match=words):
        keras_model.load(model, keras_model.Wanted(custom=custom))


@pytest.mark.parametrize("name", ["popen", "decorated"])
def test_what_the_users_file_defines_is_used(name, tmp_path):
    custom = tmp_path / "own.py"
    custom.write_text(IMPORTING, encoding="utf-8")
    change = attacks.with_setting("activation", lambda _: name)
    model = attacks.h5_with(change)(tmp_path, tmp_path / "trace")
    assert keras_model.load(model, keras_model.Wanted(custom=custom)).classes == 3


def test_a_configuration_beyond_reason_is_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(keras_archive, "MAX_JSON_BYTES", 100)
    with pytest.raises(ConvertError, match=r"'config\.json' in it is"):
        keras_model.load(attacks.honest_keras(tmp_path))
