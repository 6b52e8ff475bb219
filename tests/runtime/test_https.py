"""https: the connection goes to the judged address, and the certificate is the name's."""

from __future__ import annotations

import dataclasses
import ssl

import pytest
import trustme

from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.errors import FetchFailed
from keras_to_lambda.runtime.sources import fetch, images
from keras_to_lambda.runtime.sources.images import Url
from tests.http_host import HttpHost, Quiet


@pytest.fixture
def secure_host(jpeg, tmp_path, monkeypatch):
    """Port of an https server on loopback, its certificate for `localhost` alone."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    class Photo(Quiet):
        def do_GET(self):
            if self.path == "/to-http":
                self.reply(302, b"", {"Location": "http://localhost/photo"})
            else:
                self.reply(200, jpeg)

    # The variable that OpenSSL itself reads, so that the real verification runs.
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    fetch._tls.cache_clear()
    host = HttpHost(Photo)
    host.socket = context.wrap_socket(host.socket, server_side=True, do_handshake_on_connect=False)
    host.handle_error = lambda *_: None  # a client that turns away is what we test
    with host:
        yield host.server_port
    fetch._tls.cache_clear()


def allowing(settings, host, port):
    return dataclasses.replace(
        settings, fetch_private_hosts=frozenset({f"{host}:{port}"}), fetch_timeout_s=60.0
    )


def read(url, settings):
    return images.read(Url(url), settings, Deadline(60))


def test_a_photo_is_downloaded_by_https(secure_host, settings, jpeg):
    url = f"https://localhost:{secure_host}/photo"
    assert read(url, allowing(settings, "localhost", secure_host)) == jpeg


@pytest.mark.parametrize("fault", ["another name", "another authority"])
def test_a_certificate_without_trust_is_refused(
    fault, secure_host, settings, monkeypatch, tmp_path
):
    host = "localhost"
    if fault == "another name":
        host = "127.0.0.1"
    else:
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(other)
        monkeypatch.setenv("SSL_CERT_FILE", str(other))
        fetch._tls.cache_clear()
    with pytest.raises(FetchFailed) as caught:
        read(f"https://{host}:{secure_host}/", allowing(settings, host, secure_host))
    assert caught.value.facts["reason"] == "SSLCertVerificationError"


def test_a_redirect_from_https_to_http_is_refused(secure_host, settings):
    with pytest.raises(FetchFailed) as caught:
        read(
            f"https://localhost:{secure_host}/to-http",
            allowing(settings, "localhost", secure_host),
        )
    assert caught.value.facts["reason"] == "redirected from https to http"
