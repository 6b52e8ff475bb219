"""Trainer: the loop that turns a recipe and photos into weights; it can be stopped and resumed."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train import augment, network

if TYPE_CHECKING:
    from pathlib import Path

    from classifier.card import ModelCard
    from train.photos import Dataset
    from train.recipe import Recipe, Stage

SAVE_EVERY_S = 60.0


class Trainer:
    """One run.

    model: any input size; the weights that the optimizer moves.
    average: the same network with their moving average, which is what a run is for.
    history: one entry an epoch: epoch, size, loss, learning_rate, seconds, validation_accuracy.
    """

    def __init__(self, recipe: Recipe, card: ModelCard, data: Dataset, checkpoints: Path) -> None:
        keras.utils.set_random_seed(recipe.seed)
        self.recipe, self.card, self.data = recipe, card, data
        self.history: list[dict[str, Any]] = []
        photos = data.splits["train"]
        self.batch_size = min(recipe.batch_size, len(photos))
        self.steps = len(photos) // self.batch_size  # an epoch; what is left over waits for another
        self.model = network.build(len(data.labels), recipe.network)
        self.average = network.build(len(data.labels), recipe.network)
        self.average.set_weights(self.model.get_weights())
        self.optimizer = _optimizer(recipe, self.steps)
        self.optimizer.build(self.model.trainable_variables)
        counts = np.bincount(photos.targets, minlength=len(data.labels))
        weights = counts**-recipe.balance
        # Over an epoch the weights' mean is 1: balancing does not change the learning rate.
        self.class_weights = tf.constant(weights * counts.sum() / (weights @ counts), tf.float32)
        self._folder = checkpoints
        self._checkpoint = tf.train.Checkpoint(
            model=self.model, average=self.average, optimizer=self.optimizer
        )
        self._identity = {
            # As JSON gives it back: a checkpoint's is compared with this one.
            "recipe": json.loads(json.dumps(dataclasses.asdict(recipe))),
            "data_sha256": data.sha256,
            "steps": self.steps,
        }

    def run(self) -> None:
        """Train to the end, from the last checkpoint if there is one of the same run."""
        self._restore()
        done = len(self.history)
        validation = self.data.splits["validation"]
        tensors = validation.tensors(self.card)
        saved = time.monotonic()
        first = 0
        for stage in self.recipe.stages():
            last = first + stage.epochs
            if done < last:
                side = round(augment.MARGIN * stage.size)
                pixels = self.data.splits["train"].pixels(self.card, side)
                step = self._step(stage, tf.constant(pixels))
                for epoch in range(max(first, done), last):
                    self._epoch(epoch, stage, step, tensors, validation.targets)
                    if time.monotonic() - saved > SAVE_EVERY_S or epoch + 1 == self.recipe.epochs:
                        self._save()
                        saved = time.monotonic()
            first = last

    def result(self) -> keras.Model:
        """The averaged network with its input size fixed: what is saved."""
        model = network.build(len(self.data.labels), self.recipe.network, self.recipe.size)
        model.set_weights(self.average.get_weights())
        return model

    def _epoch(
        self,
        epoch: int,
        stage: Stage,
        step: Any,
        tensors: npt.NDArray[np.float32],
        targets: npt.NDArray[np.int32],
    ) -> None:
        start = time.monotonic()
        photos = self.data.splits["train"]
        loss = tf.zeros([])
        for number, rows in enumerate(order(len(photos), self.batch_size, self.recipe.seed, epoch)):
            seed = [self.recipe.seed, epoch * self.steps + number]
            loss += step(tf.constant(rows), tf.constant(seed, tf.int32))
        accuracy = float(np.mean(logits(self.average, tensors).argmax(axis=1) == targets))
        self.history.append(
            {
                "epoch": epoch + 1,
                "size": stage.size,
                "loss": round(float(loss) / self.steps, 4),
                "learning_rate": round(float(self.optimizer.learning_rate), 7),
                "validation_accuracy": round(accuracy, 4),
                "seconds": round(time.monotonic() - start, 2),
            }
        )
        print(self._line(), flush=True)

    def _step(self, stage: Stage, pixels: tf.Tensor) -> Any:
        """The compiled step of a stage: rows (batch,), seed (2,) -> loss ()."""
        labels = len(self.data.labels)
        targets = tf.constant(self.data.splits["train"].targets)
        smooth = self.recipe.label_smoothing
        variables = self.model.trainable_variables

        @tf.function(reduce_retracing=True)
        def step(rows: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            crops, truth = augment.augment(
                tf.gather(pixels, rows),
                tf.one_hot(tf.gather(targets, rows), labels),
                seed,
                stage.size,
                stage.mix,
                self.recipe.augmentation,
            )
            weights = tf.linalg.matvec(truth, self.class_weights)
            truth = truth * (1.0 - smooth) + smooth / labels
            with tf.GradientTape() as tape:
                scores = self.model(crops, training=True)
                losses = tf.nn.softmax_cross_entropy_with_logits(truth, scores)
                loss = tf.reduce_mean(weights * losses)
            self.optimizer.apply(tape.gradient(loss, variables), variables)
            # Early on, the average forgets the random start: min(decay, (1 + t) / (10 + t)).
            taken = tf.cast(self.optimizer.iterations, tf.float32)
            keep = tf.minimum(self.recipe.average_decay, (1.0 + taken) / (10.0 + taken))
            # Batch normalization's statistics are weights too: averaged along with the rest.
            for mean, now in zip(self.average.weights, self.model.weights, strict=True):
                mean.assign(now + keep * (mean - now))
            return loss

        return step

    def _line(self) -> str:
        now = self.history[-1]
        # What is left, stage by stage, at the pace of the last epoch there or, for a stage to
        # come, at that pace times the ratio of pixels.
        left, first = 0.0, 0
        for stage in self.recipe.stages():
            to_do = min(stage.epochs, max(0, first + stage.epochs - now["epoch"]))
            left += to_do * now["seconds"] * (stage.size / now["size"]) ** 2
            first += stage.epochs
        return (
            f"epoch {now['epoch']:3}/{self.recipe.epochs}  {now['size']} px"
            f"  loss {now['loss']:.3f}  validation {now['validation_accuracy']:.3f}"
            f"  {now['seconds']:5.1f} s  about {left / 60:.0f} min left"
        )

    def _save(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        # The state first, then the file that refers to it: a stop in between loses one epoch only.
        epoch = len(self.history)
        old = list(self._folder.glob("state-*"))
        self._checkpoint.write(str(self._folder / f"state-{epoch}"))
        state = {"identity": self._identity, "history": self.history}
        temporary = self._folder / "progress.json.tmp"
        temporary.write_text(json.dumps(state), encoding="utf-8")
        temporary.replace(self._folder / "progress.json")
        for path in old:
            if not path.name.startswith(f"state-{epoch}."):
                path.unlink()

    def _restore(self) -> None:
        progress = self._folder / "progress.json"
        if not progress.exists():
            return
        state = json.loads(progress.read_text(encoding="utf-8"))
        if state["identity"] != self._identity:
            print(f"{self._folder} is of another run: starting from the beginning", flush=True)
            return
        self.history = state["history"]
        prefix = str(self._folder / f"state-{len(self.history)}")
        self._checkpoint.read(prefix).assert_consumed()
        print(f"resuming after epoch {len(self.history)}", flush=True)


def order(photos: int, batch_size: int, seed: int, epoch: int) -> npt.NDArray[np.int32]:
    """Which photos each step of an epoch sees: int32, (steps, batch_size), all different."""
    rows = np.random.default_rng((seed, epoch)).permutation(photos).astype(np.int32)
    steps = photos // batch_size
    return rows[: steps * batch_size].reshape(steps, batch_size)


def logits(model: keras.Model, tensors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The model's answers: float32, (photos, labels)."""
    answers: npt.NDArray[np.float32] = model.predict(tensors, batch_size=64, verbose=0)
    return answers


def _optimizer(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    warmup = min(recipe.warmup_epochs, recipe.epochs / 10) * steps
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=recipe.learning_rate,
        warmup_steps=max(1, round(warmup)),
        decay_steps=max(1, recipe.epochs * steps - round(warmup)),
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay)
    # Scales and offsets have no reason to be small.
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
