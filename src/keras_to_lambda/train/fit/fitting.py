"""Fitting: a recipe and pictures -> weights, by one `keras.Model.fit` for each phase."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_to_lambda.atomic_files import write_json
from keras_to_lambda.runtime.model_file.card import ModelCard
from keras_to_lambda.train.data.dataset import Dataset
from keras_to_lambda.train.fit import backbones, batches, networks
from keras_to_lambda.train.fit.augmentation import Augment
from keras_to_lambda.train.fit.networks import Network
from keras_to_lambda.train.fit.recipe import Backbone, Phase, Recipe

KEPT = 3  # checkpoints of a phase
PLATEAU = 3  # epochs without a lower validation loss, after which the learning rate falls
LOWEST = 0.01  # exponential: the share of the learning rate at the end
ACCURACY = "val_accuracy"

Callbacks = Callable[[], Sequence[keras.callbacks.Callback]]


@dataclass(eq=False)
class TrainingRun:
    """One training run; started again with the same arguments, it continues.

    recipe, data: what is trained, and on what. card: of the saved model.
    folder: for the run's state and its checkpoints.
    cache: for decoded pictures and features, which several runs may share.
    more_callbacks: makes further callbacks for a phase.
    verbose: as for `fit`.
    history: one entry per epoch: epoch, phase, size, loss, accuracy, validation_loss,
        validation_accuracy, learning_rate, seconds.
    """

    recipe: Recipe
    card: ModelCard
    data: Dataset
    folder: Path
    cache: Path
    more_callbacks: Callbacks = lambda: ()
    verbose: int = field(default_factory=lambda: 1 if sys.stdout.isatty() else 2)
    history: list[dict[str, Any]] = field(default_factory=list, init=False)

    def fit(self) -> keras.Model:
        """Train to the end. Returns the network at the size that is served, not compiled.

        Raises:
            DataError: the network, or its weights, cannot be had.
        """
        self._begin()
        phases = self.recipe.phases()
        for number, phase in enumerate(phases):
            done = self.folder / f"phase-{number}.keras"
            if done.exists():
                continue
            earlier = self.folder / f"phase-{number - 1}.keras"
            previous = keras.saving.load_model(earlier) if number else None
            keras.utils.set_random_seed(self.recipe.seed + number)
            model = self._fit(phase, previous)
            draft = self.folder / f"draft-{number}.keras"
            model.save(draft)
            draft.replace(done)
        last = keras.saving.load_model(
            self.folder / f"phase-{len(phases) - 1}.keras", compile=False
        )
        plain = networks.build(self.recipe, len(self.data.labels), self.recipe.served_size).model
        plain.set_weights(last.get_weights())
        return plain

    def clean(self, *, keep_checkpoints: bool) -> None:
        """Remove the run's state, after its end."""
        if not keep_checkpoints:
            shutil.rmtree(self.folder)
            return
        shutil.rmtree(self.cache, ignore_errors=True)
        for path in (*self.folder.glob("phase-*.keras"), self._log, self.folder / "run.json"):
            path.unlink()

    @property
    def seconds(self) -> float:
        """The time of all epochs."""
        return float(sum(entry["seconds"] for entry in self.history))

    def _begin(self) -> None:
        """Read the history of an interrupted run, or forget another run's state."""
        self.folder.mkdir(parents=True, exist_ok=True)
        mark, facts = self.folder / "run.json", identity(self.recipe, self.data)
        if mark.exists() and json.loads(mark.read_text(encoding="utf-8")) != facts:
            print(f"{self.folder} has another run: starting from the beginning", flush=True)
            for path in sorted(self.folder.rglob("*"), reverse=True):
                if path.is_file() and not path.is_relative_to(self.cache):
                    path.unlink()
        write_json(mark, facts)
        if self._log.exists():
            self.history = json.loads(self._log.read_text(encoding="utf-8"))
            print(f"continuing after epoch {len(self.history)}", flush=True)

    @property
    def _log(self) -> Path:
        return self.folder / "history.json"

    def _fit(self, phase: Phase, previous: keras.Model | None) -> keras.Model:
        """Returns the whole network, with the weights that the phase ends with."""
        recipe, data = self.recipe, self.data
        card = dataclasses.replace(self.card, height=phase.size, width=phase.size)
        network = networks.build(recipe, len(data.labels), phase.size)
        if previous:
            network.model.set_weights(previous.get_weights())
        elif isinstance(recipe.network, Backbone) and network.backbone and recipe.pretrained:
            backbones.load(recipe.network, phase.size, network.backbone)
        if recipe.pretrained:
            network.freeze(phase.layers)
        count = len(data.splits["train"])
        size = min(recipe.batch_size, count)
        train, validation = self._batches(phase, card, network, size)
        fitted = network.model if phase.layers else network.head
        steps = count // size
        fitted.compile(
            optimizer=_optimizer(recipe, phase, steps),
            loss=keras.losses.CategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        fitted.optimizer.build(fitted.trainable_variables)
        if previous and phase.start < phase.first:
            for mine, theirs in zip(
                fitted.optimizer.variables, previous.optimizer.variables, strict=True
            ):
                mine.assign(theirs)
        best = self._checkpoints(phase, card, network, previous, validation)
        fitted.fit(
            train,
            epochs=phase.last,
            initial_epoch=phase.first,
            steps_per_epoch=steps,
            validation_data=validation,
            class_weight=_class_weights(data, recipe.balance),
            callbacks=[
                # Before the averages are swapped in, which are no state to continue from.
                keras.callbacks.BackupAndRestore(self.folder / f"backup-{phase.first}"),
                keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
                _Log(phase, self.history, self._log),
                best,
                *self._stopping(),
                *self.more_callbacks(),
            ],
            shuffle=False,  # the batches are shuffled already
            verbose=self.verbose,
        )
        if recipe.keep == "best" and (path := best.latest()):
            network.model.set_weights(keras.saving.load_model(path, compile=False).get_weights())
        elif recipe.keep == "best" and previous:
            network.model.set_weights(previous.get_weights())
        return network.model

    def _batches(
        self, phase: Phase, card: ModelCard, network: Network, size: int
    ) -> tuple[tf.data.Dataset, tf.data.Dataset]:
        recipe, data = self.recipe, self.data
        seed = recipe.seed + phase.first
        augment = Augment(recipe, phase.mix, seed)
        if not phase.layers:
            features = batches.Features(data, recipe, card, network.base, augment, self.cache)
            return features.training(size, seed), features.validation
        images = {
            name: batches.stored(data, name, card, self.cache) for name in ("train", "validation")
        }
        truth = batches.one_hot(data, "train", recipe.label_smoothing)
        return (
            batches.training(images["train"], truth, card, size, augment, seed),
            batches.served(images["validation"], batches.one_hot(data, "validation"), card).cache(),
        )

    def _checkpoints(
        self,
        phase: Phase,
        card: ModelCard,
        network: Network,
        previous: keras.Model | None,
        validation: tf.data.Dataset,
    ) -> WholeModels:
        known = [e["validation_accuracy"] for e in self.history if e["phase"] == phase.name]
        if previous and self.recipe.keep == "best":
            # An epoch is taken if it is better than the phase's start.
            fitted = network.model if phase.layers else network.head
            scores = fitted.evaluate(validation, verbose=0, return_dict=True)
            known.append(scores["accuracy"])
        return WholeModels(self.folder, network.model, card, phase, max(known, default=None))

    def _stopping(self) -> list[keras.callbacks.Callback]:
        recipe, callbacks = self.recipe, keras.callbacks
        early = callbacks.EarlyStopping(ACCURACY, patience=recipe.patience, mode="max")
        plateau = callbacks.ReduceLROnPlateau(
            "val_loss", factor=recipe.plateau_factor, patience=PLATEAU
        )
        return [early] * bool(recipe.patience) + [plateau] * (recipe.schedule == "plateau")


class WholeModels(keras.callbacks.ModelCheckpoint):  # type: ignore[misc]
    """Checkpoints NAME-EPOCH-ACCURACY.keras of the best epochs, each with its card beside it.

    whole: the model from pictures to logits, also where its head alone is fitted. threshold: the
    validation accuracy that an epoch has to surpass.
    """

    def __init__(
        self,
        folder: Path,
        whole: keras.Model,
        card: ModelCard,
        phase: Phase,
        threshold: float | None,
    ) -> None:
        super().__init__(
            str(folder / f"{card.name}-{{epoch:03d}}-{{{ACCURACY}:.4f}}.keras"),
            monitor=ACCURACY,
            mode="max",
            save_best_only=True,
            initial_value_threshold=threshold,
        )
        self._whole, self._card, self._phase, self._folder = whole, card, phase, folder

    def set_model(self, model: keras.Model) -> None:
        """Ignore the fitted model."""
        super().set_model(self._whole)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save, and remove all but the best few of this phase."""
        super().on_epoch_end(epoch, logs)
        paths = self._paths()
        for path in paths[:-KEPT]:
            path.unlink()
            path.with_suffix(".card.json").unlink(missing_ok=True)
        for path in paths[-KEPT:]:
            write_json(path.with_suffix(".card.json"), self._card.to_json())

    def latest(self) -> Path | None:
        """The phase's best epoch."""
        return next(reversed(self._paths()), None)

    def _paths(self) -> list[Path]:
        """Of this phase, the best last."""
        start = len(self._card.name) + 1
        found = sorted(self._folder.glob(f"{self._card.name}-[0-9]*-[01].[0-9]*.keras"))
        epochs = {path: int(path.name[start:].partition("-")[0]) for path in found}
        return [p for p, epoch in epochs.items() if self._phase.first < epoch <= self._phase.last]


class _Log(keras.callbacks.Callback):  # type: ignore[misc]
    """Adds an entry per epoch to the history and its file."""

    def __init__(self, phase: Phase, history: list[dict[str, Any]], path: Path) -> None:
        super().__init__()
        self._phase, self._history, self._path = phase, history, path
        self._start = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the entry."""
        found = {name: round(float(value), 4) for name, value in (logs or {}).items()}
        entry = {
            "epoch": epoch + 1,
            "phase": self._phase.name,
            "size": self._phase.size,
            "loss": found["loss"],
            "accuracy": found["accuracy"],
            "validation_loss": found["val_loss"],
            "validation_accuracy": found[ACCURACY],
            "learning_rate": float(f"{float(self.model.optimizer.learning_rate):.4g}"),
            "seconds": round(time.monotonic() - self._start, 2),
        }
        del self._history[epoch:]
        self._history.append(entry)
        write_json(self._path, self._history)


def identity(recipe: Recipe, data: Dataset) -> dict[str, Any]:
    """What distinguishes runs, as JSON gives it back."""
    weights = getattr(recipe.network, "weights", None)
    file = Path(weights) if weights not in (None, "imagenet") else None
    facts = {
        "recipe": recipe.to_json(),
        "weights": file.stat().st_size if file and file.is_file() else None,
        "data_sha256": data.sha256,
        "labels": data.labels,
        "members": {name: batches.members(split) for name, split in data.splits.items()},
    }
    compared: dict[str, Any] = json.loads(json.dumps(facts))
    return compared


def _optimizer(recipe: Recipe, phase: Phase, steps: int) -> keras.optimizers.Optimizer:
    epochs = phase.end - phase.start
    schedules = keras.optimizers.schedules
    warmup = round(min(recipe.warmup_epochs, epochs / 10) * steps)
    rates: dict[str, Callable[[], Any]] = {
        # Of 0 steps of warm-up, Keras would divide by them.
        "cosine": lambda: schedules.CosineDecay(
            0.0 if warmup else phase.rate,
            epochs * steps - warmup,
            warmup_target=phase.rate if warmup else None,
            warmup_steps=warmup,
        ),
        "constant": lambda: phase.rate,
        "exponential": lambda: schedules.ExponentialDecay(phase.rate, epochs * steps, LOWEST),
        "plateau": lambda: phase.rate,
    }
    optimizer = keras.optimizers.AdamW(
        rates[recipe.schedule](),
        weight_decay=recipe.weight_decay,
        use_ema=True,
        # Over a twentieth of a short phase at most: the average has to forget the start.
        ema_momentum=min(recipe.average_decay, max(0.0, 1 - 20 / (epochs * steps))),
    )
    # Scales and offsets have no reason to be small.
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _class_weights(data: Dataset, balance: float) -> dict[int, float]:
    """Their mean over an epoch is 1: balancing does not change the learning rate."""
    counts = np.bincount(data.splits["train"].targets, minlength=len(data.labels))
    weights = np.maximum(counts, 1.0) ** -balance
    weights *= counts.sum() / (weights @ counts)
    return dict(enumerate(weights.tolist()))


def logits(model: keras.Model, data: Dataset, name: str, card: ModelCard) -> Any:
    """The model's answers to the pictures of a split, as they are served: (pictures, labels)."""
    parts = data.splits[name].tensors(card)
    return np.concatenate([model.predict_on_batch(batch) for batch in parts])
