"""`k2l verify`: against a function served over HTTP on loopback."""

from __future__ import annotations

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.convert import verify
from keras_to_lambda.convert.common import source_card
from keras_to_lambda.convert.quantize import pixel_front
from keras_to_lambda.convert.verification import pipeline_diff
from keras_to_lambda.runtime.common.aws_lambda import INVOCATIONS_PATH
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.serve.gateway import Gateway
from tests.http_host import wsgi


def serving(model):
    """A `.tflite` behind API Gateway's contract: its base URL."""
    handler = Handler(Settings(model_path=str(model), num_threads=1, log_level="FATAL"))
    return wsgi(Gateway(handler.handle))


@pytest.fixture
def altered(tmp_path):
    """The same network, converted in another way."""

    def alter(model, **steps):
        card = source_card.network(cards.load(model))
        other = replace(card, preprocessing=replace(card.preprocessing, **steps))
        whole = model.read_bytes()[: card.model_bytes]
        network = whole[whole.rindex(b"TFL3") - 4 :]
        described = source_card.converted(other, "uint8")
        path = tmp_path / "altered.tflite"
        path.write_bytes(cards.join(pixel_front.attach(network, other, "uint8"), described))
        return path

    return alter


@pytest.fixture
def net(convert, models):
    status, output = convert(models["keras"])
    assert status == 0
    return output


@pytest.fixture
def run(net, models, samples, in_process, capsys):
    """Run the command on the network of random weights: status, and the table's rows by way."""

    def run(*options, against=None, photos=samples):
        arguments = [str(net), "--against", str(against or models["keras"])]
        status = verify.main([*arguments, "--samples", str(photos), *options])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        rows = {line.split()[0]: line for line in printed.out.splitlines() if line.startswith("  ")}
        return status, rows, printed.err

    return run


@pytest.mark.parametrize("path", ["/predict", INVOCATIONS_PATH])
def test_every_way_that_agrees_is_said_and_written_into_the_card(path, net, run):
    flatbuffer = net.read_bytes()[: cards.load(net).model_bytes]
    with serving(net) as url:
        status, rows, _ = run("--url", url + path)
    assert status == 0
    assert rows["here"].endswith("the same")
    assert rows["endpoint"].endswith("the same")
    card = cards.load(net)
    ways = card.verification["ways"]
    assert set(ways) == {"here", "endpoint"}
    assert ways["endpoint"]["passed"] is True
    assert ways["endpoint"]["samples"] == 12
    assert card.verification["passed"] is True
    assert net.read_bytes()[: card.model_bytes] == flatbuffer


@pytest.mark.parametrize(
    ("steps", "stage"),
    [
        ({"interpolation": "pillow:bicubic"}, "resize"),
        ({"resize": "crop"}, "resize"),
        ({"scaling": "rescale"}, "inference"),
        ({"color_order": "bgr"}, "inference"),
        ({"exif": "ignore"}, "decode"),
    ],
)
def test_the_stage_at_which_an_endpoint_parts_is_named(steps, stage, net, run, altered, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(8)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: 90 degrees
    for number in range(4):
        pixels = random.integers(0, 256, (6, 4, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((97, 131), Image.Resampling.BICUBIC)
        image.save(folder / f"{number}.jpg", exif=exif)
    with serving(altered(net, **steps)) as url:
        status, rows, _ = run("--url", f"{url}/predict", photos=folder)
    assert status == 1
    assert rows["here"].endswith("the same")
    assert f"{stage} (4)" in rows["endpoint"]
    assert "logits differ by" in rows["endpoint"]
    card = cards.load(net)
    assert card.verification["passed"] is False
    assert card.verification["ways"]["endpoint"]["stages"] == {stage: 4}


def test_another_network_parts_at_inference(net, run, tmp_path):
    model = keras.Sequential(
        [keras.Input((40, 40, 3)), keras.layers.Flatten(), keras.layers.Dense(5)]
    )
    model.save(tmp_path / "other.keras")
    status, rows, _ = run(against=tmp_path / "other.keras")
    assert status == 1
    assert "inference (12)" in rows["here"]


def test_the_first_stage_that_differs_is_the_one_named():
    assert pipeline_diff.first(np.array([0, 0]), same_answer=True) is None
    assert pipeline_diff.first(np.array([0, 0]), same_answer=False) == "inference"
    assert pipeline_diff.first(np.array([0, 9]), same_answer=False) == "resize"
    assert pipeline_diff.first(np.array([1, 9]), same_answer=False) == "decode"
    assert pipeline_diff.first(np.array([np.inf, 9]), same_answer=False) == "decode"
    # What the next stages swallow is no difference.
    assert pipeline_diff.first(np.array([1, 0]), same_answer=True) is None


def test_an_endpoint_of_another_model_is_reported(run, convert, network, tmp_path, net):
    network(classes=3).save(tmp_path / "three.keras")
    (tmp_path / "three.txt").write_text("red\ngreen\ncyan\n", encoding="utf-8")
    before = net.read_bytes()
    _, other = convert(tmp_path / "three.keras", names=tmp_path / "three.txt")
    elsewhere = other.rename(tmp_path / "three.tflite")
    net.write_bytes(before)
    with serving(elsewhere) as url:
        status, _, printed = run("--url", f"{url}/predict")
    assert status == 2
    assert "serves another model: it has 3 labels, this one 5" in printed


def test_an_endpoint_that_is_not_there_or_no_endpoint_is_reported(run, net):
    status, _, printed = run("--url", "http://127.0.0.1:9/predict")
    assert status == 2
    assert "cannot be reached" in printed
    with serving(net) as url:
        status, _, printed = run("--url", f"{url}/nowhere")
    assert status == 2
    assert "status 404: route_not_found" in printed
    status, _, printed = run("--url", "ftp://127.0.0.1/")
    assert status == 2
    assert "not an http or https URL" in printed


def test_a_card_can_be_left_as_it_is_and_the_result_be_json(net, models, samples, capsys):
    before = net.read_bytes()
    capsys.readouterr()
    arguments = ["--against", str(models["keras"]), "--samples", str(samples)]
    assert verify.main([str(net), *arguments, "--no-write", "--json", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert json.loads(printed.out)["here"]["agreement"] == 1.0
    assert net.read_bytes() == before


def test_a_model_of_another_size_is_reported(run, network, tmp_path):
    network(size=48).save(tmp_path / "larger.keras")
    status, _, printed = run(against=tmp_path / "larger.keras")
    assert status == 2
    assert "one was not made of the other" in printed
