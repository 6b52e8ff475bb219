"""Formats: results as a table for reading, or as JSON, JSON Lines and CSV for programs."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from keras_to_lambda.cli import inputs, progress, terminal
from keras_to_lambda.cli.inputs import Item, Result
from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.inference.predictions import ranked
from keras_to_lambda.runtime.inference.request import Options
from keras_to_lambda.runtime.model_file.card import ModelCard

NAMES = ("table", "json", "jsonl", "csv")


def show(
    results: Iterator[Result], asked: Sequence[Item], card: ModelCard, options: Options, format: str
) -> list[Result]:
    """Print every result in the format asked for, and in the end how many were right."""
    common = _common(asked) if format == "table" else ""
    wide = min(60, max(len(item.name) for item in asked) - len(common))
    if common:
        print(common)
    table = csv.writer(sys.stdout) if format == "csv" else None
    if table:
        table.writerow(("image", "truth", "rank", "label", "score", "error"))
    done: list[Result] = []
    for result in progress.progress(results, " images", len(asked)):
        done.append(result)
        item, scores = result
        if format == "jsonl":
            print(json.dumps(_record(result, card, options)), flush=True)
        elif table:
            table.writerows(_rows(result, card, options))
        elif format == "table" and isinstance(scores, ClassifierError):
            print(f"{item.name}: {scores.code}: {scores.message}", file=sys.stderr)
        elif format == "table":
            rows = _bars(scores, card, options.top_k)
            alone = len(asked) == 1
            print(
                terminal.block(item.name, rows)
                if alone
                else terminal.line(item.name[len(common) :], rows, wide, item.truth)
            )
    evaluation = inputs.evaluation(done, card)
    if format == "json":
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
        out = sys.stdout if format == "table" else sys.stderr
        print(terminal.evaluation(evaluation), file=out)
    return done


def _common(asked: Sequence[Item]) -> str:
    """The folder that all items are in, with a slash; "" if there is none."""
    if len(asked) < 2 or not all(os.path.exists(item.name) for item in asked):  # noqa: PTH110
        return ""
    try:
        folder = os.path.commonpath([os.path.dirname(item.name) for item in asked])  # noqa: PTH120
    except ValueError:  # absolute paths and relative ones
        return ""
    return os.path.join(folder, "") if folder else ""  # noqa: PTH118


def _best(scores: dict[str, float], card: ModelCard, options: Options) -> dict[str, float]:
    """Of every score, in the model's order, those that the options ask for."""
    return ranked([*scores.values()], card, options)


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


def _bars(scores: dict[str, float], card: ModelCard, top_k: int | None) -> list[terminal.Row]:
    best = _best(scores, card, Options(top_k, "probabilities"))
    return [
        (label, share, scores[label] if card.output == "logits" else None)
        for label, share in best.items()
    ]
