"""Each way of calling the function, by the clients that people have."""

from __future__ import annotations

import base64
import contextlib
import json

import boto3
import botocore.config
import pytest
import requests

from keras_to_lambda.deploy.emulator import ROOT, EmulatorError, FunctionError

EVENTS = sorted((ROOT / "events").glob("*-*.json"))
T_SHIRT = ROOT / "samples" / "t-shirt.jpg"


DIRECT = json.loads((ROOT / "events" / "direct-image.json").read_text("utf-8"))
EMBEDDED = base64.b64decode(DIRECT["image"])


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_every_event_file_gets_its_answer(emulator, path, read_event, local_scores):
    answer = emulator.invoke(read_event(path))

    if not path.stem.startswith("direct"):
        assert answer["statusCode"] == 200
        assert answer["headers"]["Content-Type"].startswith("application/json")
        assert answer["isBase64Encoded"] is False
        answer = json.loads(answer["body"])
    by_url = path.stem.endswith("url") and "data" not in path.stem
    assert answer == local_scores(T_SHIRT.read_bytes() if by_url else EMBEDDED)


@pytest.mark.parametrize(
    ("event", "kind", "words"),
    [
        ({}, "MissingImage", '{"url": "https://..."}'),
        ({"image": "AAAA"}, "UnsupportedFormat", ""),
        ({"url": "ftp://a/b"}, "InvalidUrl", ""),
    ],
)
def test_a_failure_is_a_named_error_in_an_answer_of_status_200(emulator, event, kind, words):
    response = requests.post(emulator.url, json=event, timeout=60)

    assert response.status_code == 200
    assert response.json()["errorType"] == kind
    assert words in response.json()["errorMessage"]


HALF = "\ud800"  # half a surrogate pair, which JSON can spell and UTF-8 cannot carry


@pytest.mark.parametrize(
    "event",
    [
        {HALF: 1, "url": "data:,x"},
        {"url": f"https://example.com/{HALF}"},
        {"image": "data:;base64," * 2000},
    ],
)
def test_half_a_character_does_not_end_the_process(emulator, read_event, event):
    emulator.invoke(DIRECT)
    with pytest.raises(FunctionError) as raised:
        emulator.invoke(event)
    http = read_event(ROOT / "events" / "http-api-v2-url.json") | {"body": json.dumps(event)}
    answer = emulator.invoke(http)
    lines = emulator.invoke({"Items": [event]})["answers"]

    assert raised.value.type in ("InvalidRequest", "InvalidUrl")
    assert answer["statusCode"] == 400
    assert "error" in lines[0]
    # It is the process that answered before: a new one would have begun with a cold start.
    assert 'desc="warm"' in answer["headers"]["Server-Timing"]


def test_boto3_invokes_it_as_it_would_invoke_lambda(emulator, local_scores):
    client = boto3.client(
        "lambda",
        endpoint_url=emulator.endpoint,
        region_name="eu-central-1",
        aws_access_key_id="example",
        aws_secret_access_key="example",
        # A retry could overlap with the call it repeats, which the emulator does not survive.
        config=botocore.config.Config(retries={"max_attempts": 0}),
    )
    with contextlib.closing(client):
        response = client.invoke(FunctionName="function", Payload=json.dumps(DIRECT))
        with response["Payload"] as payload:
            assert json.load(payload) == local_scores(EMBEDDED)


def test_an_event_over_6_mb_is_refused_before_it_is_cut(emulator):
    with pytest.raises(EmulatorError, match="6 MB"):
        emulator.invoke({"image": "A" * 7_000_000})


def test_the_log_has_a_line_of_json_for_a_request(emulator):
    emulator.invoke(DIRECT)
    lines = [json.loads(line) for line in emulator.log().splitlines() if line.startswith("{")]
    assert lines[-1]["outcome"] == "ok"
    assert lines[-1]["request_id"]
