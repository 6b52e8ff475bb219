"""`k2l verify`: against a function served over HTTP on loopback."""

from __future__ import annotations

import json
import shutil
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


def altered(model, path, **steps):
    """The same network with other preprocessing: what a wrong deployment would serve."""
    card = source_card.network(cards.load(model))
    other = replace(card, preprocessing=replace(card.preprocessing, **steps))
    whole = model.read_bytes()[: card.model_bytes]
    network = whole[whole.rindex(b"TFL3") - 4 :]
    described = source_card.converted(other, "uint8")
    path.write_bytes(cards.join(pixel_front.attach(network, other, "uint8"), described))
    return path


@pytest.fixture
def net(converted, tmp_path):
    return shutil.copy(converted, tmp_path / "net.tflite")


@pytest.fixture
def run(net, models, samples, in_process, capsys):
    """Run the command on the network of random weights: status, and the table's rows by way."""

    def run(*options, against=None, photos=samples):
        arguments = [str(net), "--against", str(against or models["keras"])]
        capsys.readouterr()
        status = verify.main([*arguments, "--samples", str(photos), *options])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        rows = {line.split()[0]: line for line in printed.out.splitlines() if line.startswith("  ")}
        return status, rows, printed.err

    return run


@pytest.mark.parametrize("path", ["/predict", INVOCATIONS_PATH])
def test_every_way_that_agrees_is_printed_and_written_into_the_card(path, net, run):
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
        ({"resize": "crop"}, "resize"),
        ({"scaling": "rescale", "color_order": "bgr"}, "inference"),
        ({"exif": "ignore"}, "decode"),
    ],
)
def test_the_stage_at_which_an_endpoint_parts_is_named(steps, stage, net, run, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(8)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: 90 degrees
    for number in range(4):
        pixels = random.integers(0, 256, (6, 4, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((97, 131), Image.Resampling.BICUBIC)
        image.save(folder / f"{number}.jpg", exif=exif)
    with serving(altered(net, tmp_path / "altered.tflite", **steps)) as url:
        status, rows, _ = run("--url", f"{url}/predict", photos=folder)
    assert status == 1
    assert rows["here"].endswith("the same")
    assert f"{stage} (4)" in rows["endpoint"]
    assert "logits differ by" in rows["endpoint"]
    card = cards.load(net)
    assert card.verification["passed"] is False
    assert card.verification["ways"]["endpoint"]["stages"] == {stage: 4}


@pytest.mark.parametrize(
    ("parts", "same", "stage"),
    [
        ([0, 0], True, None),
        ([0, 0], False, "inference"),
        ([0, 9], False, "resize"),
        ([np.inf, 9], False, "decode"),
        ([1, 0], True, None),  # the next stages swallow it
    ],
)
def test_the_first_stage_that_differs_is_the_one_named(parts, same, stage):
    assert pipeline_diff.first(np.array(parts), same_answer=same) == stage


def test_another_network_is_reported(run, network, tmp_path, net):
    image = keras.Input((40, 40, 3))
    other = keras.Model(image, keras.layers.Dense(5)(keras.layers.Flatten()(image)))
    other.save(tmp_path / "other.keras")
    status, rows, _ = run(against=tmp_path / "other.keras")
    assert status == 1
    assert "inference (12)" in rows["here"]
    network(size=48).save(tmp_path / "larger.keras")
    status, _, printed = run(against=tmp_path / "larger.keras")
    assert status == 2
    assert "the .tflite was not converted from this model" in printed
    card = replace(cards.load(net), labels=("red", "green", "blue", "grey", "cyan"))
    elsewhere = tmp_path / "elsewhere.tflite"
    elsewhere.write_bytes(cards.join(net.read_bytes()[: card.model_bytes], card))
    with serving(elsewhere) as url:
        status, _, printed = run("--url", f"{url}/predict")
    assert status == 2
    assert "serves another model: it has 5 labels, this one 5; only one of them has" in printed


def test_what_is_no_endpoint_is_reported(run, net):
    with serving(net) as base:
        for url, words in (
            ("http://127.0.0.1:9/predict", "cannot be reached"),
            (f"{base}/nowhere", "status 404: route_not_found"),
            ("ftp://127.0.0.1/", "not an http or https URL"),
        ):
            status, _, printed = run("--url", url)
            assert status == 2
            assert words in printed


def test_the_result_can_be_json(net, models, samples, capsys, run):
    arguments = ["--against", str(models["keras"]), "--samples", str(samples)]
    assert verify.main([str(net), *arguments, "--json", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert json.loads(printed.out)["here"]["agreement"] == 1.0
