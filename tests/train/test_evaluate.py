"""`k2l evaluate`: one model as a Keras file, as a .tflite and behind a URL.

The model is a dense layer on the mean colour, written down rather than trained: what it answers is
known by construction.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda import atomic_files, html_report
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.quantize.metadata_writer import attach
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.model_file.card import ModelCard, Preprocessing
from keras_to_lambda.serve.gateway import Gateway
from keras_to_lambda.train import evaluate
from keras_to_lambda.train.assess import split_predictions
from keras_to_lambda.train.assess.split_predictions import EvaluatedModel
from keras_to_lambda.train.data.dataset import DataError, Split
from tests import http_host, labelled_zip, small_tflite

COLOURS = {"blue": (30, 40, 200), "green": (30, 190, 60), "red": (210, 40, 30)}
# The model's order is not the data's, which is alphabetical.
LABELS = ("red", "green", "blue")
CARD = ModelCard(
    name="colours", labels=LABELS, height=8, width=8,
    preprocessing=Preprocessing(interpolation="pillow:bilinear", scaling="rescale"),
)  # fmt: skip
# What is drawn in the test's folders: a few colours lie in another's.
TEST = {
    "blue": ("blue",) * 5,
    "green": ("green",) * 3 + ("red", "red"),
    "red": ("red",) * 4 + ("blue",),
}
# Rows are true labels, columns predicted ones, in the model's order: 12 of 15 are right.
CONFUSION = [[4, 0, 1], [2, 3, 0], [0, 0, 5]]


def network(weights=None, ending=None):
    import keras

    image = keras.Input((8, 8, 3))
    weights = 5 * np.eye(3) if weights is None else np.array(weights)
    dense = keras.layers.Dense(weights.shape[1], activation=ending)
    model = keras.Model(image, dense(keras.layers.GlobalAveragePooling2D()(image)))
    dense.set_weights([weights, np.zeros(weights.shape[1])])
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, colours.keras and lite/colours.tflite, each with its card."""
    from keras_to_lambda.convert.network import keras_model
    from keras_to_lambda.convert.quantize import flatbuffer

    folder = tmp_path_factory.mktemp("evaluate") / "colours"
    random = np.random.default_rng(7)
    few = {label: (label,) * 10 for label in COLOURS}
    for split, drawn in (("train", few), ("validation", few), ("test", TEST)):
        for label, colours in drawn.items():
            place = folder / "data" / split / label
            place.mkdir(parents=True)
            for number, colour in enumerate(colours):
                pixels = np.array(COLOURS[colour]) + random.normal(0, 25, (12, 10, 3))
                shown = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                shown.save(place / f"{number}.png")
    (folder / "data" / "test" / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    network().save(folder / "colours.keras")
    (folder / "colours.card.json").write_text(json.dumps(CARD.to_json()), encoding="utf-8")
    names = ("epoch", "loss", "accuracy", "validation_loss", "validation_accuracy")
    run = {"history": [dict(zip(names, (epoch, 1, 0.5, 1, 0.5), strict=True)) for epoch in (1, 2)]}
    (folder / "training.json").write_text(json.dumps(run), encoding="utf-8")
    graph = keras_model.load(folder / "colours.keras").concrete()
    (folder / "lite").mkdir()
    lite = cards.join(flatbuffer.build(graph, "none", []), CARD)
    (folder / "lite" / "colours.tflite").write_bytes(lite)
    return folder


@pytest.fixture(scope="module")
def gateway(folder):
    """The real function behind HTTP."""
    model = folder / "lite" / "colours.tflite"
    handler = Handler(Settings(model_path=str(model), log_level="FATAL", num_threads=1))
    return Gateway(handler.handle)


@pytest.fixture
def refused(run):
    def message(*arguments):
        """Of a command that fails: one line."""
        status, out, err = run(evaluate.main, *arguments)
        assert (status, out) == (2, "")
        last = err.splitlines()[-1]
        assert last.startswith("k2l evaluate: ")
        assert "Traceback" not in err
        return last

    return message


@pytest.fixture(scope="module")
def compared(folder, tmp_path_factory):
    """The Keras file against the .tflite, as the command does it: report, page and JSON."""
    output = tmp_path_factory.mktemp("report") / "both.html"
    arguments = [
        *(str(folder / "colours.keras"), "--data", str(folder / "data")),
        *("--against", str(folder / "lite" / "colours.tflite"), "--quiet", "-o", str(output)),
    ]
    report = evaluate.evaluate(evaluate.parser().parse_args(arguments))
    found = evaluate.evaluation_report.to_json(report)
    page = evaluate.evaluation_report.html(
        report, found, html_report.command_line("evaluate", ["MODEL"])
    )
    record = atomic_files.write_report(output, page, found)
    return report, page, json.loads(record.read_text(encoding="utf-8"))


def test_a_keras_file_is_as_right_as_it_was_made(compared):
    model = compared[2]["model"]
    assert (model["right"], model["pictures"], model["kind"]) == (12, 15, "keras")
    assert model["accuracy"] == pytest.approx(
        {"value": 0.8, "low": 0.5481, "high": 0.9295}, abs=1e-4
    )
    assert (model["labels"], model["confusion"]) == (list(LABELS), CONFUSION)
    listed = sorted((row["picture"], row["predicted"]) for row in model["mistakes"])
    assert listed == [("green/3.png", "red"), ("green/4.png", "red"), ("red/4.png", "blue")]
    sure = [row["probability"] for row in model["mistakes"]]
    assert sure == sorted(sure, reverse=True)


def test_scores_are_those_of_the_mean_colour_times_the_weights(compared):
    report = compared[0]
    wanted = []
    for path in report.split.items:
        with Image.open(path) as image:
            small = image.resize((8, 8), Image.Resampling.BILINEAR)
            wanted.append(5 * np.asarray(small, np.float64).mean(axis=(0, 1)) / 255)
    np.testing.assert_allclose(report.model.answers.logits, wanted, atol=1e-5)
    np.testing.assert_allclose(report.against.answers.logits, wanted, atol=1e-4)


def test_the_conclusion_is_two_sentences_and_names_the_models_by_their_files(compared):
    assert compared[2]["conclusion"] == (
        "colours is right on 12 of 15 pictures: accuracy 80.0% (95% interval 54.8 to 93.0%), wrong "
        "about once in 5. colours.keras and colours.tflite are right on the same pictures."
    )
    alone = replace(compared[0], against=None)
    assert evaluate.evaluation_report.to_json(alone)["conclusion"].endswith(
        "Its weakest labels are red (F1 0.727) and green (F1 0.750), with few pictures of red (5)."
    )


def test_the_page_needs_no_network_and_each_mistake_leads_to_its_pictures(compared, folder):
    _, page, record = compared
    assert not re.findall(r"<(script|link|iframe|object|form)\b", page)
    images = re.findall(r'<img src="(\S+)" alt="([^"]+)"', page)
    assert all(source.startswith("data:image/") and len(alt) > 5 for source, alt in images)
    anchors, links = re.findall(r' id="([^"]+)"', page), re.findall(r'<a href="#([^"]+)"', page)
    assert len(set(anchors)) == len(anchors)
    assert set(links) <= set(anchors)
    assert {link for link in links if link.startswith("pair-")} == {"pair-0-2", "pair-1-0"}
    for text in ("print-color-adjust: exact", "prefers-color-scheme: dark", "k2l evaluate MODEL",
                 "How it was trained"):  # fmt: skip
        assert text in page
    # No path of this machine.
    for text in (page, json.dumps(record)):
        assert str(folder) not in text
        assert "red/broken.png" in text


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["https://me:p@ss@host/predict?token=secret"], "'https://...@host/predict?...'"),
        (["--api-key", "secret", "--data", "photos"], "--api-key ... --data photos"),
        (["--api-key=key"], "--api-key=..."),
    ],
)
def test_keys_and_passwords_are_not_in_the_shown_command(words, shown):
    assert html_report.command_line("evaluate", words) == f"k2l evaluate {shown}"
    with pytest.raises(SystemExit):  # an abbreviation would not be recognized as a secret
        evaluate.parser().parse_args(["MODEL", "--data", "photos", "--api", "secret"])
    model = EvaluatedModel.of("https://me:secret@host.example/Prod/predict?key=secret")
    assert (model.file, model.name) == ("https://host.example/Prod/predict", "host.example")


@pytest.fixture
def copied(folder, tmp_path):
    """A copy of the .tflite, for tests that write into it."""
    return shutil.copy(folder / "lite" / "colours.tflite", tmp_path)


def test_the_calibration_is_written_into_the_card_and_nothing_else_changes(folder, copied, run):
    before = cards.load(copied)
    status, out, err = run(evaluate.main, copied, "--data", folder / "data")
    assert status == 0
    assert "wrote the calibration into colours.tflite" in err
    assert "0.800 (95% interval 0.548 to 0.930), 12 of 15 right" in out
    card = cards.load(copied)
    assert replace(card, calibration={}) == before
    assert card.calibration["classes"] == {
        label: {"predicted": 10, "right": 10} for label in ("red", "green", "blue")
    }
    cards.check_hash(copied, card)  # the flatbuffer is as it was


def test_a_keras_files_calibration_is_written_beside_it(compared, folder, monkeypatch):
    written = json.loads((folder / "colours.card.json").read_text(encoding="utf-8"))
    assert written["calibration"]["data"] == "data, validation"
    assert replace(ModelCard.from_json(written), calibration={}) == CARD

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(evaluate.calibration, "write", denied)
    assert evaluate._calibrated(compared[0], compared[0].model.answers).notes[-1] == (
        "the calibration could not be written into colours.card.json: Permission denied"
    )


def test_a_third_partys_file_keeps_its_labels_and_gets_no_calibration(folder, tmp_path, run):
    model = tmp_path / "net.tflite"
    model.write_bytes(small_tflite.third_party(attach(small_tflite.network(), CARD)))
    status, out, _ = run(evaluate.main, model, "--data", folder / "data", "--json")
    assert status == 0
    assert json.loads(out)["model"]["labels"] == list(LABELS)
    assert {path.name for path in tmp_path.iterdir()} == {
        "net.tflite", "net.evaluation.html", "net.evaluation.json",
    }  # fmt: skip


def test_photos_that_were_labelled_in_the_playground_are_evaluated(folder, copied, tmp_path, run):
    shown = [("green", "green/0.png"), ("blue", "blue/0.png"), ("blue", "red/0.png")]
    photos = [(label, folder / "data" / "train" / path) for label, path in shown]
    archive = labelled_zip.write(tmp_path / "labelled.zip", photos)
    status, out, _ = run(evaluate.main, copied, "--data", archive, "--split", "all")
    assert status == 0
    assert "2 of 3 right" in out
    assert not cards.load(copied).calibration  # only the test split calibrates


def test_an_endpoint_answers_as_its_file_does(folder, gateway, tmp_path, run, refused):
    data = ("--data", folder / "data")
    with http_host.wsgi(gateway) as host:
        url = f"{host}/predict"
        status, out, _ = run(evaluate.main, url, *data, "-o", tmp_path / "e.html", "--json")
        assert status == 0
        model = json.loads(out)["model"]
        assert (model["labels"], model["confusion"]) == (list(LABELS), CONFUSION)
        assert (model["file"], model["card"]) == (url, None)
        assert {path.name for path in tmp_path.iterdir()} == {"e.html", "e.json"}
        assert "route_not_found" in refused(f"{url}/elsewhere", *data)

    def hello(environ, start):
        start("200 OK", [("content-type", "application/json")])
        return [b'{"hello": "world"}']

    with http_host.wsgi(hello) as host:
        assert "does not answer with a score for each label" in refused(host, *data)
    assert "the request with blue/0.png failed" in refused(url, *data)


def test_a_keras_file_without_a_card_needs_the_scaling_and_the_labels(
    folder, tmp_path, run, refused
):
    weights = 5 * np.eye(3)[:, ::-1]  # in the data's order
    model = tmp_path / "plain.h5"
    network(weights).save(model)
    arguments = (model, "--data", folder / "data", "--json")
    message = refused(model, "--data", folder / "data")
    assert "no card beside it (plain.card.json); give --preprocess SCALING" in message
    status, out, _ = run(evaluate.main, *arguments, "--preprocess", "rescale")
    found = json.loads(out)["model"]
    assert (status, found["right"]) == (0, 12)
    assert found["labels"] == ["blue", "green", "red"]
    assert (found["card"]["height"], found["card"]["width"]) == (8, 8)
    assert not (tmp_path / "plain.card.json").exists()
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n", encoding="utf-8")
    _, out, _ = run(
        evaluate.main, *arguments, "--preprocess", "rescale", "--labels", tmp_path / "labels.txt"
    )
    assert json.loads(out)["model"]["labels"] == ["red", "green", "blue"]
    # As the second model: before the first one is evaluated, whose card decides.
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\nsky\n", encoding="utf-8")
    options = ("--preprocess", "rescale", "--labels", tmp_path / "labels.txt")
    line = (folder / "lite" / "colours.tflite", "--against", model, "--data", folder / "data")
    status, _, err = run(evaluate.main, *line, *options)
    assert status == 2
    assert "colours.tflite: --preprocess and --labels not used, its card decides" in err
    assert "plain.h5 has 3 outputs, but 4 labels; give" in err
    assert "evaluating" not in err


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        ("colours.keras", True),
        ("colours.tflite", True),
        ("colours-007-0.9531.keras", True),
        ("colours.checkpoints/colours-007-0.9531.keras", True),
        ("colours.h5", False),
        ("other.keras", False),
        ("lite/colours.tflite", False),
    ],
)
def test_the_training_is_shown_of_a_model_that_is_the_runs(folder, file, shown):
    model = EvaluatedModel("keras", str(folder / file), "m", "m.keras", CARD)
    assert bool(evaluate.evaluation_report._training(model)) is shown


def in_process(folder, model, card, *, sized=True):
    """Scores of a red and a blue picture, without the sandbox."""
    paths = [folder / "data" / "test" / label / "0.png" for label in ("red", "blue")]
    split = Split(np.array([0, 1], np.int32), ("red", "blue"), paths)
    (folder / "split.pickle").write_bytes(pickle.dumps(split))
    split_predictions.by_keras(
        model=str(model), card=card.to_json(), pictures=str(folder / "split.pickle"),
        folder=str(folder), wanted={}, sized=sized,
    )  # fmt: skip
    return np.load(folder / "scores.npy")


def test_a_saved_model_of_one_sigmoid_has_two_labels(folder, tmp_path):
    network([[6.0], [0.0], [-6.0]], "sigmoid").export(tmp_path / "red", verbose=False)
    card = replace(CARD, labels=("other", "red"), output="probabilities")
    red, blue = in_process(folder, tmp_path / "red", card)
    assert red.sum() == pytest.approx(1)
    assert red[1] > 0.9
    assert blue[0] > 0.9


@pytest.mark.parametrize(
    ("change", "sized", "message"),
    [
        ({"labels": ("a", "b")}, True, "3 outputs, but 2 labels; give the card"),
        ({"labels": ("a", "b")}, False, "3 outputs, but 2 labels; give --labels FILE"),
        ({"channels": 1}, True, "takes 3 channels"),
    ],
)
def test_a_card_or_labels_of_another_model_are_an_error(change, sized, message, folder):
    with pytest.raises(ConvertError, match=message):
        in_process(folder, folder / "colours.keras", replace(CARD, **change), sized=sized)


@pytest.mark.parametrize(
    ("card", "scores", "output", "note"),
    [
        (CARD, [0.5, 0.25, 0.25], "logits", '"output": "probabilities"'),
        (CARD, [3.0, -1.0, 0.5], "logits", ""),
        (replace(CARD, output="probabilities", activation="sigmoid"), [0.9, 0.8, 0.1],
         "probabilities", "multi-label"),
        (None, [0.5, 0.25, 0.26], "probabilities", ""),
        (None, [0.5, 0.75, 0.25], "logits", ""),
    ],
)  # fmt: skip
def test_what_scores_are_is_the_cards_or_seen(card, scores, output, note, tmp_path):
    model = EvaluatedModel("keras", "m", "m", "m.keras", card, card and tmp_path)
    found, notes = split_predictions._output(model, np.array([scores], np.float32))
    assert found == output
    assert note in "".join(notes)
    if card and output == "probabilities":
        model = replace(model, card=replace(card, activation="softmax"))
        with pytest.raises(DataError, match="do not add up to 1"):
            split_predictions._output(model, np.array([scores], np.float32))


def test_a_training_on_other_pictures_is_noted(compared):
    data = compared[0].data

    def notes(split_seed, **provenance):
        own = replace(CARD, provenance=provenance)
        model = EvaluatedModel("keras", "m", "m", "m.keras", own)
        return evaluate._notes([model], data, "test", split_seed)

    assert notes(1) == []
    assert notes(1, data_sha256=data.sha256, seed=1) == []
    assert "seed 2, this is the split of seed 1" in notes(1, data_sha256=data.sha256, seed=2)[0]
    assert "other data" in notes(1, data_sha256="f" * 64, seed=1)[0]


def test_labels_are_matched_by_name(compared):
    data = compared[0].data
    place, extra = split_predictions.matched(data, ("sky", *LABELS), "m")
    assert (place.tolist(), extra) == ([3, 2, 1], ["sky"])
    with pytest.raises(DataError, match=re.escape("m lacks 1 of the data's 3 labels (red)")):
        split_predictions.matched(data, ("reddish", "green", "blue"), "m")
    # A class folder without pictures, of which the model knows nothing.
    empty = replace(data, labels=(*data.labels, "violet"))
    assert split_predictions.matched(empty, LABELS, "m")[0].tolist() == [2, 1, 0, -1]


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("gone.keras", b"", (), "gone.keras"),
        ("text.keras", b"hello", (), "begins neither like a .keras nor like an .h5 file"),
        ("bare.tflite", b"\x1c\0\0\0TFL3" + bytes(40), (), "has no card in it"),
        ("any.tflite", b"", ("-o", "report.json"), "must end in .html"),
        ("any.tflite", b"", ("-o", "nowhere/report.html"), "no such folder: nowhere"),
    ],
)
def test_wrong_use_is_an_error(tmp_path, folder, refused, name, content, options, message):
    if content:
        (tmp_path / name).write_bytes(content)
    assert message in refused(tmp_path / name, "--data", folder / "data", *options)
