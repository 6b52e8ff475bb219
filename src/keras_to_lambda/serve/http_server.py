"""The HTTP server: waitress, with errors in JSON and slow clients that do not stop the others.

Waitress reads requests without a thread for each connection. Its threads run the gateway, which
answers 503 when the function is busy everywhere, so that no request waits in line for a thread.
"""

from __future__ import annotations

import json
from typing import Any

import waitress
import waitress.channel
import waitress.task

from keras_to_lambda.serve.gateway import MAX_BODY_BYTES, MAX_CALLS, Gateway
from keras_to_lambda.serve.remote import Remote

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


def create(application: Gateway | Remote, host: str, port: int) -> Any:
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
