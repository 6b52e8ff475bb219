"""The report of a run: the model, its card, training.json and curves."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_to_lambda.atomic_files import together, write_json
from keras_to_lambda.cli.evaluation import Evaluation
from keras_to_lambda.train.data.dataset import Dataset
from keras_to_lambda.train.fit import history
from keras_to_lambda.train.fit.fitting import TrainingRun, logits

Results = dict[str, Evaluation]


def write(run: TrainingRun, model: keras.Model, output: Path, command: Sequence[str]) -> Results:
    """Evaluate what `run.fit` returned on validation and test pictures, and write everything.

    The test pictures are used here and nowhere else. command: what started the run.
    """
    data, recipe = run.data, run.recipe
    results = {
        name: Evaluation.of(
            data.labels, logits(model, data, name, run.card), data.splits[name].targets
        )
        for name in ("validation", "test")
    }
    facts = provenance("k2l train", recipe.seed, data, results["test"], command)
    card = dataclasses.replace(run.card, provenance=facts)
    record = {
        "command": public(command),
        "recipe": recipe.to_json(),
        "keras_version": keras.__version__,
        "tensorflow_version": tf.__version__,
        "data_sha256": data.sha256,
        "photos": {name: len(split) for name, split in data.splits.items()},
        "skipped": [list(entry) for entry in data.broken],
        "parameters": int(model.count_params()),
        "minutes": round(run.seconds / 60, 2),
        "results": {name: _figures(result) for name, result in results.items()},
        "labels": list(data.labels),
        "history": run.history,
    }
    with together(output) as draft:
        model.save(draft / f"{card.name}.keras")
        write_json(draft / f"{card.name}.card.json", card.to_json())
        write_json(draft / "training.json", record)
        history.plot({card.name: run.history}).savefig(draft / f"{card.name}.training.png", dpi=120)
    return results


def written(output: Path, name: str) -> list[Path]:
    """The files of a run."""
    own = [output / f"{name}{ending}" for ending in (".keras", ".card.json", ".training.png")]
    return [*own, output / "training.json"]


def _figures(result: Evaluation) -> dict[str, Any]:
    return {
        "photos": result.photos,
        "accuracy": round(result.accuracy, 4),
        "interval_95": [round(bound, 4) for bound in result.interval],
        "confusion": result.confusion.tolist(),
    }


def summary(results: Mapping[str, Evaluation]) -> list[str]:
    """The results of a run, for the terminal."""
    test = results["test"]
    low, high = test.interval
    return [
        f"validation accuracy {results['validation'].accuracy:.3f}",
        f"test accuracy {test.accuracy:.3f} on {test.photos} photos (95 % interval {low:.3f} to "
        f"{high:.3f})",
    ]


def provenance(
    trained_by: str, seed: int, data: Dataset, test: Evaluation, command: Sequence[str]
) -> dict[str, Any]:
    """The card's record of a training run."""
    return {
        "trained_by": trained_by,
        "training_command": public(command),
        "trained_with": {"keras": keras.__version__, "tensorflow": tf.__version__},
        "seed": seed,
        "data_sha256": data.sha256,
        "test_accuracy": round(test.accuracy, 4),
        "test_interval_95": [round(bound, 4) for bound in test.interval],
    }


def public(command: Sequence[str]) -> str:
    """The command as one line, paths reduced to their last part: they are of one machine."""
    return shlex.join(Path(part).name if "/" in part else part for part in command)
