"""python -m classifier: the function's own path, from a terminal."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from classifier import card as cards
from classifier import formats, items, origin, terminal
from classifier.errors import ClassifierError, ModelNotNamed, SetupError
from classifier.handler import Handler
from classifier.preprocess import matches_helper
from classifier.request import SCORES, Options
from classifier.settings import Settings

OK, FAILED, BAD_INPUT = 0, 1, 2


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m classifier",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Classify images exactly as the deployed function does.",
        epilog="""examples:
  python -m classifier samples/t-shirt.jpg           bars for one image
  python -m classifier photos/ --format csv > a.csv  a folder, for a spreadsheet
  python -m classifier test/                         folders named after labels: how many are right
  cat photo.jpg | python -m classifier -             from a pipe
  python -m classifier --model digits 3.png          another of the installed models

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
        choices=formats.NAMES,
        default="table",
        help="table: for reading, bars and all; jsonl: a line as soon as an image is done; csv: a "
        "row for each label (default: %(default)s)",
    )
    p.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="images at a time, each on one processor (default: as many as there are)",
    )
    p.add_argument(
        "--check",
        action="store_true",
        help="check the model's hash and card and run one inference; for builds",
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is explained in its help."""
    p = parser()
    args = p.parse_args(argv)
    if not args.images and not args.check:
        p.error("give at least one IMAGE, or --check")
    for name in ("top_k", "workers"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            p.error(f"--{name.replace('_', '-')} must be 1 or more")
    try:
        settings = _settings(args.model)
        if args.check:
            with terminal.without_notices():
                checked = check(Handler(settings))
            print(checked)
        if not args.images:
            return OK
        with terminal.without_notices():
            # One thread each: the images go side by side.
            handler = Handler(replace(settings, num_threads=1))
        origin.check(handler.models.installed.values())
        card = handler.models.card()
        if args.scores == "logits" and card.output == "probabilities":
            raise SetupError(
                f"{card.name} ends in a {card.activation}: it has probabilities, not logits"
            )
        asked = list(items.named(args.images, card.labels))
    except (SetupError, ModelNotNamed, OSError) as error:
        print(f"classifier: {error}", file=sys.stderr)
        return BAD_INPUT
    workers = min(args.workers or os.cpu_count() or 1, len(asked))
    start = time.perf_counter()
    try:
        options = Options(args.top_k, args.scores)
        results = items.classified(asked, handler, workers)
        done = formats.show(results, asked, card, options, args.format)
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return 130
    seconds = time.perf_counter() - start
    failed = sum(isinstance(result.scores, ClassifierError) for result in done)
    if len(asked) > 1:
        print(
            f"{len(asked):,} images in {seconds:.1f} s, {len(asked) / seconds:,.0f} a second "
            f"({workers} at a time){f'; {failed} failed' * bool(failed)}",
            file=sys.stderr,
        )
    return FAILED if failed else OK


def _settings(model: str | None) -> Settings:
    """The function's, for a command line; `model` a path, or the name of an installed model."""
    settings = replace(Settings.from_environ(), log_level="FATAL")
    if not model:
        return settings
    if Path(model).exists() or os.sep in model or model.endswith(".tflite"):
        return replace(settings, model_path=model, default_model="")
    return replace(settings, default_model=model)


def check(handler: Handler) -> str:
    """Check each model's hash and scaling and run one inference; a line about each.

    Raises:
        SetupError: a file was altered, or the Keras model beside it is another one; it does not
            answer with finite numbers; its pixels are not scaled as keras-image-helper scales them.
    """
    origin.check(handler.models.installed.values())
    lines = []
    for name, (path, card) in handler.models.installed.items():
        cards.check_hash(path, card)
        grey = np.zeros((card.height, card.width, card.channels), np.float32)
        if not np.isfinite(handler.models.get(name).logits(grey)).all():
            raise SetupError(f"{path} answers with what is no finite number")
        same = matches_helper(card)
        if same is False:
            raise SetupError(f"{path}: its scaling is not keras-image-helper's; report this")
        scaling = ", scaling as keras-image-helper's" if same else ""
        default = " (default)" if name == handler.models.default else ""
        lines.append(
            f"{name}{default}: {len(card.labels)} labels, hash and inference checked{scaling}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
