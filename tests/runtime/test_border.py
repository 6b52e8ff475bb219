"""What goes out can be encoded and is short, and what fails fails alone, whatever came in."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import types

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.runtime.common import errors, text
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.image import pixels
from keras_to_lambda.runtime.image.decode import Picture
from keras_to_lambda.runtime.inference import telemetry
from keras_to_lambda.runtime.inference.pipeline import Invocation
from keras_to_lambda.runtime.model.engine import EngineError
from tests.runtime.made import configured, encoded, inline, outcome, queue, v2

HALF = "\ud800"  # half a surrogate pair, as JSON can spell it and UTF-8 cannot
PHOTO = "s3://photos/in/t shirt+1.jpg"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("photo", "photo"),
        ("zdjęcie 写真", "zdjęcie 写真"),
        ("a\ud800b", "a\ufffdb"),
        ("a\r\nSet-Cookie: x", "a\ufffd\ufffdSet-Cookie: x"),
        ("\x1b[31mred\x7f\x9b", "\ufffd[31mred\ufffd\ufffd"),
        ("gpj.\u202eexe", "gpj.\ufffdexe"),
        ("gpj.\u200f\u061cexe", "gpj.\ufffd\ufffdexe"),
        ("x" * 12, "x" * 9 + "…"),
        (ValueError("y"), "y"),
    ],
)
def test_words_are_printable_encodable_and_short(words, expected):
    assert text.clean(words, 10 if len(str(words)) == 12 else 100) == expected


def carried(answer):
    """An answer as the runtime of Python 3.12 and later sends it."""
    return json.dumps(answer, ensure_ascii=False).encode()


# Where a caller's words may stand, and the code that answers.
POISONED = {
    "key": ({HALF: 1, "url": "data:,x"}, "invalid_request"),
    "option": ({f"top_k{HALF}": 1, "url": "data:,x"}, "invalid_request"),
    "key alone": ({HALF: 1}, "missing_image"),
    "model": ({"url": "data:,x", "model": HALF}, "invalid_request"),
    "scores": ({"url": "data:,x", "scores": HALF}, "invalid_request"),
    "top_k": ({"url": "data:,x", "top_k": HALF}, "invalid_request"),
    "URL": ({"url": f"https://example.com/{HALF}"}, "invalid_url"),
    "host": ({"url": f"https://{HALF}.com/"}, "invalid_url"),
    "data: URL": ({"url": f"data:,{HALF}"}, "invalid_url"),
    "data: URL's type": ({"url": f"data:{HALF};base64,AAAA"}, "invalid_url"),
    "s3: URL": ({"url": f"s3://photos/{HALF}"}, "invalid_url"),
    "base64": ({"image": f"AAAA{HALF}"}, "invalid_request"),
    "data: URL in data: URL": ({"image": "data:;base64," * 2000}, "invalid_url"),
    "long key": ({"x" * 100_000: 1, "url": "data:x"}, "invalid_url"),
}


@pytest.mark.parametrize("name", POISONED)
def test_half_a_character_is_a_bad_request_wherever_it_is(name, handler):
    payload, code = POISONED[name]
    with pytest.raises(errors.ClassifierError) as caught:
        handler.handle(payload)
    assert (caught.value.code, caught.value.transient) == (code, False)
    message = str(caught.value)
    assert message.encode()
    assert len(message) <= 1000
    answer = handler.handle(v2(payload))
    assert carried(answer)
    assert answer["statusCode"] == 400
    assert json.loads(answer["body"])["error"] == {"code": code, "message": message}
    if "images" not in payload and code == "invalid_url":
        [answer] = handler.handle({"images": [{**payload}]})
        assert (answer["error"]["code"], bool(carried(answer))) == (code, True)


@pytest.mark.parametrize(
    "event",
    [
        v2("{}", query={HALF: "1"}),
        v2("{}", query={"top_k": HALF}),
        v2(HALF),
        v2("x", content_type=f"multipart/form-data; boundary={HALF}"),
        v2(path=f"/static/{HALF}\r\nX: y"),
        v2(path="/static/" + "\n" * 100_000),
        v2(path=HALF, method="GET"),
        v2(method=HALF),
        v2("{}", query={"top_k": [[[]]]}),
    ],
)
def test_half_a_character_around_the_body_is_a_clean_refusal(event, handler):
    answer = handler.handle(event)
    assert 400 <= answer["statusCode"] < 500
    assert len(carried(answer)) < 3000
    message = json.loads(answer["body"])["error"]["message"]
    assert text.clean(message, 1000) == message


@pytest.mark.parametrize("words", ["a\r\nX: y", HALF, "\u202e\x00", "zdjęcie", "x" * 100_000])
def test_ids_that_come_from_outside_are_short_ascii_in_headers(words, handler, monkeypatch):
    monkeypatch.setattr(telemetry, "trace_id", lambda: words)
    context = types.SimpleNamespace(aws_request_id=words)
    headers = handler.handle(v2("{}"), context)["headers"]
    for value in (headers["X-Request-Id"], headers["X-Amzn-Trace-Id"]):
        assert value.isascii()
        assert value.isprintable()
        assert len(value) <= 256


def test_stages_and_ids_are_given_back_as_far_as_they_can_be_encoded(handler):
    event = v2(path="/a\r\nX: y\ud800", method="GET", stage="a\r\nX: y\ud800")
    assert handler.handle(event)["headers"]["Location"] == "a%0D%0AX%3A%20y%3F/"
    event = {
        "invocationSchemaVersion": "1.0",
        "invocationId": f"i{HALF}",
        "tasks": [{"taskId": f"t{HALF}"}, {"taskId": "u", "s3Key": HALF, "s3Bucket": "photos"}],
    }
    answer = handler.handle(event)
    assert (answer["invocationId"], answer["results"][0]["taskId"]) == ("i\ufffd", "t\ufffd")
    assert [result["resultCode"] for result in answer["results"]] == ["PermanentFailure"] * 2
    assert answer["results"][1]["resultString"].startswith("invalid_url")


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        ({"warm": HALF}, {"warm": "?"}),
        ({"a": 1.5, HALF: 2.5}, {"a": 1.5, "?": 2.5}),
        ({"a": 1.5, "b": math.nan}, errors.InternalError),
        ({"a" * 7_000_000: 1.5}, errors.AnswerTooLarge),
    ],
)
def test_what_no_rule_foresaw_is_stopped_at_the_border(answer, sent, handler, monkeypatch):
    monkeypatch.setattr(Invocation, "answers", lambda *_, **__: [[answer]])
    if isinstance(sent, dict):
        assert handler.handle({"url": "data:,x"}) == sent
    else:
        with pytest.raises(sent):
            handler.handle({"url": "data:,x"})


def test_a_map_s_items_with_half_a_character_fail_alone(handler, jpeg):
    good = inline(jpeg)
    items = [
        good,
        f"https://example.com/{HALF}.jpg",
        {"Key": HALF, "Bucket": "b"},
        {HALF: 1},
        {"image": "data:;base64," * 2000},
        good,
    ]
    lines = handler.handle({"Items": items, "BatchInput": {"top_k": 1}})["answers"]
    assert carried(lines)
    assert ["scores" in line for line in lines] == [True, False, False, False, False, True]
    assert lines[1]["image"] == "https://example.com/\ufffd.jpg"
    assert [line["error"]["code"] for line in lines[1:5]] == [
        "invalid_url", "invalid_url", "missing_image", "invalid_url",
    ]  # fmt: skip
    assert not any("retry" in line for line in lines)


@pytest.fixture
def quiet(s3):
    return configured(RESULTS_PREFIX="s3://answers/out")


GOOD = json.dumps({"url": PHOTO, "top_k": 1})


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"url": "data:,x", HALF: 1}),
        json.dumps({"url": f"https://example.com/{HALF}"}),
        json.dumps({"url": "data:,x", "model": "x" * 50_000}),
        json.dumps({"image": "data:;base64," * 2000}),
        "[" * 100_000,
        HALF,
        5,
        '{"Records": [{"eventSource": "aws:s3", "s3": 5, "eventName": "ObjectCreated:"}]}',
    ],
)
def test_a_message_that_never_can_be_read_is_a_line_and_its_neighbours_are_answered(
    body, quiet, s3
):
    assert quiet.handle(queue(GOOD, body, GOOD)) == {"batchItemFailures": []}
    lines = s3.kept()
    assert ["scores" in line for line in lines].count(True) == 2
    assert sum(len(line.get("error", ())) for line in lines) == 2  # a code and a message
    assert all(len(json.dumps(line)) < 3000 for line in lines)


@pytest.mark.parametrize("records", [5, None, [5], [{}], {"a": 1}])
def test_a_test_of_a_bucket_asks_for_nothing_whatever_is_in_it(records, quiet, s3):
    test = json.dumps({"Event": "s3:TestEvent", "Records": records})
    assert quiet.handle(queue(GOOD, test)) == {"batchItemFailures": []}
    assert len(s3.kept()) == 1


def failing(real, when, error):
    def call(*arguments, **named):
        if when(*arguments):
            raise error
        return real(*arguments, **named)

    return call


@pytest.mark.parametrize(
    ("module", "function", "when", "error"),
    [
        ("events.result_lines", "line", lambda image, *_: image.url[-5:] == "2.jpg", KeyError("x")),
        ("events.result_lines", "keep", lambda job, *_: job.message == "m1", UnicodeError("x")),
        (
            "events.result_lines",
            "keep",
            lambda job, *_: job.message == "m1",
            errors.ResultsNotKept("x"),
        ),
        ("inference.request", "kind", lambda value: value == 5, ZeroDivisionError()),
        ("sources.s3", "read", lambda bucket, key, *_: key.endswith("2.jpg"), OSError()),
    ],
)
def test_a_fault_of_ours_is_one_message_s_which_comes_again_alone(
    module, function, when, error, quiet, s3, monkeypatch
):
    place = importlib.import_module(f"keras_to_lambda.runtime.{module}")
    other = json.dumps({"url": PHOTO.replace("1.jpg", "2.jpg")})
    bad = "5" if module == "inference.request" else other
    monkeypatch.setattr(place, function, failing(getattr(place, function), when, error))
    answer = quiet.handle(queue(GOOD, bad, GOOD))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
    assert len(s3.kept()) == 2


def test_an_inference_that_fails_for_one_image_fails_for_it_alone(settings, monkeypatch):
    handler = Handler(settings)
    model = handler.models.get()
    real = model.batch
    black = bytes(pixels.prepare(Picture(Image.new("RGB", (9, 9))), model.card))

    def batch(tensors):
        if any(bytes(tensor) == black for tensor in tensors):
            raise EngineError("a black image")
        return real(tensors)

    monkeypatch.setattr(model, "batch", batch)
    flat = (Image.new("RGB", (9, 9), colour) for colour in ("white", "black", "red"))
    answers = handler.handle({"images": [inline(encoded(image, "PNG")) for image in flat]})
    assert ["error" in answer for answer in answers] == [False, True, False]
    assert answers[1]["error"]["code"] == "internal_error"


def test_an_answer_over_what_lambda_carries_is_refused_with_its_own_text(settings):
    handler = Handler(dataclasses.replace(settings, max_images=200))
    side = handler.models.card().width
    noise = np.random.default_rng(1).integers(0, 255, (side, side, 3), dtype=np.uint8)
    image = inline(encoded(Image.fromarray(noise), "PNG"))["image"]
    count = 6 * 1024 * 1024 // len(image) + 1
    body = {"images": [{"image": image}] * count}
    assert outcome(handler.handle(v2(body, path="/tensor"))) == (413, "answer_too_large")
    body = {"images": [{"image": image}] * (count - 2)}
    assert handler.handle(v2(body, path="/tensor"))["statusCode"] == 200


def dig(depth):
    return dig(depth - 1) if depth else 1 / 0


def test_no_line_of_the_log_is_longer_than_8_kb(settings, capsys, monkeypatch):
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "\U0001f600" * 10_000)
    changes = {"log_level": "INFO", "metrics_namespace": "n", "max_images": 500}
    loud = Handler(dataclasses.replace(settings, **changes))
    error = errors.InvalidRequest("x", reason="\U0001f600" * 10_000)
    monkeypatch.setattr(Invocation, "_tensor", lambda *_: (_ for _ in ()).throw(error))
    capsys.readouterr()
    loud.handle({"images": ["data:,x"] * 300})
    [line] = capsys.readouterr().out.splitlines()
    assert len(line) <= 8192
    line = json.loads(line)
    assert (line["failures"], len(line["failed"])) == (300, 10)
    assert len(line["_aws"]["CloudWatchMetrics"][0]["Metrics"]) > 3
    monkeypatch.setattr(Invocation, "_tensor", lambda *_: dig(500))
    with pytest.raises(errors.InternalError):
        loud.handle({"url": "data:,x"})
    fault = capsys.readouterr().out.splitlines()[0]
    assert len(fault) < 4000
    assert json.loads(fault)["type"] == "ZeroDivisionError"
