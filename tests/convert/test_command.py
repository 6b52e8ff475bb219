"""`python -m convert`, in this process, on a network of random weights."""

from __future__ import annotations

import hashlib

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from classifier import card as cards
from convert import verify


@pytest.mark.parametrize("kind", ["keras", "h5", "saved_model"])
def test_each_kind_of_model_file_becomes_a_verified_tflite(kind, models, convert, capsys):
    status, output = convert(models[kind])
    assert status == 0
    card = cards.load(output)
    assert card.labels == ("red", "green", "blue", "grey", "none of them")
    assert (card.height, card.width, card.channels, card.output) == (40, 40, 3, "logits")
    assert card.preprocessing.scaling == "mobilenet_v2"
    assert card.provenance["source_kind"] == kind
    assert card.provenance["source_file"] == models[kind].name
    assert card.provenance["quantization"] == "none"
    assert card.provenance["keras_version"] == keras.__version__
    if kind != "saved_model":
        digest = hashlib.sha256(models[kind].read_bytes()).hexdigest()
        assert card.provenance["source_sha256"] == digest
    assert card.verification["passed"] is True
    assert card.verification["samples"] == 12
    assert card.verification["agreement"] == 1.0
    assert card.verification["spread"] > 1
    report = output.with_suffix(".report.md").read_text(encoding="utf-8")
    assert report.startswith("# Conversion of net\n")
    assert "| verdict | verified |" in report
    assert sorted(path.name for path in output.parent.iterdir()) == ["net.report.md", "net.tflite"]
    assert "verdict" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("quantization", "dtype"), [("float16", "float16"), ("dynamic", "int8"), ("int8", "int8")]
)
def test_each_quantization_is_verified_and_in_the_weights(quantization, dtype, models, convert):
    status, output = convert(models["keras"], "--quantize", quantization)
    assert status == 0
    card = cards.load(output)
    assert card.provenance["quantization"] == quantization
    assert card.verification["passed"] is True
    assert card.dtype == "float32"
    tensors = Interpreter(model_path=str(output)).get_tensor_details()
    assert dtype in {np.dtype(tensor["dtype"]).name for tensor in tensors}


def test_a_softmax_is_noticed(network, convert, tmp_path):
    network(softmax=True).save(tmp_path / "net.keras")
    status, output = convert(tmp_path / "net.keras")
    assert status == 0
    assert cards.load(output).output == "probabilities"


def test_options_reach_the_card(models, convert):
    status, output = convert(
        models["keras"],
        *("--name", "colours", "--resize", "crop", "--interpolation", "tf:bilinear"),
        *("--exif", "apply", "--alpha", "white", "--color-order", "bgr", "--max-samples", "5"),
        preprocess="rescale",
    )
    assert status == 0
    card = cards.load(output)
    steps = card.preprocessing
    assert card.name == "colours"
    assert card.verification["samples"] == 5
    assert (steps.scaling, steps.resize, steps.interpolation) == ("rescale", "crop", "tf:bilinear")
    assert (steps.exif, steps.alpha, steps.color_order) == ("apply", "white", "bgr")


def test_the_card_beside_the_model_is_enough(network, convert, tmp_path, write_json):
    network().save(tmp_path / "net.keras")
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
    assert card.preprocessing == known.preprocessing
    assert card.provenance["seed"] == 3


def test_an_open_input_size_is_given_by_the_size_option(convert, refused, labels, tmp_path):
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


def test_a_difference_beyond_the_tolerance_exits_with_1_and_writes_nothing(
    models, convert, monkeypatch, capsys
):
    monkeypatch.setitem(verify.TOLERANCES, "none", verify.Tolerance(1.0, 0.0))
    status, output = convert(models["keras"])
    assert status == 1
    assert not list(output.parent.iterdir())
    told = capsys.readouterr()
    assert "FAILED: logits differ by" in told.out
    assert "not written" in told.err


def test_a_model_that_failed_leaves_the_one_before_it_alone(models, convert, monkeypatch):
    _, output = convert(models["keras"])
    before = output.read_bytes()
    monkeypatch.setitem(verify.TOLERANCES, "none", verify.Tolerance(1.0, 0.0))
    status, _ = convert(models["keras"], "--name", "another")
    assert status == 1
    assert output.read_bytes() == before


def test_a_wrong_pipeline_is_caught(models, convert, samples, tmp_path):
    """The reference is judged with one card, the file is served with another."""
    from convert import keras_model, reference

    _, output = convert(models["keras"])
    with output.open("rb") as file:
        end, card = cards.read(file)
    wrong = cards.replace(
        card, preprocessing=cards.replace(card.preprocessing, scaling="rescale"), verification={}
    )
    altered = tmp_path / "wrong.tflite"
    altered.write_bytes(cards.join(output.read_bytes()[:end], wrong))
    served = verify.ServingPath(altered)
    graph = keras_model.load(models["keras"]).concrete()
    photos = sorted(samples.iterdir())
    pairs = [
        (keras_model.predict(graph, reference.tensor(photo, card)), served.logits(photo))
        for photo in photos
    ]
    result = verify.Verification(
        samples=len(pairs),
        skipped=0,
        agreement=float(np.mean([a.argmax() == b.argmax() for a, b in pairs])),
        max_difference=float(max(abs(a - b).max() for a, b in pairs)),
        mean_difference=float(np.mean([abs(a - b) for a, b in pairs])),
        spread=float(np.mean([np.ptp(a) for a, _ in pairs])),
        keras_ms=1.0,
        tflite_ms=1.0,
        model_bytes=1,
        tolerance=verify.TOLERANCES["int8"],
    )
    assert any("logits differ by" in fault for fault in result.faults)
    # The same file with the card that is right has no fault.
    right, _ = verify.verify(graph, output, photos, verify.TOLERANCES["none"])
    assert right.faults == []


def test_not_a_number_is_a_fault():
    result = verify.Verification(
        *(1, 0, 1.0, float("nan"), float("nan"), 1.0, 1.0, 1.0, 1),
        tolerance=verify.TOLERANCES["int8"],
    )
    assert len(result.faults) == 1
