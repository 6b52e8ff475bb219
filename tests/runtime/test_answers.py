"""Answers in the shapes that clients ask for, and which model answers when none is named."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from keras_to_lambda.cli import predict
from keras_to_lambda.runtime.common import errors
from keras_to_lambda.runtime.common.settings import MODELS, Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.inference.predictions import ranked, shaped, softmax
from keras_to_lambda.runtime.inference.request import Options, Request
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.sources.images import Raw
from tests.runtime.made import CLOTHING, DIGITS, inline, outcome, served, v2

CARD = cards.load(CLOTHING)
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
        ({"scores": "probabilities", "threshold": 0.5}, {"hat": pytest.approx(0.8226, abs=1e-3)}),
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
    card = cards.ModelCard("m", ("a", "b", "c"), 8, 8, output=output, activation=activation)
    found = ranked([-1, -2.3, 2], card, Options(None, "probabilities", None))
    assert list(found.values()) == pytest.approx(scores, abs=1e-4)
    assert softmax([1e4, -1e4]) == [1, 0]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_logits_are_refused_where_probabilities_come_out(activation, tmp_path, jpeg):
    path, model = tmp_path / "model.tflite", Path(CLOTHING).read_bytes()
    end, card = cards.read(io.BytesIO(model))
    other = dataclasses.replace(card, output="probabilities", activation=activation)
    path.write_bytes(cards.join(model[:end], other))
    with pytest.raises(errors.InvalidRequest, match=f"this model ends in a {activation}: it has"):
        served(path).pipeline.classify([Raw(jpeg)], Options(None, "logits", None))


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
    answer = shaped(outputs, dataclasses.replace(card, **changes), Options(answer="best"))
    fields = ("right", "photos", "unlike_test_photos")
    record = dict(zip(fields, expected, strict=True)) if expected else "absent"
    assert answer.get("reliability", "absent") == record


@pytest.mark.parametrize(
    "asked",
    [
        *({"answer": value} for value in ("all", 1)),
        *({"threshold": value} for value in ("much", True, "nan", "inf", 10**400, [], "")),
    ],
)
def test_a_wrong_shape_or_threshold_is_refused(asked):
    with pytest.raises(errors.InvalidRequest, match=r"^(answer|threshold) must be"):
        Options.read(asked)


def test_every_way_to_ask_takes_the_shape_and_errors_stay_errors(handler, jpeg):
    best = handler.handle({**inline(jpeg), "answer": "best"})
    assert set(best) == {"label", "score", "reliability"}
    answers = handler.handle({"images": [inline(jpeg), {"image": "!"}], "answer": "best"})
    assert (answers[0], list(answers[1])) == (best, ["error"])
    query = {"answer": "list", "threshold": "-99", "top_k": "1"}
    first = {name: best[name] for name in ("label", "score")}
    assert json.loads(handler.handle(v2(inline(jpeg), query=query))["body"]) == [first]
    form = Request.from_body(
        b"url=data%3A%2Cx&answer=best&threshold=0.5", "application/x-www-form-urlencoded"
    )
    assert form.options == Options(answer="best", threshold=0.5)
    batch = {"Items": [inline(jpeg)], "BatchInput": {"answer": "best"}}
    [line] = handler.handle(batch)["answers"]
    assert line == {"image": "inline", "model": "clothing", "answer": "best", "scores": best}


@pytest.fixture
def folder(tmp_path):
    for path in (CLOTHING, DIGITS):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_of_several_models_without_a_default_one_has_to_be_named(folder, jpeg, capsys):
    handler = served(folder)
    assert handler.models.default is None
    assert not handler.models._loaded
    with pytest.raises(errors.ModelNotNamed, match="one of clothing, digits"):
        handler.handle(inline(jpeg))
    with pytest.raises(errors.ModelNotNamed):
        handler.handle({"Items": [inline(jpeg)]})
    with pytest.raises(errors.ModelNotFound, match="clothing, digits"):
        handler.handle({**inline(jpeg), "model": "pets"})
    assert len(handler.handle({**inline(jpeg), "model": "clothing"})) == 10
    assert set(handler.models._loaded) == {"clothing"}
    assert handler.handle({"ping": True}) == {"warm": True}
    assert predict.main(["samples", "--model", str(folder)]) == 2
    assert "name one with --model: clothing, digits\n" in capsys.readouterr().err
    assert outcome(handler.handle(v2(inline(jpeg)))) == (400, "model_not_named")

    def get(path):
        return json.loads(handler.handle(v2(method="GET", path=path))["body"])

    assert get("/models")["default"] is None
    assert [model["name"] for model in get("/models")["models"]] == ["clothing", "digits"]
    parameters = get("/openapi.json")["paths"]["/predict"]["post"]["parameters"]
    [described] = [each["schema"] for each in parameters if each["name"] == "model"]
    assert described["enum"] == ["clothing", "digits"]
    assert "default" not in described


def test_another_model_changes_no_answer(folder, jpeg):
    (folder / "default.txt").write_text("clothing\n", encoding="utf-8")
    before = served(folder).handle(inline(jpeg))
    # First by name, as "age" is before "clothing".
    card = cards.load(DIGITS)
    flatbuffer = Path(DIGITS).read_bytes()[: card.model_bytes]
    (folder / "age.tflite").write_bytes(
        cards.join(flatbuffer, dataclasses.replace(card, name="age"))
    )
    assert served(folder).handle(inline(jpeg)) == before


@pytest.mark.parametrize(
    ("path", "default_txt", "environ", "default"),
    [
        (".", "clothing", {}, "clothing"),
        (".", "clothing", {"DEFAULT_MODEL": "digits"}, "digits"),
        ("digits.tflite", "clothing", {}, "digits"),
        (".", "hats", {}, r"'hats', which .*default\.txt names; there is clothing, digits"),
        (".", "", {"DEFAULT_MODEL": "pets"}, "'pets', which DEFAULT_MODEL .*; there is clothing"),
    ],
)
def test_the_default_is_a_setting_or_the_folders_or_the_only_one(
    path, default_txt, environ, default, folder
):
    (folder / "default.txt").write_text(default_txt, encoding="utf-8")
    settings = Settings.from_environ({"MODEL_PATH": str(folder / path), **environ})
    if default.isalpha():
        assert Handler(settings).models.default == default
    else:
        with pytest.raises(errors.SetupError, match=default):
            Handler(settings)


def test_the_project_s_own_folder_names_clothing_and_every_model_may_be_loaded_at_start():
    models = served(MODELS, load_models="all").models
    assert models.default == "clothing"
    assert set(models._loaded) == set(models.installed) == {"clothing", "digits", "digits-tree"}


def test_a_wrong_folder_is_reported_at_start(tmp_path):
    with pytest.raises(errors.SetupError, match=r"no \.tflite file"):
        served(tmp_path)
    for name in ("one.tflite", "two.tflite"):
        shutil.copy(DIGITS, tmp_path / name)
    with pytest.raises(errors.SetupError, match="both named 'digits'"):
        served(tmp_path)
    (tmp_path / "one.tflite").write_bytes(b"nonsense")
    with pytest.raises(errors.SetupError):
        served(tmp_path)
