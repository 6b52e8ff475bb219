"""Predictions of a model, as a file or behind a URL, for all pictures of a split.

Model files are programs: they are loaded and run in the sandbox, which decodes the pictures itself
and writes scores, so that the tensors of a split are never all in memory or on disk.
"""

from __future__ import annotations

import math
import os
import pickle
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from keras_to_lambda.class_folders import ClassFolders
from keras_to_lambda.cli import progress
from keras_to_lambda.client import Client
from keras_to_lambda.convert.common import scaling as scalings
from keras_to_lambda.convert.common import source_card
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.inspection import foreign
from keras_to_lambda.convert.load import saved_file
from keras_to_lambda.convert.sandbox import untrusted_results
from keras_to_lambda.convert.sandbox.sandbox import model_files
from keras_to_lambda.convert.verification.logits_endpoint import LogitsEndpoint
from keras_to_lambda.runtime.common.errors import SetupError, UserError
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.model_file.card import ModelCard, Preprocessing
from keras_to_lambda.train.assess.metrics import Predictions
from keras_to_lambda.train.data.dataset import DataError, neutral

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

    from PIL import Image

    from keras_to_lambda.convert.sandbox.sandbox import Sandbox
    from keras_to_lambda.runtime.model_file.card import Affine
    from keras_to_lambda.train.data.dataset import Dataset, Split

Scores = npt.NDArray[np.float32]

WORKERS = 4  # requests at a time
# The steps of a quantized softmax add up to some hundredths.
NEARLY_ONE = 0.05
KINDS = {"keras": "Keras", "tflite": "TensorFlow Lite", "endpoint": "endpoint"}


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A model to evaluate.

    kind: a name of KINDS. where: a path, or a URL. name: for people. file: the path's last part, or
    the URL without user, password and query. card: None for an endpoint, which does not show it.
    place: the file that has the card; None where no file has it.
    """

    kind: str
    where: str
    name: str
    file: str
    card: ModelCard | None = None
    place: Path | None = None

    @classmethod
    def of(
        cls,
        model: str,
        card: Path | None = None,
        scaling: str | Affine | None = None,
        labels: Sequence[str] = (),
    ) -> EvaluatedModel:
        """The model that the command line names.

        Args:
            model: a path or a URL. card: a file; None: the card in the model or beside it.
            scaling, labels: of a Keras file without a card.

        Raises:
            DataError: no such model, a file of another kind, or no card.
        """
        if model.startswith(("http://", "https://")):
            if card is not None:
                raise DataError("--card is for model files; remove it for an endpoint")
            try:
                parts = urlsplit(model)
                host = parts.netloc.rpartition("@")[2]
            except ValueError as error:
                raise DataError(f"{model} is not a URL: {error}") from error
            return cls("endpoint", model, host, f"{parts.scheme}://{host}{parts.path}")
        path = Path(model)
        try:
            if foreign.is_one(path):
                loaded = cards.load_json(card) if card else cards.load(path)
                with path.open("rb") as file:
                    inside = card is None and cards.read(file)[1] is not None
                beside = card or cards.beside(path)
                place = path if inside else beside if beside.exists() else None
                return cls("tflite", model, loaded.name, path.name, loaded, place)
            saved_file.kind_of(path)
            place = card or source_card.place(path.resolve())
            if place.exists():
                loaded = source_card.load(place)
                return cls("keras", model, loaded.name, path.resolve().name, loaded, place)
        except (ConvertError, SetupError, OSError) as error:
            raise DataError(str(error)) from error
        if scaling is None:
            raise DataError(
                f"{model} has no card beside it ({place.name}); give --preprocess SCALING, and "
                "--labels FILE unless its outputs are in the alphabetical order of the class "
                "folders"
            )
        # The size is the model's own: it is known when the model is loaded.
        steps = Preprocessing(scaling=scaling, exif="apply")
        name = path.resolve().name
        made = ModelCard(path.stem, tuple(labels), height=1, width=1, preprocessing=steps)
        return cls("keras", model, path.stem, name, made)


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """How models are run.

    wanted: the fields of `keras_model.Wanted`, as JSON. labels: of an endpoint, in the order that
    is wanted; None: those of its first answer. caller: the client of a URL, one for each thread.
    """

    sandbox: Sandbox
    wanted: Mapping[str, Any]
    labels: tuple[str, ...] | None = None
    caller: Callable[[str], Client] = Client


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A model's predictions for a split, and sentences on what a reader should know about them."""

    model: EvaluatedModel
    answers: Predictions
    output: str
    notes: tuple[str, ...]

    def cut(self, count: int) -> tuple[Evaluated, Evaluated]:
        """The first pictures, and the others."""
        parts = (slice(None, count), slice(count, None))
        first, rest = (replace(self, answers=self.answers.rows(part)) for part in parts)
        return first, rest


def predict(
    model: EvaluatedModel, data: Dataset, split: Split, options: EvaluationOptions
) -> Evaluated:
    """Predict all pictures of a split.

    Raises:
        DataError: the model's labels are not the data's; it cannot be loaded or reached; or it
            answers with something that is not a score for each label.
    """
    try:
        if model.card is None:
            labels, scores = _by_endpoint(model, data, split, options)
        else:
            model, scores = _by_file(model, split, options)
            labels = model.card.labels if model.card else ()
    except (ConvertError, SetupError) as error:
        raise DataError(str(error)) from error
    place, extra = matched(data.labels, labels, model.file)
    if not np.isfinite(scores).all():
        raise DataError(
            f"{model.file} answers with NaN or infinity; train it again, with a lower learning rate"
        )
    output, notes = _output(model, scores)
    if extra:
        shown = ", ".join(extra[:5]) + (f" and {len(extra) - 5} more" * (len(extra) > 5))
        notes.append(
            f"the model has {len(labels)} labels, the data {len(data.labels)}: no picture shows "
            f"{shown}; to predict one of them is a mistake like any other"
        )
    answers = Predictions.of(labels, scores, output, place[split.targets])
    return Evaluated(model, answers, output, tuple(notes))


def matched(
    ours: Sequence[str], theirs: Sequence[str], model: str
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Find the data's labels among the model's, by the rule for class folders.

    Returns:
        int64, (ours,): the index of each; and the labels that only the model knows.

    Raises:
        DataError: the model does not know one.
    """
    folders = ClassFolders(theirs)
    place = {label: folders.place(label) for label in ours}
    unknown = [label for label, index in place.items() if index is None]
    if unknown:
        raise DataError(
            f"{model} lacks {len(unknown)} of the data's {len(ours)} labels "
            f"({', '.join(unknown[:5])}); its own are {', '.join(theirs[:8])}"
            + (f" and {len(theirs) - 8} more" * (len(theirs) > 8))
            + "; evaluate it on data with the labels that it was trained on"
        )
    own = set(place.values())
    return (
        np.array([place[label] for label in ours], np.int64),
        [label for index, label in enumerate(theirs) if index not in own],
    )


def _output(model: EvaluatedModel, scores: Scores) -> tuple[str, list[str]]:
    """Whether scores are logits or probabilities, and notes."""
    shares = bool(scores.min() >= 0 and np.abs(scores.sum(axis=1) - 1).max() < NEARLY_ONE)
    if model.card is None or model.place is None:
        return ("probabilities" if shares else "logits"), []
    stated, notes = model.card.output, []
    if stated == "probabilities" and not shares and model.card.activation == "sigmoid":
        notes.append(
            "multi-label: the scores do not add up to 1; accuracy is that of the highest one, and "
            "log loss, Brier score and calibration are of scores made to add up to 1"
        )
    elif stated == "probabilities" and not shares:
        raise DataError(
            f"the card of {model.file} has output probabilities, but the scores do not add up to "
            '1; write "output": "logits" into the card'
        )
    elif stated == "logits" and shares:
        notes.append(
            "the card has output logits, but no score is negative and each answer adds up to 1: if "
            'they are probabilities, write "output": "probabilities" into the card; log loss, '
            "Brier score and calibration are wrong without it"
        )
    return stated, notes


# Files, in the sandbox.


def _by_file(
    model: EvaluatedModel, split: Split, options: EvaluationOptions
) -> tuple[EvaluatedModel, Scores]:
    """The model with its full card, and its scores: float32, (pictures, labels)."""
    assert model.card is not None
    with tempfile.TemporaryDirectory(prefix="evaluate-") as name:
        pictures = Path(name) / "split.pickle"
        with pictures.open("wb") as file:
            pickle.dump(split, file, protocol=5)
        paths = filter(None, (split.path(index) for index in range(len(split))))
        where, card = Path(model.where).resolve(), model.card.to_json()
        keras = {"wanted": dict(options.wanted), "sized": model.place is not None}
        files = model_files(where, options.wanted.get("custom"))
        shape = options.sandbox.call(
            f"{__name__}:by_{model.kind}",
            reads=[*files, pictures, *(path.absolute() for path in paths)],
            into=Path(name),
            model=str(where),
            card=card,
            pictures=str(pictures),
            **(keras if model.kind == "keras" else {}),
        )
        if model.place is None and model.kind == "keras":
            height, width, channels = map(int, shape)
            card = {**card, "height": height, "width": width, "channels": channels}
            model = replace(model, card=ModelCard.from_json(card))
        expected = len(split), len(card["labels"])
        most = 1000 + 4 * math.prod(expected)
        content = untrusted_results.read(Path(name) / "scores.npy", most)
        scores = untrusted_results.array(content)
    if scores.dtype != np.float32 or scores.shape != expected:
        raise DataError(f"{model.file} gave {scores.shape} answers for {len(split)} pictures")
    return model, scores


def load_keras(
    model: str, card: dict[str, Any], wanted: dict[str, Any], *, sized: bool
) -> tuple[Any, ModelCard]:
    """Load a Keras model; runs in the sandbox.

    Args:
        model: a file or a folder that `keras_model.load` takes.
        card: how pictures are prepared, as JSON.
        wanted: the fields of `keras_model.Wanted`.
        sized: whether the card has the input's size; else the model has it.

    Returns:
        What `keras_model.load` returns, and the card with the input's size.

    Raises:
        ConvertError: the model cannot be loaded, or is not the one that the card describes.
    """
    from keras_to_lambda.convert.network import keras_model

    described = ModelCard.from_json(card)
    if sized and not wanted.get("size"):
        wanted = {**wanted, "size": [described.height, described.width]}
    loaded = keras_model.load(Path(model), keras_model.Wanted(**wanted))
    if not sized:
        height, width, channels = loaded.height, loaded.width, loaded.channels
        return loaded, replace(described, height=height, width=width, channels=channels)
    if loaded.channels != described.channels:
        raise ConvertError(
            f"{Path(model).name} takes {loaded.channels} channels, its card has "
            f"{described.channels}; give the card that belongs to the model"
        )
    return loaded, described


def by_keras(
    *, model: str, card: dict[str, Any], pictures: str, folder: str, wanted: dict[str, Any],
    sized: bool,
) -> list[int]:  # fmt: skip
    """Write the scores of Keras or TensorFlow; runs in the sandbox.

    Args:
        model, card, wanted, sized: as for `load_keras`. pictures: a pickled Split.
        folder: gets scores.npy: float32, (pictures, labels).

    Returns:
        The input's height, width and channels.

    Raises:
        ConvertError: as `load_keras`; or the model has other outputs than the card has labels.
        ClassifierError: a picture has changed since it was checked.
    """
    from keras_to_lambda.convert.network import keras_model, operators
    from keras_to_lambda.convert.network.outputs import Ending
    from keras_to_lambda.runtime.image.preprocess import prepare

    loaded, described = load_keras(model, card, wanted, sized=sized)
    if loaded.classes == 1 and len(described.labels) == 2:
        ending = Ending.of(operators.of_graph(loaded.concrete())[0])
        sigmoid = ending.bounded or described.output == "probabilities"
        loaded = keras_model.of_two_classes(loaded, sigmoid=sigmoid)
    if loaded.classes != len(described.labels):
        raise ConvertError(
            f"{Path(model).name} has {loaded.classes} outputs, but {len(described.labels)} labels; "
            "give the card or the labels that belong to the model"
        )
    graph = loaded.concrete()

    def score(picture: Image.Image) -> Any:
        return keras_model.predict(graph, prepare(picture, described))

    _score(pictures, described, folder, score)
    return [described.height, described.width, described.channels]


def by_tflite(*, model: str, card: dict[str, Any], pictures: str, folder: str) -> None:
    """Write the scores of the function's own interpreter, as `by_keras`; runs in the sandbox.

    Raises:
        SetupError: the interpreter cannot run the model, or its card is of another one.
        ClassifierError: a picture has changed since it was checked.
    """
    from keras_to_lambda.runtime.image.preprocess import prepare
    from keras_to_lambda.runtime.model.interpreter import Classifier

    classifier = Classifier(model, os.cpu_count() or 1, ModelCard.from_json(card))
    own = classifier.card
    _score(pictures, own, folder, lambda picture: classifier.logits(prepare(picture, own)))


def _score(pictures: str, card: ModelCard, folder: str, score: Callable[[Any], Any]) -> None:
    with open(pictures, "rb") as file:  # noqa: PTH123
        split: Split = pickle.load(file)  # noqa: S301  # written by the parent, a moment ago
    shown = zip(progress.progress(range(len(split)), "picture"), split.each(card), strict=True)
    rows = [np.asarray(score(picture), np.float32) for _, picture in shown]
    np.save(Path(folder) / "scores.npy", np.stack(rows))


# Endpoints.


def _by_endpoint(
    model: EvaluatedModel, data: Dataset, split: Split, options: EvaluationOptions
) -> tuple[tuple[str, ...], Scores]:
    """Labels and scores of an endpoint: float32, (pictures, labels)."""
    from tqdm import tqdm

    card = neutral(data)
    stranger = LogitsEndpoint(options.caller(model.where))
    first = _answer(stranger, split, 0, card)
    labels = options.labels or stranger.labels
    if set(labels) != set(stranger.labels):
        apart = sorted(set(labels) ^ set(stranger.labels))
        raise DataError(
            f"{model.file} has {len(stranger.labels)} labels, --labels {len(labels)}; only one "
            f"of them has {', '.join(apart[:5])}"
        )
    matched(data.labels, labels, model.file)  # before all other pictures are sent
    own = threading.local()  # requests' sessions are not for several threads

    def one(index: int) -> Scores:
        if not hasattr(own, "endpoint"):
            own.endpoint = LogitsEndpoint(options.caller(model.where), labels)
        return _answer(own.endpoint, split, index, card)

    rows = [first[[stranger.labels.index(label) for label in labels]]]
    off = True if progress.is_quiet() else None  # None: unless standard error is a terminal
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            rest = pool.map(one, range(1, len(split)))
            rows += tqdm(rest, unit=" pictures", total=len(split) - 1, leave=False, disable=off)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return labels, np.stack(rows)


def _answer(endpoint: LogitsEndpoint, split: Split, index: int, card: ModelCard) -> Scores:
    try:
        return endpoint.logits(split.file(index, card))
    except UserError as error:
        raise DataError(f"the request with {split.name(index)} failed: {error}") from error


def described(model: EvaluatedModel) -> list[tuple[str, str]]:
    """Rows of a table: how pictures become the model's input."""
    rows = [("file" if model.card else "URL", model.file), ("run by", KINDS[model.kind])]
    card = model.card
    if card is None:
        return [*rows, ("preprocessing", "the endpoint's own")]
    steps = card.preprocessing
    return [
        *rows,
        ("input", f"{card.height} x {card.width} x {card.channels}"),
        ("resize", f"{steps.resize}, {steps.interpolation}"),
        ("scaling", scalings.done(card)),
        ("EXIF orientation, alpha", f"{steps.exif}, {steps.alpha}"),
    ]


def add_card(parser: argparse.ArgumentParser) -> None:
    """The options that say how a model's pictures are prepared."""
    parser.add_argument(
        "--card", type=Path, metavar="FILE", help="the model's card (default: in it or beside it)"
    )
    parser.add_argument(
        "--preprocess", type=scalings.parse, metavar="SCALING",
        help="scaling of pixels for a Keras file without a card, as for `k2l convert`",
    )  # fmt: skip


def announce(text: str) -> None:
    """Print a step on standard error, unless the command is quiet."""
    if not progress.is_quiet():
        print(text, file=sys.stderr, flush=True)
