"""Tracking: what a run did, for TensorBoard, Weights & Biases or MLflow."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import tensorflow as tf

from keras_to_lambda.train.data.dataset import DataError
from keras_to_lambda.train.report import public
from keras_to_lambda.train.run import identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keras_to_lambda.cli.evaluation import Evaluation
    from keras_to_lambda.train.data.dataset import Dataset
    from keras_to_lambda.train.recipe import Recipe

METRICS = ("loss", "validation_loss", "validation_accuracy", "learning_rate", "seconds")


class Tracker(Protocol):
    """Where a run is told of."""

    def epoch(self, entry: dict[str, Any]) -> None:
        """An epoch's entry of the history."""

    def finish(self, results: dict[str, Evaluation], output: Path, name: str) -> None:
        """The run's end: its evaluations, and the folder with the model of that name."""


def start(
    wanted: str, name: str, recipe: Recipe, data: Dataset, logs: Path, command: Sequence[str]
) -> list[Tracker]:
    """Begin to track, or go on where a stopped run of the same recipe and data was.

    Args:
        wanted: names of TRACKERS, comma-separated, or "none".
        name: the model's. logs: TensorBoard's folder.

    Raises:
        DataError: no such tracker, or its package is not there.
    """
    names = [each.strip() for each in wanted.split(",") if each.strip() not in ("", "none")]
    if unknown := [each for each in names if each not in TRACKERS]:
        raise DataError(f"--track {unknown[0]}: say {', '.join(TRACKERS)} or none")
    facts = {
        "recipe": recipe.to_json(),
        "data_sha256": data.sha256,
        "train": len(data.splits["train"]),
        "labels": list(data.labels),
        "command": public(command),
    }
    told = json.dumps([name, identity(recipe, data)], sort_keys=True)
    key = hashlib.sha256(told.encode()).hexdigest()[:10]
    return [TRACKERS[each](name, key, facts, logs) for each in names]


class TensorBoard:
    """Scalars by epoch and the recipe as text, in LOGS/NAME-KEY."""

    def __init__(self, name: str, key: str, facts: dict[str, Any], logs: Path) -> None:
        self.folder = logs / f"{name}-{key}"
        self._writer = tf.summary.create_file_writer(str(self.folder))
        with self._writer.as_default(step=0):
            tf.summary.text("recipe", f"```\n{json.dumps(facts, indent=1)}\n```")

    def epoch(self, entry: dict[str, Any]) -> None:
        with self._writer.as_default(step=entry["epoch"]):
            for metric in METRICS:
                tf.summary.scalar(metric, entry[metric])
        self._writer.flush()

    def finish(self, results: dict[str, Evaluation], output: Path, name: str) -> None:
        with self._writer.as_default(step=0):
            for split, result in results.items():
                tf.summary.scalar(f"{split}_accuracy_at_the_end", result.accuracy)
        self._writer.close()


class WeightsAndBiases:
    """A run of the project NAME; where, and whether offline, say WANDB_MODE and its kin."""

    def __init__(self, name: str, key: str, facts: dict[str, Any], logs: Path) -> None:
        wandb = _package("wandb")
        logs.mkdir(parents=True, exist_ok=True)
        self._wandb = wandb
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", name),
            id=key,
            resume="allow",
            config=facts,
            dir=str(logs),
            settings=wandb.Settings(silent=True),
        )

    def epoch(self, entry: dict[str, Any]) -> None:
        self._run.log({metric: entry[metric] for metric in METRICS}, step=entry["epoch"])

    def finish(self, results: dict[str, Evaluation], output: Path, name: str) -> None:
        for split, result in results.items():
            self._run.summary[f"{split}_accuracy"] = result.accuracy
        artifact = self._wandb.Artifact(name, type="model")
        for path in files(output, name):
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)
        self._run.finish()


class MLflow:
    """A run of the experiment NAME in MLFLOW_TRACKING_URI; its model is registered as NAME."""

    def __init__(self, name: str, key: str, facts: dict[str, Any], logs: Path) -> None:
        _package("mlflow")
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient()
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        earlier = self._client.search_runs([experiment], f"tags.training = '{key}'")
        unfinished = [run for run in earlier if run.info.status == "RUNNING"]
        if unfinished:
            self._run = unfinished[0].info.run_id
            return
        run = self._client.create_run(experiment, tags={"training": key})
        self._run = run.info.run_id
        for field, value in _flat(facts):
            self._client.log_param(self._run, field, str(value)[:500])

    def epoch(self, entry: dict[str, Any]) -> None:
        for metric in METRICS:
            self._client.log_metric(self._run, metric, entry[metric], step=entry["epoch"])

    def finish(self, results: dict[str, Evaluation], output: Path, name: str) -> None:
        for split, result in results.items():
            self._client.log_metric(self._run, f"{split}_accuracy", result.accuracy)
        for path in files(output, name):
            self._client.log_artifact(self._run, str(path), "model")
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)
        source = f"{self._client.get_run(self._run).info.artifact_uri}/model"
        version = self._client.create_model_version(name, source, run_id=self._run)
        self._client.set_terminated(self._run)
        print(f"registered as models:/{name}/{version.version}; k2l convert takes that name")


TRACKERS: dict[str, type] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


def files(output: Path, name: str) -> list[Path]:
    """What a run leaves behind."""
    names = (f"{name}.keras", f"{name}.card.json", "training.json", "MODEL_CARD.md")
    return [output / each for each in names]


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise DataError(f"{name} is not installed: `make tracking` adds it") from None


def _flat(facts: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs = []
    for name, value in facts.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", value))
    return pairs
