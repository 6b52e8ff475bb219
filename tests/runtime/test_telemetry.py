"""What is reported about a request, and what must never be."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.inference.telemetry import METRICS
from keras_to_lambda.runtime.sources import images
from keras_to_lambda.runtime.sources.images import Base64, Object, Raw, Url

CANARY = "CANARY-5150"


class Context:
    aws_request_id = "request-1"


def http(body, **headers):
    return {
        "rawPath": "/predict",
        "headers": headers,
        "requestContext": {"http": {"method": "POST", "path": "/predict"}, "stage": "$default"},
        "body": body,
        "isBase64Encoded": False,
    }


@pytest.fixture
def loud(settings):
    return Handler(dataclasses.replace(settings, log_level="INFO", metrics_namespace="Classifier"))


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_request_is_one_line_with_what_an_operator_asks_for(loud, jpeg, capsys, monkeypatch):
    trace = "Root=1-5e66d96f-7491f09xmpl79d18acf3d050"
    monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "clothes")
    image = base64.b64encode(jpeg).decode()
    answer = loud.handle(http(json.dumps({"image": image})), Context())
    [line] = lines(capsys)
    assert line["request_id"] == answer["headers"]["X-Request-Id"] == "request-1"
    assert line["trace_id"] == answer["headers"]["X-Amzn-Trace-Id"] == trace
    assert line["source"] == "http-api"
    assert line["outcome"] == "ok"
    assert line["cold"] is True
    assert line["bytes"] == len(jpeg)
    assert line["pixels"] == 180 * 240
    assert line["images"] == 1
    assert line["model"] == "clothing"
    assert len(line["model_sha256"]) == 64
    for stage in ("fetch", "decode", "preprocess", "inference", "total"):
        assert line[f"{stage}_ms"] >= 0
    loud.handle({"image": image})
    assert lines(capsys)[0]["cold"] is False


def test_numbers_are_metrics_in_the_embedded_format(loud, jpeg, capsys, monkeypatch):
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "clothes")
    loud.handle({"image": base64.b64encode(jpeg).decode()})
    [line] = lines(capsys)
    [directive] = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Classifier"
    assert line["function"] == "clothes"
    # The specification: every metric and dimension is a member of the line, metrics are numbers.
    for metric in directive["Metrics"]:
        assert isinstance(line[metric["Name"]], int | float)
        assert metric["Unit"] == METRICS[metric["Name"]]
    for dimensions in directive["Dimensions"]:
        assert all(isinstance(line[name], str) for name in dimensions)
    assert isinstance(line["_aws"]["Timestamp"], int)


def test_without_a_namespace_there_are_no_metrics(settings, jpeg, capsys):
    quiet = Handler(dataclasses.replace(settings, log_level="INFO"))
    quiet.handle({"image": base64.b64encode(jpeg).decode()})
    assert "_aws" not in lines(capsys)[0]


def test_a_failure_is_counted_and_named(loud, far_host, capsys):
    with pytest.raises(ClassifierError):
        loud.handle({"url": f"http://{far_host}/missing"})
    [line] = lines(capsys)
    assert line["outcome"] == "fetch_failed"
    assert line["reason"] == "status 404"
    assert line["failures"] == 1


def secrets(far_host):
    """Canaries where callers and hosts may have secrets."""
    yield {"url": f"http://{far_host}/photo?token={CANARY}"}
    yield {"url": f"http://{far_host}/missing?token={CANARY}"}
    yield {"url": f"http://{CANARY}:{CANARY}@example.com/"}
    yield {"url": f"http://{far_host}/photo#{CANARY}"}
    yield {"url": f"ftp://{CANARY}/"}
    yield {"url": f"{CANARY}://x/"}
    yield {"url": f"http://[{CANARY}/"}
    yield {"url": f"http://{CANARY}.invalid/"}
    yield {"url": "data:text/plain," + CANARY}
    yield {"url": f"s3://{CANARY}/{CANARY}"}
    yield {"image": CANARY + "!"}
    yield {"image": base64.b64encode(CANARY.encode()).decode()}
    yield {"images": [CANARY, {"url": CANARY}, {"image": CANARY}, {CANARY: CANARY}]}
    yield {"url": "data:,x", "model": CANARY}
    yield {"url": "data:,x", "scores": CANARY}
    yield {"url": "data:,x", "top_k": CANARY}
    yield {CANARY: CANARY}
    yield [CANARY]
    yield CANARY
    yield http(CANARY)
    yield http(CANARY, **{"content-type": "application/json", "authorization": CANARY})
    yield http(CANARY, **{"content-type": f"multipart/form-data; boundary={CANARY}"})
    yield {**http("{}"), "rawPath": f"/{CANARY}", "rawQueryString": CANARY}
    yield {**http("%" + CANARY), "isBase64Encoded": True}
    yield {"Records": [{"eventSource": f"aws:{CANARY}", "body": CANARY}]}
    yield {"Records": [{"eventSource": "aws:sqs", "messageId": CANARY, "body": CANARY}]}


def test_no_canary_reaches_the_log(loud, far_host, capfd):
    asked = 0
    for event in secrets(far_host):
        with contextlib.suppress(ClassifierError):
            loud.handle(event, Context())
        asked += 1
    captured = capfd.readouterr()
    assert CANARY not in captured.out + captured.err
    assert len(captured.out.splitlines()) == asked


def test_a_fault_of_ours_logs_where_it_arose_and_not_what_it_said(loud, jpeg, capsys):
    def broken(_):
        raise ValueError(CANARY)

    loud.models.get().batch = broken
    with pytest.raises(ClassifierError):
        loud.handle({"image": base64.b64encode(jpeg).decode()}, Context())
    text = capsys.readouterr().out
    assert CANARY not in text
    fault, line = (json.loads(row) for row in text.splitlines())
    assert fault["type"] == "ValueError"
    assert fault["request_id"] == line["request_id"] == "request-1"
    assert any("pipeline.py" in frame for frame in fault["traceback"])


def test_what_the_model_saw_is_saved_for_debugging(settings, jpeg, encoded, tmp_path, monkeypatch):
    from keras_to_lambda.runtime.image import tensor_view

    monkeypatch.setattr(tensor_view, "KEEP", 2)
    folder = tmp_path / "seen"
    curious = Handler(dataclasses.replace(settings, debug_dir=str(folder)))
    curious.handle({"image": base64.b64encode(jpeg).decode()})
    [png], [npy] = folder.glob("*.png"), folder.glob("*.npy")
    tensor = np.load(npy)
    card = curious.models.get().card
    assert tensor.shape == (card.height, card.width, 3)
    np.testing.assert_array_equal(np.asarray(Image.open(png)), tensor)
    for colour in range(3):
        data = encoded(Image.new("RGB", (9, 9), (colour, 0, 0)), "PNG")
        curious.handle({"image": base64.b64encode(data).decode()})
    assert len(list(folder.glob("*.png"))) == len(list(folder.glob("*.npy"))) == 2


def test_a_folder_that_cannot_be_written_is_no_reason_not_to_answer(settings, jpeg, tmp_path):
    (tmp_path / "file").write_text("")
    curious = Handler(dataclasses.replace(settings, debug_dir=str(tmp_path / "file")))
    assert curious.handle({"image": base64.b64encode(jpeg).decode(), "top_k": 1})


def test_settings_that_cannot_be_are_reported_together():
    from keras_to_lambda.runtime.common.errors import SetupError

    environ = {
        "FETCH_ALLOWED_PORTS": "80,http", "RESULTS_PREFIX": "s3://bucket", "LOAD_MODELS": "some",
    }  # fmt: skip
    with pytest.raises(SetupError) as caught:
        Settings.from_environ(environ)
    for name in environ:
        assert name in str(caught.value)


def test_an_image_that_failed_in_a_list_is_counted(loud, jpeg, far_host, capsys):
    image = base64.b64encode(jpeg).decode()
    loud.handle({"images": [{"image": image}, {"image": "!"}, f"http://{far_host}/missing"]})
    [line] = lines(capsys)
    assert (line["outcome"], line["images"], line["failures"]) == ("ok", 3, 2)


def test_an_answer_that_json_cannot_carry_is_a_fault_and_no_stack_trace(settings, monkeypatch):
    from keras_to_lambda.runtime.http import resources

    monkeypatch.setattr(resources, "get", lambda *_: {"nan": float("nan")})
    event = http("")
    event["requestContext"]["http"]["method"] = "GET"
    answer = Handler(settings).handle({**event, "rawPath": "/models"})
    assert answer["statusCode"] == 500
    assert json.loads(answer["body"])["error"]["code"] == "internal_error"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Url(f"https://{CANARY}:{CANARY}@example.com/a/b.jpg?{CANARY}#{CANARY}"),
         "https://example.com/a/b.jpg"),
        (Url(f"http://example.com?{CANARY}"), "http://example.com"),
        (Url(f"http://example.com#{CANARY}"), "http://example.com"),
        (Url("s3://bucket/a b+c?d.jpg"), "s3://bucket/a b+c?d.jpg"),
        (Object("bucket", "key", "version"), "s3://bucket/key"),
        (Url(f"data:,{CANARY}"), "inline"),
        (Url(CANARY), "inline"),
        (Base64(CANARY), "inline"),
        (Raw(CANARY.encode()), "inline"),
    ],
)  # fmt: skip
def test_results_name_an_image_without_its_secrets(source, expected):
    assert images.name(source) == expected
