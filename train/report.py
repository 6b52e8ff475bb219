"""The report of a run: the model, its card, training.json and MODEL_CARD.md, all or nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from classifier.evaluation import Evaluation
from train.photos import Dataset
from train.trainer import Trainer, logits

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


def write(trainer: Trainer, output: Path, command: Sequence[str]) -> list[str]:
    """Evaluate the trained model on the validation and the test photos, and write everything.

    The test photos are looked at here and nowhere else.

    Args:
        output: the folder, made if need be.
        command: what started the run.

    Returns:
        Lines for the terminal.
    """
    model = trainer.result()
    results = {
        name: Evaluation.of(
            trainer.data.labels,
            logits(model, trainer.data.splits[name].tensors(trainer.card)),
            trainer.data.splits[name].targets,
        )
        for name in ("validation", "test")
    }
    seed, data = trainer.recipe.seed, trainer.data
    facts = provenance("python -m train", seed, data, results["test"])
    card = dataclasses.replace(trainer.card, provenance=facts)
    record = _record(trainer, model, results, command)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".train-") as folder:
        draft = Path(folder)
        model.save(draft / f"{card.name}.keras")
        write_json(draft / f"{card.name}.card.json", card.to_json())
        write_json(draft / "training.json", record)
        (draft / "MODEL_CARD.md").write_text(
            markdown(trainer, model, results, record), encoding="utf-8"
        )
        for path in sorted(draft.iterdir()):
            path.replace(output / path.name)
    test = results["test"]
    low, high = test.interval
    return [
        f"validation accuracy {results['validation'].accuracy:.3f}",
        f"test accuracy {test.accuracy:.3f} on {test.photos} photos (95 % interval {low:.3f} to "
        f"{high:.3f})",
        f"wrote {output / (card.name + '.keras')}, its card, training.json and MODEL_CARD.md",
        f"next: python -m convert {output / (card.name + '.keras')} --samples DIR "
        f"-o {output / (card.name + '.tflite')}",
    ]


def provenance(trained_by: str, seed: int, data: Dataset, test: Evaluation) -> dict[str, Any]:
    """What a card says of a training run."""
    return {
        "trained_by": trained_by,
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
        "recipe": dataclasses.asdict(trainer.recipe),
        "keras_version": keras.__version__,
        "tensorflow_version": tf.__version__,
        "data_sha256": trainer.data.sha256,
        "photos": {name: len(photos) for name, photos in trainer.data.splits.items()},
        "skipped": [list(entry) for entry in trainer.data.broken],
        "parameters": int(model.count_params()),
        "minutes": round(sum(epoch["seconds"] for epoch in trainer.history) / 60, 1),
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
    stages = ", ".join(f"{s.epochs} epochs at {s.size} pixels" for s in trainer.recipe.stages())
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
        f"From random weights, on {counts['train']:,} photos, in {record['minutes']:.0f} minutes "
        f"on {os.cpu_count()} processor cores:",
        "",
        "```",
        record["command"],
        "```",
        "",
        f"A residual net of {model.count_params():,} parameters (`train/network.py`); {stages}; "
        f"seed {trainer.recipe.seed}; augmentation as in `train/augment.py`. The hyper-parameters "
        "are in `train/recipe.py`, the figures of every epoch in `training.json`.",
        "",
        f"Input: {card.height} x {card.width} {'RGB' if card.channels == 3 else 'grey'}, stretched "
        "with Pillow's bilinear filter, scaled to -1..1. Output: logits.",
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


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
