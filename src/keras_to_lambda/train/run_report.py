"""The report of a run: the model, its card, training.json, curves and MODEL_CARD.md."""

from __future__ import annotations

import dataclasses
import os
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
    data = run.data
    results = {
        name: Evaluation.of(
            data.labels, logits(model, data, name, run.card), data.splits[name].targets
        )
        for name in ("validation", "test")
    }
    facts = provenance("k2l train", run.recipe.seed, data, results["test"], command)
    card = dataclasses.replace(run.card, provenance=facts)
    record = {
        "command": public(command),
        "recipe": run.recipe.to_json(),
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
        (draft / "MODEL_CARD.md").write_text(markdown(run, results, record), encoding="utf-8")
    return results


def written(output: Path, name: str) -> list[Path]:
    """The files of a run."""
    own = [output / f"{name}{ending}" for ending in (".keras", ".card.json", ".training.png")]
    return [*own, output / "training.json", output / "MODEL_CARD.md"]


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


def markdown(run: TrainingRun, results: Results, record: dict[str, Any]) -> str:
    """MODEL_CARD.md."""
    card, recipe = run.card, run.recipe
    network = getattr(recipe.network, "name", type(recipe.network).__name__)
    weights = getattr(recipe.network, "weights", None)
    start = f"the weights {Path(weights).name}" if weights else "random weights"
    epochs = ", ".join(
        f"{sum(entry['phase'] == phase.name for entry in run.history)} epochs ({phase.name}, "
        f"{phase.size} pixels)"
        for phase in recipe.phases()
    )
    text = (
        f"{network} from {start}, {record['parameters']:,} parameters: {epochs}, "
        f"{record['minutes']:.1f} minutes on {os.cpu_count()} processor cores. Hyper-parameters "
        "and the figures of every epoch are in `training.json`.\n\n"
        f"![Loss and accuracy by epoch]({card.name}.training.png)\n\n"
        f"Input: {card.height} x {card.width} {'RGB' if card.channels == 3 else 'grey'}, resized "
        f"by `{card.preprocessing.resize}`, scaled as `{card.preprocessing.scaling}`; the EXIF "
        "orientation of a photo is applied. Output: logits."
    )
    return model_card(card.name, run.data, results, record["command"], text)


def model_card(name: str, data: Dataset, results: Results, command: str, training: str) -> str:
    """MODEL_CARD.md. training: its section on the training, after the command."""
    test, validation = results["test"], results["validation"]
    low, high = test.interval
    classes = "\n".join(
        f"| {label} | {precision:.2f} | {recall:.2f} | {f1:.2f} | {photos} |"
        for label, precision, recall, f1, photos in test.by_class()
    )
    broken = f" Files skipped as broken: {len(data.broken)}." if data.broken else ""
    return f"""\
# {name}

An image classifier with {len(data.labels)} classes: {", ".join(data.labels)}.

**Test accuracy {test.accuracy:.3f}** on {test.photos} photos that were used for nothing else; 95 %
interval {low:.3f} to {high:.3f} (Wilson). Validation accuracy {validation.accuracy:.3f} on
{validation.photos} photos.

## Training

```
{command}
```

{training}

## Classes

| class | precision | recall | F1 | test photos |
| --- | ---: | ---: | ---: | ---: |
{classes}

`k2l evaluate` shows the confusions as a page.

## Data

{sum(map(len, data.splits.values())):,} photos; SHA-256 over names and contents
`{data.sha256}`.{broken}

## Limits

It knows these classes only: one of them has the highest logit for any picture. Logits are not
calibrated probabilities.
"""
