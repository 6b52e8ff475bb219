"""python -m serve: the function at http://127.0.0.1:9000, with no Docker."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace

import waitress

from classifier.errors import SetupError
from classifier.handler import Handler
from classifier.settings import Settings
from serve.gateway import INVOCATION_PATH, MAX_PAYLOAD_BYTES, Gateway


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C. Exit status 2: the model, a setting or the port is wrong."""
    p = argparse.ArgumentParser(
        prog="python -m serve",
        description="Serve the function on this machine: POST /predict as through API Gateway, "
        f"and the emulator's {INVOCATION_PATH}.",
        epilog="Every setting of the function (MODEL_PATH, FETCH_PRIVATE_HOSTS, ...) is read from "
        "the environment.",
    )
    p.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    p.add_argument("--port", type=int, default=9000, help="default: %(default)s; 0: any free one")
    p.add_argument("--model", metavar="FILE", help="a .tflite, or a folder of them")
    args = p.parse_args(argv)
    try:
        settings = Settings.from_environ()
        if args.model:
            settings = replace(settings, model_path=args.model)
        handler = Handler(settings)
        server = waitress.create_server(
            Gateway(handler),
            host=args.host,
            port=args.port,
            threads=max(2, os.cpu_count() or 1),
            # More than the gateway takes, so that a body over its limit gets its own answer.
            max_request_body_size=2 * MAX_PAYLOAD_BYTES,
            ident=None,
        )
    except (SetupError, OSError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 2
    url = f"http://{args.host}:{server.effective_port}"
    print(
        f"serving {', '.join(handler.models.installed)} at {url}; Ctrl-C ends it. Try:\n"
        f"  curl --data-binary @samples/t-shirt.jpg -H 'Content-Type: image/jpeg' {url}/predict",
        flush=True,
    )
    # What `docker stop`, systemd and Kubernetes send: finish what is under way, then end.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: sys.exit())
    server.run()
    # The workers have ended with their answers; they still have to go out.
    server.asyncore.loop(timeout=0.1, count=20, map=server._map)  # noqa: SLF001
    server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
