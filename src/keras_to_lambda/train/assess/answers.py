"""Answers: a model, as a file or behind a URL, asked about every picture of a split.

Model files are programs: they are loaded and run in the sandbox, which decodes the pictures itself
and writes scores, so that the tensors of a split are never all in memory or on disk.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from keras_to_lambda.class_folders import ClassFolders
from keras_to_lambda.convert import progress, scaling, source_card
from keras_to_lambda.convert.errors import ConvertError
from keras_to_lambda.convert.load import saved_file
from keras_to_lambda.convert.sandbox import untrusted_results
from keras_to_lambda.convert.sandbox.sandbox import model_files
from keras_to_lambda.convert.verification.logits_endpoint import Endpoint
from keras_to_lambda.runtime.errors import SetupError
from keras_to_lambda.runtime.model import card as cards
from keras_to_lambda.runtime.model.card import ModelCard
from keras_to_lambda.train.assess.metrics import Answers
from keras_to_lambda.train.data.dataset import DataError, neutral
from keras_to_lambda.train.data.photos import Photos

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import requests

    from keras_to_lambda.convert.sandbox.sandbox import Sandbox
    from keras_to_lambda.train.data.dataset import Dataset, Split

Scores = npt.NDArray[np.float32]

BATCH = 64
RETRY_AFTER_S = 1.0
# The steps of a quantized softmax add up to some hundredths.
NEARLY_ONE = 0.05
KINDS = {"keras": "Keras", "tflite": "TensorFlow Lite", "endpoint": "endpoint"}


@dataclass(frozen=True, slots=True)
class Subject:
    """What is evaluated.

    kind: a name of KINDS. where: a path, or a URL. name: what people call it. file: the path's last
    part, or the URL without user, password and query. card: None for an endpoint, which does not
    show it.
    """

    kind: str
    where: str
    name: str
    file: str
    card: ModelCard | None = None

    @classmethod
    def of(cls, model: str, card: Path | None = None) -> Subject:
        """What a person names on the command line.

        Args:
            model: a path or a URL.
            card: a file; None: the card in the model or beside it.

        Raises:
            DataError: no such model, a file of another kind, or no card.
        """
        if model.startswith(("http://", "https://")):
            if card is not None:
                raise DataError("an endpoint has its card inside: leave --card away")
            return cls._endpoint(model)
        path = Path(model)
        try:
            if path.is_file() and _head(path)[4:8] == b"TFL3":
                found = cards.load_json(card) if card else cards.load(path)
                return cls("tflite", model, found.name, path.name, found)
            saved_file.kind_of(path)
            aside = card or source_card.place(path.resolve())
            if not aside.exists():
                raise DataError(
                    f"{model} has no card beside it, {aside.name}, which states the labels and how "
                    "pictures are prepared: convert the model with `k2l convert` and "
                    "evaluate the .tflite, or write a card (docs/tflite.md) and give it with "
                    "--card FILE"
                )
            found = source_card.load(aside)
        except (ConvertError, SetupError, OSError) as error:
            raise DataError(str(error)) from error
        return cls("keras", model, found.name, path.resolve().name, found)

    @classmethod
    def _endpoint(cls, url: str) -> Subject:
        try:
            parts = urlsplit(url)
            host = parts.netloc.rpartition("@")[2]
        except ValueError as error:
            raise DataError(f"{url} is not a URL: {error}") from error
        if not parts.hostname:
            raise DataError(f"{url} names no host")
        return cls("endpoint", url, host, f"{parts.scheme}://{host}{parts.path}")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


@dataclass(frozen=True, slots=True)
class Asking:
    """How models are asked.

    wanted: the fields of `keras_model.Wanted`, as JSON. workers: requests at a time. labels: of an
    endpoint, in the order that is wanted; None: those of its first answer. headers: sent to it.
    """

    sandbox: Sandbox
    wanted: Mapping[str, Any]
    workers: int = 4
    labels: tuple[str, ...] | None = None
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A model's answers to a split, and sentences on what a reader should know about them."""

    subject: Subject
    answers: Answers
    output: str
    notes: tuple[str, ...]


def ask(subject: Subject, data: Dataset, split: Split, asking: Asking) -> Asked:
    """Ask a model about every picture.

    Raises:
        DataError: its labels are not the data's; it cannot be loaded or reached; or it answers with
            something that is no score for each label.
    """
    if subject.card is not None:  # before minutes of work
        matched(data.labels, subject.card.labels, subject.file)
    try:
        if subject.card is None:
            labels, scores = _by_endpoint(subject, data, split, asking)
        else:
            labels, scores = subject.card.labels, _by_file(subject, split, asking)
    except (ConvertError, SetupError) as error:
        raise DataError(str(error)) from error
    place, extra = matched(data.labels, labels, subject.file)
    if not np.isfinite(scores).all():
        raise DataError(f"{subject.file} answers with NaN or infinity; was it trained to the end?")
    output, notes = _output(subject, scores)
    if extra:
        shown = ", ".join(extra[:5]) + (f" and {len(extra) - 5} more" * (len(extra) > 5))
        notes.append(
            f"the model has {len(labels)} labels, the data {len(data.labels)}: no picture shows "
            f"{shown}; to take a picture for one of them is a mistake like any other"
        )
    targets = place[split.targets]
    return Asked(subject, Answers.of(labels, scores, output, targets), output, tuple(notes))


def matched(
    ours: Sequence[str], theirs: Sequence[str], model: str
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Find the data's labels among the model's, by the rule for class folders.

    Returns:
        int64, (ours,): the place of each; and the labels that only the model knows.

    Raises:
        DataError: the model does not know one.
    """
    folders = ClassFolders(theirs)
    place = {label: folders.place(label) for label in ours}
    unknown = [label for label, index in place.items() if index is None]
    if unknown:
        raise DataError(
            f"{model} does not know {len(unknown)} of the data's {len(ours)} labels "
            f"({', '.join(unknown[:5])}); its own are {', '.join(theirs[:8])}"
            + (f" and {len(theirs) - 8} more" * (len(theirs) > 8))
            + ": evaluate it on data with the labels that it was trained on"
        )
    own = set(place.values())
    return (
        np.array([place[label] for label in ours], np.int64),
        [label for index, label in enumerate(theirs) if index not in own],
    )


def _output(subject: Subject, scores: Scores) -> tuple[str, list[str]]:
    """Whether scores are logits or probabilities, and notes."""
    sums = scores.sum(axis=1)
    shares = bool(scores.min() >= 0 and np.abs(sums - 1).max() < NEARLY_ONE)
    if subject.card is None:
        return ("probabilities" if shares else "logits"), []
    said = subject.card.output
    if said == "probabilities" and not shares and subject.card.activation == "sigmoid":
        return said, [
            "multi-label: the scores do not add up to 1; accuracy is that of the highest one, and "
            "log loss, Brier score and calibration are of scores made to add up to 1"
        ]
    if said == "probabilities" and not shares:
        raise DataError(
            f"the card of {subject.file} says that it answers with probabilities, but they do not "
            'add up to 1: write "output": "logits" into the card'
        )
    if said == "logits" and shares:
        return said, [
            "the card says logits, but no answer is negative and each adds up to 1: if they are "
            'probabilities, write "output": "probabilities" into the card, for log loss, Brier '
            "score and calibration are wrong without it"
        ]
    return said, []


# Files, in the sandbox.


def _by_file(subject: Subject, split: Split, asking: Asking) -> Scores:
    """Scores of a model file: float32, (pictures, labels)."""
    from tempfile import TemporaryDirectory

    assert subject.card is not None
    with TemporaryDirectory(prefix="evaluate-") as name:
        pictures = Path(name) / "split.pickle"
        paths = []
        if isinstance(split, Photos):
            paths = [path.absolute() for path in split.paths]
            split = replace(split, paths=tuple(paths))
        with pictures.open("wb") as file:
            pickle.dump(split, file, protocol=5)
        model = Path(subject.where).resolve()
        asking.sandbox.call(
            f"keras_to_lambda.train.assess.answers:by_{subject.kind}",
            reads=[*model_files(model, asking.wanted.get("custom")), pictures, *paths],
            into=Path(name),
            model=str(model),
            card=subject.card.to_json(),
            pictures=str(pictures),
            **({"wanted": dict(asking.wanted)} if subject.kind == "keras" else {}),
        )
        shape = len(split), len(subject.card.labels)
        scores = untrusted_results.array(
            untrusted_results.read(Path(name) / "scores.npy", 1000 + 4 * math.prod(shape))
        )
    if scores.dtype != np.float32 or scores.shape != shape:
        raise DataError(f"{subject.file} gave {scores.shape} answers for {len(split)} pictures")
    return scores


def by_keras(
    *, model: str, card: dict[str, Any], pictures: str, folder: str, wanted: dict[str, Any]
) -> None:
    """Answer pictures as Keras or TensorFlow does, one at a time; runs in the sandbox.

    Args:
        model: a file or a folder that `keras_model.load` takes.
        card: how pictures are prepared, as JSON.
        pictures: a pickled Split.
        folder: gets scores.npy: float32, (pictures, labels).
        wanted: the fields of `keras_model.Wanted`; the size is the card's, if not given.

    Raises:
        ConvertError: the model cannot be loaded, or is not the one that the card describes.
        ClassifierError: a picture has changed since it was checked.
    """
    from keras_to_lambda.convert.inspection import operators
    from keras_to_lambda.convert.network import keras_model
    from keras_to_lambda.convert.network.keras_model import Wanted
    from keras_to_lambda.convert.network.outputs import Ending

    described = ModelCard.from_json(card)
    size = wanted.get("size") or [described.height, described.width]
    loaded = keras_model.load(Path(model), Wanted.from_json({**wanted, "size": size}))
    if loaded.classes == 1 and len(described.labels) == 2:
        ending = Ending.of(operators.of_graph(loaded.concrete())[0])
        sigmoid = ending.bounded or described.output == "probabilities"
        loaded = keras_model.of_two_classes(loaded, sigmoid=sigmoid)
    name = Path(model).name
    if loaded.classes != len(described.labels):
        raise ConvertError(
            f"{name} has {loaded.classes} outputs, its card {len(described.labels)} labels: give "
            "the card that belongs to the model"
        )
    if loaded.channels != described.channels:
        raise ConvertError(
            f"{name} takes {loaded.channels} channels, its card says {described.channels}: give "
            "the card that belongs to the model"
        )
    graph = loaded.concrete()
    _answer(pictures, described, folder, lambda tensor: keras_model.predict(graph, tensor))


def by_tflite(*, model: str, card: dict[str, Any], pictures: str, folder: str) -> None:
    """Answer pictures as the function does, one at a time; runs in the sandbox.

    Args:
        model: a `.tflite`.
        card, pictures, folder: as for `by_keras`.

    Raises:
        SetupError: the interpreter cannot run the model, or its card is of another one.
        ClassifierError: a picture has changed since it was checked.
    """
    from keras_to_lambda.runtime.model.interpreter import Classifier

    classifier = Classifier(model, os.cpu_count() or 1, ModelCard.from_json(card))
    _answer(pictures, classifier.card, folder, classifier.logits)


def _answer(pictures: str, card: ModelCard, folder: str, score: Any) -> None:
    with open(pictures, "rb") as file:  # noqa: PTH123
        split: Split = pickle.load(file)  # noqa: S301  # written by the parent, a moment ago
    starts = progress.progress(range(0, len(split), BATCH), "batch")
    rows = [
        score(tensor)
        for _, batch in zip(starts, split.tensors(card, BATCH), strict=False)
        for tensor in batch
    ]
    np.save(Path(folder) / "scores.npy", np.stack(rows).astype(np.float32))


# Endpoints.


class _Stranger(Endpoint):
    """An endpoint whose labels are those of its first answer."""

    def __init__(self, url: str, headers: Mapping[str, str] | None) -> None:
        super().__init__(url, (), dict(headers or {}))

    @property
    def labels(self) -> tuple[str, ...]:
        return self._labels

    def _read(self, response: requests.Response) -> npt.NDArray[np.float32]:
        with contextlib.suppress(ValueError):
            answer = response.json()
            if isinstance(answer, dict) and not {"error", "errorType"} & set(answer):
                self._labels = tuple(answer)
        try:
            scores: npt.NDArray[np.float32] = super()._read(response)
        except (TypeError, ValueError) as error:
            raise ConvertError(
                f"{self.url} answers with something else than a score for each label: is this the "
                "URL of the route, as .../predict?"
            ) from error
        return scores


def _by_endpoint(
    subject: Subject, data: Dataset, split: Split, asking: Asking
) -> tuple[tuple[str, ...], Scores]:
    """Labels and scores of an endpoint: float32, (pictures, labels)."""
    card = neutral(data)
    url, headers = subject.where, dict(asking.headers or {})
    own = threading.local()  # requests' sessions are not for several threads
    stranger = _Stranger(url, headers)
    first = _tried(stranger, split, 0, card)
    labels = asking.labels or stranger.labels
    if set(labels) != set(stranger.labels):
        apart = sorted(set(labels) ^ set(stranger.labels))
        raise DataError(
            f"{subject.file} has {len(stranger.labels)} labels, --labels {len(labels)}; only one "
            f"of them knows {', '.join(apart[:5])}"
        )
    matched(data.labels, labels, subject.file)  # before all others are asked
    order = [stranger.labels.index(label) for label in labels]

    def one(index: int) -> Scores:
        if not hasattr(own, "endpoint"):
            own.endpoint = Endpoint(url, labels, headers)
        return _tried(own.endpoint, split, index, card)

    rows = [first[order]]
    with ThreadPoolExecutor(asking.workers) as pool:
        try:
            rows += _shown(pool.map(one, range(1, len(split))), len(split))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return labels, np.stack(rows)


def _shown(rows: Iterable[Scores], total: int) -> Iterable[Scores]:
    """Progress on a terminal."""
    from tqdm import tqdm

    off = True if progress.is_quiet() else None
    return tqdm(rows, unit=" pictures", initial=1, total=total, leave=False, disable=off)


def _tried(endpoint: Endpoint, split: Split, index: int, card: ModelCard) -> Scores:
    """Ask, and once more if that failed: functions start cold, and networks drop requests."""
    content = split.file(index, card)
    try:
        return endpoint.logits(content)
    except ConvertError:
        time.sleep(RETRY_AFTER_S)
    try:
        return endpoint.logits(content)
    except ConvertError as error:
        raise DataError(f"asked twice about {split.name(index)}: {error}") from error


def card_for(subject: Subject, data: Dataset) -> ModelCard:
    """What a subject's pictures are decoded by, to be shown."""
    return subject.card or neutral(data)


def described(subject: Subject) -> list[tuple[str, str]]:
    """Rows of a table: how pictures become the model's input."""
    rows = [("model", subject.name), ("file" if subject.card else "URL", subject.file)]
    rows.append(("run by", KINDS[subject.kind]))
    card = subject.card
    if card is None:
        return [*rows, ("preparation of pictures", "the endpoint's own")]
    steps = asdict(card.preprocessing)
    return [
        *rows,
        ("input", f"{card.height} x {card.width} x {card.channels}"),
        ("resize", f"{steps['resize']}, {steps['interpolation']}"),
        ("scaling", scaling.done(card)),
        ("EXIF orientation, alpha", f"{steps['exif']}, {steps['alpha']}"),
    ]


def announce(text: str) -> None:
    """Say what is begun."""
    if not progress.is_quiet():
        print(text, file=sys.stderr, flush=True)
