"""A local HTTP server for tests that send many requests at a time."""

from __future__ import annotations

import http.server


class HttpHost(http.server.ThreadingHTTPServer):
    """http.server refuses the sixth connection that it has not accepted yet; this one does not."""

    request_queue_size = 128
    daemon_threads = True


class Clock:
    """Seconds for a Deadline, which pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
