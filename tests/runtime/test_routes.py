"""The routes beside POST /predict, forms, and the API's description."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.runtime.common import errors
from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.common.formats import MEDIA_TYPES
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.inference.request import Options
from keras_to_lambda.runtime.sources import images as sources
from tests.runtime.made import DIGITS, inline, outcome, served, v1, v2

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = {n: (ROOT / f"models/digits/samples/{n}.png").read_bytes() for n in "36"}


def get(handler, path, method="GET", **headers):
    return handler.handle(v2(method=method, path=path, **headers))


def posted(handler, path, body, **query):
    return handler.handle(v2(body, path=path, query=query))


@pytest.mark.parametrize("path", ["/", "/models", "/openapi.json", "/models/"])
def test_head_is_get_without_the_body(path, handler):
    full, head = get(handler, path), get(handler, path, "HEAD")
    assert full["statusCode"] == head["statusCode"] == 200
    assert full["body"]
    assert head["body"] == ""
    assert head["headers"]["Content-Length"] == str(len(full["body"].encode()))
    if "ETag" in full["headers"]:
        known = get(handler, path, "HEAD", if_none_match=full["headers"]["ETag"])
        assert known["statusCode"] == 304
        assert "Content-Length" not in known["headers"]
    assert full["headers"]["Content-Type"] == head["headers"]["Content-Type"]


@pytest.mark.parametrize(
    ("path", "method", "status", "allow"),
    [
        ("/predict", "GET", 405, "POST, OPTIONS"),
        ("/tensor", "GET", 405, "POST, OPTIONS"),
        ("/models", "POST", 405, "GET, HEAD, OPTIONS"),
        ("/", "DELETE", 405, "GET, HEAD, OPTIONS"),
        ("/nowhere", "GET", 404, None),
        ("/predict/more", "POST", 404, None),
        ("/../models", "GET", 404, None),
        *((f"/static/{name}", "GET", 404, None) for name in ("", "nothing.js", "../index.html")),
        *((f"/static/{name}", "GET", 404, None) for name in ("..%2Findex.html", "static")),
    ],
)
def test_a_wrong_path_is_404_and_a_wrong_method_405(path, method, status, allow, handler):
    answer = get(handler, path, method)
    assert answer["statusCode"] == status
    assert answer["headers"].get("Allow") == allow
    assert answer["headers"]["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("event", "location"),
    [
        (v2(method="GET", path="/prod", stage="prod"), "prod/"),
        (v2(method="GET", path="/v1/clothes"), "clothes/"),
        (v1(method="GET", path="/"), "Prod/"),
    ],
)
def test_the_page_below_a_stage_is_a_folder_as_its_links_are_relative(event, location, settings):
    handler = Handler(dataclasses.replace(settings, base_path="/v1/clothes"))
    event["requestContext"]["path"] = "/Prod"
    answer = handler.handle(event)
    assert (answer["statusCode"], answer["headers"]["Location"]) == (308, location)
    event["requestContext"]["path"] = "/Prod/"
    if "rawPath" in event:
        event["rawPath"] += "/"
    assert handler.handle(event)["headers"]["Content-Type"].startswith("text/html")
    for path, status in {"/v1/clothes/models": 200, "/models": 200, "/v1/clothesline": 404}.items():
        assert get(handler, path)["statusCode"] == status
    assert handler.handle(v2(method="GET", path="/prod/models", stage="prod"))["statusCode"] == 200


PAGES = ["/", "/docs", *(f"/static/{file.name}" for file in (ROOT / "web" / "static").iterdir())]


def test_pages_let_nothing_of_elsewhere_in_and_are_under_100_kb_when_compressed(handler):
    size = 0
    # Addresses in comments, words and namespaces are never loaded; the policy would refuse them.
    loads = r"""(?:src|href)=["']?https?:|@import|url\(|from "http|import\("http"""
    for path in PAGES:
        plain = get(handler, path)
        policy = plain["headers"]["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(loads, plain["body"]), path
        packed = get(handler, path, Accept_Encoding="br, gzip")
        assert plain["isBase64Encoded"] is False
        content = packed["body"].encode()
        if packed["isBase64Encoded"]:
            assert packed["headers"]["Content-Encoding"] == "gzip"
            assert packed["headers"]["Vary"] == "Accept-Encoding"
            content = base64.b64decode(packed["body"])
            assert gzip.decompress(content).decode() == plain["body"]
        assert packed["isBase64Encoded"] == (len(plain["body"]) >= 1000)
        size += len(content)
    assert size < 100_000  # at most: "/" has the modules inside
    # A REST API would send the base64 itself.
    event = v1(method="GET", path="/", accept_encoding="gzip")
    event["requestContext"]["path"] = "/"
    assert handler.handle(event)["body"].startswith("<!doctype html>")


def test_the_page_has_its_style_its_modules_and_the_cards_inside(handler):
    page = get(handler, "/")
    assert not re.search(r"<link rel=.stylesheet|<script[^>]* src=", page["body"])
    data = page["body"].partition('id="described">')[2].partition("</script>")[0]
    assert json.loads(data) == json.loads(get(handler, "/models")["body"])
    policy = page["headers"]["Content-Security-Policy"]
    for tag in ("style", 'script type="module"'):
        text = re.search(f"<{tag}>(.*?)</", page["body"], re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_a_page_is_kept_until_it_changes(handler):
    tag = get(handler, "/static/app.js")["headers"]["ETag"]
    again = get(handler, "/static/app.js", if_none_match=f'{tag}, "other"')
    assert (again["statusCode"], again["body"], again["headers"]["ETag"]) == (304, "", tag)
    assert get(handler, "/static/app.js", if_none_match='"x"')["statusCode"] == 200


def test_a_rest_apis_files_are_found_below_a_custom_domains_base_path(handler):
    event = {
        **v1(method="GET", path="/v1/static/app.js"),
        "resource": "/static/{file}",
        "pathParameters": {"file": "app.js"},
    }
    assert handler.handle(event)["body"] == (ROOT / "web" / "static" / "app.js").read_text("utf-8")
    assert handler.handle({**event, "pathParameters": None})["statusCode"] == 404


def test_named_pages_may_hold_the_page_in_a_frame():
    origins = "https://example.com https://*.example.org"
    settings = Settings.from_environ({"EMBED_ORIGINS": origins.replace(" ", ",")})
    for wrong in ("https://a.example; script-src *", "*"):
        with pytest.raises(SetupError, match="EMBED_ORIGINS"):
            Settings.from_environ({"EMBED_ORIGINS": wrong})
    page = get(served(DIGITS, embed_origins=settings.embed_origins), "/")
    assert f"frame-ancestors {origins}" in page["headers"]["Content-Security-Policy"]


def test_samples_are_the_pictures_beside_each_model_and_are_answered_right(handler):
    answer = json.loads(get(handler, "/samples")["body"])
    assert answer["digits-tree"] == []
    said = {"digits": "", "digits-tree": ""}
    for sample in answer["digits"]:
        for model in said:
            got = handler.handle({"url": sample["image"], "model": model})
            said[model] += max(got, key=got.get)
    assert said["digits"] == "".join(each["name"] for each in answer["digits"]) == "0123456789"
    assert 2 <= sum(a != b for a, b in zip(said["digits-tree"], "0123456789", strict=True)) <= 6
    for sample in answer["clothing"]:
        got = handler.handle({"url": sample["image"]})
        assert max(got, key=got.get) == sample["name"]


def test_samples_in_class_folders_are_named_after_these_and_take_turns(tmp_path):
    shutil.copy(DIGITS, tmp_path)
    for label in ("7", "3"):
        (tmp_path / "samples" / label).mkdir(parents=True)
        for number in (1, 2):
            picture = Image.new("L", (8, 8), 100 * number)
            picture.save(tmp_path / "samples" / label / f"{number}.png")
    (tmp_path / "samples" / "notes.txt").touch()
    found = json.loads(get(served(tmp_path), "/samples")["body"])["digits"]
    assert [sample["name"] for sample in found] == ["3", "7", "3", "7"]


def test_a_tensor_is_shown_as_the_picture_that_the_model_sees(handler):
    """White on black, 28 x 28 already: what comes back is what was sent, pixel for pixel."""
    answer = posted(handler, "/tensor", SAMPLE["3"], model="digits")
    seen = json.loads(answer["body"])
    assert (seen["model"], seen["shape"], seen["dtype"]) == ("digits", [28, 28, 1], "uint8")
    assert (seen["min"], seen["max"]) == (0.0, 255.0)
    picture = Image.open(io.BytesIO(base64.b64decode(seen["image"].partition(",")[2])))
    assert picture.mode == "L"
    assert np.array_equal(np.asarray(picture), np.asarray(Image.open(io.BytesIO(SAMPLE["3"]))))
    assert "decode;dur=" in answer["headers"]["Server-Timing"]
    assert "inference" not in answer["headers"]["Server-Timing"]


def test_a_tensor_has_the_answer_beside_it_if_an_option_is_given(handler):
    query = {"model": "digits", "answer": "best", "scores": "probabilities"}
    seen = posted(handler, "/tensor", SAMPLE["3"], **query)
    alone = posted(handler, "/predict", SAMPLE["3"], **query)
    assert json.loads(seen["body"])["answer"] == json.loads(alone["body"])
    assert json.loads(seen["body"])["shape"] == [28, 28, 1]
    assert "inference;dur=" in seen["headers"]["Server-Timing"]


def test_several_models_look_at_each_image_which_is_read_once(handler, monkeypatch):
    read, calls = sources.read, []
    monkeypatch.setattr(sources, "read", lambda *args: calls.append(args[0]) or read(*args))
    body = {"images": [inline(SAMPLE["6"]), "data:,x"]}
    answer = posted(handler, "/tensor", body, model="digits,digits-tree", answer="best")
    seen, broken = json.loads(answer["body"])
    labels = {name: account["answer"]["label"] for name, account in seen.items()}
    assert labels == {"digits": "6", "digits-tree": "4"}
    codes = {name: each["error"]["code"] for name, each in broken.items()}
    assert codes == dict.fromkeys(labels, "unsupported_format")
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("model", "images", "code"),
    [
        ("none", 1, "model_not_found"),
        ("digits,none", 1, "model_not_found"),
        (",", 1, "model_not_found"),
        ("digits,", 1, "model_not_found"),
        ("digits,digits-tree", 8, None),
        ("digits,digits-tree", 9, "too_many_images"),
    ],
)
def test_models_and_their_number_are_checked_before_an_image_is_read(
    handler, monkeypatch, model, images, code
):
    calls = []
    monkeypatch.setattr(sources, "read", lambda *args: calls.append(args[0]) or b"")
    answer = posted(handler, "/tensor", {"images": ["data:,x"] * images}, model=model)
    if code:
        assert outcome(answer)[1] == code
        assert not calls
    else:
        assert len(json.loads(answer["body"])) == images


def test_the_description_has_every_error_and_option(handler):
    described = json.loads(get(handler, "/openapi.json")["body"])
    assert described["openapi"].startswith("3.1")
    post = described["paths"]["/predict"]["post"]
    assert {parameter["name"] for parameter in post["parameters"]} == {*Options._fields}
    codes = described["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]
    assert set(codes["enum"]) == {kind.code for kind in errors.every()}
    for kind in errors.every():
        assert kind.code in post["responses"][str(kind.status)]["description"].split("; ")[0]
    assert {*MEDIA_TYPES.values()} < set(post["requestBody"]["content"])
