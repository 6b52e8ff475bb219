"""python -m classifier: the function's own path, from a terminal."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from classifier import card as cards
from classifier import terminal
from classifier.card import ModelCard
from classifier.errors import ClassifierError, InvalidRequest, SetupError
from classifier.evaluation import Evaluation
from classifier.handler import Handler, softmax
from classifier.preprocess import matches_helper
from classifier.request import SCORES, Options
from classifier.settings import Settings
from classifier.sources import Raw, Source, Url

OK, FAILED, BAD_INPUT = 0, 1, 2
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}


class Item(NamedTuple):
    """An image to classify. truth: the label that its folder is named after, if it is one."""

    name: str
    read: Callable[[], Source]
    truth: str | None = None


class Result(NamedTuple):
    """What became of an item: every score, (labels,), in the model's order; or an error."""

    item: Item
    scores: dict[str, float] | ClassifierError


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
        choices=("table", "json", "jsonl", "csv"),
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
        handler = Handler(settings)
        if args.check:
            print(check(handler))
        card = handler.models.card()
        if args.scores == "logits" and card.output == "probabilities":
            raise SetupError(f"{card.name} ends in a softmax: it has probabilities, not logits")
        items = list(_items(args.images, card.labels))
    except (SetupError, OSError) as error:
        print(f"classifier: {error}", file=sys.stderr)
        return BAD_INPUT
    if not items:
        return OK
    workers = min(args.workers or os.cpu_count() or 1, len(items))
    start = time.perf_counter()
    try:
        results = _show(_classified(items, handler, workers), items, card, args)
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return 130
    seconds = time.perf_counter() - start
    failed = sum(isinstance(result.scores, ClassifierError) for result in results)
    if len(items) > 1:
        print(
            f"{len(items):,} images in {seconds:.1f} s, {len(items) / seconds:,.0f} a second "
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


def _items(images: Sequence[str], labels: Sequence[str]) -> Iterator[Item]:
    for name in images:
        if name == "-":
            data = sys.stdin.buffer.read()
            yield Item("-", lambda data=data: Raw(data))  # type: ignore[misc]
        elif "://" in name or name.startswith("data:"):
            yield Item(name[:200], lambda name=name: Url(name))  # type: ignore[misc]
        elif Path(name).is_dir():
            root = Path(name)
            files = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
            if not files:
                raise FileNotFoundError(f"no images in {root}")
            for file in files:
                truth = file.parent.name if file.parent.name in labels else None
                yield _file(file, truth)
        elif Path(name).is_file():
            yield _file(Path(name))
        else:
            raise FileNotFoundError(f"no such file: {name}")


def _file(path: Path, truth: str | None = None) -> Item:
    return Item(str(path), lambda: Raw(path.read_bytes()), truth)


def _classified(items: Sequence[Item], handler: Handler, workers: int) -> Iterator[Result]:
    """Each item's result, in their order, several at a time.

    An interpreter answers one image at a time: each worker has its own, on one thread.
    """
    one = replace(handler.settings, num_threads=1)
    own = threading.local()

    def work(item: Item) -> Result:
        if not hasattr(own, "handler"):
            own.handler = Handler(one)
        try:
            [answer] = own.handler.classify([item.read()])
        except ClassifierError as error:
            answer = error
        except OSError as error:
            answer = InvalidRequest(f"the file cannot be read: {error.strerror}")
        return Result(item, answer)

    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from pool.map(work, items)
        finally:
            pool.shutdown(cancel_futures=True)


def _show(
    results: Iterator[Result], items: Sequence[Item], card: ModelCard, args: argparse.Namespace
) -> list[Result]:
    """Print every result in the format asked for, and in the end how many were right."""
    options = Options(args.top_k, args.scores)
    common = _common(items) if args.format == "table" else ""
    wide = min(60, max(len(item.name) for item in items) - len(common))
    if common:
        print(common)
    table = csv.writer(sys.stdout) if args.format == "csv" else None
    if table:
        table.writerow(("image", "truth", "rank", "label", "score", "error"))
    done: list[Result] = []
    for result in terminal.progress(results, len(items)):
        done.append(result)
        item, scores = result
        if args.format == "jsonl":
            print(json.dumps(_record(result, card, options)), flush=True)
        elif table:
            table.writerows(_rows(result, card, options))
        elif args.format == "table" and isinstance(scores, ClassifierError):
            print(f"{item.name}: {scores.code}: {scores.message}", file=sys.stderr)
        elif args.format == "table":
            rows = _bars(scores, card)[: args.top_k]
            alone = len(items) == 1
            print(
                terminal.block(item.name, rows)
                if alone
                else terminal.line(item.name[len(common) :], rows, wide, item.truth)
            )
    evaluation = _evaluation(done, card)
    if args.format == "json":
        records = [_record(result, card, options) for result in done]
        whole: dict[str, Any] = {"model": card.name, "images": records}
        if evaluation:
            whole["evaluation"] = {
                "images": evaluation.photos,
                "accuracy": evaluation.accuracy,
                "interval_95": evaluation.interval,
                "labels": evaluation.labels,
                "confusion": evaluation.confusion.tolist(),
            }
        print(json.dumps(whole, indent=1))
    elif evaluation:
        # What a program reads from stdout stays as it is.
        out = sys.stdout if args.format == "table" else sys.stderr
        print(terminal.evaluation(evaluation), file=out)
    return done


def _common(items: Sequence[Item]) -> str:
    """The folder that all items are in, with a slash; "" if there is none."""
    if len(items) < 2 or not all(os.path.exists(item.name) for item in items):  # noqa: PTH110
        return ""
    folder = os.path.commonpath([item.name for item in items])
    return os.path.join(folder, "") if folder else ""  # noqa: PTH118


def _best(scores: dict[str, float], card: ModelCard, options: Options) -> dict[str, float]:
    """The best top_k of them, as logits or probabilities."""
    if options.scores == "probabilities" and card.output == "logits":
        shares = softmax(np.array(list(scores.values()), np.float32))
        scores = dict(zip(scores, shares.tolist(), strict=True))
    best = sorted(scores, key=scores.__getitem__, reverse=True)[: options.top_k]
    return {label: scores[label] for label in best}


def _record(result: Result, card: ModelCard, options: Options) -> dict[str, Any]:
    item, scores = result
    record: dict[str, Any] = {"image": item.name}
    if item.truth:
        record["truth"] = item.truth
    if isinstance(scores, ClassifierError):
        return {**record, **scores.to_json()}
    return {**record, "scores": _best(scores, card, options)}


def _rows(result: Result, card: ModelCard, options: Options) -> Iterator[tuple[Any, ...]]:
    item, scores = result
    if isinstance(scores, ClassifierError):
        yield item.name, item.truth, "", "", "", scores.code
        return
    for rank, (label, score) in enumerate(_best(scores, card, options).items(), start=1):
        yield item.name, item.truth, rank, label, score, ""


def _bars(scores: dict[str, float], card: ModelCard) -> list[terminal.Row]:
    values = np.array(list(scores.values()), np.float32)
    shares = softmax(values) if card.output == "logits" else values
    rows = [
        (label, float(share), value if card.output == "logits" else None)
        for (label, value), share in zip(scores.items(), shares, strict=True)
    ]
    return sorted(rows, key=lambda row: -row[1])


def _evaluation(results: Sequence[Result], card: ModelCard) -> Evaluation | None:
    """How many images in folders named after labels were right; None if there were none."""
    places = {label: index for index, label in enumerate(card.labels)}
    judged = [
        (places[result.item.truth], list(result.scores.values()))
        for result in results
        if result.item.truth and not isinstance(result.scores, ClassifierError)
    ]
    if not judged:
        return None
    targets, scores = zip(*judged, strict=True)
    return Evaluation.of(card.labels, np.array(scores, np.float32), np.array(targets, np.int32))


if __name__ == "__main__":
    sys.exit(main())
