"""Loop: the epochs of one phase, from its first step or from where it was stopped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tqdm import tqdm

from keras_to_lambda.train import backbones, feeds, files, networks, schedule
from keras_to_lambda.train.recipe import ALL, Backbone, Phase, Recipe, Stage
from keras_to_lambda.train.run import Run, Stopped

KEPT = 3  # of the best epochs' files

Weights = list[npt.NDArray[Any]]


class Loop:
    """One phase of a run.

    Args:
        run: whose phase.
        phase: what is done.
        weights: that the phase starts with; none: new ones.
        state: of this phase, as it was saved; {}: it begins.

    Raises:
        DataError: the network, or its weights, cannot be had.
    """

    def __init__(self, run: Run, phase: Phase, weights: Weights, state: dict[str, Any]) -> None:
        self._run, self._phase = run, phase
        recipe, data = run.recipe, run.data
        pictures = data.splits["train"]
        self._batch_size = min(recipe.batch_size, len(pictures))
        self._steps = len(pictures) // self._batch_size  # what is left over waits for another epoch
        self._card = replace(run.card, height=phase.size, width=phase.size)
        sizes = {stage.size for stage in phase.stages}
        with _policy(recipe.precision):
            size = phase.size if len(sizes) == 1 else None
            self._network, self._average = (
                networks.build(recipe, len(data.labels), size) for _ in range(2)
            )
        self._start(weights)
        self._freeze()
        frozen = phase.layers == 0
        self._part, average = (
            network.head if frozen else network.model for network in (self._network, self._average)
        )
        self._infer = tf.function(
            lambda x: average(x, training=False), reduce_retracing=True, autograph=False
        )
        self._features: feeds.Features | None = None
        self._validation: Iterable[npt.NDArray[np.float32]]
        if frozen:
            run.tell(
                f"the frozen network's features of {len(pictures):,} pictures, in "
                f"{recipe.views + 1} views: computed once"
            )
            self._features = feeds.Features(run, self._card, self._network.base)
            self._validation = self._features.validation
        else:
            self._validation = feeds.Validation(run, self._card)
        self._optimizer = _optimizer(recipe)
        self._optimizer.build(self._part.trainable_variables)
        self._step = self._compiled(average)
        self._loss, self._seconds = 0.0, 0.0
        # worth: accuracy and -loss. files: of this phase's best epochs, the best one last.
        self._best: dict[str, Any] = {"worth": None, "files": []}
        self._begun = weights
        self._done = 0
        self._saved = time.monotonic()
        if state:
            self._resume(state)
        elif weights and recipe.keep == "best":
            # An epoch is taken if it is better than what the phase began with.
            loss, accuracy = self._validate()
            self._best["worth"] = [accuracy, -loss]

    def run(self, save: Callable[[dict[str, Any]], None]) -> Weights:
        """Train, and return the weights that the phase ends with.

        Args:
            save: keeps a state.

        Raises:
            Stopped: as asked.
        """
        first = 0
        for stage in self._phase.stages:
            last = first + stage.epochs
            done = self._done // self._steps
            if done < last and not self._exhausted():
                # One feed for the stage: the next epoch is prepared during validation.
                batches = self._feed(stage, last)
                for epoch in range(max(first, done), last):
                    self._epoch(epoch, stage, batches, save)
                    if self._exhausted():
                        break
            first = last
        self._prune()
        if self._run.recipe.keep == "last":
            return list(self._average.model.get_weights())
        if not self._best["files"]:
            return self._begun
        best = self._run.folder / self._best["files"][-1]
        return list(keras.saving.load_model(best, compile=False).get_weights())

    def _feed(self, stage: Stage, last: int) -> feeds.Batches:
        run, end = self._run, last * self._steps
        feed = self._features or feeds.Crops(run, self._card, stage)
        return feed.steps(self._done, end, self._batch_size)

    def _epoch(
        self,
        epoch: int,
        stage: Stage,
        batches: feeds.Batches,
        save: Callable[[dict[str, Any]], None],
    ) -> None:
        last = (epoch + 1) * self._steps
        losses = self._losses()
        bar = tqdm(
            range(self._done, last), f"epoch {epoch + 1}", unit=" steps", disable=None, leave=False
        )
        for number in bar:
            start = time.monotonic()
            self._optimizer.learning_rate = self._rate(number, losses)
            self._loss += float(self._step(*next(batches)))
            self._seconds += time.monotonic() - start
            self._done = number + 1
            if self._done < last:
                self._save_or_stop(save)
        self._close(epoch, stage)
        self._save_or_stop(save)

    def _rate(self, step: int, losses: list[float]) -> float:
        recipe, epochs = self._run.recipe, self._phase.epochs
        return schedule.rate(
            recipe.schedule,
            self._phase.learning_rate,
            step,
            warmup=round(min(recipe.warmup_epochs, epochs / 10) * self._steps),
            steps=epochs * self._steps,
            losses=losses,
        )

    def _losses(self) -> list[float]:
        """Validation losses of this phase's epochs so far."""
        history = self._run.history
        return [e["validation_loss"] for e in history if e["phase"] == self._phase.name]

    def _exhausted(self) -> bool:
        return schedule.exhausted(self._losses(), self._run.recipe.patience)

    def _save_or_stop(self, save: Callable[[dict[str, Any]], None]) -> None:
        stopping = self._run.asked_to_stop
        if stopping or time.monotonic() - self._saved > self._run.save_every:
            save(self._state())
            self._saved = time.monotonic()
            self._prune()
        if stopping:
            raise Stopped

    def _state(self) -> dict[str, Any]:
        return {
            "step": self._done,
            "loss": self._loss,
            "seconds": self._seconds,
            "best": self._best,
            "begun": self._begun,
            # Variables, not weights: dropout's random state is among them.
            "network": _values(self._network.model.variables),
            "average": _values(self._average.model.variables),
            "optimizer": _values(self._optimizer.variables),
        }

    def _resume(self, state: dict[str, Any]) -> None:
        for variables, values in (
            (self._network.model.variables, state["network"]),
            (self._average.model.variables, state["average"]),
            (self._optimizer.variables, state["optimizer"]),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        self._done, self._best, self._begun = state["step"], state["best"], state["begun"]
        self._loss, self._seconds = state["loss"], state["seconds"]

    def _close(self, epoch: int, stage: Stage) -> None:
        """Validate, and tell everybody."""
        run, start = self._run, time.monotonic()
        loss, accuracy = self._validate()
        entry = {
            "epoch": len(run.history) + 1,
            "phase": self._phase.name,
            "size": stage.size,
            "loss": round(self._loss / self._steps, 4),
            "learning_rate": round(float(self._optimizer.learning_rate), 8),
            "validation_loss": round(loss, 4),
            "validation_accuracy": round(accuracy, 4),
            "seconds": round(self._seconds + time.monotonic() - start, 2),
        }
        run.history.append(entry)
        self._loss, self._seconds = 0.0, 0.0
        self._keep(loss, accuracy)
        run.tell(self._line(entry, epoch))
        for watcher in run.watch:
            watcher(entry)

    def _validate(self) -> tuple[float, float]:
        """Mean cross-entropy and accuracy of the averaged weights on the validation pictures."""
        scores = np.concatenate([self._infer(tf.constant(x)).numpy() for x in self._validation])
        targets = self._run.data.splits["validation"].targets
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, scores)
        return float(tf.reduce_mean(losses)), float(np.mean(scores.argmax(axis=1) == targets))

    def _keep(self, loss: float, accuracy: float) -> None:
        """Keep the averaged weights in a file named for what they are worth, if they are the best.

        The best has the highest accuracy and, of equals, the lowest loss.
        """
        run = self._run
        worth = [accuracy, -loss]
        if self._best["worth"] and worth <= self._best["worth"]:
            return
        run.folder.mkdir(parents=True, exist_ok=True)
        name = f"{run.card.name}-{len(run.history):03}-{accuracy:.4f}.keras"
        draft = run.folder / f"draft-{name}"
        self._average.model.save(draft)
        draft.replace(run.folder / name)
        # What `convert` and `evaluate` read of it; the run's own comes with the run's end.
        files.write_json(run.folder / f"{run.card.name}.card.json", run.card.to_json())
        self._best = {"worth": worth, "files": [*self._best["files"], name]}

    def _prune(self) -> None:
        """Remove all but the best few: after a state is saved, as the one before names others."""
        for name in self._best["files"][:-KEPT]:
            (self._run.folder / name).unlink(missing_ok=True)
        self._best["files"] = self._best["files"][-KEPT:]

    def _start(self, weights: Weights) -> None:
        recipe, network = self._run.recipe, self._network
        if weights:
            network.model.set_weights(weights)
        elif isinstance(recipe.network, Backbone) and network.backbone and recipe.pretrained:
            backbones.load(recipe.network, self._phase.size, network.backbone)
        self._average.model.set_weights(network.model.get_weights())

    def _freeze(self) -> None:
        """Freeze the layers that this phase leaves alone, and trained batch normalizations."""
        network, layers = self._network, self._phase.layers
        if network.backbone is None or not self._run.recipe.pretrained:
            return
        own = network.backbone.layers
        first = 0 if layers == ALL else len(own) - layers
        for index, layer in enumerate(own):
            norm = isinstance(layer, keras.layers.BatchNormalization)
            layer.trainable = index >= first and not norm

    def _compiled(self, average: keras.Model) -> Callable[..., tf.Tensor]:
        """The compiled step: what the network sees (batch, ...), labels (batch, labels) -> loss."""
        recipe, part, optimizer = self._run.recipe, self._part, self._optimizer
        smooth, labels = recipe.label_smoothing, len(self._run.data.labels)
        variables = part.trainable_variables
        balance = tf.constant(_class_weights(self._run), tf.float32)
        # Where batch normalization learns, its statistics are averaged along with the rest.
        moving = {id(v) for v in (variables if recipe.pretrained else part.weights)}
        pairs = [
            (mean, now)
            for mean, now in zip(average.weights, part.weights, strict=True)
            if id(now) in moving
        ]

        @tf.function(reduce_retracing=True, autograph=False)
        def step(x: tf.Tensor, truth: tf.Tensor) -> tf.Tensor:
            weights = tf.linalg.matvec(truth, balance)
            truth = truth * (1.0 - smooth) + smooth / labels
            with tf.GradientTape() as tape:
                scores = part(x, training=True)
                losses = tf.nn.softmax_cross_entropy_with_logits(truth, scores)
                loss = tf.reduce_mean(weights * losses)
                scaled = optimizer.scale_loss(loss)
            optimizer.apply(tape.gradient(scaled, variables), variables)
            # Early on, the average forgets the random start: min(decay, (1 + t) / (10 + t)).
            taken = tf.cast(optimizer.iterations, tf.float32)
            keep = tf.minimum(recipe.average_decay, (1.0 + taken) / (10.0 + taken))
            for mean, now in pairs:
                mean.assign(now + keep * (mean - now))
            return loss

        return step

    def _line(self, entry: dict[str, Any], epoch: int) -> str:
        # What is left of the phase at the pace of the last epoch or, for a stage to come, at that
        # pace times the ratio of pixels.
        left, first = 0.0, 0
        for stage in self._phase.stages:
            to_do = min(stage.epochs, max(0, first + stage.epochs - epoch - 1))
            left += to_do * entry["seconds"] * (stage.size / entry["size"]) ** 2
            first += stage.epochs
        pace = f"{left / 60:.0f} min left" if left >= 60 else f"{left:.0f} s left"
        return (
            f"{self._phase.name} {epoch + 1:3}/{self._phase.epochs}  {entry['size']} px"
            f"  loss {entry['loss']:.3f}  validation {entry['validation_loss']:.3f}"
            f"  accuracy {entry['validation_accuracy']:.3f}  {entry['seconds']:5.1f} s"
            f"  about {pace}"
        )


def _class_weights(run: Run) -> npt.NDArray[np.float64]:
    """(labels,): over an epoch their mean is 1: balancing does not change the learning rate."""
    counts = np.bincount(run.data.splits["train"].targets, minlength=len(run.data.labels))
    weights = counts**-run.recipe.balance
    return np.asarray(weights * counts.sum() / (weights @ counts))


def _values(variables: Iterable[Any]) -> Weights:
    return [np.asarray(variable) for variable in variables]


@contextlib.contextmanager
def _policy(name: str) -> Iterator[None]:
    """Layers made within compute in this precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _optimizer(recipe: Recipe) -> keras.optimizers.Optimizer:
    """The rate is assigned at each step."""
    if recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(recipe.learning_rate, recipe.weight_decay)
        # Scales and offsets have no reason to be small.
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    else:
        optimizer = keras.optimizers.Adam(recipe.learning_rate)
    if recipe.precision == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
