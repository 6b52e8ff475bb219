"""Output: results for reading, as bars and tables, or for programs, as JSON, JSON Lines and CSV."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import numpy as np

from keras_to_lambda.cli import inputs, progress
from keras_to_lambda.cli.evaluation import Evaluation
from keras_to_lambda.cli.inputs import Item, Result
from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.inference.predictions import ranked
from keras_to_lambda.runtime.inference.request import Options
from keras_to_lambda.runtime.model_file.card import ModelCard

NAMES = ("table", "json", "jsonl", "csv")
BAR = 24  # columns
EIGHTHS = " ▏▎▍▌▋▊▉█"
# With more classes the most frequent confusions are printed in place of a matrix.
MATRIX = 25


def show(
    results: Iterator[Result], asked: Sequence[Item], card: ModelCard, options: Options, format: str
) -> list[Result]:
    """Print every result in the format asked for, and in the end how many were right."""
    wide = min(60, max(len(item.name) for item in asked)) if len(asked) > 1 else 0
    table = csv.writer(sys.stdout)
    if format == "csv":
        table.writerow(("image", "truth", "rank", "label", "score", "error"))
    done: list[Result] = []
    for result in progress.progress(results, " images", len(asked)):
        done.append(result)
        if format == "jsonl":
            print(json.dumps(_record(result, card, options)), flush=True)
        elif format == "csv":
            table.writerows(_rows(result, card, options))
        elif format == "table" and isinstance(result.scores, ClassifierError):
            error = result.scores
            print(f"{result.item.name}: {error.code}: {error.message}", file=sys.stderr)
        elif format == "table":
            print(_text(result, card, options.top_k, wide))
    judged = inputs.evaluation(done, card)
    if format == "json":
        records = [_record(result, card, options) for result in done]
        whole: dict[str, Any] = {"model": card.name, "images": records}
        if judged:
            whole["evaluation"] = {
                "images": judged.photos,
                "accuracy": judged.accuracy,
                "interval_95": judged.interval,
                "labels": judged.labels,
                "confusion": judged.confusion.tolist(),
            }
        print(json.dumps(whole, indent=1))
    elif judged:
        # What a program reads from stdout stays as it is.
        print(confusion(judged), file=sys.stdout if format == "table" else sys.stderr)
    return done


def _record(result: Result, card: ModelCard, options: Options) -> dict[str, Any]:
    item, scores = result
    truth = {"truth": item.truth} if item.truth else {}
    if isinstance(scores, ClassifierError):
        return {"image": item.name, **truth, **scores.to_json()}
    return {"image": item.name, **truth, "scores": ranked([*scores.values()], card, options)}


def _rows(result: Result, card: ModelCard, options: Options) -> Iterator[tuple[Any, ...]]:
    item, scores = result
    if isinstance(scores, ClassifierError):
        yield item.name, item.truth, "", "", "", scores.code
        return
    best = ranked([*scores.values()], card, options)
    for rank, (label, score) in enumerate(best.items(), start=1):
        yield item.name, item.truth, rank, label, score, ""


def _text(result: Result, card: ModelCard, top_k: int | None, wide: int) -> str:
    """An image's best labels: a line each with a bar; or one line, its name `wide` columns."""
    item, scores = result
    assert not isinstance(scores, ClassifierError)
    best = ranked([*scores.values()], card, Options(top_k, "probabilities"))
    if not wide:
        widest = max(map(len, best))
        logits = scores if card.output == "logits" else {}
        lines = [
            f"  {label.ljust(widest)}  {bar(share)} {share:7.1%}"
            + (f"{logits[label]:9.3f}" if logits else "")
            for label, share in best.items()
        ]
        return "\n".join([item.name, *lines])
    (label, share), *others = best.items()
    rest = ", ".join(f"{label} {share:.1%}" for label, share in others)
    if item.truth not in (None, label):
        rest = f"not {item.truth}"
    found = f"{label.ljust(14)} {bar(share, 10)} {share:6.1%}   {rest}"
    return f"{item.name.ljust(wide)}  {found}".rstrip()


def bar(share: float, width: int = BAR, out: TextIO | None = None) -> str:
    """A share, 0..1, as a bar of `width` columns, as fine as the terminal's encoding allows."""
    try:
        EIGHTHS.encode((out or sys.stdout).encoding or "ascii")
    except UnicodeEncodeError:
        return ("#" * round(share * width)).ljust(width)
    whole, part = divmod(round(share * width * 8), 8)
    return ("█" * whole + EIGHTHS[part].strip()).ljust(width)


def confusion(result: Evaluation) -> str:
    """Accuracy, and what was taken for what."""
    low, high = result.interval
    text = (
        f"accuracy {result.accuracy:.1%} of {result.photos:,} images (95 % interval {low:.1%} to "
        f"{high:.1%})"
    )
    counts = result.confusion
    seen = np.flatnonzero(counts.any(axis=0) | counts.any(axis=1))
    if len(seen) > MATRIX:
        confused = [
            f"  {count:4}  {truth} taken for {said} (of {total})"
            for truth, said, count, total in result.worst(10)
        ]
        return "\n".join([text, "most often confused:", *confused])
    labels = [result.labels[index] for index in seen]
    across = shutil.get_terminal_size((100, 24)).columns
    name = max(map(len, labels))
    cell = max(4, min(name + 1, (across - name - 2) // len(seen)))
    rows = [" " * name + "".join(label[: cell - 1].rjust(cell) for label in labels)]
    for label, row in zip(labels, counts[seen][:, seen], strict=True):
        rows.append(label.ljust(name) + "".join(str(count or ".").rjust(cell) for count in row))
    return "\n".join([text, "rows: what it is; columns: what it was taken for", *rows])
