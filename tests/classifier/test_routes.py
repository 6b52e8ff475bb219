"""The routes beside POST /predict, forms, and the API's description."""

from __future__ import annotations

import base64
import dataclasses
import json

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from classifier import errors, form
from classifier.errors import ClassifierError
from classifier.handler import Handler
from classifier.request import Request
from classifier.settings import Settings
from classifier.sources import Raw, Url


def get(handler, path, method="GET", **changes):
    return handler(
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
    assert get(behind, "/v1/clothes")["headers"]["Content-Type"].startswith("text/html")
    assert get(behind, "/models")["statusCode"] == 200
    assert get(behind, "/v1/clothesline")["statusCode"] == 404


def test_the_page_lets_nothing_of_elsewhere_in(handler):
    page = get(handler, "/")
    assert "frame-ancestors 'none'" in page["headers"]["Content-Security-Policy"]
    assert "http://" not in page["body"]
    assert "https://" not in page["body"]


def test_the_description_has_every_error_and_option(handler):
    described = json.loads(get(handler, "/openapi.json")["body"])
    assert described["openapi"].startswith("3.1")
    post = described["paths"]["/predict"]["post"]
    assert {parameter["name"] for parameter in post["parameters"]} == {"top_k", "scores", "model"}
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
    return (head + (f'; filename="{filename}"' if filename else "")).encode(), content


def test_a_form_has_files_urls_and_options():
    body, kind = encoded(
        field("file", b"\xff\xd8\r\n--x", "a.jpg"),
        field("file", b"", "unfilled"),
        field("url", b"https://example.com/b.jpg"),
        field("top_k", b"3"),
    )
    request = Request.from_body(body, kind, {"scores": "logits"})
    assert request.images == (Raw(b"\xff\xd8\r\n--x"), Url("https://example.com/b.jpg"))
    assert request.many
    assert request.options == (3, "logits", None)


def test_a_boundary_keeps_its_capitals():
    body, kind = encoded(field("f", b"x", "a"), boundary=b"AbC")
    assert Request.from_body(body, kind).images == (Raw(b"x"),)


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([], errors.MissingImage),
        ([field("file", b"", "a.jpg")], errors.MissingImage),
        ([field("file", b"x", "a.jpg"), field("colour", b"red")], errors.InvalidRequest),
        ([field("file", b"x", "a.jpg"), field("top_k", b"x" * 9000)], errors.InvalidRequest),
        ([field("file", b"x", "a.jpg"), field("top_k", b"\xff")], errors.InvalidRequest),
        ([field("file", b"x", "a.jpg")] * 5, errors.TooManyImages),
        ([field("file", b"x", "a.jpg")] * 50, errors.InvalidRequest),
    ],
)
def test_a_bad_form_is_one_of_our_errors(parts, error):
    body, kind = encoded(*parts)
    with pytest.raises(error) as caught:
        Request.from_body(body, kind, max_images=4)
    assert type(caught.value) is error


def test_a_form_through_a_gateway_that_damages_it_is_told_so(handler):
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
        images, _ = form.read(body, kind, max_images=4)
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
    assert form.read(body, kind, 4) == ([Raw(content) for content in contents], {})


def test_a_list_is_merged_with_nothing_else(handler, jpeg):
    text = base64.b64encode(jpeg).decode()
    assert Settings().max_images == 16
    with pytest.raises(errors.TooManyImages):
        handler({"images": [{"image": text}] * 17})


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
