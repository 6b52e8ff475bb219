"""Local HTTP servers for tests, and a clock that tests set."""

from __future__ import annotations

import contextlib
import functools
import http.server
import logging
import socketserver
import threading
import wsgiref.simple_server
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self


class Quiet(http.server.BaseHTTPRequestHandler):
    """A handler without a log."""

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Answer; Content-Length is the body's, unless `headers` has another."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class QuietFiles(Quiet, http.server.SimpleHTTPRequestHandler):
    """Serves a folder."""

    @classmethod
    def of(cls, folder: Path) -> Callable[..., QuietFiles]:
        """The handler for a folder."""
        return functools.partial(cls, directory=str(folder))


class QuietWsgi(Quiet, wsgiref.simple_server.WSGIRequestHandler):
    """Of a WSGI application."""


class Threaded(socketserver.ThreadingTCPServer):
    """A server on a free port, from `with` to the end of its block; each request has a thread."""

    daemon_threads = True

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def address(self) -> str:
        """host:port."""
        return f"{self.server_address[0]}:{self.server_address[1]}"


class HttpHost(Threaded, http.server.HTTPServer):
    """A server of HTTP.

    http.server refuses the sixth connection that it has not accepted yet; this one does not.
    """

    request_queue_size = 128

    def __init__(self, handler: Callable[..., Any], host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), handler)


class Tcp(Threaded):
    """A server of connections. It has no handler: `finish_request` is its subclass's."""

    def __init__(self, bind: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler, bind)


@contextlib.contextmanager
def wsgi(application: Any) -> Iterator[str]:
    """The URL of a WSGI application, which handles one request at a time."""
    with wsgiref.simple_server.make_server(
        "127.0.0.1", 0, application, handler_class=QuietWsgi
    ) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def waitress_thread(server: Any) -> Iterator[str]:
    """The URL of a waitress server (`http_server.create`), which runs in the block."""
    # Requests wait for a thread some microseconds, of which waitress would warn.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        # By the loop itself, and all of it, which ends the loop: sockets that are closed under its
        # feet, as server.close() would, are an error there now and then.
        sockets = server._map
        with contextlib.suppress(OSError):  # the loop can end before the pipe is written to
            server.trigger.pull_trigger(lambda: server.asyncore.close_all(sockets, ignore_all=True))
        thread.join()
        server.task_dispatcher.shutdown()


class Clock:
    """Seconds for a Deadline, which pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
