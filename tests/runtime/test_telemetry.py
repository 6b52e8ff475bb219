"""What is reported about a request, and what must never be."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from types import SimpleNamespace

import pytest

from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.http import resources
from keras_to_lambda.runtime.inference.telemetry import METRICS
from keras_to_lambda.runtime.sources import images
from keras_to_lambda.runtime.sources.images import Base64, Object, Raw, Url
from tests.runtime.made import inline, outcome, v2

CANARY = "CANARY-5150"
CONTEXT = SimpleNamespace(aws_request_id="request-1")


@pytest.fixture
def loud(settings, monkeypatch):
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "clothes")
    return Handler(dataclasses.replace(settings, log_level="INFO", metrics_namespace="Classifier"))


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_request_is_one_line_with_what_an_operator_asks_for(loud, jpeg, capsys, monkeypatch):
    trace = "Root=1-5e66d96f-7491f09xmpl79d18acf3d050"
    monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
    answer = loud.handle(v2(inline(jpeg)), CONTEXT)
    [line] = lines(capsys)
    assert answer["headers"]["X-Request-Id"] == "request-1"
    assert answer["headers"]["X-Amzn-Trace-Id"] == trace
    expected = {
        "request_id": "request-1", "trace_id": trace, "source": "http-api", "outcome": "ok",
        "cold": True, "bytes": len(jpeg), "pixels": 180 * 240, "images": 1, "model": "clothing",
    }  # fmt: skip
    assert {name: line[name] for name in expected} == expected
    assert len(line["model_sha256"]) == 64
    for stage in ("fetch", "decode", "preprocess", "inference", "total"):
        assert line[f"{stage}_ms"] >= 0
    loud.handle(inline(jpeg))
    assert lines(capsys)[0]["cold"] is False


def test_numbers_are_metrics_in_the_embedded_format_where_a_namespace_is_set(
    loud, settings, jpeg, capsys
):
    loud.handle(inline(jpeg))
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
    Handler(dataclasses.replace(settings, log_level="INFO")).handle(inline(jpeg))
    assert "_aws" not in lines(capsys)[0]


def test_a_failure_is_counted_and_named(loud, jpeg, far_host, capsys):
    missing = f"http://{far_host}/missing"
    with pytest.raises(ClassifierError):
        loud.handle({"url": missing})
    [line] = lines(capsys)
    assert (line["outcome"], line["reason"]) == ("fetch_failed", "status 404")
    assert line["failures"] == 1
    loud.handle({"images": [inline(jpeg), missing, {"image": "!"}, "ftp://x"]})
    [line] = lines(capsys)
    assert (line["outcome"], line["images"], line["failures"]) == ("ok", 4, 3)
    assert line["failed"] == [
        {"code": "fetch_failed", "reason": "status 404"},
        {"code": "invalid_request"},
        {"code": "invalid_url"},
    ]


def secrets(far_host):
    """Canaries where callers and hosts may have secrets."""
    for url in (
        f"http://{far_host}/photo?token={CANARY}",
        f"http://{far_host}/missing?token={CANARY}",
        f"http://{CANARY}:{CANARY}@example.com/",
        f"http://{far_host}/photo#{CANARY}",
        f"ftp://{CANARY}/",
        f"{CANARY}://x/",
        f"http://[{CANARY}/",
        f"http://{CANARY}.invalid/",
        "data:text/plain," + CANARY,
        f"s3://{CANARY}/{CANARY}",
    ):
        yield {"url": url}
    yield {"image": CANARY + "!"}
    yield inline(CANARY.encode())
    yield {"images": [CANARY, {"url": CANARY}, {"image": CANARY}, {CANARY: CANARY}]}
    for option in ("model", "scores", "top_k"):
        yield {"url": "data:,x", option: CANARY}
    yield {CANARY: CANARY}
    yield [CANARY]
    yield CANARY
    yield v2(CANARY)
    yield v2(CANARY, content_type="application/json", authorization=CANARY)
    yield v2(CANARY, content_type=f"multipart/form-data; boundary={CANARY}")
    yield {**v2("{}"), "rawPath": f"/{CANARY}", "rawQueryString": CANARY}
    yield {**v2("%" + CANARY), "isBase64Encoded": True}
    yield {"Records": [{"eventSource": f"aws:{CANARY}", "body": CANARY}]}
    yield {"Records": [{"eventSource": "aws:sqs", "messageId": CANARY, "body": CANARY}]}


def test_no_canary_reaches_the_log(loud, far_host, capfd):
    asked = 0
    for event in secrets(far_host):
        with contextlib.suppress(ClassifierError):
            loud.handle(event, CONTEXT)
        asked += 1
    captured = capfd.readouterr()
    assert CANARY not in captured.out + captured.err
    assert len(captured.out.splitlines()) == asked


def test_a_fault_of_ours_logs_where_it_arose_and_not_what_it_said(loud, jpeg, capsys):
    def broken(_):
        raise ValueError(CANARY)

    loud.models.get().batch = broken
    with pytest.raises(ClassifierError):
        loud.handle(inline(jpeg), CONTEXT)
    text = capsys.readouterr().out
    assert CANARY not in text
    fault, line = (json.loads(row) for row in text.splitlines())
    assert fault["type"] == "ValueError"
    assert fault["request_id"] == line["request_id"] == "request-1"
    assert any("pipeline.py" in frame for frame in fault["traceback"])


def test_an_answer_that_json_cannot_carry_is_a_fault_and_no_stack_trace(handler, monkeypatch):
    monkeypatch.setattr(resources, "get", lambda *_: {"nan": float("nan")})
    answer = handler.handle(v2(method="GET", path="/models"))
    assert outcome(answer) == (500, "internal_error")


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
