"""Download over http and https, for anybody, without becoming their tool.

Imported at the first URL alone: `http.client` costs 15 ms.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from classifier import netguard
from classifier.deadline import Deadline
from classifier.errors import (
    ClassifierError,
    DeadlineExceeded,
    FetchFailed,
    ImageTooLarge,
    InvalidUrl,
)
from classifier.settings import Settings

if TYPE_CHECKING:
    import ssl

MAX_REDIRECTS = 4
MAX_URL_CHARS = 8192
REDIRECTS = {301, 302, 303, 307, 308}
PORTS = {"http": 80, "https": 443}
USER_AGENT = "keras-to-lambda (image fetch)"


class Target(NamedTuple):
    """A checked http(s) URL, in the parts that a request is made of."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Target:
        """Raises InvalidUrl; the message never repeats the URL, which may hold a secret."""
        if len(url) > MAX_URL_CHARS:
            raise InvalidUrl(f"the URL is longer than {MAX_URL_CHARS} characters")
        # Parsers disagree about these, and disagreement is how a guard is passed by.
        if re.search(r"[\x00-\x20\x7f\\]", url):
            raise InvalidUrl("the URL contains a space, a control character or a backslash")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
            ascii_host = host if ":" in host else host.encode("idna").decode("ascii")
        except ValueError as error:  # UnicodeError is one
            raise InvalidUrl("the URL's host or port makes no sense") from error
        if parts.scheme not in PORTS:
            scheme = parts.scheme[:20] or "none"
            raise InvalidUrl(f"the URL's scheme is {scheme}; use https:, http:, s3: or data:")
        if parts.username is not None or parts.password is not None:
            raise InvalidUrl("the URL holds a user name or password; remove it")
        if not ascii_host or "%" in ascii_host:
            raise InvalidUrl("the URL has no host, or one with a zone")
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        if parts.query:
            path += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]")
        return cls(parts.scheme, ascii_host.lower(), port or PORTS[parts.scheme], path)

    @property
    def netloc(self) -> str:
        """The Host header's value (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def fetch(url: str, settings: Settings, deadline: Deadline) -> bytes:
    """Download an image: GET, at most four redirects, each judged like the first URL.

    Raises:
        InvalidUrl: the caller's URL is not one that is fetched.
        FetchFailed: whatever the far side did wrong.
        ImageTooLarge: more bytes than the limit, announced or sent.
        DeadlineExceeded: `fetch_timeout_s` or the request's own deadline passed.
    """
    deadline = deadline.sooner(settings.fetch_timeout_s)
    target = Target.parse(url)
    for _ in range(MAX_REDIRECTS + 1):
        try:
            answer = _get(target, settings, deadline)
        except TimeoutError as error:
            raise DeadlineExceeded("the image's host is too slow") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            # The type says enough (SSLCertVerificationError, IncompleteRead, ...) and is no secret.
            raise FetchFailed(type(error).__name__) from error
        if isinstance(answer, bytes):
            return answer
        try:
            url = urljoin(url, answer)
            target = Target.parse(url)
        except (ClassifierError, ValueError) as error:
            raise FetchFailed("redirected to a URL that is not fetched") from error
    raise FetchFailed(f"more than {MAX_REDIRECTS} redirects")


def _get(target: Target, settings: Settings, deadline: Deadline) -> bytes | str:
    """One GET: the body, or the Location of a redirect."""
    trusted = f"{target.host}:{target.port}" in settings.fetch_private_hosts
    allowed = settings.fetch_allowed_hosts
    if allowed and not trusted and target.host not in allowed:
        raise FetchFailed("host is not in FETCH_ALLOWED_HOSTS")
    if not trusted and target.port not in settings.fetch_allowed_ports:
        raise FetchFailed("port is not in FETCH_ALLOWED_PORTS")
    sock = netguard.connect(target.host, target.port, deadline, trusted=trusted)
    try:
        if target.scheme == "https":
            sock.settimeout(deadline.remaining_s("the TLS handshake"))
            sock = _tls().wrap_socket(sock, server_hostname=target.host)
        sock.settimeout(deadline.remaining_s("the download"))
        # No cookies, no credentials, no proxies; and one request for a connection.
        sock.sendall(
            f"GET {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\nUser-Agent: {USER_AGENT}\r\n"
            "Accept: image/*\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n".encode()
        )
        # HTTPResponse asks its socket for a file, and for nothing else.
        response = http.client.HTTPResponse(_Timed(sock, deadline), method="GET")  # type: ignore[arg-type]
        response.begin()
        return _body(response, settings.max_image_bytes)
    finally:
        sock.close()


def _body(response: http.client.HTTPResponse, limit: int) -> bytes | str:
    location = response.getheader("Location")
    if response.status in REDIRECTS and location:
        return location
    if response.status != 200:
        raise FetchFailed(f"status {response.status}")
    if response.getheader("Content-Encoding", "identity").lower() != "identity":
        raise FetchFailed("encoded body")  # a few bytes could unpack into gigabytes
    if response.length is not None and response.length > limit:
        raise ImageTooLarge.of(limit)
    data = response.read(limit + 1)
    if len(data) > limit:
        raise ImageTooLarge.of(limit)
    if response.length:
        raise FetchFailed("body ended early")
    return data


@cache
def _tls() -> ssl.SSLContext:
    import ssl  # 15 ms with the certificates, only for those who fetch by https

    return ssl.create_default_context()


class _Timed:
    """What HTTPResponse needs of a socket; each single receive gets what is left of the deadline.

    A socket's own time-out starts anew with every byte: a host that drips them would never end.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock, self._deadline = sock, deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._sock, self._deadline))


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock, self._deadline = sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # collections.abc.Buffer is Python 3.12's
        self._sock.settimeout(self._deadline.remaining_s("the download"))
        return self._sock.recv_into(buffer)
