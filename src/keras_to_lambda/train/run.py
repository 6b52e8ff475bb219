"""Run: what the phases of a training run have in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_to_lambda.train.pixels import members
from keras_to_lambda.train.recipe import Recipe

if TYPE_CHECKING:
    from keras_to_lambda.runtime.model.card import ModelCard
    from keras_to_lambda.train.data.dataset import Dataset

SAVE_EVERY_S = 30.0


def print_now(line: str) -> None:
    """Tell on standard output, at once also where that is a file."""
    print(line, flush=True)


@dataclass(eq=False)
class Run:
    """What the phases of a run have in common.

    recipe, data: what is trained, on what. card: of the saved model.
    folder: for the run's state, and its best epochs as `.keras` files.
    cache: for decoded pictures and features, which several runs may share.
    watch: called with each entry of the history; what it raises ends the run.
    tell: gets a line for each epoch.
    save_every: seconds between two states: what a kill can cost.
    history: one entry an epoch: epoch, phase, size, loss, learning_rate, validation_loss,
        validation_accuracy, seconds.
    asked_to_stop: whether the run is to end after this step.
    """

    recipe: Recipe
    card: ModelCard
    data: Dataset
    folder: Path
    cache: Path
    watch: Sequence[Callable[[dict[str, Any]], None]] = ()
    tell: Callable[[str], None] = print_now
    save_every: float = SAVE_EVERY_S
    history: list[dict[str, Any]] = field(default_factory=list, init=False)
    asked_to_stop: bool = field(default=False, init=False)


class Stopped(Exception):
    """The run was asked to end, and has written all that it needs to go on."""


def identity(recipe: Recipe, data: Dataset) -> dict[str, Any]:
    """What tells runs apart, as JSON gives it back: one that was stopped is compared with it."""
    weights = getattr(recipe.network, "weights", None)
    file = Path(weights) if weights not in (None, "imagenet") else None
    facts = {
        "recipe": recipe.to_json(),
        "weights_sha256": hashlib.sha256(file.read_bytes()).hexdigest()
        if file and file.is_file()
        else None,
        "data_sha256": data.sha256,
        "labels": data.labels,
        "members": {name: members(split) for name, split in data.splits.items()},
    }
    compared: dict[str, Any] = json.loads(json.dumps(facts))
    return compared
