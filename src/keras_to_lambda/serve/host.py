"""python -m keras_to_lambda.serve.host: page and API on $PORT, in a container that is not Lambda's.

Imports nothing but the runtime, this folder's server and waitress: the image holds no more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.serve import http_server
from keras_to_lambda.serve.gateway import Gateway

DEFAULT_PORT = 8000


def port(environ: Mapping[str, str]) -> int:
    """The port that the host chose.

    Raises:
        SetupError: it is not a port.
    """
    text = environ.get("PORT", "").strip() or str(DEFAULT_PORT)
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise SetupError(f"wrong settings: PORT={text!r}: must be a number from 1 to 65535")
    return int(text)


def main() -> int:
    """Serve until SIGTERM. Exit status 2: the model, a setting or the port is wrong."""
    try:
        number = port(os.environ)
        handler = Handler(Settings.from_environ())
        # A container has its own network: who reaches it is the host's decision.
        application = Gateway(handler.handle, invocations=False)
        server = http_server.create(application, "0.0.0.0", number)  # noqa: S104
    except (SetupError, OSError) as error:
        print(f"host: {error}", file=sys.stderr)
        return 2
    print(f"serving {', '.join(handler.models.installed)} on port {number}", flush=True)
    http_server.run(server)
    return 0


if __name__ == "__main__":
    sys.exit(main())
