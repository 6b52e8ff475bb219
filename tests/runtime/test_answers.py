"""Answers in the shapes that clients ask for, and which model answers when none is named."""

from __future__ import annotations

import base64
import dataclasses
import json
import shutil

import numpy as np
import pytest

from keras_to_lambda.runtime.common.errors import InvalidRequest, ModelNotNamed, SetupError
from keras_to_lambda.runtime.common.settings import MODELS, Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.inference.predictions import shaped
from keras_to_lambda.runtime.inference.request import Options, Request
from keras_to_lambda.runtime.model_file import card as cards

CARD = cards.load(f"{MODELS}/clothing/clothing.tflite")
OUTPUTS = np.float32([-1, 4, 0, 2, -3, -3, -3, -3, -3, 1])
DEFAULT = dict(zip(CARD.labels, OUTPUTS.tolist(), strict=True))
HAT, OUTWEAR = {"label": "hat", "score": 4.0}, {"label": "outwear", "score": 2.0}
# 24 of 26 test photos with a confidence from 0.9 to 0.95 were right.
LIKE = {"right": 0.9231, "photos": 26, "unlike_test_photos": False}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, DEFAULT),
        ({"answer": "scores"}, DEFAULT),
        ({"answer": "scores", "threshold": 0}, {"longsleeve": 0.0, "hat": 4.0, "outwear": 2.0,
                                                "t-shirt": 1.0}),
        ({"top_k": 3, "threshold": "1.5"}, {"hat": 4.0, "outwear": 2.0}),
        ({"threshold": 5}, {}),
        ({"answer": "best"}, {**HAT, "reliability": LIKE}),
        ({"answer": "best", "top_k": 3, "threshold": 4}, {**HAT, "reliability": LIKE}),
        ({"answer": "best", "threshold": 4.5}, {"label": None, "score": None,
                                                "reliability": None}),
        ({"answer": "list", "top_k": 2}, [HAT, OUTWEAR]),
        ({"answer": "list", "threshold": 2}, [HAT, OUTWEAR]),
        ({"answer": "list", "threshold": 9}, []),
        ({"answer": "values"}, [-1, 4, 0, 2, -3, -3, -3, -3, -3, 1]),
        ({"answer": "values", "top_k": 2}, [None, 4, None, 2, None, None, None, None, None, None]),
        ({"answer": "values", "threshold": 1}, [None, 4, None, 2, *[None] * 5, 1]),
    ],
)  # fmt: skip
def test_an_answer_has_the_shape_that_is_asked_for(asked, expected):
    assert shaped(OUTPUTS, CARD, Options.read(asked)) == expected


CALIBRATION = {
    "temperature": 2.0,
    "bins": [
        {"low": 0.0, "high": 0.6, "pictures": 20, "right": 10},
        {"low": 0.6, "high": 1.0, "pictures": 30, "right": 24},
    ],
    "energy": [1.0, 9.0],
}


@pytest.mark.parametrize(
    ("changes", "outputs", "expected"),
    [
        # softmax([4, 2] / 2) is 0.731; of [4, 2] itself it would be 0.881.
        ({}, [4, 2], (0.8, 30, False)),
        ({}, [4, 3.9], (0.5, 20, False)),
        ({}, [800, -800], (0.8, 30, False)),
        ({}, [0.1, 0.1], (None, 0, True)),  # log(exp(0.1) * 2) = 0.79
        # sqrt(0.6) / (sqrt(0.6) + sqrt(0.4)) = 0.551
        ({"output": "probabilities"}, [0.6, 0.4], (0.5, 20, None)),
        ({"output": "probabilities"}, [1, 0], (0.8, 30, None)),
        ({"calibration": {}}, [4, 2], None),
        ({"activation": "sigmoid"}, [4, 2], None),
    ],
)
def test_the_best_label_comes_with_what_testing_says_of_such_answers(changes, outputs, expected):
    card = cards.ModelCard("two", ("a", "b"), 8, 8, calibration=CALIBRATION)
    card = dataclasses.replace(card, **changes)
    answer = shaped(outputs, card, Options(answer="best"))
    fields = ("right", "photos", "unlike_test_photos")
    record = dict(zip(fields, expected, strict=True)) if expected else "absent"
    assert answer.get("reliability", "absent") == record


def test_a_list_without_top_k_has_every_label_best_first():
    answer = shaped(OUTPUTS, CARD, Options(answer="list"))
    assert [each["label"] for each in answer][:4] == ["hat", "outwear", "t-shirt", "longsleeve"]
    assert len(answer) == 10


def test_a_threshold_is_of_the_scores_that_are_asked_for():
    answer = shaped(OUTPUTS, CARD, Options(scores="probabilities", threshold=0.5))
    assert answer == {"hat": pytest.approx(0.8226, abs=1e-3)}


@pytest.mark.parametrize(
    "asked",
    [
        {"answer": "all"},
        {"answer": 1},
        {"threshold": "much"},
        {"threshold": True},
        {"threshold": "nan"},
        {"threshold": "inf"},
        {"threshold": 10**400},
        {"threshold": []},
        {"threshold": ""},
    ],
)
def test_a_wrong_shape_or_threshold_is_refused(asked):
    with pytest.raises(InvalidRequest, match=r"^(answer|threshold) must be"):
        Options.read(asked)


@pytest.fixture(scope="module")
def image(jpeg):
    return base64.b64encode(jpeg).decode()


def test_every_way_to_ask_takes_the_shape_and_errors_stay_errors(handler, image):
    best = handler.handle({"image": image, "answer": "best"})
    assert set(best) == {"label", "score", "reliability"}
    answers = handler.handle({"images": [{"image": image}, {"image": "!"}], "answer": "best"})
    assert (answers[0], list(answers[1])) == (best, ["error"])
    event = {
        "rawPath": "/predict",
        "queryStringParameters": {"answer": "list", "threshold": "-99", "top_k": "1"},
        "requestContext": {"http": {"method": "POST", "path": "/predict"}},
        "body": json.dumps({"image": image}),
    }
    first = {name: best[name] for name in ("label", "score")}
    assert json.loads(handler.handle(event)["body"]) == [first]
    form = Request.from_body(
        b"url=data%3A%2Cx&answer=best&threshold=0.5", "application/x-www-form-urlencoded"
    )
    assert form.options == Options(answer="best", threshold=0.5)
    [line] = handler.handle({"Items": [{"image": image}], "BatchInput": {"answer": "best"}})[
        "answers"
    ]
    assert line == {"image": "inline", "model": "clothing", "answer": "best", "scores": best}


@pytest.fixture
def folder(tmp_path):
    for name in ("clothing", "digits"):
        shutil.copy(f"{MODELS}/{name}/{name}.tflite", tmp_path)
    return tmp_path


def served(folder, **settings):
    return Handler(Settings(model_path=str(folder), num_threads=1, log_level="FATAL", **settings))


def test_of_several_models_without_a_default_one_has_to_be_named(folder, image):
    handler = served(folder)
    assert handler.models.default is None
    assert not handler.models._loaded
    with pytest.raises(ModelNotNamed, match="one of clothing, digits"):
        handler.handle({"image": image})
    with pytest.raises(ModelNotNamed):
        handler.handle({"Items": [{"image": image}]})
    assert len(handler.handle({"image": image, "model": "clothing"})) == 10
    assert handler.handle({"ping": True}) == {"warm": True}

    def get(path, **event):
        method = "POST" if event else "GET"
        http = {"method": method, "path": path}
        answer = handler.handle({"rawPath": path, "requestContext": {"http": http}, **event})
        return answer["statusCode"], json.loads(answer["body"])

    status, answer = get("/predict", body=json.dumps({"image": image}))
    assert (status, answer["error"]["code"]) == (400, "model_not_named")
    assert get("/models")[1]["default"] is None
    [described] = [
        parameter["schema"]
        for parameter in get("/openapi.json")[1]["paths"]["/predict"]["post"]["parameters"]
        if parameter["name"] == "model"
    ]
    assert described["enum"] == ["clothing", "digits"]
    assert "default" not in described


def test_another_model_changes_no_answer(folder, image):
    (folder / "default.txt").write_text("clothing\n", encoding="utf-8")
    before = served(folder).handle({"image": image})
    # First by name, as "age" is before "clothing".
    card = cards.load(str(folder / "digits.tflite"))
    flatbuffer = (folder / "digits.tflite").read_bytes()[: card.model_bytes]
    renamed = dataclasses.replace(card, name="age")
    (folder / "age.tflite").write_bytes(cards.join(flatbuffer, renamed))
    assert served(folder).handle({"image": image}) == before
    assert served(folder, default_model="digits").models.default == "digits"


def test_the_only_model_is_the_default_whatever_the_folder_says(folder):
    (folder / "default.txt").write_text("clothing", encoding="utf-8")
    (folder / "clothing.tflite").unlink()
    assert served(folder).models.default == "digits"
    assert served(folder / "digits.tflite").models.default == "digits"


def test_a_default_that_is_not_there_is_an_error_at_start(folder):
    (folder / "default.txt").write_text("hats", encoding="utf-8")
    with pytest.raises(
        SetupError, match=r"no model 'hats' \(.*default\.txt\); there is clothing, "
    ):
        served(folder)


def test_the_project_s_own_folder_names_clothing():
    assert served(MODELS).models.default == "clothing"
