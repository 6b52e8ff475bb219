"""Download over http and https, for any caller, without becoming their tool.

Imported at the first URL alone: `http.client` costs 15 ms.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
from functools import cache
from urllib.parse import quote, urljoin, urlsplit

from keras_to_lambda.runtime.common import hostname
from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.errors import (
    ClassifierError,
    DeadlineExceeded,
    FetchFailed,
    InvalidUrl,
    too_many_bytes,
)
from keras_to_lambda.runtime.common.record import TYPE_CHECKING, Any, NamedTuple
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.sources import address_guard, content_coding

if TYPE_CHECKING:
    import ssl

MAX_REDIRECTS = 4
MAX_URL_CHARS = 8192
REDIRECTS = {301, 302, 303, 307, 308}
PORTS = {"http": 80, "https": 443}
# RFC 9110, 8.6.3: a shared cache may have transformed a 203; it is the image all the same.
SUCCESS = {200, 203}
MAX_INTERIM = 8  # 1xx responses in front of the final one (RFC 9110, 15.2)
CHUNK = 1 << 16


class Target(NamedTuple):
    """A checked http(s) URL, in the parts that a request is made of."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Target:
        """Read a URL as browsers do: spaces around it are dropped, those in it are encoded.

        Raises InvalidUrl: the message never repeats the URL, which may hold a secret.
        """
        url = url.strip(" \t\r\n\f")
        if len(url) > MAX_URL_CHARS:
            raise InvalidUrl(f"the URL is longer than {MAX_URL_CHARS} characters")
        # Parsers disagree about these, and disagreement is how a guard is passed by. A lone
        # surrogate cannot be encoded.
        if re.search(r"[\x00-\x1f\x7f\\\ud800-\udfff]", url):
            raise InvalidUrl(
                "the URL contains a control character, a backslash or half a character"
            )
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise InvalidUrl("invalid host or port in the URL") from error
        if parts.scheme not in PORTS:
            scheme = parts.scheme[:20] or "none"
            raise InvalidUrl(f"unsupported URL scheme: {scheme}; use https:, http:, s3: or data:")
        if parts.username is not None or parts.password is not None:
            raise InvalidUrl("the URL holds a user name or password; remove it")
        if not host or "%" in host:
            raise InvalidUrl("the URL has no host, or one with a zone")
        try:
            # A colon is only ever in an IPv6 literal, which urlsplit has checked.
            host = host.lower() if ":" in host else hostname.to_ascii(host)
        except ValueError as error:
            raise InvalidUrl("invalid host in the URL") from error
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        if parts.query:
            path += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]")
        return cls(parts.scheme, host, port or PORTS[parts.scheme], path)

    @property
    def netloc(self) -> str:
        """The Host header's value (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def fetch(url: str, settings: Settings, deadline: Deadline, authorization: str = "") -> bytes:
    """Download an image: GET, at most four redirects, each judged like the first URL.

    Args:
        authorization: the header of that name, for the first URL's host and port alone.

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
            answer = _get(target, settings, deadline, authorization)
        except TimeoutError as error:
            raise DeadlineExceeded("the image's host is too slow") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            # The type is enough (SSLCertVerificationError, IncompleteRead, ...), and not a secret.
            raise FetchFailed(type(error).__name__) from error
        if isinstance(answer, bytes):
            return answer
        try:
            url = urljoin(url, answer)
            redirected = Target.parse(url)
        except (ClassifierError, ValueError) as error:
            raise FetchFailed("redirected to a URL that is not fetched") from error
        if (target.scheme, redirected.scheme) == ("https", "http"):
            raise FetchFailed("redirected from https to http")
        if (target.host, target.port) != (redirected.host, redirected.port):
            authorization = ""
        target = redirected
    raise FetchFailed(f"more than {MAX_REDIRECTS} redirects")


def _get(target: Target, settings: Settings, deadline: Deadline, authorization: str) -> bytes | str:
    """One GET: the body, or the Location of a redirect."""
    trusted = f"{target.host}:{target.port}" in settings.fetch_private_hosts
    allowed = settings.fetch_allowed_hosts
    if allowed and not trusted and target.host not in allowed:
        raise FetchFailed("host is not in FETCH_ALLOWED_HOSTS")
    if not trusted and target.port not in settings.fetch_allowed_ports:
        raise FetchFailed("port is not in FETCH_ALLOWED_PORTS")
    sock = address_guard.connect(target.host, target.port, deadline, trusted=trusted)
    try:
        if target.scheme == "https":
            sock.settimeout(deadline.remaining_s("the TLS handshake"))
            sock = _tls().wrap_socket(sock, server_hostname=target.host)
        sock.settimeout(deadline.remaining_s("the download"))
        # No cookies, no stored credentials, no proxies; and one request for a connection.
        granted = f"Authorization: {authorization}\r\n" if authorization else ""
        sock.sendall(
            f"GET {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\n"
            f"User-Agent: {settings.fetch_user_agent}\r\n{granted}"
            "Accept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n".encode()
        )
        return _body(_final(_Timed(sock, deadline)), settings.max_image_bytes, deadline)
    finally:
        sock.close()


def _final(sock: _Timed) -> http.client.HTTPResponse:
    """The response after any interim ones, such as 103 Early Hints."""
    for _ in range(MAX_INTERIM + 1):
        # HTTPResponse takes only a file from its socket.
        response = http.client.HTTPResponse(sock, method="GET")  # type: ignore[arg-type]
        response.begin()
        if not 101 < response.status < 200:
            return response
    raise FetchFailed(f"more than {MAX_INTERIM} interim responses")


def _body(response: http.client.HTTPResponse, limit: int, deadline: Deadline) -> bytes | str:
    location = response.getheader("Location")
    if response.status in REDIRECTS and location:
        return _as_text(location)
    if response.status not in SUCCESS:
        raise FetchFailed(f"status {response.status}")
    if response.length is not None and response.length > limit:
        raise too_many_bytes(limit)
    data = _read(response, limit)
    if response.length:
        raise FetchFailed("body ended early")
    for name in content_coding.names(response.getheader("Content-Encoding", "")):
        if name in content_coding.NOT_UNPACKED:
            raise FetchFailed(f"body in the content coding {name}")
        try:
            data = content_coding.unpacked(
                data, name, limit, lambda: deadline.remaining_s("unpacking the download")
            )
        except content_coding.DamagedEncoding as error:
            raise FetchFailed(f"{error} body") from error
    return data


def _as_text(location: str) -> str:
    """A Location header, which http.client decodes as Latin-1; browsers read UTF-8."""
    data = location.encode("latin-1")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return location


def _read(response: http.client.HTTPResponse, limit: int) -> bytes:
    """The body, in one buffer: `read` would keep each chunk, however small, as an object."""
    data, piece = bytearray(), memoryview(bytearray(CHUNK))
    while count := response.readinto(piece):
        data += piece[:count]
        if len(data) > limit:
            raise too_many_bytes(limit)
    return bytes(data)


@cache
def _tls() -> ssl.SSLContext:
    import ssl  # 15 ms with the certificates, only for those who fetch by https

    return ssl.create_default_context()


class _Timed:
    """What HTTPResponse needs of a socket; each single receive gets what is left of the deadline.

    A socket's own time-out restarts with every byte: a host that drips them would never end.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._file = _Open(_TimedReader(sock, deadline))

    def makefile(self, mode: str) -> io.BufferedReader:
        return self._file


class _Open(io.BufferedReader):
    """A file that an interim response leaves open for the next one; `_get` closes the socket."""

    def close(self) -> None:
        pass


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock, self._deadline = sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # collections.abc.Buffer is Python 3.12's
        self._sock.settimeout(self._deadline.remaining_s("the download"))
        return self._sock.recv_into(buffer)
