"""Tracking: TensorBoard, Weights & Biases and MLflow, by the callbacks of each."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_to_lambda.origin import digest
from keras_to_lambda.train.data.dataset import Dataset
from keras_to_lambda.train.fit.recipe import Recipe

if TYPE_CHECKING:
    import keras

LOGS = Path("runs")


@dataclass
class TensorBoard:
    """Scalars by epoch in runs/NAME-KEY; the base of other places that record runs.

    name: the model's. key: the run's, by recipe and data: a continued run keeps it.
    facts: parameters of the run.
    """

    name: str
    key: str
    facts: dict[str, Any]

    def __post_init__(self) -> None:
        """Begin the run, where its place wants that; the subclasses' own are called by this."""

    def callback(self) -> keras.callbacks.Callback:
        """The callback for a phase."""
        import keras

        folder = str(LOGS / f"{self.name}-{self.key}")
        return keras.callbacks.TensorBoard(folder, write_graph=False)

    def finish(self, metrics: dict[str, float], files: Sequence[Path]) -> None:
        """Record the run's results and its files, and end it."""


class WeightsAndBiases(TensorBoard):
    """A run of the project NAME; WANDB_MODE and the like decide where."""

    def __post_init__(self) -> None:
        self._wandb = importlib.import_module("wandb")
        LOGS.mkdir(parents=True, exist_ok=True)
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", self.name), id=self.key, resume="allow",
            config=self.facts, dir=str(LOGS.absolute()), settings=self._wandb.Settings(silent=True),
        )  # fmt: skip

    def callback(self) -> keras.callbacks.Callback:
        return importlib.import_module("wandb.integration.keras").WandbMetricsLogger()

    def finish(self, metrics: dict[str, float], files: Sequence[Path]) -> None:
        self._run.summary.update(metrics)
        artifact = self._wandb.Artifact(self.name, type="model")
        for path in files:
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)
        # The artifact's files are outside of the run's folder until it is synced.
        if self._run.offline:
            for path in files:
                shutil.copy(path, self._run.dir)
            name = shlex.quote(f"wandb:{self._run.dir}")
            print(f"tracked offline: convert takes {name} as MODEL")
        self._run.finish()


class MLflow(TensorBoard):
    """A run of the experiment NAME in MLFLOW_TRACKING_URI; its model is registered as NAME."""

    def __post_init__(self) -> None:
        self._mlflow = importlib.import_module("mlflow")
        self._mlflow.set_experiment(self.name)
        self._run = self._mlflow.start_run()
        facts = {name: str(value)[:500] for name, value in self.facts.items()}
        self._mlflow.log_params(facts)

    def callback(self) -> keras.callbacks.Callback:
        import keras

        # MLflow's own callback needs the whole package; mlflow-skinny is enough for metrics.
        return keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self._mlflow.log_metrics(logs, step=epoch)
        )

    def finish(self, metrics: dict[str, float], files: Sequence[Path]) -> None:
        self._mlflow.log_metrics(metrics)
        for path in files:
            self._mlflow.log_artifact(str(path), "model")
        source = f"{self._run.info.artifact_uri}/model"
        client = self._mlflow.MlflowClient()
        if not client.search_registered_models(f"name = '{self.name}'"):
            client.create_registered_model(self.name)
        # What a function checks that takes the version as MODEL_PATH.
        served = [path for path in files if path.suffix == ".tflite"]
        tags = {"sha256": digest(served[0])} if served else {}
        run = self._run.info.run_id
        version = client.create_model_version(self.name, source, run, tags=tags).version
        self._mlflow.end_run()
        name = f"models:/{self.name}/{version}"
        print(
            f"registered as {name}, which convert takes as MODEL; a function takes an alias of it, "
            f"MODEL_PATH=models:/{self.name}@ALIAS"
        )


TRACKERS = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "mlflow": MLflow}


def places(text: str) -> list[str]:
    """The names of TRACKERS in an option, comma-separated or "none"; TensorFlow is not imported."""
    names = [each.strip() for each in text.split(",") if each.strip() not in ("", "none")]
    for name in names:
        if name not in TRACKERS:
            known = f"{', '.join(TRACKERS)} or none"
            raise argparse.ArgumentTypeError(f"{name!r} is unknown; use {known}")
        # Keras writes for TensorBoard itself. A folder named wandb, of earlier runs, has no origin.
        spec = importlib.util.find_spec(name)
        if name != "tensorboard" and not (spec and spec.origin):
            raise argparse.ArgumentTypeError(f"{name} is not installed: `make tracking` adds it")
    return names


def start(
    names: Sequence[str], model: str, recipe: Recipe, data: Dataset, command: str
) -> list[TensorBoard]:
    """Begin to track.

    Args:
        names: of TRACKERS. model: its name. command: what started the run.
    """
    from keras_to_lambda.train.fit.fitting import identity

    facts = {
        **recipe.to_json(),
        "data_sha256": data.sha256,
        "train": len(data.splits["train"]),
        "labels": list(data.labels),
        "command": command,
    }
    whole = json.dumps([model, identity(recipe, data)], sort_keys=True)
    key = hashlib.sha256(whole.encode()).hexdigest()[:10]
    return [TRACKERS[each](model, key, facts) for each in names]
