"""The report of a run: the model, its card, training.json and MODEL_CARD.md, all or nothing."""

from __future__ import annotations

import dataclasses
import os
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_to_lambda.cli.evaluation import Evaluation
from keras_to_lambda.train import files
from keras_to_lambda.train.data.dataset import Dataset
from keras_to_lambda.train.recipe import ALL, Backbone, Perceptron, Recipe
from keras_to_lambda.train.trainer import Trainer, logits

Results = dict[str, Evaluation]
RESIZED = {"stretch": "stretched", "crop": "cropped and resized", "pad": "padded and resized"}

# Where the data of our own models is from.
ABOUT = {
    "clothing": "The clothing-dataset-small set by Alexey Grigorev and contributors (GitHub, "
    "alexeygrigorev/clothing-dataset-small), free to use for any purpose. Most photos show one "
    "garment, laid flat or hung; people who wear several are not what it was trained on.",
    **dict.fromkeys(
        ("digits", "digits-tree"),
        "The 10,000 test digits of MNIST by Yann LeCun, Corinna Cortes and Christopher Burges: "
        "white on black, 28 x 28, each scaled to fit 20 x 20 and centred by its centre of mass. "
        "A digit that is drawn larger, off the centre or dark on light is not what it was trained "
        "on; the playground's canvas prepares drawings as MNIST's were.",
    ),
}


def write(trainer: Trainer, output: Path, command: Sequence[str]) -> Results:
    """Evaluate the trained model on the validation and the test pictures, and write everything.

    The test pictures are looked at here and nowhere else.

    Args:
        output: the folder, made if need be.
        command: what started the run.

    Returns:
        The evaluations of the splits that were looked at, by their names.
    """
    model, data = trainer.result(), trainer.data
    results = {
        name: Evaluation.of(
            data.labels,
            logits(model, data.splits[name].tensors(trainer.card)),
            data.splits[name].targets,
        )
        for name in ("validation", "test")
    }
    facts = provenance("k2l train", trainer.recipe.seed, data, results["test"], command)
    card = dataclasses.replace(trainer.card, provenance=facts)
    record = _record(trainer, model, results, command)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".train-") as folder:
        draft = Path(folder)
        model.save(draft / f"{card.name}.keras")
        files.write_json(draft / f"{card.name}.card.json", card.to_json())
        files.write_json(draft / "training.json", record)
        (draft / "MODEL_CARD.md").write_text(
            markdown(trainer, model, results, record), encoding="utf-8"
        )
        for path in sorted(draft.iterdir()):
            path.replace(output / path.name)
    return results


def told(results: Results) -> list[str]:
    """What a run came to, for the terminal."""
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
    """What a card says of a training run."""
    return {
        "trained_by": trained_by,
        "training_command": public(command),
        "trained_with": {"keras": keras.__version__, "tensorflow": tf.__version__},
        "seed": seed,
        "data_sha256": data.sha256,
        "test_accuracy": round(test.accuracy, 4),
        "test_interval_95": [round(bound, 4) for bound in test.interval],
    }


def _record(
    trainer: Trainer,
    model: keras.Model,
    results: dict[str, Evaluation],
    command: Sequence[str],
) -> dict[str, Any]:
    return {
        "command": public(command),
        "recipe": trainer.recipe.to_json(),
        "keras_version": keras.__version__,
        "tensorflow_version": tf.__version__,
        "data_sha256": trainer.data.sha256,
        "photos": {name: len(photos) for name, photos in trainer.data.splits.items()},
        "skipped": [list(entry) for entry in trainer.data.broken],
        "parameters": int(model.count_params()),
        "minutes": round(trainer.seconds / 60, 2),
        "results": {
            name: {
                "photos": result.photos,
                "accuracy": round(result.accuracy, 4),
                "interval_95": [round(bound, 4) for bound in result.interval],
                "confusion": result.confusion.tolist(),
            }
            for name, result in results.items()
        },
        "labels": list(trainer.data.labels),
        "history": trainer.history,
    }


def public(command: Sequence[str]) -> str:
    """The command as one line, paths reduced to their last part: they are of one machine."""
    return shlex.join(Path(part).name if "/" in part else part for part in command)


def markdown(
    trainer: Trainer,
    model: keras.Model,
    results: dict[str, Evaluation],
    record: dict[str, Any],
) -> str:
    """MODEL_CARD.md: every figure in it is this run's."""
    card, test = trainer.card, results["test"]
    low, high = test.interval
    counts = {name: len(photos) for name, photos in trainer.data.splits.items()}
    lines = [
        f"# {card.name}",
        "",
        f"An image classifier with {len(card.labels)} classes: {', '.join(card.labels)}.",
        "",
        f"**Test accuracy {test.accuracy:.3f}** on {test.photos} photos that were used for nothing "
        f"else; 95 % interval {low:.3f} to {high:.3f} (Wilson). Validation accuracy "
        f"{results['validation'].accuracy:.3f} on {results['validation'].photos} photos.",
        "",
        "## How it was trained",
        "",
        f"{_origin(trainer.recipe)}, on {counts['train']:,} photos, in "
        f"{_minutes(record['minutes'])} on {os.cpu_count()} processor cores:",
        "",
        "```",
        record["command"],
        "```",
        "",
        f"{_network(trainer.recipe)} of {model.count_params():,} parameters; "
        f"{_course(trainer)}; seed {trainer.recipe.seed}; augmentation as in `train/augment.py`. "
        "The hyper-parameters and the figures of every epoch are in `training.json`.",
        "",
        f"Input: {card.height} x {card.width} {'RGB' if card.channels == 3 else 'grey'}, "
        f"{RESIZED[card.preprocessing.resize]} with Pillow's bilinear filter, scaled as "
        f"`{card.preprocessing.scaling}`; the EXIF orientation of a photo is applied. "
        "Output: logits.",
        "",
        *tables(test),
        "## Data",
        "",
        f"{sum(counts.values()):,} photos; SHA-256 over names and contents "
        f"`{trainer.data.sha256}`."
        + (f" Files skipped as broken: {len(trainer.data.broken)}." * bool(trainer.data.broken)),
        *about(card.name),
        "",
        "## Limits",
        "",
        "It knows these classes and nothing else: whatever the picture shows, one of them has the "
        "highest logit. Logits are not calibrated probabilities.",
    ]
    return "\n".join(lines) + "\n"


def _origin(recipe: Recipe) -> str:
    if not recipe.pretrained:
        return "From random weights"
    weights = str(recipe.network.weights)
    return f"From {'the weights of ImageNet' if weights == 'imagenet' else Path(weights).name}"


def _network(recipe: Recipe) -> str:
    network = recipe.network
    if isinstance(network, Backbone):
        inner = ", ".join(map(str, recipe.head.inner))
        return f"{network.name} with {f'inner layers of {inner}' if inner else 'one layer'} on top,"
    kind = "A perceptron" if isinstance(network, Perceptron) else "A residual net"
    return f"{kind} (`src/keras_to_lambda/train/networks.py`)"


def _course(trainer: Trainer) -> str:
    """What was done, as it happened: patience may have ended a phase early."""
    parts = []
    for phase in trainer.recipe.phases():
        sizes = [entry["size"] for entry in trainer.history if entry["phase"] == phase.name]
        layers = {0: " of the head alone", ALL: ""}.get(
            phase.layers, f" with the last {phase.layers} layers"
        )
        parts += [
            f"{sizes.count(size)} epochs at {size} pixels{layers}" for size in dict.fromkeys(sizes)
        ]
    return ", ".join(parts)


def _minutes(minutes: float) -> str:
    return f"{minutes:.0f} minutes" if minutes >= 2 else f"{60 * minutes:.0f} seconds"


def tables(test: Evaluation) -> list[str]:
    """Markdown: each class, what was confused most, and the whole matrix."""
    return [
        "## Classes",
        "",
        "| class | precision | recall | F1 | test photos |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {label} | {precision:.2f} | {recall:.2f} | {f1:.2f} | {photos} |"
            for label, precision, recall, f1, photos in test.by_class()
        ),
        "",
        "## What it confuses",
        "",
        *(
            f"- {wrong} of {photos} photos of {true} were taken for {predicted}."
            for true, predicted, wrong, photos in test.worst()
        ),
        "",
        "Rows are the true class, columns the predicted one:",
        "",
        "| | " + " | ".join(test.labels) + " |",
        "| --- |" + " ---: |" * len(test.labels),
        *(
            f"| {label} | " + " | ".join(map(str, row)) + " |"
            for label, row in zip(test.labels, test.confusion.tolist(), strict=True)
        ),
        "",
    ]


def about(name: str) -> list[str]:
    return ["", ABOUT[name]] if name in ABOUT else []
