"""`k2l evaluate`: one model as a Keras file, as a .tflite and behind a URL.

The model is a dense layer on the mean colour, written down rather than trained: what it answers is
known by construction.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import socketserver
import threading
import wsgiref.simple_server
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.runtime.aws_lambda import INVOCATIONS_PATH
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.model import card as cards
from keras_to_lambda.runtime.model.card import ModelCard, Preprocessing
from keras_to_lambda.runtime.settings import Settings
from keras_to_lambda.serve.gateway import Gateway
from keras_to_lambda.train import evaluate
from keras_to_lambda.train.assess import answers, findings
from keras_to_lambda.train.data.arrays import assemble
from keras_to_lambda.train.data.dataset import DataError, neutral
from keras_to_lambda.train.data.photos import Photos
from keras_to_lambda.train.evaluate import main

MODELS = Path(__file__).resolve().parents[2] / "models"
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
COLOURS = {"blue": (30, 40, 200), "green": (30, 190, 60), "red": (210, 40, 30)}
# The model's order is not the data's, which is alphabetical.
LABELS = ("red", "green", "blue")
CARD = ModelCard(
    name="colours",
    labels=LABELS,
    height=8,
    width=8,
    preprocessing=Preprocessing(interpolation="pillow:bilinear", scaling="rescale"),
)
# What is drawn in the test's folders: a few colours lie in another's.
TEST = {
    "blue": ("blue",) * 5,
    "green": ("green",) * 3 + ("red", "red"),
    "red": ("red",) * 4 + ("blue",),
}
RIGHT, PICTURES = 12, 15
# Rows are true labels, columns predicted ones, in the model's order.
CONFUSION = [[4, 0, 1], [2, 3, 0], [0, 0, 5]]


def network(weights=None, ending=None):
    import keras

    layers = keras.layers
    image = keras.Input((8, 8, 3))
    weights = 5 * np.eye(3) if weights is None else np.array(weights)
    dense = layers.Dense(weights.shape[1], activation=ending)
    model = keras.Model(image, dense(layers.GlobalAveragePooling2D()(image)))
    dense.set_weights([weights, np.zeros(weights.shape[1])])
    return model


def write_card(path, card=CARD):
    path.write_text(json.dumps(card.to_json()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, colours.keras and colours.tflite, each with its card."""
    from keras_to_lambda.convert.network import keras_model
    from keras_to_lambda.convert.quantize import flatbuffer

    folder = tmp_path_factory.mktemp("evaluate")
    random = np.random.default_rng(7)
    few = {label: (label,) * 3 for label in COLOURS}
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
    write_card(folder / "colours.card.json")
    graph = keras_model.load(folder / "colours.keras").concrete()
    lite = cards.join(flatbuffer.build(graph, "none", []), CARD)
    (folder / "lite").mkdir()
    (folder / "lite" / "colours.tflite").write_bytes(lite)
    return folder


class Threaded(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class Silent(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def serving():
    """Serve a WSGI application; gives its address."""
    servers = []

    def serve(application):
        server = wsgiref.simple_server.make_server(
            "127.0.0.1", 0, application, server_class=Threaded, handler_class=Silent
        )
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def endpoint(folder, serving):
    """The real function behind an address."""
    settings = Settings(
        model_path=folder / "lite" / "colours.tflite", log_level="FATAL", num_threads=1
    )
    return serving(Gateway(Handler(settings)))


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(answers, "RETRY_AFTER_S", 0.0)


def told(capfd, *arguments):
    """Exit status, standard output and standard error."""
    capfd.readouterr()
    status = main([str(argument) for argument in arguments])
    out, err = capfd.readouterr()
    return status, out, err


def refused(capfd, *arguments):
    """The message of a command that is wrong: one line, after what is told on the way."""
    status, out, err = told(capfd, *arguments)
    assert status == 2
    assert out == ""
    lines = err.splitlines()
    assert lines[-1].startswith("k2l evaluate: error: ")
    assert "Traceback" not in err
    return lines[-1].removeprefix("k2l evaluate: error: ")


@pytest.fixture(scope="module")
def compared(folder):
    """The Keras file against the .tflite, as the command does it: report, page and JSON."""
    options = evaluate._parser().parse_args(
        [
            str(folder / "colours.keras"),
            "--data",
            str(folder / "data"),
            "--against",
            str(folder / "lite" / "colours.tflite"),
            "--quiet",
        ]
    )
    report = evaluate.evaluate(options)
    page, record = evaluate.write(report, folder / "both.html")
    return report, page.read_text(encoding="utf-8"), json.loads(record.read_text(encoding="utf-8"))


def test_a_keras_file_is_as_right_as_it_was_made(compared):
    model = compared[2]["model"]
    assert (model["right"], model["pictures"]) == (RIGHT, PICTURES)
    assert model["accuracy"]["value"] == pytest.approx(0.8)
    assert model["labels"] == list(LABELS)
    assert model["confusion"] == CONFUSION
    recalls = {row["label"]: row["recall"]["value"] for row in model["classes"]}
    assert recalls == {"red": 0.8, "green": 0.6, "blue": 1.0}
    assert (model["top_k"]["k"], model["kind"], model["output"]) == (2, "keras", "logits")


def test_scores_are_those_of_the_mean_colour_times_the_weights(compared, folder):
    report = compared[0]
    wanted = []
    for path in report.split.paths:
        with Image.open(path) as image:
            small = image.resize((8, 8), Image.Resampling.BILINEAR)
            wanted.append(5 * np.asarray(small, np.float64).mean(axis=(0, 1)) / 255)
    np.testing.assert_allclose(report.asked.answers.scores, wanted, atol=1e-5)


def test_keras_tflite_and_endpoint_answer_alike(compared, folder, endpoint):
    report = compared[0]
    options = evaluate._parser().parse_args(
        [f"{endpoint}/predict", "--data", str(folder / "data"), "--quiet"]
    )
    served = evaluate.evaluate(options)
    keras, lite = report.asked.answers, report.against[0].answers
    assert served.asked.answers.labels == LABELS
    for other in (lite, served.asked.answers):
        np.testing.assert_allclose(keras.scores, other.scores, atol=1e-4)
        assert other.targets.tolist() == keras.targets.tolist()
    assert served.figures.accuracy == report.figures.accuracy == report.against[1].accuracy


@pytest.mark.parametrize(
    ("split", "judged"),
    [("test", "15 of 33 pictures (the test split)"), ("all", "all 33 pictures")],
)
def test_what_part_of_the_data_was_judged_is_in_the_summary(split, judged, folder, endpoint):
    options = evaluate._parser().parse_args(
        [f"{endpoint}/predict", "--data", str(folder / "data"), "--split", split, "--quiet"]
    )
    report = evaluate.evaluate(options)
    assert findings.text(report).startswith(f"{report.asked.subject.file} on data, {judged}\n")
    right = RIGHT + 18 * (split == "all")
    assert report.figures.right == right
    page = evaluate.write(report, folder / f"{split}.html")[0].read_text(encoding="utf-8")
    assert "data:image" in page


def test_a_model_beside_itself_is_no_better(compared):
    comparison = compared[2]["comparison"]
    assert (comparison["both_right"], comparison["both_wrong"]) == (RIGHT, PICTURES - RIGHT)
    assert (comparison["only_model_right"], comparison["only_against_right"]) == (0, 0)
    assert comparison["mcnemar_p"] == 1.0
    assert comparison["differing"] == []
    # Both cards have the same name: the files tell them apart.
    assert comparison["conclusion"] == (
        "colours.keras and colours.tflite get the same pictures right: there is no difference to "
        "test."
    )


def test_mistakes_are_listed_the_most_confident_first(compared):
    listed = compared[2]["model"]["mistakes"]
    assert sorted((row["true"], row["predicted"]) for row in listed) == [
        ("green", "red"),
        ("green", "red"),
        ("red", "blue"),
    ]
    assert {row["picture"] for row in listed} == {"green/3.png", "green/4.png", "red/4.png"}
    sure = [row["probability"] for row in listed]
    assert sure == sorted(sure, reverse=True)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))


def test_the_page_asks_nothing_of_any_network_and_every_picture_says_what_it_shows(compared):
    elements = Page(compared[1]).elements
    tags = {tag for tag, _ in elements}
    assert not tags & {"script", "link", "iframe", "object", "form", "a"}
    images = [attributes for tag, attributes in elements if tag == "img"]
    assert len(images) >= 8 + 3  # the plots, and the mistakes
    assert all(image["src"].startswith("data:image/") for image in images)
    assert all(len(image["alt"]) > 10 for image in images)
    assert "http" not in compared[1].replace("http-equiv", "")


def test_page_and_json_name_nothing_of_this_machine(compared, folder):
    _, page, record = compared
    for text in (page, json.dumps(record)):
        assert str(folder) not in text
        assert folder.name not in text
    assert record["data"]["name"] == "data"
    assert record["model"]["file"] == "colours.keras"


def test_what_was_left_out_is_told_with_its_reason(compared):
    [[name, reason]] = compared[2]["data"]["skipped"]
    assert name == "red/broken.png"
    assert reason
    assert "red/broken.png" in compared[1]


def test_the_command_asks_an_endpoint_and_tells_what_it_found(folder, endpoint, tmp_path, capfd):
    output = tmp_path / "colours.html"
    status, out, err = told(
        capfd, endpoint + INVOCATIONS_PATH, "--data", folder / "data", "-o", output
    )
    assert status == 0
    assert "0.800 (95 % interval 0.548 to 0.930), 12 of 15 right" in out
    assert "green taken for red: 2 of 5" in out
    assert "Traceback" not in err
    assert output.exists()
    record = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    assert record["model"]["file"] == endpoint + INVOCATIONS_PATH
    assert record["model"]["card"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["colours.html", "colours.json"]


def test_json_is_written_beside_the_model_and_to_standard_output(folder, capfd):
    model = folder / "lite" / "colours.tflite"
    status, out, err = told(capfd, model, "--data", folder / "data", "--json", "--quiet")
    assert (status, err) == (0, "")
    aside = folder / "lite" / "colours.evaluation.json"
    assert json.loads(out) == json.loads(aside.read_text(encoding="utf-8"))
    assert json.loads(out)["model"]["confusion"] == CONFUSION
    assert (folder / "lite" / "colours.evaluation.html").exists()


def test_credentials_in_a_url_are_not_told():
    subject = answers.Subject.of("https://me:secret@host.example/Prod/predict?key=secret")
    assert subject.file == "https://host.example/Prod/predict"
    assert subject.name == "host.example"


# Models of other kinds, asked in this process.


def in_process(folder, model, card):
    data = Photos(
        targets=np.array([0, 1], np.int32),
        paths=tuple(folder / "data" / "test" / label / "0.png" for label in ("red", "blue")),
    )
    (folder / "split.pickle").write_bytes(pickle.dumps(data))
    answers.by_keras(
        model=str(model),
        card=card.to_json(),
        pictures=str(folder / "split.pickle"),
        folder=str(folder),
        wanted={},
    )
    return np.load(folder / "scores.npy")


def test_a_saved_model_of_one_sigmoid_has_two_labels(folder, tmp_path):
    network([[6.0], [0.0], [-6.0]], "sigmoid").export(tmp_path / "red", verbose=False)
    card = replace(CARD, labels=("other", "red"), output="probabilities")
    red, blue = in_process(folder, tmp_path / "red", card)
    assert red.sum() == pytest.approx(1)
    assert red[1] > 0.9
    assert blue[0] > 0.9


def test_a_card_of_another_model_is_refused(folder):
    from keras_to_lambda.convert.errors import ConvertError

    model = folder / "colours.keras"
    with pytest.raises(ConvertError, match="3 outputs, its card 2 labels"):
        in_process(folder, model, replace(CARD, labels=("a", "b")))
    with pytest.raises(ConvertError, match="takes 3 channels, its card says 1"):
        in_process(folder, model, replace(CARD, channels=1))


def test_pictures_of_arrays_are_sent_as_they_are():
    random = np.random.default_rng(1)
    for shape in ((20, 9, 7), (20, 9, 7, 3)):
        images = random.integers(0, 256, shape, dtype=np.uint8)
        targets = np.arange(20) % 2
        data = assemble({"train": (images, targets), "test": (images, targets)}, 1, "0" * 64)
        content = data.splits["test"].file(3, neutral(data))
        with Image.open(io.BytesIO(content)) as image:
            assert image.format == "PNG"
            np.testing.assert_array_equal(np.asarray(image), images[3])


def test_a_photo_is_sent_as_its_own_bytes(folder):
    path = folder / "data" / "test" / "red" / "0.png"
    split = Photos(targets=np.zeros(1, np.int32), paths=(path,))
    assert split.file(0, CARD) == path.read_bytes()


# What can be wrong.


def test_the_seed_and_the_data_of_the_training_are_compared(compared):
    data = compared[0].data

    def notes(split_seed, **provenance):
        subject = answers.Subject(
            "keras", "m", "m", "m.keras", replace(CARD, provenance=provenance)
        )
        return evaluate._notes(subject, None, data, "test", split_seed)

    assert notes(1) == []
    assert notes(1, data_sha256=data.sha256, seed=1) == []
    assert "seed 2, this is the split of seed 1" in notes(1, data_sha256=data.sha256, seed=2)[0]
    assert "other data" in notes(1, data_sha256="f" * 64, seed=1)[0]
    assert evaluate._seed(answers.Subject("keras", "m", "m", "m", CARD)) == 1
    own = replace(CARD, provenance={"seed": 5})
    assert evaluate._seed(answers.Subject("keras", "m", "m", "m", own)) == 5


def test_labels_that_the_model_does_not_know_are_an_error(folder, tmp_path, capfd):
    model = tmp_path / "colours.tflite"
    content = (folder / "lite" / "colours.tflite").read_bytes()
    card = replace(CARD, labels=("reddish", "green", "blue"))
    model.write_bytes(
        cards.join(content[: cards.load(folder / "lite" / "colours.tflite").model_bytes], card)
    )
    message = refused(capfd, model, "--data", folder / "data")
    assert "colours.tflite does not know 1 of the data's 3 labels (red)" in message
    assert "reddish, green, blue" in message


def test_labels_that_only_the_model_knows_are_noted(compared):
    data = compared[0].data
    place, extra = answers.matched(data.labels, ("sky", *LABELS), "m")
    assert place.tolist() == [3, 2, 1]
    assert extra == ["sky"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.keras", None, "there is no model at"),
        ("text.keras", b"hello", "begins neither like a .keras nor like an .h5 file"),
        ("text.bin", b"hello", "neither a .keras or .h5 file nor a SavedModel folder"),
        ("bare.tflite", b"\x1c\0\0\0TFL3" + bytes(40), "has no card in it"),
    ],
)
def test_a_file_of_another_kind_is_an_error(tmp_path, folder, capfd, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert message in refused(capfd, tmp_path / name, "--data", folder / "data")


def test_a_keras_file_without_its_card_is_an_error(tmp_path, folder, capfd):
    model = tmp_path / "alone.keras"
    model.write_bytes((folder / "colours.keras").read_bytes())
    message = refused(capfd, model, "--data", folder / "data")
    assert "no card beside it" in message
    assert "alone.card.json" in message
    assert "convert the model with `k2l convert` and evaluate the .tflite" in message
    assert "--card FILE" in message
    assert answers.Subject.of(str(model), folder / "colours.card.json").card == CARD


def test_data_that_is_not_there_is_an_error(tmp_path, folder, capfd):
    assert "nowhere" in refused(
        capfd, folder / "lite" / "colours.tflite", "--data", tmp_path / "nowhere"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "report.json"), "must end in .html"),
        (("-o", "nowhere/report.html"), "there is no folder nowhere"),
        (("--top-k", "0"), "--top-k must be at least 1"),
        (("--workers", "0"), "--workers must be at least 1"),
        (("--max-memory", "0"), "must be more than 0"),
        (("--header", "key"), "is not NAME:VALUE"),
        (("--against-card", "x.json"), "goes with --against"),
        (("--card", "gone.json"), "gone.json"),
    ],
)
def test_options_that_are_wrong_are_told(folder, capfd, options, message):
    model = folder / "lite" / "colours.tflite"
    assert message in refused(capfd, model, "--data", folder / "data", *options)


def test_labels_for_a_file_are_an_error(folder, tmp_path, capfd):
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n", encoding="utf-8")
    message = refused(
        capfd, folder / "lite" / "colours.tflite", "--data", folder / "data",
        "--labels", tmp_path / "labels.txt",
    )  # fmt: skip
    assert "--labels is for endpoints" in message


def test_given_labels_are_an_endpoints_order_and_must_be_its_own(folder, endpoint, tmp_path, capfd):
    labels = tmp_path / "labels.txt"
    url, output = f"{endpoint}/predict", tmp_path / "e.html"
    labels.write_text("blue\ngreen\nred\n", encoding="utf-8")
    run = (url, "--data", folder / "data", "-o", output, "--labels", labels, "--json")
    status, out, _ = told(capfd, *run)
    assert status == 0
    assert json.loads(out)["model"]["labels"] == ["blue", "green", "red"]
    assert json.loads(out)["model"]["confusion"] == [[5, 0, 0], [0, 3, 2], [1, 0, 4]]
    labels.write_text("blue\ngreen\npink\n", encoding="utf-8")
    assert "only one of them knows pink, red" in refused(capfd, *run)


def test_an_endpoint_that_is_not_there_is_an_error(folder, capfd):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        message = refused(capfd, f"http://127.0.0.1:{port}/predict", "--data", folder / "data")
    assert "asked twice about blue/0.png" in message
    assert "cannot be reached" in message


def test_a_route_that_gives_no_scores_is_an_error(folder, serving, capfd):
    def hello(environ, start):
        start("200 OK", [("content-type", "application/json")])
        return [b'{"hello": "world"}']

    message = refused(capfd, serving(hello), "--data", folder / "data")
    assert "something else than a score for each label" in message


def test_the_functions_own_error_is_told(folder, endpoint, capfd):
    message = refused(capfd, f"{endpoint}/elsewhere", "--data", folder / "data")
    assert "route_not_found" in message


def test_a_request_that_fails_once_is_made_again(folder, serving, tmp_path, capfd):
    settings = Settings(
        model_path=folder / "lite" / "colours.tflite", log_level="FATAL", num_threads=1
    )
    gateway, lock, asked = Gateway(Handler(settings)), threading.Lock(), []

    def flaky(environ, start):
        with lock:
            asked.append(environ["PATH_INFO"])
            fails = len(asked) in (1, 5)
        if not fails:
            return gateway(environ, start)
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        start("503 Service Unavailable", [("content-type", "application/json")])
        return [b'{"message": "Service Unavailable"}']

    status, out, _ = told(
        capfd, f"{serving(flaky)}/predict", "--data", folder / "data", "-o", tmp_path / "f.html"
    )
    assert status == 0
    assert "12 of 15 right" in out
    assert len(asked) == PICTURES + 2


def test_a_card_that_is_wrong_about_probabilities_is_told(folder):
    wrong = answers.Subject("keras", "m", "m", "m.keras", replace(CARD, output="probabilities"))
    with pytest.raises(DataError, match="do not add up to 1"):
        answers._output(wrong, np.array([[3.0, -1.0, 0.5]], np.float32))
    tags = replace(CARD, output="probabilities", activation="sigmoid")
    several = answers.Subject("keras", "m", "m", "m.keras", tags)
    said, notes = answers._output(several, np.array([[0.9, 0.8, 0.1]], np.float32))
    assert said == "probabilities"
    assert notes[0].startswith("multi-label: the scores do not add up to 1")
    said, notes = answers._output(
        answers.Subject("keras", "m", "m", "m.keras", CARD),
        np.array([[0.5, 0.25, 0.25]], np.float32),
    )
    assert said == "logits"
    assert '"output": "probabilities"' in notes[0]
    unknown = answers.Subject("endpoint", "u", "u", "u")
    assert answers._output(unknown, np.array([[0.5, 0.25, 0.26]], np.float32))[0] == "probabilities"
    assert answers._output(unknown, np.array([[0.5, 0.75, 0.25]], np.float32))[0] == "logits"


def test_the_digits_models_are_as_right_as_their_cards_say(tmp_path, capfd):
    if not (DATA / "mnist").is_dir():
        pytest.skip(f"{DATA.name}/mnist is not here")
    first, second = (MODELS / name / f"{name}.tflite" for name in ("digits", "digits-tree"))
    status, out, _ = told(
        capfd, first, "--against", second, "--data", DATA / "mnist", "-o", tmp_path / "d.html",
        "--json", "--most", "2",
    )  # fmt: skip
    assert status == 0
    found = json.loads(out)
    for key, path in (("model", first), ("against", second)):
        facts = cards.load(path).provenance
        assert found["data"]["sha256"] == facts["data_sha256"]
        assert found[key]["accuracy"]["value"] == pytest.approx(facts["test_accuracy"], abs=1e-4)
        low_high = [found[key]["accuracy"]["low"], found[key]["accuracy"]["high"]]
        assert low_high == pytest.approx(facts["test_interval_95"], abs=1e-4)
    assert found["comparison"]["significant"] is True
    assert "The difference is significant at 5 %: p < 0.001" in found["comparison"]["conclusion"]
