"""Predictions of a model, as a file or behind a URL, for all pictures of a split.

Model files are programs: they are loaded and run in the sandbox, which decodes the pictures itself
and writes scores, so that the tensors of a split are never all in memory or on disk.
"""

from __future__ import annotations

import argparse
import math
import os
import pickle
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from keras_to_lambda.class_folders import ClassFolders
from keras_to_lambda.cli import progress
from keras_to_lambda.client import Client
from keras_to_lambda.convert import command_options as shared
from keras_to_lambda.convert.common import source_card
from keras_to_lambda.convert.common.conversion_errors import ConvertError, listed
from keras_to_lambda.convert.inspection import foreign
from keras_to_lambda.convert.load import saved_file
from keras_to_lambda.convert.sandbox import untrusted_results
from keras_to_lambda.convert.sandbox.sandbox import model_files
from keras_to_lambda.convert.verification.logits_endpoint import LogitsEndpoint
from keras_to_lambda.runtime.common.errors import UserError
from keras_to_lambda.runtime.image.preprocess import prepare
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.model_file.card import Affine, ModelCard, Preprocessing, distinct
from keras_to_lambda.train.assess.metrics import Predictions
from keras_to_lambda.train.data.dataset import DataError, Dataset, Split, neutral, prefetch

Scores = npt.NDArray[np.float32]

# The steps of a quantized softmax add up to some hundredths.
NEARLY_ONE = 0.05


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A model to evaluate.

    kind: keras, tflite or endpoint. where: a path, or a URL. name: for people. file: the
    path's last part, or the URL without user, password and query. card: None for an endpoint,
    which does not show it. place: the file that has the card; None where no file has it.
    """

    kind: str
    where: str
    name: str
    file: str
    card: ModelCard | None = None
    place: Path | None = None

    @classmethod
    def of(cls, model: str, scaling: str | Affine | None = None) -> EvaluatedModel:
        """The model that the command line names, by a path or a URL.

        scaling: of a Keras file without a card; its labels are given by `labelled`.
        """
        if model.startswith(("http://", "https://")):
            try:
                parts = urlsplit(model)
            except ValueError as error:
                raise DataError(f"{model} is not a URL: {error}") from error
            host = parts.netloc.rpartition("@")[2]
            return cls("endpoint", model, host, f"{parts.scheme}://{host}{parts.path}")
        path = Path(model)
        name = path.resolve().name
        if foreign.is_one(path):
            loaded = cards.load(path)
            with path.open("rb") as file:
                inside = cards.read(file)[1] is not None
            beside = cards.beside(path)
            place = path if inside else beside if beside.exists() else None
            return cls("tflite", model, loaded.name, name, loaded, place)
        saved_file.kind_of(path)
        place = source_card.place(path.resolve())
        if place.exists():
            loaded = source_card.load(place)
            return cls("keras", model, loaded.name, name, loaded, place)
        if scaling is None:
            raise DataError(
                f"{model} has no card beside it ({place.name}); give --preprocess SCALING, and "
                "--labels FILE unless its outputs are in the alphabetical order of the class "
                "folders"
            )
        # Size and labels are known later.
        steps = Preprocessing(scaling=scaling, exif="apply")
        made = ModelCard(path.stem, ("unknown", "labels"), height=1, width=1, preprocessing=steps)
        return cls("keras", model, path.stem, name, made)

    @property
    def cardless(self) -> bool:
        """Whether it is a Keras file without a card: the command line has what that would have."""
        return self.kind == "keras" and self.place is None

    def labelled(self, labels: Sequence[str]) -> EvaluatedModel:
        """With labels in the order of the outputs, unless the model's card has them."""
        if self.card is None or not self.cardless:
            return self
        return replace(self, card=replace(self.card, labels=distinct(labels)))


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A model's predictions for a split, and sentences on what a reader should know about them."""

    model: EvaluatedModel
    answers: Predictions
    output: str
    notes: tuple[str, ...]


def predict(
    model: EvaluatedModel, data: Dataset, split: Split, options: argparse.Namespace
) -> Evaluated:
    """Predict all pictures of a split.

    options: the command's: of the sandbox, of the Keras file, of the client.
    """
    if model.card is None:
        names, scores = _by_endpoint(model, data, split, options)
    else:
        model, scores = _by_file(model, split, options)
        names = model.card.labels if model.card else ()
    place, extra = matched(data, names, model.file)
    if not np.isfinite(scores).all():
        raise DataError(
            f"{model.file} answers with NaN or infinity; train it again, with a lower learning rate"
        )
    output, notes = _output(model, scores)
    if extra:
        notes.append(
            f"the model has {len(names)} labels, the data {len(data.labels)}: no picture shows "
            f"{listed(extra)}; to predict one of them is a mistake like any other"
        )
    answers = Predictions.of(names, scores, output, place[split.targets])
    return Evaluated(model, answers, output, tuple(notes))


def matched(
    data: Dataset, theirs: Sequence[str], model: str
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Find the data's labels among the model's, by the rule for class folders.

    A label that no picture shows may be unknown to the model.

    Returns:
        int64, (labels,): the index of each, or -1; and the labels that only the model knows.
    """
    folders, ours = ClassFolders(theirs), data.labels
    places = [folders.place(label) for label in ours]
    shown = np.unique(np.concatenate([split.targets for split in data.splits.values()]))
    if unknown := [ours[target] for target in shown if places[target] is None]:
        raise DataError(
            f"{model} lacks {len(unknown)} of the data's {len(ours)} labels ({listed(unknown)}); "
            f"its own are {listed(theirs)}; give data with the labels that it was trained on"
        )
    extra = [label for index, label in enumerate(theirs) if index not in set(places)]
    return np.array([-1 if place is None else place for place in places], np.int64), extra


def _output(model: EvaluatedModel, scores: Scores) -> tuple[str, list[str]]:
    """Whether scores are logits or probabilities, and notes."""
    shares = bool(scores.min() >= 0 and np.abs(scores.sum(axis=1) - 1).max() < NEARLY_ONE)
    if model.card is None or model.place is None:
        return ("probabilities" if shares else "logits"), []
    stated, notes = model.card.output, []
    if stated == "probabilities" and not shares and model.card.activation == "sigmoid":
        notes.append(
            "multi-label: the scores do not add up to 1; accuracy is that of the highest one, and "
            "log loss and calibration are of scores made to add up to 1"
        )
    elif stated == "probabilities" and not shares:
        raise DataError(
            f"the card of {model.file} has output probabilities, but the scores do not add up to "
            '1; write "output": "logits" into the card'
        )
    elif stated == "logits" and shares:
        notes.append(
            "the card has output logits, but no score is negative and each answer adds up to 1: if "
            'they are probabilities, write "output": "probabilities" into the card; log loss and '
            "calibration are wrong without it"
        )
    return stated, notes


def _by_file(
    model: EvaluatedModel, split: Split, options: argparse.Namespace
) -> tuple[EvaluatedModel, Scores]:
    """The model with its full card, and its scores: float32, (pictures, labels)."""
    assert model.card is not None
    with tempfile.TemporaryDirectory(prefix="evaluate-") as name:
        pictures = Path(name) / "split.pickle"
        with pictures.open("wb") as file:
            pickle.dump(split, file, protocol=5)
        paths = filter(None, (split.path(index) for index in range(len(split))))
        where, card = Path(model.where).resolve(), model.card.to_json()
        keras = {"wanted": shared.wanted(options), "sized": model.place is not None}
        shape = shared.sandbox(options).call(
            f"{__name__}:by_{model.kind}",
            reads=[
                *model_files(where, options.custom), pictures, *(p.absolute() for p in paths),
            ],
            into=Path(name),
            model=str(where),
            card=card,
            pictures=str(pictures),
            **(keras if model.kind == "keras" else {}),
        )  # fmt: skip
        if model.cardless:
            card |= dict(zip(("height", "width", "channels"), map(int, shape), strict=True))
            model = replace(model, card=ModelCard.from_json(card))
        expected = len(split), len(card["labels"])
        content = untrusted_results.read(
            Path(name) / "scores.npy", most=1000 + 4 * math.prod(expected)
        )
        scores = untrusted_results.array(content)
    return model, untrusted_results.shaped(scores, np.float32, *expected)


def by_keras(
    *, model: str, card: dict[str, Any], pictures: str, folder: str, wanted: dict[str, Any],
    sized: bool,
) -> list[int]:  # fmt: skip
    """Write the scores of Keras or TensorFlow; runs in the sandbox.

    Args:
        model: a file or a folder. card: as JSON. pictures: a pickled Split.
        folder: gets scores.npy: float32, (pictures, labels).
        wanted: the fields of `keras_model.Wanted`.
        sized: whether the card has the input's size; else the model has it.

    Returns:
        The input's height, width and channels.

    Raises:
        ConvertError: the model cannot be loaded, or is not the one that the card describes.
        ClassifierError: a picture has changed since it was checked.
    """
    from keras_to_lambda.convert.network import keras_model, operators
    from keras_to_lambda.convert.network.outputs import Ending

    if sized and not wanted.get("size"):
        wanted = {**wanted, "size": [card["height"], card["width"]]}
    loaded = keras_model.load(Path(model), keras_model.Wanted(**wanted))
    size = {"height": loaded.height, "width": loaded.width, "channels": loaded.channels}
    described = ModelCard.from_json(card if sized else {**card, **size})
    if loaded.channels != described.channels:
        raise ConvertError(
            f"{Path(model).name} takes {loaded.channels} channels, its card has "
            f"{described.channels}; give the card that belongs to the model"
        )
    if loaded.classes == 1 and len(described.labels) == 2:
        ending = Ending.of(operators.of_graph(loaded.concrete())[0])
        sigmoid = ending.bounded or described.output == "probabilities"
        loaded = keras_model.of_two_classes(loaded, sigmoid=sigmoid)
    if loaded.classes != len(described.labels):
        remedy = "give the card that belongs to the model"
        if not sized:
            remedy = (
                "give --labels FILE with a label for each output, or the .tflite that "
                "`k2l convert` makes of it, which has a card"
            )
        raise ConvertError(
            f"{Path(model).name} has {loaded.classes} outputs, but {len(described.labels)} labels; "
            f"{remedy}"
        )
    graph = loaded.concrete()
    _score(pictures, described, folder, lambda tensor: keras_model.predict(graph, tensor))
    return [described.height, described.width, described.channels]


def by_tflite(*, model: str, card: dict[str, Any], pictures: str, folder: str) -> None:
    """Write the scores of the function's own interpreter, as `by_keras`; runs in the sandbox.

    Raises:
        SetupError: the interpreter cannot run the model, or its card is of another one.
        ClassifierError: a picture has changed since it was checked.
    """
    from keras_to_lambda.runtime.model.interpreter import Classifier

    classifier = Classifier(model, os.cpu_count() or 1, ModelCard.from_json(card))
    _score(pictures, classifier.card, folder, classifier.logits)


def _score(pictures: str, card: ModelCard, folder: str, score: Callable[[Any], Any]) -> None:
    split: Split = pickle.loads(Path(pictures).read_bytes())  # noqa: S301  # written by the parent
    decoded = prefetch(lambda index: split.picture(index, card), range(len(split)))
    shown = zip(progress.progress(range(len(split)), "picture"), decoded, strict=True)
    rows = [np.asarray(score(prepare(picture, card)), np.float32) for _, picture in shown]
    np.save(Path(folder) / "scores.npy", np.stack(rows))


def _by_endpoint(
    model: EvaluatedModel, data: Dataset, split: Split, options: argparse.Namespace
) -> tuple[tuple[str, ...], Scores]:
    """Labels, as the first answer has them, and scores: float32, (pictures, labels)."""
    card, own = neutral(data), threading.local()  # requests' sessions are not for several threads

    def answer(index: int, labels: Sequence[str] = ()) -> tuple[LogitsEndpoint, Scores]:
        if not hasattr(own, "endpoint"):
            own.endpoint = LogitsEndpoint(Client.of(model.where, options), labels)
        try:
            return own.endpoint, own.endpoint.logits(split.file(index, card))
        except UserError as error:
            raise DataError(f"the request with {split.names[index]} failed: {error}") from error

    endpoint, first = answer(0)
    matched(data, endpoint.labels, model.file)  # before all other pictures are sent
    title = "" if progress.is_quiet() else "pictures"
    rest = prefetch(lambda index: answer(index, endpoint.labels)[1], range(1, len(split)), title)
    return endpoint.labels, np.stack([first, *rest])
