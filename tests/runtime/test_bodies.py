"""Bodies as clients send them: served where the meaning is plain, else an error that helps."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from urllib.parse import quote, unquote, urlencode

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from keras_to_lambda.runtime.common import errors
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.events.records import _jobs
from keras_to_lambda.runtime.inference import multipart_form
from keras_to_lambda.runtime.inference.request import Options, Request
from keras_to_lambda.runtime.sources.images import Base64, Raw, Url
from tests.runtime.made import encoded, outcome, v2

FORM = "application/x-www-form-urlencoded"
JPEG = b"\xff\xd8\xff\xfb\xef\xbe" + bytes(range(60))  # its base64 has plus signs and slashes
B64 = base64.b64encode(JPEG).decode()
URL = "https://example.com/a.jpg"
SIGNED = (
    "https://b.s3.amazonaws.com/k.jpg?X-Amz-Credential=A%2Fb&X-Amz-Expires=9&X-Amz-Signature=0f"
)
assert "+" in B64


def packed(data):
    return gzip.compress(data, mtime=0)


@pytest.mark.parametrize(
    ("kind", "body", "image"),
    [
        # Forms of one line, as curl -d, requests' data= and HTML send them.
        (FORM, f"url={URL}", Url(URL)),
        (FORM, f"url={quote(URL, safe='')}", Url(URL)),
        (FORM, urlencode({"url": SIGNED, "commit": "Send"}), Url(SIGNED)),
        (FORM, f"url={SIGNED}", Url(SIGNED)),
        (FORM, f"image={quote(B64, safe='')}", Base64(B64)),
        (FORM, f"image={B64}", Base64(B64)),
        (FORM, f"image=data:image/jpeg;base64,{B64}", Url(f"data:image/jpeg;base64,{B64}")),
        (FORM, f"file={B64}", Base64(B64)),
        (FORM, f"_charset_=utf-8&csrf=a%3D&url={quote(URL, safe='')}&go=", Url(URL)),
        ("text/plain", f"url={URL}\r\n", Url(URL)),
        ("", f"image={B64}", Base64(B64)),
        # The whole body.
        ("", URL, Url(URL)),
        ("text/plain", f"\n {URL}\r\n", Url(URL)),
        (FORM, SIGNED, Url(SIGNED)),
        ("application/json", URL, Url(URL)),
        ("", B64, Base64(B64)),
        (FORM, B64, Base64(B64)),
        ("image/jpeg", B64, Base64(B64)),
        ("application/octet-stream", base64.encodebytes(JPEG).decode(), None),
        ("", base64.urlsafe_b64encode(JPEG).decode(), None),
        ("", f"data:image/jpeg;base64,{B64}", Url(f"data:image/jpeg;base64,{B64}")),
        # JSON: quoted, made twice, after a byte order mark, of other types.
        ("application/json", json.dumps(URL), Url(URL)),
        ("text/plain", json.dumps(B64), Base64(B64)),
        ("application/json", json.dumps(json.dumps({"url": URL})), Url(URL)),
        ("application/json", "\ufeff" + json.dumps({"url": URL}), Url(URL)),
        ("application/vnd.api+json", json.dumps({"url": URL}), Url(URL)),
        # A URL where base64 is expected, and the reverse.
        ("", json.dumps({"image": URL}), Url(URL)),
        ("", json.dumps({"url": B64}), Base64(B64)),
        # Names that other services have.
        *(
            ("", json.dumps({name: URL}), Url(URL))
            for name in ("image_url", "imageUrl", "image-url", "URL")
        ),
        *(("", json.dumps({name: B64}), Base64(B64)) for name in ("img", "b64")),
        ("", json.dumps({"photo": URL, "image": None}), Url(URL)),
        ("", json.dumps({"image_url": {"url": URL, "detail": "low"}}), Url(URL)),
    ],
)
def test_a_plain_meaning_is_served(kind, body, image):
    request = Request.from_body(body.encode(), kind)
    assert request.images == (image or Base64(body.strip()),)
    assert (request.many, request.options) == (False, Options())


@pytest.mark.parametrize(
    ("kind", "body", "images"),
    [
        (FORM, quote(B64, safe="").encode(), (Base64(B64),)),
        (FORM, quote(URL, safe="").encode(), (Url(URL),)),
        (FORM, urlencode([("images[]", URL), ("images[]", B64)]).encode(), (Url(URL), Base64(B64))),
        (FORM, urlencode([("images[0]", URL)]).encode(), (Url(URL),)),
        (FORM, json.dumps({"url": URL}).encode("utf-16"), (Url(URL),)),
        ("text/plain", URL.encode("utf-16"), (Url(URL),)),
    ],
)
def test_what_curl_php_and_windows_make_of_a_body_is_read(kind, body, images):
    assert len(Request.from_body(body, kind).images) == len(images)
    for found, image in zip(Request.from_body(body, kind).images, images, strict=True):
        assert type(found) is type(image)
        assert unquote(found[0]) == unquote(image[0])


def test_a_form_of_one_line_has_options_and_several_images():
    body = urlencode([("url", URL), ("url", SIGNED), ("top_k", 3), ("model", "a b"), ("go", "Go")])
    request = Request.from_body(body.encode(), FORM, {"top_k": "3"})
    assert request == ((Url(URL), Url(SIGNED)), True, Options(top_k=3, model="a b"), False)
    unquoted = Request.from_body(f"url={SIGNED}&top_k=2".encode(), FORM)
    assert unquoted == ((Url(SIGNED),), False, Options(top_k=2), False)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"images": [B64, URL, {"image": URL}]}, (Base64(B64), Url(URL), Url(URL))),
        ({"urls": [URL]}, (Url(URL),)),
        ({"imageUrls": [URL, URL]}, (Url(URL), Url(URL))),
        ({"files": [{"b64": B64, "id": 7}]}, (Base64(B64),)),
        ([URL], (Url(URL),)),
        ([{"url": URL}, {"image": B64}], (Url(URL), Base64(B64))),
        ([{"photo": B64}], (Base64(B64),)),
    ],
)
def test_lists_are_read_by_the_same_rules(body, expected):
    request = Request.from_body(json.dumps(body).encode(), "application/json")
    assert (request.images, request.many) == (expected, True)
    assert len(Request.from_json([B64, 5]).images) == 2


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data, wbits=-15)),
        ("gzip", lambda data: packed(data[:40]) + packed(data[40:]) + b"\0" * 9),
        ("Gzip, gzip", lambda data: packed(packed(data))),
        ("deflate, gzip", lambda data: packed(zlib.compress(data))),
        ("gzip", lambda data: packed(packed(data))),
        ("identity", bytes),
        ("base64", bytes),  # what some SDKs leave in a header of S3's
        ("gzip", bytes),  # a proxy has unpacked it
        ("deflate", bytes),
    ],
)
@pytest.mark.parametrize("body", [JPEG, json.dumps({"image": B64}).encode()])
def test_a_packed_body_is_unpacked(encoding, pack, body):
    [image] = Request.from_body(pack(body), encoding=encoding).images
    assert image in (Raw(JPEG), Base64(B64))


@pytest.mark.parametrize(
    ("body", "encoding", "error"),
    [
        (packed(JPEG)[:-9], "gzip", errors.InvalidRequest),
        (b"\x1f\x8b" + JPEG, "", errors.InvalidRequest),
        (packed(bytes(50_000_000)), "gzip", errors.ImageTooLarge),
        (packed(packed(bytes(50_000_000))), "", errors.ImageTooLarge),
        (zlib.compress(JPEG)[:-9], "deflate", errors.InvalidRequest),
        (b"x", "br", errors.UnsupportedFormat),
        (packed(b"x"), "br, gzip", errors.UnsupportedFormat),
        (packed(b""), "gzip", errors.MissingImage),
    ],
)
def test_a_packed_body_that_cannot_be_read_is_an_error_of_its_own(body, encoding, error):
    with pytest.raises(error) as caught:
        Request.from_body(body, encoding=encoding)
    assert type(caught.value) is error


MULTIPART = "multipart/form-data; boundary="


def form(*parts, boundary=b"b"):
    """A multipart form; of each part: its name, what follows it in the header, its content."""
    part = b'--%s\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    return b"".join(part % (boundary, *each) for each in parts) + b"--" + boundary + b"--"


FILE = (b"f", b'; filename="a"', JPEG)


@pytest.mark.parametrize(
    ("parts", "images"),
    [
        ([(b"f", b"; filename*=UTF-8''a%20b.jpg", JPEG)], (Raw(JPEG),)),
        ([(b"f", b"\r\nContent-Type: application/octet-stream", JPEG)], (Raw(JPEG),)),
        ([(b"url", b"", URL.encode())], (Url(URL),)),
        ([(b"image", b"", B64.encode() * 200)], (Base64(B64 * 200),)),
        ([(b"photo", b"", URL.encode())], (Url(URL),)),
        ([(b"images[]", b"", URL.encode())] * 2, (Url(URL), Url(URL))),
        ([(b"file", b"", JPEG)], (Raw(JPEG),)),
        ([(b"zdj\xeacie", b'; filename="\xf3.jpg"', JPEG)], (Raw(JPEG),)),
        (
            [
                (b"_charset_", b"", b"utf-8"),
                (b"csrf_token", b"", b"x" * 9000),
                (b"f", b'; filename="a"', JPEG),
                (b"description", b"", b"\xe9t\xe9"),
                (b"file", b"", b"a.jpg"),
                (b"submit", b"", b"Send"),
            ],
            (Raw(JPEG),),
        ),
    ],
)
def test_a_form_s_images_are_found_among_the_page_s_own_fields(parts, images):
    request = Request.from_body(form(*parts), MULTIPART + "b")
    assert (request.images, request.options) == (images, Options())


def test_a_form_has_files_urls_and_options():
    body = form(
        (b"file", b'; filename="a.jpg"', b"\xff\xd8\r\n--x"),
        (b"file", b'; filename=""', b""),  # a field that was left empty
        (b"url", b"", URL.encode()),
        (b"top_k", b"", b" 3\n"),
    )
    request = Request.from_body(body, MULTIPART + "b", {"scores": "logits", "top_k": "4"})
    assert request.images == (Raw(b"\xff\xd8\r\n--x"), Url(URL))
    assert (request.many, request.options) == (True, Options(top_k=3, scores="logits"))


@pytest.mark.parametrize(
    ("parts", "error", "words"),
    [
        ([FILE] * 81, errors.TooManyImages, "more than 80 parts"),
        ([(b"f", b"", b"")] * 81, errors.TooManyImages, "more than 80 parts"),
        ([FILE] * 17, errors.TooManyImages, "17"),
        ([(b"f", b'; filename=""', b""), (b"colour", b"", b"red")], errors.MissingImage, "colour"),
        ([FILE, (b"top_k", b"", b"x" * 9000)], errors.InvalidRequest, "top_k"),
        ([FILE, (b"top_k", b"", b"\xff")], errors.InvalidRequest, "top_k"),
    ],
)
def test_a_bad_form_is_one_of_our_errors(parts, error, words):
    with pytest.raises(error, match=words) as caught:
        Request.from_body(form(*parts), MULTIPART + "b")
    assert type(caught.value) is error


def test_an_empty_file_has_its_place_among_the_answers(handler, jpeg):
    body = form((b"file", b'; filename="a"', b""), (b"file", b'; filename="b"', jpeg))
    answer = json.loads(handler.handle(v2(body, content_type=MULTIPART + "b"))["body"])
    assert answer[0]["error"]["code"] == "unsupported_format"
    assert len(answer[1]) == 10


def test_a_form_without_its_type_is_called_one(handler):
    event = v2(form(FILE))
    assert "it is a multipart form; let your HTTP library set" in handler.handle(event)["body"]


KINDS = [
    f"multipart/form-data{x}" for x in ("; boundary=xyz", "", "; boundary=", '; boundary="x', "; x")
]
PIECES = [
    *(b"--xyz", b"--", b"\r\n", b": ", b"\0", b"\xff\xd8\xff"),
    *(b"Content-Disposition: form-data; ", b'name="f"', b"filename=a"),
]


@hypothesis_settings(max_examples=100)
@given(
    body=st.binary(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join),
    kind=st.sampled_from(KINDS),
)
def test_any_bytes_as_a_form_are_a_request_or_one_of_our_errors(body, kind):
    try:
        images, _ = multipart_form.multipart(body, kind, max_images=4)
    except errors.ClassifierError as error:
        assert error.status in (400, 413)  # noqa: PT017
    else:
        assert images


@hypothesis_settings(max_examples=60)
@given(
    contents=st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=4),
    boundary=st.text("abcXYZ019-", min_size=10, max_size=20),
)
def test_a_form_gives_back_what_was_put_in(contents, boundary):
    parts = [(b"f", b'; filename="a"', content) for content in contents]
    if not any(boundary.encode() in content for content in contents):
        body = form(*parts, boundary=boundary.encode())
        images = [Raw(content) for content in contents]
        assert multipart_form.multipart(body, MULTIPART + boundary, 4) == (images, {})


# What came as JSON or text, its error, and words of it.
REFUSED = [
    ({"picture_id": 5, "x": 1}, errors.MissingImage, r"\(fields: picture_id, x\)"),
    ({}, errors.MissingImage, 'no image in the request; give {"url"'),
    ({"url": URL, "image": B64}, errors.InvalidRequest, "url and image were"),
    ({"img": 5}, errors.MissingImage, "img must be a base64 string, got a number"),
    ({"url": [URL]}, errors.MissingImage, "url must be a URL string, got a list"),
    ({"images": URL}, errors.MissingImage, r'list .* got a string; give {"images": \["https'),
    ({"images": []}, errors.MissingImage, "got an empty list"),
    ({"image": True}, errors.MissingImage, "base64 string, got a boolean"),
    ([5, "x"], errors.InvalidJson, "is a list"),
    ({"url": URL, "top_k": 10**9}, errors.InvalidRequest, "1 to 999,999,999"),
    *(
        ({"url": URL, "top_k": text}, errors.InvalidRequest, "whole number")
        for text in ("1_0", "٣")
    ),
    *(
        ({"url": URL, "threshold": text}, errors.InvalidRequest, "a number")
        for text in ("1_0", "٣", " 1")
    ),
    *(
        ({"url": URL, wrong: 1}, errors.InvalidRequest, f"unknown option {wrong}; use {right}")
        for wrong, right in {"treshold": "threshold", "top_n": "top_k", "Modle": "model"}.items()
    ),
    ({"url": URL, "top_k": 1, "topK": 4}, errors.InvalidRequest, "top_k was given twice"),
]
REFUSED_TEXT = [
    (FORM, f"treshold=3&url={URL}", errors.InvalidRequest, "unknown option treshold"),
    (
        MULTIPART + "b",
        form((b"treshold", b"", b"3"), (b"url", b"", URL.encode())).decode(),
        errors.InvalidRequest,
        "unknown option treshold",
    ),
    (FORM, f"top_k=1&top-k=4&url={URL}", errors.InvalidRequest, "top_k was given twice"),
    ("", '"hello"', errors.InvalidJson, "is a string"),
    ("", "hello there", errors.UnsupportedFormat, "text of 11 characters"),
    ("text/csv", "a,b\n1,2", errors.UnsupportedFormat, "base64 of an image"),
    ("application/json", "hello", errors.InvalidJson, "not valid JSON"),
    (FORM, "colour=red&go=1", errors.MissingImage, "its fields: colour, go;"),
    (FORM, "# README\n\nA text file\n", errors.MissingImage, "not an image, JSON or a form"),
    (FORM, "image=data:image/png", errors.InvalidRequest, "use --form-string"),
    (FORM, "", errors.MissingImage, r"body is empty: does the file exist\? curl sends nothing"),
    (FORM, "a=1&" * 200, errors.MissingImage, "no image"),
    (FORM, f"url={quote(URL)}&" * 17, errors.TooManyImages, "17 images"),
]


@pytest.mark.parametrize(
    ("kind", "body", "error", "words"),
    [*(("", json.dumps(body), *rest) for body, *rest in REFUSED), *REFUSED_TEXT],
)
def test_what_is_not_plain_is_refused_with_what_came_and_what_to_send(kind, body, error, words):
    with pytest.raises(error, match=words) as caught:
        Request.from_body(body.encode(), kind)
    assert type(caught.value) is error
    assert len(str(caught.value)) < 400


OTHERS = dict.fromkeys(["filename", "id", "_token", "utm_source", "lang", "x" * 5000], "7")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", json.dumps({**OTHERS, "url": URL})),
        (FORM, urlencode(OTHERS | {"url": URL})),
    ],
)
def test_members_that_are_like_no_option_are_ignored(kind, body):
    found = Request.from_body(body.encode(), kind, {"utm_source": "x", "v": "2"})
    assert found == Request((Url(URL),))


@pytest.mark.parametrize(
    ("kind", "body"),
    [("", json.dumps({"url": URL, "topK": 3})), (FORM, f"url={URL}&top-k=3"), ("text/plain", URL)],
)
def test_options_are_read_as_any_language_writes_them(kind, body):
    query = {"TOP_K": "3"} if kind == "text/plain" else {}
    assert Request.from_body(body.encode(), kind, query).options == Options(top_k=3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP"])
def test_an_image_that_curl_sent_as_text_is_refused_with_the_option_that_sends_it_whole(format):
    whole = encoded(Image.effect_noise((40, 40), 50), format)
    # curl(1): -d @FILE leaves out carriage returns, newlines and null bytes.
    sent = whole.translate(None, b"\0\r\n")
    with pytest.raises(errors.InvalidRequest, match="curl use --data-binary @photo"):
        Request.from_body(sent, FORM)
    assert Request.from_body(whole, FORM).images == (Raw(whole),)


@pytest.mark.parametrize("body", ["<svg></svg>", "<!doctype html>"])
def test_what_has_a_format_of_its_own_is_left_to_the_decoder_to_name(body):
    assert Request.from_body(body.encode(), "text/plain").images == (Raw(body.encode()),)


def test_a_gateway_that_turned_bytes_into_text_is_answered_with_that_whatever_the_type(handler):
    for body, kind in ((JPEG, FORM), (form(FILE), MULTIPART + "b")):
        answer = handler.handle(v2(body.decode(errors="replace"), content_type=kind))
        assert answer["statusCode"] == 400
        assert "BinaryMediaTypes" in answer["body"]
    _, code = outcome(handler.handle(v2(B64, content_type="image/jpeg")))
    assert code in ("undecodable_image", "unsupported_format")


def test_a_message_of_a_queue_may_be_a_bare_url():
    [job] = _jobs(URL, "m", Settings(num_threads=1))
    assert job.asked.images == (Url(URL),)
