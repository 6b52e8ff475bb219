"""Items: the images that a command line names, classified several at a time."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_to_lambda.class_folders import ClassFolders
from keras_to_lambda.class_folders import images as images_below
from keras_to_lambda.cli.evaluation import Evaluation
from keras_to_lambda.runtime.common.errors import ClassifierError, InvalidRequest
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.model_file.card import ModelCard
from keras_to_lambda.runtime.sources.images import Raw, Source, Url


class Item(NamedTuple):
    """An image to classify. truth: the label that its folder is named after, if it is one."""

    name: str
    read: Callable[[], Source]
    truth: str | None = None


class Result(NamedTuple):
    """What became of an item: every score, (labels,), in the model's order; or an error."""

    item: Item
    scores: dict[str, float] | ClassifierError


def named(images: Sequence[str], labels: Sequence[str]) -> Iterator[Item]:
    """What names stand for: files, folders, URLs, and - for standard input.

    Raises:
        FileNotFoundError: no such file, or a folder without images.
    """
    for name in images:
        if name == "-":
            data = sys.stdin.buffer.read()
            yield Item("-", lambda data=data: Raw(data))  # type: ignore[misc]
        elif "://" in name or name.startswith("data:"):
            yield Item(name[:200], lambda name=name: Url(name))  # type: ignore[misc]
        elif Path(name).is_dir():
            files = images_below(Path(name))
            if not files:
                raise FileNotFoundError(f"no images in {name}")
            folders = ClassFolders(labels)
            truth = folders.truth(files)
            note = folders.unmatched(files, Path(name))
            if note and any(place is not None for place in truth):
                print(f"k2l predict: note: {note}", file=sys.stderr)
            for file, place in zip(files, truth, strict=True):
                yield _file(file, None if place is None else labels[place])
        elif Path(name).is_file():
            yield _file(Path(name))
        else:
            raise FileNotFoundError(f"no such file: {name}")


def _file(path: Path, truth: str | None = None) -> Item:
    return Item(str(path), lambda: Raw(path.read_bytes()), truth)


def classified(items: Sequence[Item], handler: Handler, workers: int) -> Iterator[Result]:
    """Each item's result, in their order, several at a time.

    An interpreter answers one image at a time: each worker has its own, the first the handler's.
    """
    ready = iter([handler])
    own = threading.local()

    def work(item: Item) -> Result:
        if not hasattr(own, "handler"):
            own.handler = next(ready, None) or Handler(handler.settings)
        try:
            [answer] = own.handler.pipeline.classify([item.read()])
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


def evaluation(results: Sequence[Result], card: ModelCard) -> Evaluation | None:
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
