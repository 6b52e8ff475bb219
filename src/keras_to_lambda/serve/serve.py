"""k2l serve: the function and its playground at http://127.0.0.1:9000, with no Docker."""

from __future__ import annotations

import argparse
import errno
import mimetypes
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from keras_to_lambda import class_folders, client, origin, project
from keras_to_lambda.cli import frame
from keras_to_lambda.client import SigV4
from keras_to_lambda.runtime.common.aws_lambda import INVOCATIONS_PATH
from keras_to_lambda.runtime.common.errors import UserError
from keras_to_lambda.runtime.common.settings import MODELS, Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.serve import http_server, remote_stack
from keras_to_lambda.serve.gateway import Application, Gateway
from keras_to_lambda.serve.remote_stack import Remote

EPILOG = """\
examples:
  k2l serve                                        the models in models/
  k2l serve --model cats.tflite --port 9001        one model, at another port
  k2l serve --remote keras-to-lambda               a deployed stack, in the browser

Every setting of the function (MODEL_PATH, FETCH_PRIVATE_HOSTS, ...) is read from the environment.
"""
HOST = "127.0.0.1"  # keras_to_lambda.serve.host listens at every interface


def parser() -> frame.Parser:
    """The command line."""
    p = frame.Parser(
        "k2l serve",
        description="Serve the function and its playground on this machine: every path as through "
        f"API Gateway, and the emulator's {INVOCATIONS_PATH}.",
        epilog=EPILOG,
    )
    p.add_argument(
        "--port",
        type=int,
        default=9000,
        help="0 to 65535; 0: any free one (default: %(default)s)",
    )
    p.add_argument(
        "--model", metavar="PATH", help="a .tflite, or a folder of them (default: models)"
    )
    p.add_argument(
        "--remote",
        metavar="URL|STACK",
        help="forward to a deployed stack, each request signed with the AWS credentials of this "
        "shell (default: serve the models here)",
    )
    client.add_options(p)
    return p


def _local(args: argparse.Namespace) -> tuple[Any, str]:
    """A server of the models on this machine, and what it prints first."""
    settings = Settings.from_environ()
    if args.model or settings.model_path == MODELS:
        settings = replace(settings, model_path=args.model or project.models())
    handler = Handler(settings)
    origin.check(handler.models.installed.values())
    server, url = _listening(Gateway(handler.handle), args)
    default = handler.models.default
    sample = _sample(handler)
    names = [f"{x} (default)" if x == default else x for x in handler.models.installed]
    greeting = (
        f"serving {', '.join(names)}; Ctrl-C ends it. Open {url}/ or try:\n"
        f"  curl --data-binary @{shlex.quote(sample)} -H 'Content-Type: "
        f"{mimetypes.guess_type(sample)[0]}' {url}/predict"
    )
    if default is None:
        greeting += (
            "\nno model is the default: a request has to name one as `model`, unless DEFAULT_MODEL "
            "or default.txt in the models' folder does"
        )
    return server, greeting


def _remote(args: argparse.Namespace) -> tuple[Any, str]:
    """A server that forwards to a deployed stack, and what it prints first."""
    if args.model:
        raise UserError("--remote serves a deployed stack; remove --model")
    url = remote_stack.address(args.remote, args.region, args.profile)
    host = urlsplit(url).netloc
    signature = None if args.api_key else SigV4(host, args.region, args.profile)
    application = Remote(url, args.api_key, signature)
    server, local = _listening(application, args)
    return server, f"open {local}/ for {application.url}; Ctrl-C ends it"


def _listening(application: Application, args: argparse.Namespace) -> tuple[Any, str]:
    """A server, and its URL."""
    try:
        server = http_server.create(application, HOST, args.port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise UserError(
            f"port {args.port} is in use; choose another: --port {args.port + 1} "
            f"(make run PORT={args.port + 1})"
        ) from error
    return server, f"http://{HOST}:{server.effective_port}"


def _sample(handler: Handler) -> str:
    """A photo for the example: the model's own, or one that is named after a label."""
    if handler.models.default is None:
        return "photo.jpg"
    path, card = handler.models.installed[handler.models.default]
    here, labels = Path.cwd(), class_folders.ClassFolders(card.labels)
    found = class_folders.images(Path(path).parent / "samples")
    for folder in (here / "samples", project.samples()):
        photos = class_folders.images(folder)
        found += [photo for photo in photos if labels.place(photo.stem) is not None]
    if not found:
        return "photo.jpg"
    # One below the current folder, if there is one, has the shorter name.
    first = next((photo for photo in found if photo.absolute().is_relative_to(here)), found[0])
    photo = first.absolute()
    return str(photo.relative_to(here) if photo.is_relative_to(here) else photo)


@frame.command("k2l serve")
def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C. Exit status 2: the model, a setting or the port is wrong."""
    p = parser()
    args = p.parse_args(argv)
    if not 0 <= args.port <= 65535:  # sockets take it modulo 65,536
        p.error(f"invalid port: {args.port}; use 0 to 65535")
    server, greeting = _remote(args) if args.remote else _local(args)
    print(greeting, flush=True)
    http_server.run(server)
    return 0
