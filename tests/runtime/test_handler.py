"""Events in, answers out: the contract that clients rely on."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from keras_to_lambda.runtime.common import errors
from keras_to_lambda.runtime.handler import Handler
from tests.runtime.made import inline, outcome, v1, v2

pytestmark = pytest.mark.engine

HTTP = pytest.mark.parametrize("event_of", [v1, v2], ids=["rest-v1", "http-v2"])
LABELS = [
    "dress", "hat", "longsleeve", "outwear", "pants",
    "shirt", "shoes", "shorts", "skirt", "t-shirt",
]  # fmt: skip
JSON = {"content_type": "application/json"}
JPEG = {"content_type": "image/jpeg"}


@pytest.fixture(scope="module")
def scores(handler, jpeg):
    return handler.handle(inline(jpeg))


def test_every_way_to_give_an_image_gives_the_same_flat_dict_of_logits(
    handler, jpeg, far_host, scores
):
    assert list(scores) == LABELS
    assert all(type(score) is float for score in scores.values())
    text = inline(jpeg)["image"]
    for payload in (
        {"url": f"http://{far_host}/photo"},
        {"url": f"data:image/jpeg;base64,{text}"},
        {"image": f"data:image/jpeg;base64,{text}"},
    ):
        assert handler.handle(payload) == scores
    assert handler.handle({"images": [inline(jpeg)]}) == [scores]


@HTTP
def test_post_predict_takes_json_and_the_image_itself(event_of, handler, jpeg, far_host, scores):
    body = {"url": f"http://{far_host}/photo"}
    for event in (
        event_of(body, **JSON),
        event_of(json.dumps(body).encode(), content_type="application/x-www-form-urlencoded"),
        event_of(jpeg, **JPEG),
        event_of(jpeg),
    ):
        answer = handler.handle(event)
        assert answer["statusCode"] == 200
        assert json.loads(answer["body"]) == scores
        assert answer["headers"]["Access-Control-Allow-Origin"] == "*"
        for stage in ("fetch", "decode", "preprocess", "inference", "total"):
            assert f"{stage};dur=" in answer["headers"]["Server-Timing"]


def test_options_stand_in_the_json_or_in_the_query(handler, jpeg, scores):
    best = sorted(scores, key=scores.get, reverse=True)[:3]
    assert list(handler.handle({**inline(jpeg), "top_k": 3})) == best
    query = {"top_k": "3", "scores": "logits", "model": "clothing"}
    assert list(json.loads(handler.handle(v2(jpeg, query=query, **JPEG))["body"])) == best
    refused = handler.handle(v2(jpeg, query={"url": "https://example.com/x.jpg"}))
    assert "unknown option url" in refused["body"]


def test_in_a_list_each_image_succeeds_or_fails_alone(handler, jpeg, far_host, scores):
    images = [inline(jpeg), f"http://{far_host}/missing", {"image": "!"}, {"url": "ftp://x"}]
    first, *others = handler.handle({"images": images})
    assert first == scores
    codes = [answer["error"]["code"] for answer in others]
    assert codes == ["fetch_failed", "invalid_request", "invalid_url"]


# What it is, its error by direct invocation, its HTTP status.
BAD = {
    "not an object": ([], errors.InvalidJson),
    "no image": ({}, errors.MissingImage),
    "too many images": ({"images": ["data:,x"] * 17}, errors.TooManyImages),
    "unknown scheme": ({"url": "ftp://example.com/x.jpg"}, errors.InvalidUrl),
    "silent host": ({"url": "http://HOST/stall"}, errors.DeadlineExceeded),
    "404": ({"url": "http://HOST/missing"}, errors.FetchFailed),
    "truncated JPEG": ({"url": "http://HOST/document?kind=cut"}, errors.UndecodableImage),
    "not base64": ({"image": "!!"}, errors.InvalidRequest),
    "unknown scores": ({"url": "data:,x", "scores": "odds"}, errors.InvalidRequest),
    "unknown model": ({"url": "data:,x", "model": "pets"}, errors.ModelNotFound),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_a_named_error_and_a_code(name, handler, settings, far_host):
    payload, expected = BAD[name]
    if name == "silent host":
        handler = Handler(dataclasses.replace(settings, fetch_timeout_s=0.3))
    payload = json.loads(json.dumps(payload).replace("HOST", far_host))
    with pytest.raises(expected) as caught:
        handler.handle(payload)
    assert type(caught.value) is expected
    assert caught.value.__cause__ is None
    answer = handler.handle(v2(payload, **JSON))
    assert outcome(answer) == (expected.status, expected.code)
    assert answer["headers"]["Access-Control-Allow-Origin"] == "*"


@HTTP
@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"body": ""}, 400, "missing_image"),
        ({"body": "{"}, 400, "invalid_json"),
        ({"body": b"not an image"}, 415, "unsupported_format"),
        ({"body": "[1]"}, 400, "invalid_json"),
        ({"body": "[" * 100_000}, 400, "invalid_json"),
        ({"body": b"\xef", **JPEG}, 415, "unsupported_format"),
        ({"body": "mojibake", **JPEG}, 400, "invalid_request"),
        ({"method": "GET"}, 405, "method_not_allowed"),
    ],
)
def test_a_bad_http_request_has_its_status_and_code(event_of, request_, status, code, handler):
    assert outcome(handler.handle(event_of(**request_))) == (status, code)


@HTTP
def test_a_body_that_is_not_base64_is_refused_and_a_preflight_has_no_body(event_of, handler):
    for body in ("%%%", 5):
        assert outcome(handler.handle({**event_of(b""), "body": body}))[0] == 400
    answer = handler.handle(event_of(method="OPTIONS"))
    assert (answer["statusCode"], answer["body"]) == (204, "")
    assert answer["headers"]["Access-Control-Allow-Methods"] == "GET, HEAD, POST, OPTIONS"


def test_an_invocation_without_time_left_is_ended(handler, jpeg):
    context = SimpleNamespace(aws_request_id="r-1", get_remaining_time_in_millis=lambda: 400)
    with pytest.raises(errors.DeadlineExceeded):
        handler.handle(inline(jpeg), context)


@pytest.mark.parametrize(
    "batch",
    [lambda _: 1 / 0, lambda _: np.full((1, 10), np.nan, np.float32)],
    ids=["raises", "NaN"],
)
def test_a_fault_of_ours_is_a_500_with_the_request_id_and_no_internals(batch, settings, jpeg):
    broken = Handler(settings)
    broken.models.get().batch = batch
    answer = broken.handle(v2(jpeg, **JPEG), SimpleNamespace(aws_request_id="r-2"))
    assert outcome(answer) == (500, "internal_error")
    assert "division" not in answer["body"]
    assert "Zero" not in answer["body"]
    with pytest.raises(errors.InternalError):
        broken.handle(inline(jpeg))


KEYS = [
    "url", "image", "images", "top_k", "scores", "model", "body", "headers", "requestContext",
    "http", "httpMethod", "rawPath", "isBase64Encoded",
]  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=12,
)


@hypothesis_settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(event=json_values)
def test_any_json_gives_an_answer_or_one_of_our_errors(event, handler):
    try:
        answer = handler.handle(event)
    except errors.InternalError:
        raise AssertionError("a caller's event must not be our fault") from None
    except errors.ClassifierError:
        return
    if isinstance(answer, dict) and "statusCode" in answer:
        assert answer["statusCode"] != 500
    json.dumps(answer)
