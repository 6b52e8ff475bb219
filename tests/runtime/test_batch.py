"""Several images in one request, and several models in one function."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from keras_to_lambda.runtime.common import errors
from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.image import pixels
from keras_to_lambda.runtime.model.interpreter import Classifier
from keras_to_lambda.runtime.sources import images as sources
from keras_to_lambda.runtime.sources.images import Raw, Url
from tests.http_host import Clock
from tests.runtime.made import CLOTHING, TREE, inline

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def tensors():
    model = Classifier(CLOTHING)
    shape = (5, model.card.height, model.card.width, 3)
    return np.random.default_rng(3).uniform(-1, 1, shape).astype(np.float32)


def test_a_batch_on_two_threads_answers_as_one_by_one(tensors):
    one, two = Classifier(CLOTHING, 1), Classifier(CLOTHING, 2)
    expected = np.stack([one.logits(tensor) for tensor in tensors])
    np.testing.assert_array_equal(one.batch(tensors), expected)
    for count in (5, 2, 1, 3):
        np.testing.assert_allclose(two.batch(tensors[:count]), expected[:count], atol=1e-4)
    assert two._may_batch
    assert two._batch is not None
    assert one._batch is None


def test_a_graph_that_cannot_take_a_batch_gets_its_images_one_by_one(tensors):
    model = Classifier(TREE, 2)
    digits = tensors[:, :28, :28, :1]
    expected = [model.logits(digit.copy()) for digit in digits]
    assert model._may_batch
    np.testing.assert_array_equal(model.batch([digit.copy() for digit in digits]), expected)
    assert not model._may_batch


def test_a_graph_that_mixes_its_batch_is_found_out_by_images_with_other_answers(
    tensors, monkeypatch
):
    """A mean over the batch is an image's own answer where all images are the same."""
    from keras_to_lambda.runtime.model import interpreter as module

    alone, model = Classifier(CLOTHING, 1), Classifier(CLOTHING, 2)

    def mean(data, images):
        size = len(data) // images
        parts = [data[at : at + size] for at in range(0, len(data), size)]
        rows = [alone.answers(alone._engine(part), 1)[0] for part in parts]
        return np.float32([np.mean(rows, axis=0)] * images).tobytes()

    monkeypatch.setattr(module.engine, "load", lambda *_: mean)
    one, other = (model.logits(tensor) for tensor in tensors[:2])
    assert model.batch([tensors[0], tensors[0]]) == [one, one]
    assert model._may_batch
    assert model.batch([tensors[0], tensors[1], tensors[0]]) == [one, other, one]
    assert not model._may_batch


def test_threads_do_not_mix_their_images(tensors):
    model = Classifier(CLOTHING, 1)
    expected = [model.logits(tensor) for tensor in tensors]
    wrong = []

    def ask(index):
        same = [np.array_equal(model.logits(tensors[index]), expected[index]) for _ in range(20)]
        wrong.extend([] if all(same) else [index])

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(ask, range(5)))
    assert not wrong


def test_images_of_a_request_are_fetched_side_by_side(handler, far_host):
    # The host answers none of them before all eight are there.
    answers = handler.handle({"images": [f"http://{far_host}/photo-of-eight"] * 8, "top_k": 1})
    assert all("error" not in answer for answer in answers)


def test_more_images_than_are_fetched_at_a_time_keep_their_order(settings, far_host, jpeg):
    many = [f"http://{far_host}/photo", f"http://{far_host}/missing", inline(jpeg)] * 7
    answers = Handler(dataclasses.replace(settings, max_images=21)).handle({"images": many})
    assert ["error" in answer for answer in answers] == [False, True, False] * 7
    assert answers[0] == answers[2] == answers[18]


def test_one_silent_host_does_not_take_the_others_down(settings, far_host, jpeg, monkeypatch):
    # Downloads get 1 s of the minute here, so that the rest has time on any machine.
    monkeypatch.setattr(sources, "SHARE_FOR_DOWNLOADS", 1 / 60)
    images = [Url(f"http://{far_host}/stall"), Raw(jpeg)]
    answers = Handler(settings).pipeline.classify(images, deadline=Deadline(60))
    assert isinstance(answers[0], errors.DeadlineExceeded)
    assert isinstance(answers[1], dict)


def test_decoding_that_takes_all_the_time_leaves_some_to_answer_what_it_has(
    settings, jpeg, monkeypatch
):
    real, clock = pixels.prepare, Clock()
    monkeypatch.setattr(pixels, "prepare", lambda *of: (clock.advance(4.0), real(*of))[1])
    handler = Handler(settings)
    answers = handler.pipeline.classify([Raw(jpeg)] * 5, deadline=Deadline(12.0, clock))
    # A third one would end after 12 s; nine tenths of them are for decoding.
    late = [isinstance(answer, errors.DeadlineExceeded) for answer in answers]
    assert late == [False, False, True, True, True]


def test_an_image_that_breaks_the_code_fails_alone(settings, jpeg, monkeypatch):
    real, calls = pixels.prepare, []

    def prepare(image, card):
        calls.append(image)
        if len(calls) == 2:
            raise ZeroDivisionError("CANARY")
        return real(image, card)

    monkeypatch.setattr(pixels, "prepare", prepare)
    answers = Handler(settings).handle({"images": [inline(jpeg)] * 3})
    assert ["error" in answer for answer in answers] == [False, True, False]
    assert answers[1]["error"]["code"] == "internal_error"
    assert "CANARY" not in json.dumps(answers)


def test_inference_that_cannot_finish_is_refused(settings, jpeg):
    handler = Handler(settings)
    model = handler.models.get()
    model.seconds = 3.0
    clock = Clock()
    [answer] = handler.pipeline.classify([Raw(jpeg)], deadline=Deadline(1.0, clock))
    assert isinstance(answer, errors.DeadlineExceeded)
    assert "3.0 s" in answer.message
    # Of several, as many as there is time for.
    model.seconds = 0.4
    answers = handler.pipeline.classify([Raw(jpeg)] * 4, deadline=Deadline(1.1, clock))
    late = [isinstance(answer, errors.DeadlineExceeded) for answer in answers]
    assert late == [False, False, True, True]


def test_one_slow_inference_does_not_refuse_all_that_follow(tensors):
    model = Classifier(CLOTHING)
    model.seconds = 3600.0
    model.logits(tensors[0])
    fastest = model.seconds
    assert 0 < fastest < 3600
    model._took(60.0)
    assert model.seconds == fastest


def test_a_map_batch_tries_again_what_may_pass_and_says_what_still_may(handler, far_host):
    flaky, missing, page = (
        f"http://{far_host}/{path}" for path in ("flaky?asked=map", "missing", "document?kind=html")
    )
    urls = [missing, flaky, page]
    items = [{"url": url} for url in urls]
    lines = handler.handle({"Items": items, "BatchInput": {"top_k": 1}})["answers"]
    assert [line["image"] for line in lines] == [url.partition("?")[0] for url in urls]
    assert (lines[0]["error"]["code"], lines[0]["retry"]) == ("fetch_failed", True)
    assert len(lines[1]["scores"]) == 1
    assert lines[2]["error"]["code"] == "unsupported_format"
    assert "retry" not in lines[2]
    # A request's list is not tried again.
    [answer] = handler.handle({"images": [{"url": f"http://{far_host}/flaky?asked=list"}]})
    assert answer["error"]["code"] == "fetch_failed"


@pytest.mark.parametrize(
    ("options", "error"),
    [({"model": "clothng"}, errors.ModelNotFound), ({"top_k": -1}, errors.InvalidRequest)],
)
def test_wrong_options_of_a_map_batch_are_the_batch_s_error(handler, jpeg, options, error):
    """Else every image of a million would have it for good, and the run would have succeeded."""
    items = [inline(jpeg)] * 2
    with pytest.raises(error):
        handler.handle({"Items": items, "BatchInput": options})
