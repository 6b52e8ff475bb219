"""`k2l convert`, in this process, on a network of random weights."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_to_lambda.convert.quantize import quantization as forms
from keras_to_lambda.convert.sandbox.sandbox import Sandbox
from keras_to_lambda.convert.verification.comparison import compare
from keras_to_lambda.convert.verification.measurement import KerasSide, measure, outline
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.model_file.card import Preprocessing
from tests.convert.conftest import call_here


@pytest.mark.parametrize("kind", ["keras", "h5", "saved_model"])
def test_each_kind_of_model_file_becomes_a_verified_tflite(kind, models, request, capsys):
    # A folder in the real sandbox, for which all kinds of files are alike.
    run = request.getfixturevalue("in_sandbox" if kind == "saved_model" else "convert")
    status, output = run(models[kind])
    assert status == 0
    card = cards.load(output)
    assert card.labels == ("red", "green", "blue", "grey", "none of them")
    assert (card.height, card.width, card.channels, card.output) == (40, 40, 3, "logits")
    assert (card.schema_version, card.dtype) == (2, "uint8")
    past = card.provenance
    assert (past["scaling"], past["quantization"]) == ("mobilenet_v2", "none")
    assert (past["source_kind"], past["source_file"]) == (kind, models[kind].name)
    assert past["keras_version"] == keras.__version__
    if kind != "saved_model":
        digest = hashlib.sha256(models[kind].read_bytes()).hexdigest()
        assert past["source_sha256"] == digest
    proof = card.verification
    assert (proof["passed"], proof["samples"], proof["agreement"]) == (True, 12, 1.0)
    assert proof["spread"] > 1
    report = output.with_suffix(".report.md").read_text(encoding="utf-8")
    assert report.startswith("# Conversion of net\n")
    assert (
        "| verdict | verified: the same answers as Keras; accuracy, labels and scaling not checked"
        " |" in report
    )
    names = ["net.report.html", "net.report.md", "net.tflite"]
    assert sorted(path.name for path in output.parent.iterdir()) == names
    assert "verdict" in capsys.readouterr().out


def test_a_quantization_is_verified_and_its_calibration_cautioned(models, convert, capsys):
    status, output = convert(models["keras"], "--quantize", "int8")
    assert status == 0
    card = cards.load(output)
    assert (card.provenance["quantization"], card.dtype) == ("int8", "uint8")
    assert card.verification["passed"] is True
    assert "int8 was calibrated on 12 photos: give 100 or more" in capsys.readouterr().out


def test_options_reach_the_card(models, convert):
    status, output = convert(
        models["keras"],
        *("--resize", "crop", "--interpolation", "tf:bilinear"),
        *("--exif", "ignore", "--alpha", "white", "--color-order", "bgr", "--max-samples", "5"),
        preprocess="rescale",
    )
    assert status == 0
    card = cards.load(output)
    steps, past = card.preprocessing, card.provenance
    assert (card.name, card.verification["samples"]) == ("net", 5)
    assert (steps.resize, steps.interpolation) == ("crop", "tf:bilinear")
    assert (steps.exif, steps.alpha) == ("ignore", "white")
    assert (past["scaling"], past["color_order"]) == ("rescale", "bgr")


def test_the_card_beside_the_model_is_enough(network, convert, tmp_path, write_json):
    network(softmax=True).save(tmp_path / "net.keras")
    known = cards.ModelCard(
        name="known",
        labels=("a", "b", "c", "d", "e"),
        height=40,
        width=40,
        preprocessing=cards.Preprocessing(interpolation="pillow:bicubic", scaling="rescale"),
        provenance={"seed": 3},
    )
    write_json(tmp_path / "net.card.json", known.to_json())
    status, output = convert(tmp_path / "net.keras", names=None)
    assert status == 0
    card = cards.load(output)
    assert (card.name, card.labels) == ("known", ("a", "b", "c", "d", "e"))
    assert card.preprocessing.interpolation == "pillow:bicubic"
    assert (card.provenance["scaling"], card.provenance["seed"]) == ("rescale", 3)
    assert card.output == "probabilities"


def test_an_open_input_size_is_given_by_the_size_option(convert, refused, tmp_path):
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(image)
    x = keras.layers.Dense(5)(keras.layers.GlobalMaxPooling2D()(x))
    keras.Model(image, x).save(tmp_path / "net.keras")
    assert "--size HEIGHTxWIDTH" in refused(tmp_path / "net.keras")
    status, output = convert(tmp_path / "net.keras", "--size", "48x32")
    assert status == 0
    card = cards.load(output)
    assert (card.height, card.width) == (48, 32)


def test_a_difference_beyond_the_tolerance_exits_with_1_and_can_be_looked_at(
    models, convert, converted, monkeypatch, capsys, tmp_path
):
    exact = forms.Quantization("as trained", forms.Tolerance(1.0, 0.0))
    monkeypatch.setitem(forms.QUANTIZATIONS, "none", exact)
    page = tmp_path / "why.html"
    status, output = convert(models["keras"], "--report", str(page))
    assert status == 1
    assert not output.parent.exists()
    printed = capsys.readouterr()
    assert "FAILED: logits differ by" in printed.out
    assert "not written" in printed.err
    text = page.read_text(encoding="utf-8")
    assert "Failed: the converted model gives all" in text
    assert text.count('<div class="sides">') == 8
    # The file of an earlier conversion stays.
    output.parent.mkdir()
    output.write_bytes(converted.read_bytes())
    status, _ = convert(models["keras"])
    assert status == 1
    assert output.read_bytes() == converted.read_bytes()


def test_a_wrong_pipeline_is_caught(models, converted, in_process, samples, tmp_path):
    """The reference is judged with one card, the file is served with another."""
    card = cards.load(converted)
    keras_side = KerasSide.ask(
        Sandbox(),
        tmp_path,
        sorted(samples.iterdir()),
        root=samples,
        model=str(models["keras"]),
        wanted={},
        outline=outline("net", card.labels, Preprocessing(scaling="mobilenet_v2"), {}),
    )
    assert measure(Sandbox(), converted, keras_side, "none").comparison.faults == []
    wrong = replace(card, preprocessing=replace(card.preprocessing, resize="crop"))
    altered = tmp_path / "wrong.tflite"
    altered.write_bytes(cards.join(converted.read_bytes()[: card.model_bytes], wrong))
    served = measure(Sandbox(), altered, keras_side, "int8").comparison
    assert any("logits differ by" in fault for fault in served.faults)


def test_not_a_number_is_a_fault():
    expected = np.float32([[2, 1]])
    tolerance = forms.QUANTIZATIONS["int8"].tolerance
    assert len(compare(expected, np.float32([[np.nan, 1]]), tolerance).faults) == 1


def test_quiet_prints_nothing_on_stderr_and_json_is_json(models, convert, capsys):
    status, _ = convert(models["keras"], "--quiet", "--json")
    printed = capsys.readouterr()
    assert status == 0
    assert printed.err == ""
    findings = json.loads(printed.out)
    assert (findings["passed"], findings["quantization"]) == (True, "none")
    assert findings["candidates"][0]["agreement"] == 1.0
    assert findings["keras"]["loaded_by"] == f"keras {keras.__version__}"
    assert findings["keras"]["peak_mb"] > 100


ROOT = Path(__file__).parents[2]
TFLITE = ROOT / ".venv-tflite" / "bin" / "python"


@pytest.mark.skipif(not TFLITE.exists(), reason="no tflite-runtime here: make test-tflite")
def test_another_interpreter_serves_or_names_the_layer_that_it_cannot(
    in_sandbox, monkeypatch, capsys
):
    real = Sandbox.call

    def call(sandbox, *arguments, **options):
        return (real if sandbox.python else call_here)(sandbox, *arguments, **options)

    monkeypatch.setattr(Sandbox, "call", call)
    model = ROOT / "models" / "clothing" / "clothing.keras"
    for quantization, wanted in (("none", 0), ("dynamic", 2)):
        options = ("--interpreter", str(TFLITE), "--quantize", quantization)
        status, output = in_sandbox(model, *options, names=None, photos=ROOT / "samples")
        assert status == wanted
    assert cards.load(output).verification["interpreter"] == "tflite_runtime"
    # Its last release knows the operator in version 11.
    printed = capsys.readouterr().err
    assert "lacks FULLY_CONNECTED in version 12" in printed
    assert "/logits_1/" in printed
