"""python -m classifier: the function's own path, from a terminal."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from classifier import card as cards
from classifier.errors import ClassifierError, SetupError
from classifier.handler import Handler
from classifier.preprocess import matches_helper
from classifier.request import SCORES, Options
from classifier.settings import Settings
from classifier.sources import Raw, Source, Url

OK, FAILED, BAD_INPUT = 0, 1, 2
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m classifier",
        description="Classify images exactly as the deployed function does.",
        epilog="exit status: 0 all were classified; 1 an image could not be; 2 wrong use, model or "
        "settings. Every setting of the function (MODEL_PATH, ...) is read from the environment.",
    )
    p.add_argument("images", nargs="*", metavar="IMAGE", help="a file, a folder, or a URL")
    p.add_argument("--model", metavar="FILE", help="a .tflite, or a folder of them")
    p.add_argument("--top-k", type=int, default=3, metavar="N", help="labels shown (default: 3)")
    p.add_argument("--scores", choices=SCORES, help="default: what the model gives; logits, mostly")
    p.add_argument("--json", action="store_true", help="one JSON line for each image")
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
    if args.top_k < 1:
        p.error("--top-k must be 1 or more")
    try:
        settings = replace(Settings.from_environ(), log_level="FATAL")
        if args.model:
            settings = replace(settings, model_path=args.model)
        handler = Handler(settings)
        if args.check:
            print(check(handler))
        sources = list(_sources(args.images))
    except (SetupError, OSError) as error:
        print(f"classifier: {error}", file=sys.stderr)
        return BAD_INPUT
    failed = False
    for name, source in sources:
        try:
            [answer] = handler.classify([source], Options(args.top_k, args.scores))
        except ClassifierError as error:
            answer = error
        if isinstance(answer, ClassifierError):
            failed = True
            if args.json:
                print(json.dumps({"image": name, **answer.to_json()}))
            else:
                print(f"{name}: {answer.code}: {answer.message}", file=sys.stderr)
        elif args.json:
            print(json.dumps({"image": name, "scores": answer}))
        else:
            print(_line(name, answer))
    return FAILED if failed else OK


def check(handler: Handler) -> str:
    """Check each model's hash and scaling and run one inference; a line about each.

    Raises:
        SetupError: a file was altered, does not answer with finite numbers, or its pixels are not
            scaled as keras-image-helper scales them.
    """
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
        lines.append(f"{name}: {len(card.labels)} labels, hash and inference checked{scaling}")
    return "\n".join(lines)


def _sources(images: Sequence[str]) -> Iterator[tuple[str, Source]]:
    for name in images:
        if "://" in name or name.startswith("data:"):
            yield name, Url(name)
            continue
        path = Path(name)
        files = [path]
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
            if not files:
                raise FileNotFoundError(f"no images in {path}")
        for file in files:
            yield str(file), Raw(file.read_bytes())


def _line(name: str, answer: dict[str, float]) -> str:
    return f"{name}: " + ", ".join(f"{label} {score:.3f}" for label, score in answer.items())


if __name__ == "__main__":
    sys.exit(main())
