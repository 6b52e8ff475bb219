"""Fitting: a recipe and pictures -> weights, by one `keras.Model.fit` for each phase."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_to_lambda.atomic_files import write_json
from keras_to_lambda.convert.common.conversion_errors import listed
from keras_to_lambda.runtime.model_file.card import ModelCard
from keras_to_lambda.train.data.dataset import DataError, Dataset
from keras_to_lambda.train.fit import backbones, batches, networks
from keras_to_lambda.train.fit.augmentation import Augment
from keras_to_lambda.train.fit.networks import Network
from keras_to_lambda.train.fit.recipe import Backbone, Phase, Recipe

KEPT = 3  # checkpoints of a phase
# Epochs without a lower validation loss, after which the learning rate falls, and the factor.
PLATEAU, FACTOR = 3, 0.3
LOWEST = 0.01  # exponential: the share of the learning rate at the end
ACCURACY = "val_accuracy"

Callbacks = Callable[[], Sequence[keras.callbacks.Callback]]


@dataclass(eq=False)
class TrainingRun:
    """One training run; started again with the same arguments, it continues.

    recipe, data: what is trained, and on what. card: of the saved model.
    folder: for checkpoints, and the run's state in state/.
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
        """Train to the end. Returns the network at the size that is served, not compiled."""
        self.check()
        self._begin()
        model, path = None, self.state
        for number, phase in enumerate(self.recipe.phases()):
            earlier, path = path, self.state / f"phase-{number}.keras"
            if path.exists():
                continue
            previous = keras.saving.load_model(earlier) if number else None
            keras.utils.set_random_seed(self.recipe.seed + number)
            model = self._fit(phase, previous)
            draft = self.state / "draft.keras"
            model.save(draft)
            draft.replace(path)
        if model is None:
            model = keras.saving.load_model(path, compile=False)
        plain = networks.build(self.recipe, len(self.data.labels), self.recipe.served_size).model
        plain.set_weights(model.get_weights())
        return plain

    @property
    def state(self) -> Path:
        """What an interrupted run continues from."""
        return self.folder / "state"

    @property
    def _mark(self) -> Path:
        """The file of what distinguishes the run."""
        return self.state / "run.json"

    @property
    def log(self) -> Path:
        """The file of the history."""
        return self.state / "history.json"

    @property
    def seconds(self) -> float:
        """The time of all epochs."""
        return float(sum(entry["seconds"] for entry in self.history))

    def check(self) -> None:
        """Refuse to replace another run that was interrupted."""
        if not self._mark.exists():
            return
        known = json.loads(self._mark.read_text(encoding="utf-8"))
        if changed := changes(known, identity(self.recipe, self.data)):
            raise DataError(
                f"{self.folder} has an interrupted run that differs ({listed(changed)}): give "
                "its options to continue it, or delete that folder to start from the beginning"
            )

    def _begin(self) -> None:
        """Read the history of an interrupted run."""
        if not self._mark.exists():
            shutil.rmtree(self.folder, ignore_errors=True)  # a finished run's checkpoints
        self.state.mkdir(parents=True, exist_ok=True)
        write_json(self._mark, identity(self.recipe, self.data))
        if self.log.exists():
            self.history = json.loads(self.log.read_text(encoding="utf-8"))
            print(f"continuing after epoch {len(self.history)}", flush=True)

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
        smooth = recipe.label_smoothing  # not by the loss, which validation shares
        train = train.map(lambda x, y: (x, y * (1 - smooth) + smooth / len(data.labels)))
        fitted = network.model if phase.layers else network.head
        optimizer = _optimizer(recipe, phase, count // size)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        fitted.compile(optimizer, loss, metrics=["accuracy"])
        optimizer.build(fitted.trainable_variables)
        if previous and not recipe.pretrained:  # one schedule for all sizes
            states = optimizer.variables, previous.optimizer.variables
            for mine, theirs in zip(*states, strict=True):
                mine.assign(theirs)
        # An epoch is taken if it is better than the phase's start.
        start = 0.0
        if previous and recipe.keep == "best":
            start = fitted.evaluate(validation, verbose=0, return_dict=True)["accuracy"]
        best_epochs = BestEpochs(self, phase, card, network.model, start)
        callbacks = [
            # First the entry: a backup is of an epoch that the history has.
            Entries(self, phase),
            # Before the averages are swapped in, which are no state to continue from.
            WholeBackup(self.state / f"backup-{phase.first}"),
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            best_epochs,
            *self.more_callbacks(),
        ]
        if recipe.patience:
            callbacks.append(
                keras.callbacks.EarlyStopping(ACCURACY, patience=recipe.patience, mode="max")
            )
        schedule, _, factor = recipe.schedule.partition(":")
        if schedule == "plateau":
            callbacks.append(
                keras.callbacks.ReduceLROnPlateau(factor=float(factor or FACTOR), patience=PLATEAU)
            )
        fitted.fit(
            train,
            epochs=phase.last,
            initial_epoch=phase.first,
            steps_per_epoch=count // size,
            validation_data=validation,
            class_weight=_class_weights(data, recipe.balance),
            callbacks=callbacks,
            shuffle=False,  # the batches are shuffled already
            verbose=self.verbose,
        )
        if recipe.keep == "best":
            best = best_epochs.paths()[-1:]
            kept = keras.saving.load_model(best[0], compile=False) if best else previous
            if kept:
                network.model.set_weights(kept.get_weights())
        return network.model

    def _batches(
        self, phase: Phase, card: ModelCard, network: Network, size: int
    ) -> tuple[tf.data.Dataset, tf.data.Dataset]:
        recipe, data = self.recipe, self.data
        seed = recipe.seed + phase.first
        augment = Augment(recipe, phase, seed)
        if not phase.layers:
            train, validation = batches.features(
                data, recipe, card, network.base, augment, self.cache
            )
            rows = tf.data.Dataset.from_tensor_slices(train).shuffle(len(train[0]), seed).repeat()
            return (
                rows.batch(size, drop_remainder=True).prefetch(2),
                tf.data.Dataset.from_tensors(validation),
            )
        side = recipe.stored_size(phase.size)
        larger = dataclasses.replace(card, height=side, width=side)
        images = batches.stored(data, "train", larger, self.cache)
        held_back = batches.stored(data, "validation", card, self.cache)
        truth = batches.one_hot(data, "train")
        validation = batches.served(held_back, batches.one_hot(data, "validation"), card)
        return batches.training(images, truth, card, size, augment, seed), validation.cache()


class Entries(keras.callbacks.Callback):  # type: ignore[misc]
    """Adds each epoch to the history."""

    def __init__(self, run: TrainingRun, phase: Phase) -> None:
        super().__init__()
        self._run, self._phase = run, phase

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the entry, in place of that of an epoch which an interrupted run did not finish."""
        found = {name: round(float(value), 4) for name, value in (logs or {}).items()}
        history = self._run.history
        history[:] = [entry for entry in history if entry["epoch"] <= epoch]
        history.append({
            "epoch": epoch + 1,
            "phase": self._phase.name,
            "size": self._phase.size,
            "loss": found["loss"],
            "accuracy": found["accuracy"],
            "validation_loss": found["val_loss"],
            "validation_accuracy": found[ACCURACY],
            "learning_rate": float(f"{float(self.model.optimizer.learning_rate):.4g}"),
            "seconds": round(time.monotonic() - self._start, 2),
        })  # fmt: skip
        write_json(self._run.log, history)


class WholeBackup(keras.callbacks.BackupAndRestore):  # type: ignore[misc]
    """Keras' own, whose files appear whole: a kill while they are written leaves those before."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write what Keras restores, under its names."""
        folder = Path(self.backup_dir)
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / "draft.weights.h5"
        self.model.save_weights(draft, overwrite=True)
        draft.replace(folder / "latest.weights.h5")
        write_json(folder / "training_metadata.json", {"epoch": epoch + 1, "batch": 0})


class BestEpochs(keras.callbacks.ModelCheckpoint):  # type: ignore[misc]
    """Keeps the best few epochs of a phase as NAME-EPOCH-ACCURACY.keras.

    Args:
        card: of `whole`, the model from pictures to logits, also where its head alone is fitted.
        best: the validation accuracy that an epoch has to surpass.
    """

    def __init__(
        self, run: TrainingRun, phase: Phase, card: ModelCard, whole: keras.Model, best: float
    ) -> None:
        path = run.folder / f"{card.name}-{{epoch:03d}}-{{{ACCURACY}:.4f}}.keras"
        super().__init__(
            path, ACCURACY, mode="max", save_best_only=True, initial_value_threshold=best
        )
        self._run, self._phase, self._card, self._whole = run, phase, card, whole

    def set_model(self, model: keras.Model) -> None:
        """Save the whole model, whatever is fitted."""
        super().set_model(self._whole)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save a better model, and remove all but the best few of this phase."""
        super().on_epoch_end(epoch, logs)
        for path in self.paths():
            write_json(path.with_suffix(".card.json"), self._card.to_json())
        for path in self.paths()[:-KEPT]:
            path.unlink()
            path.with_suffix(".card.json").unlink()

    def paths(self) -> list[Path]:
        """The checkpoints of this phase, the best last."""
        found = []
        for path in self._run.folder.glob("*.keras"):
            _, epoch, accuracy = path.stem.rsplit("-", 2)
            if not zipfile.is_zipfile(path):  # the run was killed while it was written
                path.unlink()
            elif self._phase.first < int(epoch) <= self._phase.last:
                found.append((accuracy, epoch, path))
        return [path for *_, path in sorted(found)]


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


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two runs' identities, for people: "epochs 31 instead of 30"."""
    old, new = map(_flat, (before, now))
    found = [
        f"{name.replace('_', ' ')} {new.get(name)} instead of {old.get(name)}"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]
    if any(before.get(name) != now[name] for name in ("data_sha256", "labels", "members")):
        found.append("other data, or split otherwise")
    return found


def _flat(facts: dict[str, Any]) -> dict[str, Any]:
    """The choices of a run's identity, the network's first."""
    recipe = dict(facts["recipe"])
    network, ranges = recipe.pop("network"), recipe.pop("augmentation")
    return {**network, **recipe, **ranges, "bytes of weights": facts["weights"]}


def _optimizer(recipe: Recipe, phase: Phase, steps: int) -> keras.optimizers.Optimizer:
    """steps: of an epoch."""
    epochs = phase.last - phase.first if recipe.pretrained else recipe.epochs
    total = epochs * steps
    warmup = round(min(recipe.warmup_epochs, epochs / 10) * steps)
    rate: Any = phase.rate
    if recipe.schedule == "cosine":
        # Of 0 steps of warm-up, Keras would divide by them.
        start, target = (0.0, rate) if warmup else (rate, None)
        rate = keras.optimizers.schedules.CosineDecay(
            start, total - warmup, warmup_target=target, warmup_steps=warmup
        )
    elif recipe.schedule == "exponential":
        rate = keras.optimizers.schedules.ExponentialDecay(rate, total, LOWEST)
    optimizer = keras.optimizers.AdamW(
        rate,
        weight_decay=recipe.weight_decay,
        use_ema=True,
        # Over a twentieth of a short phase at most: the average has to forget the start.
        ema_momentum=min(recipe.average_decay, max(0.0, 1 - 20 / total)),
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
