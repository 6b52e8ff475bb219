"""The report of a run: the model, its card, training.json and curves."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from keras_to_lambda.atomic_files import together, write_json
from keras_to_lambda.cli.evaluation import wilson
from keras_to_lambda.train.data.dataset import Dataset
from keras_to_lambda.train.fit import history
from keras_to_lambda.train.fit.fitting import TrainingRun, logits

Results = dict[str, dict[str, Any]]


def write(run: TrainingRun, model: keras.Model, output: Path, command: Sequence[str]) -> Results:
    """Evaluate what `run.fit` returned on validation and test pictures, and write everything.

    command: what started the run.
    """
    data, recipe = run.data, run.recipe
    found = results(data, lambda name: logits(model, data, name, run.card))
    facts = provenance("k2l train", recipe.seed, data, found, command)
    card = dataclasses.replace(run.card, provenance=facts)
    record = {
        **facts,
        "recipe": recipe.to_json(),
        "photos": {name: len(split) for name, split in data.splits.items()},
        "skipped": data.broken,
        "parameters": int(model.count_params()),
        "minutes": round(run.seconds / 60, 2),
        "results": found,
        "labels": data.labels,
        "history": run.history,
    }
    with together(output) as draft:
        model.save(draft / f"{card.name}.keras")
        write_json(draft / f"{card.name}.card.json", card.to_json())
        write_json(draft / "training.json", record)
        history.plot({card.name: run.history}).savefig(draft / f"{card.name}.training.png", dpi=120)
    return found


def results(data: Dataset, scores: Callable[[str], npt.NDArray[np.float32]]) -> Results:
    """Accuracies on validation and test pictures; the latter are used here and nowhere else.

    scores: of the pictures of a split, (pictures, labels).
    """
    found: Results = {}
    for name in ("validation", "test"):
        right = scores(name).argmax(axis=1) == data.splits[name].targets
        found[name] = {
            "photos": len(right),
            "accuracy": round(float(right.mean()), 4),
            "interval_95": [round(bound, 4) for bound in wilson(int(right.sum()), len(right))],
        }
    return found


def summary(found: Results) -> str:
    """The results of a run, for the terminal."""
    test = found["test"]
    low, high = test["interval_95"]
    return (
        f"validation accuracy {found['validation']['accuracy']:.3f}\n"
        f"test accuracy {test['accuracy']:.3f} on {test['photos']} photos (95 % interval {low:.3f} "
        f"to {high:.3f})"
    )


def provenance(
    trained_by: str, seed: int, data: Dataset, found: Results, command: Sequence[str]
) -> dict[str, Any]:
    """The card's record of a training run."""
    return {
        "trained_by": trained_by,
        "training_command": public(command),
        "trained_with": {"keras": keras.__version__, "tensorflow": tf.__version__},
        "seed": seed,
        "data_sha256": data.sha256,
        "test_accuracy": found["test"]["accuracy"],
        "test_interval_95": found["test"]["interval_95"],
    }


def public(command: Sequence[str]) -> str:
    """The command as one line, paths reduced to their last part: they are of one machine."""
    return shlex.join(Path(part).name if "/" in part else part for part in command)
