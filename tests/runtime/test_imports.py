"""What a cold start imports: nothing that costs milliseconds and that the request does not use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.made import encoded, inline, v2
from tests.small_tflite import network

pytestmark = pytest.mark.engine

ROOT = Path(__file__).resolve().parents[2]
ANSWER = """
import sys, json
import lambda_function
with open(sys.argv[1]) as file:
    try:
        answer = lambda_function.lambda_handler(json.load(file))
    except Exception as error:
        answer = {"error": type(error).__name__}
json.dump([answer, sorted(sys.modules)], sys.stdout)
"""
# Of the standard library and of packages.
COSTLY = {
    *("numpy", "PIL.Image", "PIL.ImageFile", "PIL.JpegImagePlugin"),
    *("dataclasses", "inspect", "typing", "logging", "pathlib", "subprocess", "tempfile"),
    *("zipfile", "hashlib", "decimal", "email", "xml", "unittest", "asyncio", "concurrent"),
    *("boto3", "botocore", "multipart", "idna", "keras_image_helper", "importlib.metadata"),
    *("tensorflow", "keras", "requests", "waitress", "h5py", "scipy", "flatbuffers"),
    *("keras_to_lambda.runtime.model.remote_model", "keras_to_lambda.runtime.events.unsupported"),
    *("keras_to_lambda.runtime.model_file.tflite_metadata", "keras_to_lambda.origin"),
}
# Of the network: what a picture that is in the event does not need.
NETWORK = {"socket", "ssl", "http.client", "urllib.request", "ipaddress"}


@pytest.fixture
def asked(tmp_path):
    """A new process's answer to an event, and the modules that it has then."""

    def ask(event, **environ):
        (tmp_path / "event.json").write_text(json.dumps(event))
        done = subprocess.run(
            [sys.executable, "-c", ANSWER, tmp_path / "event.json"],
            capture_output=True, text=True, check=True, cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "LOG_LEVEL": "FATAL", **environ},
        )  # fmt: skip
        answer, modules = json.loads(done.stdout)
        return answer, set(modules)

    return ask


@pytest.mark.parametrize("way", ["base64", "body", "list of four"])
def test_a_photo_in_the_event_is_answered_without_what_costs_a_start(way, asked, jpeg):
    event = {
        "base64": inline(jpeg),
        "body": v2(jpeg, content_type="image/jpeg"),
        "list of four": {"images": [inline(jpeg)] * 4},
    }[way]
    answer, modules = asked(event)
    assert "error" not in json.dumps(answer)
    assert not modules & (COSTLY | NETWORK)
    assert "PIL._imaging" in modules
    own = {name for name in modules if name.startswith("keras_to_lambda.")}
    assert all(name.startswith("keras_to_lambda.runtime") for name in own)


def test_a_bucket_that_is_not_allowed_costs_no_import(asked):
    answer, modules = asked({"url": "s3://secret/key"})
    assert answer == {"error": "ObjectNotRead"}
    assert "boto3" not in modules


def test_a_photo_by_url_is_answered_without_what_costs_a_start(asked, far_host):
    answer, modules = asked({"url": f"http://{far_host}/photo"}, FETCH_PRIVATE_HOSTS=far_host)
    assert len(answer) == 10
    # http.client imports email, and so more of the standard library.
    assert not modules & {"numpy", "PIL.Image", "dataclasses", "inspect", "urllib.request"}


def test_a_png_brings_pillows_python_and_a_model_of_floats_brings_numpy(
    asked, picture, jpeg, tmp_path
):
    answer, modules = asked(inline(encoded(picture, "PNG")))
    assert len(answer) == 10
    assert "PIL.Image" in modules
    assert "numpy" not in modules
    card = {
        "schema_version": 1, "name": "floats", "labels": ["a", "b", "c"], "height": 8, "width": 8,
        "preprocessing": {"resize": "stretch", "interpolation": "pillow:nearest", "scaling": "raw"},
        "output": "probabilities",
    }  # fmt: skip
    (tmp_path / "floats.tflite").write_bytes(network())
    (tmp_path / "floats.card.json").write_text(json.dumps(card))
    answer, modules = asked(inline(jpeg), MODEL_PATH=str(tmp_path / "floats.tflite"))
    assert len(answer) == 3
    assert "numpy" in modules
