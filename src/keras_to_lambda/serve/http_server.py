"""The HTTP server: waitress, with errors in JSON and slow clients that do not stop the others.

Waitress reads requests without a thread for each connection. Its threads run the gateway, which
answers 503 when the function is busy everywhere, so that no request waits in line for a thread.
"""

from __future__ import annotations

import functools
import json
import logging
import signal
import sys
from typing import Any

import waitress
import waitress.channel
import waitress.task

from keras_to_lambda.runtime.common.aws_lambda import TIMEOUT_S
from keras_to_lambda.serve.gateway import MAX_BODY_BYTES, MAX_CALLS, Application

# Beside the threads that wait for the function: for pages, errors and answers of 503.
SPARE_THREADS = 8
MAX_CONNECTIONS = 1000
SILENT_FOR_S = 60  # a connection without a byte for so long is closed


class JsonErrorTask(waitress.task.ErrorTask):  # type: ignore[misc]  # waitress has no types
    """What waitress refuses by itself, in the gateway's form: {"message": reason}."""

    def execute(self) -> None:
        """Write the response."""
        error = self.request.error
        body = json.dumps({"message": error.reason}).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Channel(waitress.channel.HTTPChannel):  # type: ignore[misc]
    """A connection."""

    error_task_class = JsonErrorTask


def create(application: Application, host: str, port: int) -> Any:
    """A waitress server, listening; `run()` serves.

    Raises:
        OSError: the port is in use, or may not be listened at.
    """
    server = waitress.create_server(
        application,
        host=host,
        port=port,
        threads=MAX_CALLS + SPARE_THREADS,
        connection_limit=MAX_CONNECTIONS,
        channel_timeout=SILENT_FOR_S,
        asyncore_use_poll=True,  # select(2) ends at 1,024 descriptors
        backlog=MAX_CONNECTIONS,
        # More than the gateway takes, so that a body over its limit gets its own answer.
        max_request_body_size=2 * MAX_BODY_BYTES,
        ident=None,
    )
    server.channel_class = Channel
    return server


def run(server: Any) -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way are answered first."""
    # Waitress' own limit is 5 s; the gateway answers every request within TIMEOUT_S.
    dispatcher = server.task_dispatcher
    dispatcher.shutdown = functools.partial(dispatcher.shutdown, timeout=TIMEOUT_S + 1)
    # A page asks for several things at once; that they wait a millisecond is no warning.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    # What `docker stop`, systemd and Kubernetes send: finish what is under way, then end.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: sys.exit())
    server.run()
    # The workers have ended with their answers; they still have to go out.
    for _ in range(20):
        if not any(channel.total_outbufs_len for channel in server.active_channels.values()):
            break
        server.asyncore.loop(timeout=0.1, count=1, map=server._map)  # noqa: SLF001
    server.close()
