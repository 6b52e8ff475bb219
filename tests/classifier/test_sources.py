"""Where image bytes come from, and every way in which a far host goes wrong."""

from __future__ import annotations

import base64
import dataclasses
from urllib.parse import quote_from_bytes

import pytest

from classifier import sources
from classifier.deadline import Deadline
from classifier.errors import (
    DeadlineExceeded,
    FetchFailed,
    ImageTooLarge,
    InvalidRequest,
    InvalidUrl,
    TooManyPixels,
)
from classifier.fetch import Target
from classifier.handler import Handler
from classifier.sources import Base64, Raw, Url


def read(source, settings):
    return sources.read(source, settings, Deadline(5))


def test_a_photo_is_downloaded(far_host, settings, jpeg):
    assert read(Url(f"http://{far_host}/photo?size=large"), settings) == jpeg


def test_a_redirect_is_followed(far_host, settings, jpeg):
    assert read(Url(f"http://{far_host}/moved"), settings) == jpeg


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing", "status 404"),
        ("gzip", "encoded body"),
        ("short-body", "body ended early"),
        ("loop", "more than 4 redirects"),
        ("to-file", "redirected to a URL that is not fetched"),
        ("to-nonsense", "redirected to a URL that is not fetched"),
        ("to-private", "an address of the host is not public"),
        ("nonsense", "BadStatusLine"),
    ],
)
def test_what_the_far_host_does_wrong_is_one_error_to_the_caller(far_host, settings, path, reason):
    with pytest.raises(FetchFailed) as caught:
        read(Url(f"http://{far_host}/{path}"), settings)
    assert caught.value.facts["reason"] == reason
    assert reason not in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("path", ["stall", "drip", "drip-headers"])
def test_one_deadline_ends_a_host_that_drips_or_stalls(far_host, settings, path):
    # The host goes on for 3 s and then ends in order: without the deadline of 0.6 s the drip would
    # be an answer, and each of its bytes comes in time.
    with pytest.raises(DeadlineExceeded):
        read(Url(f"http://{far_host}/{path}"), settings)


@pytest.mark.parametrize("path", ["announced-large", "endless"])
def test_more_bytes_than_the_limit_are_not_read(far_host, settings, path):
    patient = dataclasses.replace(settings, fetch_timeout_s=5.0)
    with pytest.raises(ImageTooLarge):
        read(Url(f"http://{far_host}/{path}"), patient)


def test_a_host_that_does_not_listen_fails(settings):
    quiet = dataclasses.replace(settings, fetch_private_hosts=frozenset({"127.0.0.1:1"}))
    with pytest.raises(FetchFailed) as caught:
        read(Url("http://127.0.0.1:1/x.jpg"), quiet)
    assert caught.value.facts["reason"] == "connection refused"


def test_a_name_that_does_not_exist_fails(settings):
    with pytest.raises(FetchFailed):
        read(Url("http://no-such-host.invalid/x.jpg"), settings)


def test_loopback_is_refused_unless_its_host_and_port_are_allowed(far_host, settings):
    closed = dataclasses.replace(settings, fetch_private_hosts=frozenset())
    with pytest.raises(FetchFailed):
        read(Url(f"http://{far_host}/photo"), closed)
    with pytest.raises(FetchFailed):
        read(Url("http://127.0.0.1/photo"), settings)


def test_only_allowed_hosts_are_fetched_where_they_are_listed(settings):
    narrow = dataclasses.replace(settings, fetch_allowed_hosts=frozenset({"images.example.com"}))
    with pytest.raises(FetchFailed) as caught:
        read(Url("http://example.org/x.jpg"), narrow)
    assert caught.value.facts["reason"] == "host is not in FETCH_ALLOWED_HOSTS"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/x.jpg", "file:///etc/passwd", "gopher://example.com/", "example.com/x",
        "s3://bucket", "s3:///key", "http://", "http:///x", "http://user@example.com/",
        "http://user:pw@example.com/", "http://example.com\\@evil.example/", "http://exa mple.com/",
        "http://example.com/\r\nX: y", "http://example.com:0x50/", "http://example.com:99999/",
        "http://[fe80::1%25eth0]/", "http://[::1/", "http://\u2100.example.com/", "",
        "data:image/png;base64", "http://example.com/" + "a" * 9000,
    ],
)  # fmt: skip
def test_a_url_that_is_not_fetched_is_named_as_such(url, settings):
    with pytest.raises(InvalidUrl):
        read(Url(url), settings)


def test_a_url_is_sent_in_ascii():
    target = Target.parse(
        "http://B\u00fccher.Example:80/a b".replace(" ", "%20") + "/\u00e4?q=\u00f6"
    )
    assert target.host == "xn--bcher-kva.example"
    assert target.netloc == "xn--bcher-kva.example"
    assert target.path == "/a%20b/%C3%A4?q=%C3%B6"


def test_base64_is_read_in_both_alphabets_padded_or_not(settings):
    data = bytes(range(256)) + b"\xfb\xff"
    text = base64.b64encode(data).decode()
    url_safe = base64.urlsafe_b64encode(data).decode()
    wrapped = "\n".join(text[i : i + 76] for i in range(0, len(text), 76))
    for given in (text, url_safe, text.rstrip("="), wrapped, "data:image/png;base64," + text):
        assert read(Base64(given), settings) == data


@pytest.mark.parametrize("text", ["!!!!", "abc\u00e9", "a", "=a"])
def test_what_is_not_base64_is_named_as_such(text, settings):
    with pytest.raises(InvalidRequest):
        read(Base64(text), settings)


def test_a_data_url_is_read_in_base64_and_percent_encoding(settings, jpeg):
    text = base64.b64encode(jpeg).decode()
    assert read(Url(f"data:image/jpeg;base64,{text}"), settings) == jpeg
    assert read(Url("data:image/jpeg," + quote_from_bytes(jpeg)), settings) == jpeg


@pytest.mark.parametrize("kind", [Raw, lambda d: Base64(base64.b64encode(d).decode())])
def test_an_image_over_the_byte_limit_is_refused(kind, settings):
    with pytest.raises(ImageTooLarge):
        read(kind(b"x" * 2_000_001), settings)
    assert read(kind(b"x" * 2_000_000), settings)


def test_four_redirects_are_followed_and_a_fifth_is_not(far_host, settings, jpeg):
    assert read(Url(f"http://{far_host}/hops?left=4"), settings) == jpeg
    with pytest.raises(FetchFailed) as caught:
        read(Url(f"http://{far_host}/hops?left=5"), settings)
    assert caught.value.facts["reason"] == "more than 4 redirects"


def test_a_connection_that_is_reset_fails(far_host, settings):
    with pytest.raises(FetchFailed):
        read(Url(f"http://{far_host}/reset"), settings)


def test_a_bomb_from_a_url_is_refused_by_its_header(far_host, settings):
    with pytest.raises(TooManyPixels):
        Handler(settings)({"url": f"http://{far_host}/bomb"})


def test_other_ports_are_a_setting(settings):
    public = dataclasses.replace(settings, fetch_private_hosts=frozenset())
    with pytest.raises(FetchFailed) as caught:
        read(Url("http://example.com:8443/x.jpg"), public)
    assert caught.value.facts["reason"] == "port is not in FETCH_ALLOWED_PORTS"
    more = dataclasses.replace(public, fetch_allowed_ports=frozenset({8443}))
    # There is no such host: past the port, the name is looked up.
    with pytest.raises(FetchFailed) as caught:
        read(Url("http://no-such-host.invalid:8443/x.jpg"), more)
    assert caught.value.facts["reason"] == "name look-up failed"
