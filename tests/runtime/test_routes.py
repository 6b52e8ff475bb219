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
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from keras_to_lambda.runtime.common import errors
from keras_to_lambda.runtime.common.errors import ClassifierError, SetupError
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.http import playground
from keras_to_lambda.runtime.inference import multipart_form
from keras_to_lambda.runtime.inference.request import Options, Request
from keras_to_lambda.runtime.sources.images import Raw, Url

ROOT = Path(__file__).resolve().parents[2]


def get(handler, path, method="GET", **changes):
    return handler.handle(
        {
            "rawPath": path,
            "requestContext": {"http": {"method": method, "path": path}, "stage": "$default"},
            **changes,
        }
    )


@pytest.mark.parametrize("path", ["/", "/models", "/openapi.json", "/models/"])
def test_head_is_get_without_the_body(path, handler):
    full, head = get(handler, path), get(handler, path, "HEAD")
    assert full["statusCode"] == head["statusCode"] == 200
    assert full["body"]
    assert head["body"] == ""
    assert head["headers"]["Content-Length"] == str(len(full["body"].encode()))
    if "ETag" in full["headers"]:
        known = get(handler, path, "HEAD", headers={"if-none-match": full["headers"]["ETag"]})
        assert known["statusCode"] == 304
        assert "Content-Length" not in known["headers"]
    assert full["headers"]["Content-Type"] == head["headers"]["Content-Type"]


@pytest.mark.parametrize(
    ("path", "method", "status", "allow"),
    [
        ("/predict", "GET", 405, "POST, OPTIONS"),
        ("/models", "POST", 405, "GET, HEAD, OPTIONS"),
        ("/", "DELETE", 405, "GET, HEAD, OPTIONS"),
        ("/nowhere", "GET", 404, None),
        ("/predict/more", "POST", 404, None),
        ("/../models", "GET", 404, None),
    ],
)
def test_a_wrong_path_is_404_and_a_wrong_method_405(path, method, status, allow, handler):
    answer = get(handler, path, method)
    assert answer["statusCode"] == status
    assert answer["headers"].get("Allow") == allow
    assert answer["headers"]["Access-Control-Allow-Origin"] == "*"


def test_a_base_path_is_a_setting(settings):
    behind = Handler(dataclasses.replace(settings, base_path="/v1/clothes"))
    assert get(behind, "/v1/clothes/models")["statusCode"] == 200
    assert get(behind, "/v1/clothes/")["headers"]["Content-Type"].startswith("text/html")
    assert get(behind, "/models")["statusCode"] == 200
    assert get(behind, "/v1/clothesline")["statusCode"] == 404


@pytest.mark.parametrize(
    ("event", "location"),
    [
        ({"rawPath": "/prod", "requestContext": {"stage": "prod"}}, "prod/"),
        ({"rawPath": "/v1/clothes", "requestContext": {"stage": "$default"}}, "clothes/"),
        (
            {"httpMethod": "GET", "resource": "/", "path": "/",
             "requestContext": {"path": "/Prod", "stage": "Prod"}},
            "Prod/",
        ),
    ],
)  # fmt: skip
def test_the_page_below_a_stage_is_a_folder_as_its_links_are_relative(event, location, settings):
    handler = Handler(dataclasses.replace(settings, base_path="/v1/clothes"))
    if "rawPath" in event:
        event["requestContext"]["http"] = {"method": "GET", "path": event["rawPath"]}
    answer = handler.handle(event)
    assert (answer["statusCode"], answer["headers"]["Location"]) == (308, location)
    event["requestContext"]["path"] = "/Prod/"
    if "rawPath" in event:
        event["rawPath"] += "/"
    assert handler.handle(event)["statusCode"] == 200


PAGES = ["/", "/docs", *(f"/static/{file.name}" for file in (ROOT / "web" / "static").iterdir())]


@pytest.mark.parametrize("path", PAGES)
def test_pages_let_nothing_of_elsewhere_in(path, handler):
    page = get(handler, path)
    assert page["statusCode"] == 200
    policy = page["headers"]["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    # Addresses in comments, words and namespaces are never loaded; the policy would refuse them.
    loads = r"""(?:src|href)=["']?https?:|@import|url\(|from "http|import\("http"""
    assert not re.search(loads, page["body"])


def test_all_of_the_page_is_under_100_kb_as_it_is_sent(handler):
    accepted = {"accept-encoding": "gzip, br"}
    sent = [get(handler, path, headers=accepted) for path in PAGES]
    # At most: "/" has the modules inside.
    sizes = [
        len(base64.b64decode(page["body"]) if page["isBase64Encoded"] else page["body"].encode())
        for page in sent
    ]
    assert sum(sizes) < 100_000


@pytest.mark.parametrize("path", ["/", "/static/style.css", "/samples"])
def test_a_page_is_compressed_for_who_takes_it(path, handler):
    plain = get(handler, path)
    packed = get(handler, path, headers={"Accept-Encoding": "br, gzip"})
    assert (plain["isBase64Encoded"], packed["isBase64Encoded"]) == (False, True)
    assert packed["headers"]["Content-Encoding"] == "gzip"
    assert packed["headers"]["Vary"] == "Accept-Encoding"
    assert gzip.decompress(base64.b64decode(packed["body"])).decode() == plain["body"]


def test_a_rest_apis_page_is_not_compressed_as_the_gateway_would_send_it_as_base64(handler):
    event = {
        "httpMethod": "GET",
        "path": "/",
        "headers": {"Accept-Encoding": "gzip"},
        "requestContext": {"path": "/", "stage": "$default"},
    }
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


def test_modules_that_import_each_other_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a.js").write_text('import { b } from "./b.js";\nexport const a = 1;\n')
    (tmp_path / "b.js").write_text('import { a } from "./a.js";\nexport const b = 1;\n')
    with pytest.raises(ValueError, match="a > b > a"):
        playground.modules(tmp_path, "a")


def test_a_page_is_kept_until_it_changes(handler):
    first = get(handler, "/static/app.js")
    tag = first["headers"]["ETag"]
    again = get(handler, "/static/app.js", headers={"if-none-match": f'{tag}, "other"'})
    assert (again["statusCode"], again["body"], again["headers"]["ETag"]) == (304, "", tag)
    assert get(handler, "/static/app.js", headers={"if-none-match": '"x"'})["statusCode"] == 200


def test_a_rest_apis_files_are_found_below_a_custom_domains_base_path(handler):
    event = {
        "httpMethod": "GET",
        "resource": "/static/{file}",
        "path": "/v1/static/app.js",
        "pathParameters": {"file": "app.js"},
        "requestContext": {"path": "/v1/static/app.js", "stage": "Prod"},
    }
    assert handler.handle(event)["body"] == (ROOT / "web" / "static" / "app.js").read_text("utf-8")
    assert handler.handle({**event, "pathParameters": None})["statusCode"] == 404


@pytest.mark.parametrize("name", ["", "nothing.js", "../index.html", "..%2Findex.html", "static"])
def test_no_other_file_is_served(name, handler):
    answer = get(handler, f"/static/{name}")
    assert json.loads(answer["body"])["error"]["code"] == "route_not_found"


def test_named_pages_may_hold_the_page_in_a_frame():
    origins = "https://example.com https://*.example.org"
    by_commas = Settings.from_environ({"EMBED_ORIGINS": origins.replace(" ", ",")})
    assert by_commas.embed_origins == origins
    with pytest.raises(SetupError, match="EMBED_ORIGINS"):
        Settings.from_environ({"EMBED_ORIGINS": "https://a.example; script-src *"})
    with pytest.raises(SetupError, match="EMBED_ORIGINS"):
        Settings.from_environ({"EMBED_ORIGINS": "*"})
    settings = Settings.from_environ({"EMBED_ORIGINS": origins, "LOG_LEVEL": "FATAL"})
    page = get(Handler(settings), "/")
    assert f"frame-ancestors {origins}" in page["headers"]["Content-Security-Policy"]


def test_samples_are_the_pictures_beside_each_model(handler):
    answer = json.loads(get(handler, "/samples")["body"])
    assert [sample["name"] for sample in answer["digits"]] == list("0123456789")
    assert answer["digits-tree"] == []
    for sample in answer["clothing"]:
        got = handler.handle({"url": sample["image"]})
        assert max(got, key=got.get) == sample["name"]


def test_samples_in_class_folders_are_named_after_these_and_take_turns(tmp_path):
    shutil.copy(ROOT / "models" / "digits" / "digits.tflite", tmp_path)
    for label in ("7", "3"):
        (tmp_path / "samples" / label).mkdir(parents=True)
        for number in (1, 2):
            picture = Image.new("L", (8, 8), 100 * number)
            picture.save(tmp_path / "samples" / label / f"{number}.png")
    (tmp_path / "samples" / "notes.txt").touch()
    settings = Settings.from_environ({"MODEL_PATH": str(tmp_path), "LOG_LEVEL": "FATAL"})
    found = json.loads(get(Handler(settings), "/samples")["body"])["digits"]
    assert [sample["name"] for sample in found] == ["3", "7", "3", "7"]


def test_the_network_reads_every_sample_digit_and_the_tree_does_not(handler):
    samples = json.loads(get(handler, "/samples")["body"])["digits"]
    said = {"digits": "", "digits-tree": ""}
    for sample in samples:
        for model in said:
            got = handler.handle({"url": sample["image"], "model": model})
            said[model] += max(got, key=got.get)
    assert said["digits"] == "0123456789"
    assert 2 <= sum(a != b for a, b in zip(said["digits-tree"], "0123456789", strict=True)) <= 6


def test_a_tensor_is_shown_as_the_picture_that_the_model_sees(handler):
    """White on black, 28 x 28 already: what comes back is what was sent, pixel for pixel."""
    sent = (ROOT / "models" / "digits" / "samples" / "3.png").read_bytes()
    event = {"body": base64.b64encode(sent).decode(), "isBase64Encoded": True}
    answer = get(handler, "/tensor", "POST", **event, queryStringParameters={"model": "digits"})
    seen = json.loads(answer["body"])
    assert (seen["model"], seen["shape"], seen["dtype"]) == ("digits", [28, 28, 1], "uint8")
    assert (seen["min"], seen["max"]) == (0.0, 255.0)
    picture = Image.open(io.BytesIO(base64.b64decode(seen["image"].partition(",")[2])))
    assert picture.mode == "L"
    assert np.array_equal(np.asarray(picture), np.asarray(Image.open(io.BytesIO(sent))))
    assert "decode;dur=" in answer["headers"]["Server-Timing"]
    assert "inference" not in answer["headers"]["Server-Timing"]


def test_a_tensor_has_the_answer_beside_it_if_an_option_is_given(handler):
    sent = (ROOT / "models" / "digits" / "samples" / "3.png").read_bytes()
    event = {"body": base64.b64encode(sent).decode(), "isBase64Encoded": True}
    query = {"model": "digits", "answer": "best", "scores": "probabilities"}
    seen = get(handler, "/tensor", "POST", **event, queryStringParameters=query)
    alone = get(handler, "/predict", "POST", **event, queryStringParameters=query)
    assert json.loads(seen["body"])["answer"] == json.loads(alone["body"])
    assert json.loads(seen["body"])["shape"] == [28, 28, 1]
    assert "inference;dur=" in seen["headers"]["Server-Timing"]


def test_several_models_look_at_one_image_in_one_request(handler):
    digits = ROOT / "models" / "digits" / "samples"
    body = json.dumps({"images": [
        {"image": base64.b64encode((digits / "6.png").read_bytes()).decode()}, "data:,x",
    ]})  # fmt: skip
    query = {"model": "digits,digits-tree", "answer": "best"}
    seen, broken = json.loads(
        get(handler, "/tensor", "POST", body=body, queryStringParameters=query)["body"]
    )
    labels = {name: account["answer"]["label"] for name, account in seen.items()}
    assert labels == {"digits": "6", "digits-tree": "4"}
    codes = {name: each["error"]["code"] for name, each in broken.items()}
    assert codes == dict.fromkeys(labels, "unsupported_format")


def test_several_models_read_an_image_once(handler, monkeypatch):
    from keras_to_lambda.runtime.sources import images as sources

    read, calls = sources.read, []
    monkeypatch.setattr(sources, "read", lambda *args: calls.append(args[0]) or read(*args))
    sent = base64.b64encode((ROOT / "models/digits/samples/6.png").read_bytes()).decode()
    for image, times in ((sent, 1), ("data:,x", 2)):
        body = json.dumps({"images": [{"image": image}] * times, "model": "digits,digits-tree"})
        assert get(handler, "/tensor", "POST", body=body)["statusCode"] == 200
        assert len(calls) == times
        calls.clear()


@pytest.mark.parametrize(
    ("model", "images", "code"),
    [
        ("digits,none", 1, "model_not_found"),
        (",", 1, "model_not_found"),
        ("digits,", 1, "model_not_found"),
        ("digits,digits-tree", 9, "too_many_images"),
    ],
)
def test_several_models_are_checked_before_an_image_is_read(
    handler, monkeypatch, model, images, code
):
    from keras_to_lambda.runtime.sources import images as sources

    calls = []
    monkeypatch.setattr(sources, "read", lambda *args: calls.append(args[0]) or b"")
    body = json.dumps({"images": ["data:,x"] * images, "model": model})
    answer = get(handler, "/tensor", "POST", body=body)
    assert json.loads(answer["body"])["error"]["code"] == code
    assert not calls


def test_images_times_models_may_be_as_many_as_images(handler):
    body = json.dumps({"images": ["data:,x"] * 8, "model": "digits,digits-tree"})
    assert len(json.loads(get(handler, "/tensor", "POST", body=body)["body"])) == 8


def test_a_tensor_takes_what_predict_takes_and_fails_as_it_does(handler):
    body = json.dumps({"images": ["data:,x", "data:image/png;base64,AAAA"]})
    several = json.loads(get(handler, "/tensor", "POST", body=body)["body"])
    assert [each["error"]["code"] for each in several] == ["unsupported_format"] * 2
    query = {"model": "none"}
    missing = get(handler, "/tensor", "POST", body=body, queryStringParameters=query)
    assert json.loads(missing["body"])["error"]["code"] == "model_not_found"
    assert get(handler, "/tensor")["statusCode"] == 405


def test_the_description_has_every_error_and_option(handler):
    described = json.loads(get(handler, "/openapi.json")["body"])
    assert described["openapi"].startswith("3.1")
    post = described["paths"]["/predict"]["post"]
    assert {parameter["name"] for parameter in post["parameters"]} == {*Options._fields}
    codes = described["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]
    assert set(codes["enum"]) == {kind.code for kind in errors.every()}
    gateway = {413, 429, 503}  # what API Gateway answers by itself
    assert {int(status) for status in post["responses"]} - {200} - gateway == {
        kind.status for kind in errors.every()
    } - gateway


def encoded(*parts, boundary=b"xyz"):
    body = b""
    for headers, content in parts:
        body += b"--" + boundary + b"\r\n" + headers + b"\r\n\r\n" + content + b"\r\n"
    return body + b"--" + boundary + b"--\r\n", f"multipart/form-data; boundary={boundary.decode()}"


def field(name, content, filename=None):
    head = f'Content-Disposition: form-data; name="{name}"'
    return (head + (f'; filename="{filename}"' if filename is not None else "")).encode(), content


def test_a_form_has_files_urls_and_options():
    body, kind = encoded(
        field("file", b"\xff\xd8\r\n--x", "a.jpg"),
        field("file", b"", ""),  # as a browser sends a field that was left empty
        field("url", b"https://example.com/b.jpg"),
        field("top_k", b"3"),
    )
    request = Request.from_body(body, kind, {"scores": "logits"})
    assert request.images == (Raw(b"\xff\xd8\r\n--x"), Url("https://example.com/b.jpg"))
    assert request.many
    assert request.options == Options(top_k=3, scores="logits")


def test_a_boundary_keeps_its_capitals():
    body, kind = encoded(field("f", b"x", "a"), boundary=b"AbC")
    assert Request.from_body(body, kind).images == (Raw(b"x"),)


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([], errors.MissingImage),
        ([field("file", b"", "")], errors.MissingImage),
        ([field("colour", b"red")], errors.MissingImage),
        ([field("file", b"x", "a.jpg"), field("topK", b"3")], errors.InvalidRequest),
        ([field("file", b"x", "a.jpg"), field("top_k", b"x" * 9000)], errors.InvalidRequest),
        ([field("file", b"x", "a.jpg"), field("top_k", b"\xff")], errors.InvalidRequest),
        ([field("file", b"x", "a.jpg")] * 5, errors.TooManyImages),
        ([field("file", b"x", "a.jpg")] * 100, errors.TooManyImages),
    ],
)
def test_a_bad_form_is_one_of_our_errors(parts, error):
    body, kind = encoded(*parts)
    with pytest.raises(error) as caught:
        Request.from_body(body, kind, max_images=4)
    assert type(caught.value) is error


def test_an_empty_file_has_its_place_among_the_answers(handler, jpeg):
    body, kind = encoded(field("file", b"", "a.jpg"), field("file", jpeg, "b.jpg"))
    event = {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    answer = json.loads(
        get(handler, "/predict", "POST", headers={"content-type": kind}, **event)["body"]
    )
    assert answer[0]["error"]["code"] == "unsupported_format"
    assert len(answer[1]) == 10


def test_an_option_that_differs_in_query_and_body_is_refused():
    body = {"url": "https://example.com/b.jpg", "top_k": 3, "model": None}
    request = Request.from_json(body, {"top_k": "3", "model": "digits"})
    assert request.options == Options(top_k=3, model="digits")
    with pytest.raises(errors.InvalidRequest, match="top_k is given twice"):
        Request.from_json(body, {"top_k": "4"})


def test_a_form_through_a_gateway_that_damages_it_is_answered_with_that(handler):
    body, kind = encoded(field("file", b"x", "a.jpg"))
    answer = get(handler, "/predict", "POST", body=body.decode(), headers={"content-type": kind})
    assert answer["statusCode"] == 400
    assert "BinaryMediaTypes" in answer["body"]


FORM = "multipart/form-data"
KINDS = [f"{FORM}{rest}" for rest in ("; boundary=xyz", "", "; boundary=", '; boundary="x', "; x")]
PIECES = [
    *(b"--xyz", b"--", b"\r\n", b": ", b"\0", b"\xff\xd8\xff"),
    *(b"Content-Disposition: form-data; ", b'name="f"', b"filename=a"),
]


@hypothesis_settings(max_examples=300, deadline=None)
@given(
    body=st.binary(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join),
    kind=st.sampled_from(KINDS),
)
def test_any_bytes_as_a_form_are_a_request_or_one_of_our_errors(body, kind):
    try:
        images, _ = multipart_form.multipart(body, kind, max_images=4)
    except ClassifierError as error:
        assert error.status in (400, 413)  # noqa: PT017
    else:
        assert images


@hypothesis_settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_form_gives_back_what_was_put_in(data):
    contents = data.draw(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=4))
    boundary = data.draw(st.text("abcXYZ019-", min_size=10, max_size=20)).encode()
    body, kind = encoded(*(field("f", x, "a") for x in contents), boundary=boundary)
    if any(boundary in content for content in contents):
        return
    assert multipart_form.multipart(body, kind, 4) == ([Raw(content) for content in contents], {})


def test_a_list_is_merged_with_nothing_else(handler, jpeg):
    text = base64.b64encode(jpeg).decode()
    assert Settings().max_images == 16
    with pytest.raises(errors.TooManyImages):
        handler.handle({"images": [{"image": text}] * 17})


def test_an_option_in_the_query_that_is_none_is_refused(handler, jpeg):
    answer = get(
        handler,
        "/predict",
        "POST",
        body=base64.b64encode(jpeg).decode(),
        isBase64Encoded=True,
        queryStringParameters={"url": "https://example.com/x.jpg"},
    )
    assert answer["statusCode"] == 400
    assert "unknown option url" in answer["body"]
