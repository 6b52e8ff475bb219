"""k2l predict: the function's own path, from a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from keras_to_lambda import origin, project
from keras_to_lambda.cli import frame, inputs, output
from keras_to_lambda.runtime.check import check
from keras_to_lambda.runtime.common.errors import ClassifierError, SetupError
from keras_to_lambda.runtime.common.settings import MODELS, Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.inference.request import SCORES, Options


def parser() -> frame.Parser:
    """The command line."""
    p = frame.Parser(
        "k2l predict",
        description="Classify images exactly as the deployed function does.",
        epilog="""examples:
  k2l predict samples/t-shirt.jpg           bars for one image
  k2l predict photos/ --format csv > a.csv  a folder, for a spreadsheet
  k2l predict test/                         folders named after labels: how many are right
  cat photo.jpg | k2l predict -             from a pipe
  k2l predict --model digits 3.png          another of the installed models

exit status: 0 all were classified; 1 an image could not be; 2 wrong use, model or settings.
Every setting of the function (MODEL_PATH, ...) is read from the environment.""",
    )
    p.add_argument(
        "images",
        nargs="*",
        metavar="IMAGE",
        help="a file, a folder, a URL, or - for an image on standard input",
    )
    p.add_argument(
        "--model",
        metavar="MODEL",
        help="a .tflite, a folder of them, or the name of one in models/ (MODEL_PATH)",
    )
    p.add_argument("--top-k", type=int, default=3, metavar="N", help="labels shown (default: 3)")
    p.add_argument(
        "--scores",
        choices=SCORES,
        help="in json, jsonl and csv; a table has both (default: what the model gives, mostly "
        "logits: its raw scores, of which the highest wins)",
    )
    p.add_argument(
        "--format",
        choices=output.NAMES,
        default="table",
        help="table: for reading, bars and all; jsonl: a line as soon as an image is done; csv: a "
        "row for each label (default: %(default)s)",
    )
    p.add_argument(
        "--check",
        action="store_true",
        help="check the model's hash and card and run one inference; for builds",
    )
    return p


@frame.command("k2l predict")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is explained in its help."""
    p = parser()
    args = p.parse_args(argv)
    if not args.images and not args.check:
        p.error("give at least one IMAGE, or --check")
    if args.top_k < 1:
        p.error("--top-k must be 1 or more")
    settings = _settings(args.model)
    if args.check:
        handler = Handler(settings)
        origin.check(handler.models.installed.values())
        print(check(handler))
    if not args.images:
        return frame.OK
    # One thread each: the images go side by side.
    handler = Handler(replace(settings, num_threads=1))
    origin.check(handler.models.installed.values())
    if handler.models.default is None:
        names = ", ".join(handler.models.installed)
        raise SetupError(f"several models and no default; name one with --model: {names}")
    card = handler.models.card()
    if args.scores == "logits" and card.output == "probabilities":
        raise SetupError(
            f"{card.name} ends in a {card.activation}: it has probabilities, not logits"
        )
    asked = list(inputs.named(args.images, card.labels))
    others = [name for name in handler.models.installed if name != handler.models.default]
    chosen = f"; others, by --model: {', '.join(others)}" if others else ""
    print(f"model: {card.name}{chosen}", file=sys.stderr)
    workers = min(os.cpu_count() or 1, len(asked))
    start = time.perf_counter()
    options = Options(args.top_k, args.scores)
    results = inputs.classified(asked, handler, workers)
    done = output.show(results, asked, card, options, args.format)
    seconds = time.perf_counter() - start
    failed = sum(isinstance(result.scores, ClassifierError) for result in done)
    if len(asked) > 1:
        print(
            f"{len(asked):,} images in {seconds:.1f} s, {len(asked) / seconds:,.0f} a second "
            f"({workers} at a time){f'; {failed} failed' * bool(failed)}",
            file=sys.stderr,
        )
    return frame.FAILED if failed else frame.OK


def _settings(model: str | None) -> Settings:
    """The function's, for a command line; `model` a path, or the name of an installed model."""
    settings = replace(Settings.from_environ(), log_level="FATAL")
    if settings.model_path == MODELS:
        settings = replace(settings, model_path=project.models())
    if not model:
        return settings
    if Path(model).exists() or os.sep in model or model.endswith(".tflite"):
        return replace(settings, model_path=model, default_model="")
    return replace(settings, default_model=model)
