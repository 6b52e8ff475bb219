"""Events in, answers out: the contract that clients rely on."""

from __future__ import annotations

import base64
import dataclasses
import io
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from keras_to_lambda.runtime.common import errors
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.inference.predictions import ranked, softmax
from keras_to_lambda.runtime.inference.request import Options
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.model_file.card import ModelCard
from keras_to_lambda.runtime.sources.images import Raw

pytestmark = pytest.mark.engine

LABELS = [
    "dress", "hat", "longsleeve", "outwear", "pants",
    "shirt", "shoes", "shorts", "skirt", "t-shirt",
]  # fmt: skip


def v2(body=b"", method="POST", path="/predict", stage="$default", kind="", query=None, text=False):
    return {
        "version": "2.0",
        "rawPath": path,
        "headers": {"content-type": kind} if kind else {},
        "queryStringParameters": query,
        "requestContext": {"http": {"method": method, "path": path}, "stage": stage},
        "body": body.decode() if text else base64.b64encode(body).decode(),
        "isBase64Encoded": not text,
    }


def v1(body=b"", method="POST", path="/predict", kind="", query=None, text=False):
    return {
        "resource": path,
        "path": path,
        "httpMethod": method,
        "headers": {"Content-Type": kind} if kind else None,
        "queryStringParameters": query,
        "requestContext": {"stage": "Prod", "httpMethod": method},
        "body": body.decode() if text else base64.b64encode(body).decode(),
        "isBase64Encoded": not text,
    }


HTTP = pytest.mark.parametrize("event_of", [v1, v2], ids=["rest-v1", "http-v2"])


@pytest.fixture(scope="module")
def b64(jpeg):
    return base64.b64encode(jpeg).decode()


@pytest.fixture(scope="module")
def scores(handler, b64):
    return handler.handle({"image": b64})


def test_a_direct_invocation_gets_the_flat_dict_of_logits(scores):
    assert list(scores) == LABELS
    assert all(type(score) is float for score in scores.values())
    assert scores == json.loads(json.dumps(scores))


def test_every_way_to_give_an_image_gives_the_same_answer(handler, b64, far_host, scores):
    assert handler.handle({"url": f"http://{far_host}/photo"}) == scores
    assert handler.handle({"url": f"data:image/jpeg;base64,{b64}"}) == scores
    assert handler.handle({"image": f"data:image/jpeg;base64,{b64}"}) == scores
    assert handler.handle({"images": [{"image": b64}]}) == [scores]


@HTTP
def test_post_predict_takes_json_and_the_image_itself(event_of, handler, jpeg, far_host, scores):
    body = json.dumps({"url": f"http://{far_host}/photo"}).encode()
    for event in (
        event_of(body, kind="application/json", text=True),
        event_of(body, kind="application/x-www-form-urlencoded"),
        event_of(jpeg, kind="image/jpeg"),
        event_of(jpeg),
    ):
        answer = handler.handle(event)
        assert answer["statusCode"] == 200
        assert json.loads(answer["body"]) == scores
        assert answer["headers"]["Access-Control-Allow-Origin"] == "*"
        for stage in ("fetch", "decode", "preprocess", "inference", "total"):
            assert f"{stage};dur=" in answer["headers"]["Server-Timing"]


def test_options_stand_in_the_json_or_in_the_query(handler, b64, jpeg, scores):
    best = sorted(scores, key=scores.get, reverse=True)[:3]
    assert list(handler.handle({"image": b64, "top_k": 3})) == best
    shares = handler.handle({"image": b64, "scores": "probabilities"})
    assert sum(shares.values()) == pytest.approx(1, abs=1e-6)
    query = {"top_k": "3", "scores": "logits", "model": "clothing"}
    answer = handler.handle(v2(jpeg, kind="image/jpeg", query=query))
    assert list(json.loads(answer["body"])) == best


def test_softmax_is_that_of_its_definition():
    expected = [0.0900306, 0.2447285, 0.6652410]
    np.testing.assert_allclose(softmax([1.0, 2.0, 3.0]), expected, rtol=1e-6)
    assert softmax([1e4, -1e4]) == [1, 0]


@pytest.mark.parametrize(
    ("output", "activation", "scores"),
    [
        ("logits", "softmax", [0.0468, 0.0128, 0.9404]),
        ("logits", "sigmoid", [0.2689, 0.0911, 0.8808]),
        ("probabilities", "softmax", [-1, -2.3, 2]),
        ("probabilities", "sigmoid", [-1, -2.3, 2]),
    ],
)
def test_probabilities_are_made_of_logits_alone_and_by_the_activation(output, activation, scores):
    card = ModelCard("m", ("a", "b", "c"), 8, 8, output=output, activation=activation)
    found = ranked([-1, -2.3, 2], card, Options(None, "probabilities", None))
    assert list(found.values()) == pytest.approx(scores, abs=1e-4)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_logits_are_refused_where_probabilities_come_out(activation, tmp_path, model_bytes, jpeg):
    path = tmp_path / "model.tflite"
    end, card = cards.read(io.BytesIO(model_bytes))
    other = dataclasses.replace(card, output="probabilities", activation=activation)
    path.write_bytes(cards.join(model_bytes[:end], other))
    handler = Handler(Settings(model_path=str(path), num_threads=1, log_level="FATAL"))
    with pytest.raises(errors.InvalidRequest, match=f"this model ends in a {activation}: it has"):
        handler.pipeline.classify([Raw(jpeg)], Options(None, "logits", None))


def test_in_a_list_each_image_succeeds_or_fails_alone(handler, b64, far_host, scores):
    answers = handler.handle(
        {
            "images": [
                {"image": b64},
                f"http://{far_host}/missing",
                {"image": "!"},
                {"url": "ftp://x"},
            ]
        }
    )
    assert answers[0] == scores
    codes = [answer["error"]["code"] for answer in answers[1:]]
    assert codes == ["fetch_failed", "invalid_request", "invalid_url"]


# The list of bad input: what it is, its error by direct invocation, its HTTP status.
BAD = {
    "not an object": ([], errors.InvalidJson),
    "null": (None, errors.InvalidJson),
    "a string": ("x", errors.InvalidJson),
    "no image": ({}, errors.MissingImage),
    "an empty list": ({"images": []}, errors.MissingImage),
    "a number for an image": ({"image": 5}, errors.MissingImage),
    "two images": ({"image": "x", "url": "y"}, errors.InvalidRequest),
    "too many images": ({"images": ["data:,x"] * 17}, errors.TooManyImages),
    "unknown scheme": ({"url": "ftp://example.com/x.jpg"}, errors.InvalidUrl),
    "silent host": ({"url": "http://HOST/stall"}, errors.DeadlineExceeded),
    "404": ({"url": "http://HOST/missing"}, errors.FetchFailed),
    "HTML": ({"url": "http://HOST/page"}, errors.UnsupportedFormat),
    "truncated JPEG": ({"url": "http://HOST/truncated-photo"}, errors.UndecodableImage),
    "not base64": ({"image": "!!"}, errors.InvalidRequest),
    "unknown option": ({"url": "data:,x", "topk": 3}, errors.InvalidRequest),
    "top_k of 0": ({"url": "data:,x", "top_k": 0}, errors.InvalidRequest),
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
    answer = handler.handle(v2(json.dumps(payload).encode(), kind="application/json", text=True))
    assert answer["statusCode"] == expected.status
    assert json.loads(answer["body"])["error"]["code"] == expected.code
    assert answer["headers"]["Access-Control-Allow-Origin"] == "*"


@HTTP
@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"body": b"", "text": True}, 400, "missing_image"),
        ({"body": b"{", "text": True}, 400, "invalid_json"),
        ({"body": b"not JSON", "kind": "application/json"}, 400, "invalid_json"),
        ({"body": b"not an image"}, 415, "unsupported_format"),
        ({"body": b"[1]", "text": True}, 400, "invalid_json"),
        ({"body": b"[" * 100_000, "text": True}, 400, "invalid_json"),
        ({"body": b"\xef", "kind": "image/jpeg"}, 415, "unsupported_format"),
        ({"body": b"mojibake", "kind": "image/jpeg", "text": True}, 400, "invalid_request"),
        ({"path": "/nowhere"}, 404, "route_not_found"),
        ({"path": "/predict/x"}, 404, "route_not_found"),
        ({"method": "GET"}, 405, "method_not_allowed"),
    ],
)
def test_a_bad_http_request_has_its_status_and_code(event_of, request_, status, code, handler):
    answer = handler.handle(event_of(**request_))
    assert answer["statusCode"] == status
    assert json.loads(answer["body"])["error"]["code"] == code
    if status == 405:
        assert answer["headers"]["Allow"] == "POST, OPTIONS"


def test_a_body_that_is_not_the_base64_it_claims_is_a_bad_request(handler):
    event = {**v2(), "body": "%%%"}
    assert handler.handle(event)["statusCode"] == 400
    assert handler.handle({**event, "body": 5})["statusCode"] == 400


def test_a_named_stage_is_no_part_of_the_route(handler, jpeg):
    event = v2(jpeg, kind="image/jpeg", path="/prod/predict", stage="prod")
    assert handler.handle(event)["statusCode"] == 200


@HTTP
def test_a_preflight_is_answered_with_the_cors_headers(event_of, handler):
    answer = handler.handle(event_of(method="OPTIONS"))
    assert answer["statusCode"] == 204
    assert answer["body"] == ""
    assert answer["headers"]["Access-Control-Allow-Methods"] == "GET, HEAD, POST, OPTIONS"


def test_an_invocation_without_time_left_is_ended(handler, b64):
    class Context:
        aws_request_id = "r-1"

        def get_remaining_time_in_millis(self):
            return 400

    with pytest.raises(errors.DeadlineExceeded):
        handler.handle({"image": b64}, Context())


def test_a_fault_of_ours_is_a_500_with_the_request_id_and_no_internals(settings, jpeg, capsys):
    class Context:
        aws_request_id = "r-2"

    broken = Handler(settings)
    broken.models.get().batch = lambda _: 1 / 0
    answer = broken.handle(v2(jpeg, kind="image/jpeg"), Context())
    assert answer["statusCode"] == 500
    error = json.loads(answer["body"])["error"]
    assert error["code"] == "internal_error"
    assert "r-2" in error["message"]
    assert "division" not in answer["body"]
    assert "Zero" not in answer["body"]


def test_nan_logits_are_a_fault_and_not_an_answer(settings, b64):
    broken = Handler(settings)
    broken.models.get().batch = lambda _: np.full((1, 10), np.nan, np.float32)
    with pytest.raises(errors.InternalError):
        broken.handle({"image": b64})


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["url", "image", "images", "top_k", "scores", "model", "body", "headers"]
            )
            | st.sampled_from(
                ["requestContext", "http", "httpMethod", "rawPath", "isBase64Encoded"]
            )
            | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@hypothesis_settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
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


def test_settings_of_the_environment_reach_the_handler(far_host):
    settings = Settings.from_environ({"MAX_IMAGE_BYTES": "10", "LOG_LEVEL": "FATAL"})
    with pytest.raises(errors.ImageTooLarge):
        Handler(settings).handle({"image": base64.b64encode(b"x" * 11).decode()})
