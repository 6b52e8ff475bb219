"""Where image bytes come from, and every way in which a far host goes wrong."""

from __future__ import annotations

import base64
import dataclasses
import json
import socket
import threading
import tracemalloc
from urllib.parse import quote_from_bytes

import pytest

from keras_to_lambda.runtime.common import errors
from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.sources import fetch, images
from keras_to_lambda.runtime.sources.fetch import Target
from keras_to_lambda.runtime.sources.images import Base64, Raw, Url


def read(source, settings):
    return images.read(source, settings, Deadline(60))


def refused(url, settings):
    """Why a URL could not be fetched; the caller sees neither that nor what the host said."""
    with pytest.raises(errors.FetchFailed) as caught:
        read(Url(url), settings)
    reason = caught.value.facts["reason"]
    assert reason not in caught.value.message
    assert "secret" not in caught.value.message
    return reason


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing", "status 404"),
        ("coded?how=plain&header=br", "body in the content coding br"),
        ("coded?how=plain&header=base64,zstd", "body in the content coding zstd"),
        ("coded?how=gzip-cut&header=gzip", "damaged gzip body"),
        ("coded?how=zlib-cut&header=deflate", "damaged deflate body"),
        ("hints?n=9", "more than 8 interim responses"),
        ("short-body", "body ended early"),
        ("loop", "more than 4 redirects"),
        ("hops?left=5", "more than 4 redirects"),
        ("to-file", "redirected to a URL that is not fetched"),
        ("to-nonsense", "redirected to a URL that is not fetched"),
        ("to-private", "an address of the host is not public"),
        ("nonsense", "BadStatusLine"),
    ],
)
def test_what_the_far_host_does_wrong_is_one_error_to_the_caller(far_host, settings, path, reason):
    assert refused(f"http://{far_host}/{path}", settings) == reason


@pytest.mark.parametrize(
    "path",
    [
        # Only HTTP's own content codings are codings: S3 returns any header an upload carried.
        *("coded?how=plain", "coded?how=plain&header=identity", "coded?how=plain&header=base64"),
        *("coded?how=plain&header=utf-8", "coded?how=plain&header=aws-chunked"),
        *("coded?how=plain&header=gzip", "coded?how=plain&header=deflate"),
        *("coded?how=gzip&header=deflate", "coded?how=gzip&header=gzip"),
        *("coded?how=gzip&header=X-GZIP", "coded?how=zlib&header=deflate"),
        *("coded?how=gzip&header=aws-chunked,gzip", "coded?how=gzip-twice&header=gzip,gzip"),
        *("coded?how=gzip-members&header=gzip", "coded?how=raw-deflate&header=deflate"),
        *("photo?size=large", "photo?name=my shirt.jpg", "moved", "hops?left=4"),
        *("tiny-chunks", "hints?n=1", "hints?n=8", "transformed", "to-cyrillic", "agent"),
    ],
)
def test_a_photo_is_read_from_hosts_that_browsers_read_it_from(far_host, settings, jpeg, path):
    named = dataclasses.replace(settings, fetch_user_agent="shop (images@shop.example)")
    assert read(Url(f" http://{far_host}/{path}\n"), named) == jpeg


def test_tiny_chunks_take_no_more_memory_than_their_bytes():
    """http.client's own `read` keeps each chunk as an object: 21 times the bytes here."""
    body = b"\x01" * 100_000
    wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    wire += b"2\r\n\x01\x01\r\n" * (len(body) // 2) + b"0\r\n\r\n"
    near, far = socket.socketpair()
    with near, far:
        sender = threading.Thread(target=far.sendall, args=(wire,))
        sender.start()
        response = fetch._final(fetch._Timed(near, Deadline(60)))
        tracemalloc.start()
        try:
            assert fetch._read(response, 2_000_000) == body
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            sender.join()
    assert peak < 4 * len(body)


@pytest.mark.parametrize("path", ["stall", "drip", "drip-headers"])
def test_one_deadline_ends_a_host_that_drips_or_stalls(far_host, settings, path):
    # The host never ends, and each of its bytes comes in time.
    hurried = dataclasses.replace(settings, fetch_timeout_s=0.6)
    with pytest.raises(errors.DeadlineExceeded):
        read(Url(f"http://{far_host}/{path}"), hurried)


@pytest.mark.parametrize("path", ["announced-large", "endless", "gzip-bomb"])
def test_more_bytes_than_the_limit_are_not_read(far_host, settings, path):
    with pytest.raises(errors.ImageTooLarge):
        read(Url(f"http://{far_host}/{path}"), settings)


@pytest.mark.parametrize(
    ("url", "changes", "reason"),
    [
        ("127.0.0.1:1/x", {"fetch_private_hosts": {"127.0.0.1:1"}}, "connection refused"),
        ("no-such-host.invalid/x", {}, "name look-up failed"),
        ("127.0.0.1/photo", {}, "an address of the host is not public"),
        ("HOST/photo", {"fetch_private_hosts": set()}, "port is not in FETCH_ALLOWED_PORTS"),
        (
            "b.example/x",
            {"fetch_allowed_hosts": {"a.example"}},
            "host is not in FETCH_ALLOWED_HOSTS",
        ),
        ("example.com:8443/x", {}, "port is not in FETCH_ALLOWED_PORTS"),
        # There is no such host: past the port, the name is looked up.
        ("a.invalid:8443/x", {"fetch_allowed_ports": {8443}}, "name look-up failed"),
        ("HOST/reset", {}, "ConnectionResetError|body ended early"),  # whichever is seen first
    ],
)
def test_hosts_and_ports_that_are_not_reached_or_not_allowed(
    url, changes, reason, far_host, settings
):
    settings = dataclasses.replace(settings, **changes)
    assert refused("http://" + url.replace("HOST", far_host), settings) in reason.split("|")


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
    with pytest.raises(errors.InvalidUrl):
        read(Url(url), settings)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        # UTS 46, non-transitional: IDNA 2003 asks another owner's host, fass.de.
        ("https://fa\u00df.de/x.jpg", "xn--fa-hia.de"),
        ("https://B\u00dcCHER.example/", "xn--bcher-kva.example"),
        ("https://example\u3002com/", "example.com"),
        ("https://\uff11\uff12\uff17.0.0.1/", "127.0.0.1"),
        ("https://my_bucket.example/", "my_bucket.example"),
    ],
)
def test_a_host_is_the_one_that_browsers_ask(url, host):
    target = Target.parse(url.replace("example/", "example:443/a b/\u00e4?q=\u00f6"))
    assert (target.host, target.netloc) == (host, host)
    assert target.path in ("/", "/x.jpg", "/a%20b/%C3%A4?q=%C3%B6")


def test_base64_is_read_in_both_alphabets_padded_or_not(settings):
    data = bytes(range(256)) + b"\xfb\xff"
    text = base64.b64encode(data).decode()
    url_safe = base64.urlsafe_b64encode(data).decode()
    wrapped = "\n".join(text[i : i + 76] for i in range(0, len(text), 76))
    for given in (text, url_safe, text.rstrip("="), wrapped, "data:image/png;base64," + text):
        assert read(Base64(given), settings) == data
    assert read(Url("data:image/jpeg," + quote_from_bytes(data)), settings) == data


@pytest.mark.parametrize("text", ["!!!!", "abc\u00e9", "a", "=a", "AA==AAAA", "AAAA!AAA", "A=AA"])
def test_what_is_not_base64_is_named_as_such(text, settings):
    with pytest.raises(errors.InvalidRequest):
        read(Base64(text), settings)


@pytest.mark.parametrize("kind", [Raw, lambda d: Base64(base64.b64encode(d).decode())])
def test_an_image_over_the_byte_limit_is_refused(kind, settings):
    with pytest.raises(errors.ImageTooLarge):
        read(kind(b"x" * 2_000_001), settings)
    assert read(kind(b"x" * 2_000_000), settings)


@pytest.mark.parametrize(
    ("kind", "error", "reason"),
    [
        *((kind, errors.UnsupportedFormat, kind.upper()) for kind in ("html", "json", "pdf")),
        ("cut", errors.UndecodableImage, "truncated"),
        ("pixels", errors.TooManyPixels, "10000"),
    ],
)
def test_the_answer_never_reveals_what_was_downloaded(
    far_host, settings, kind, error, reason, capsys
):
    """Otherwise any caller could list what a private host or bucket holds."""
    loud = dataclasses.replace(settings, log_level="INFO")
    with pytest.raises(errors.ClassifierError) as caught:
        Handler(loud).handle({"url": f"http://{far_host}/document?kind={kind}"})
    assert (type(caught.value), caught.value.message) == (error, error.of_download)
    assert reason in json.loads(capsys.readouterr().out.splitlines()[-1])["reason"]
