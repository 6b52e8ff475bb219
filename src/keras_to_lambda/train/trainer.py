"""Trainer: a recipe and pictures -> weights, phase by phase; it can be stopped and resumed."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from keras_to_lambda.train import networks
from keras_to_lambda.train.loop import Loop
from keras_to_lambda.train.run import Run, Stopped, identity

STATE = "state.npz"


@dataclass(eq=False)
class Trainer(Run):
    """One run, from its first step or from where it was stopped."""

    def __post_init__(self) -> None:
        self._weights: list[npt.NDArray[Any]] = []  # of the whole network, between phases
        self._start, self._earlier = time.monotonic(), 0.0
        self._identity = identity(self.recipe, self.data)

    def run(self) -> None:
        """Train to the end, from the last checkpoint if there is one of the same run.

        Raises:
            Stopped: by Ctrl-C or SIGTERM; what it takes to go on is written.
            DataError: the network, or its weights, cannot be had.
        """
        at, state = self._restore()
        with self._listening():
            for number, phase in enumerate(self.recipe.phases()):
                if number < at:
                    continue
                # Dropout's masks follow from the phase, not from what was built before.
                keras.utils.set_random_seed(self.recipe.seed + number)
                loop = Loop(self, phase, self._weights, state)
                state = {}
                self._weights = loop.run(lambda state, phase=number: self._save(phase, state))
                self._save(number + 1, {"weights": self._weights})

    def result(self) -> keras.Model:
        """The trained network at the size that is served: what is saved. Float32."""
        model = networks.build(self.recipe, len(self.data.labels), self.recipe.served_size).model
        model.set_weights(self._weights)
        return model

    @property
    def seconds(self) -> float:
        """How long all that is in the result has taken, decoding and earlier starts included."""
        return self._earlier + time.monotonic() - self._start

    def _save(self, phase: int, state: dict[str, Any]) -> None:
        """Write the state, lists of arrays and JSON values: one file, replaced whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays, plain = {}, {}
        for name, value in state.items():
            if isinstance(value, list):
                plain[name] = len(value)
                arrays |= {f"{name}/{index}": array for index, array in enumerate(value)}
            else:
                plain[name] = value
        record = {
            "identity": self._identity,
            "history": self.history,
            "seconds": self.seconds,
            "phase": phase,
            "lists": {name: plain.pop(name) for name in state if isinstance(state[name], list)},
            "state": plain,
        }
        draft = self.folder / f"{STATE}.part"
        with draft.open("wb") as file:
            np.savez(file, record=json.dumps(record), **arrays)
        draft.replace(self.folder / STATE)

    def _restore(self) -> tuple[int, dict[str, Any]]:
        """The phase that a stopped run was in, and its state: {} at the phase's start."""
        path = self.folder / STATE
        if not path.exists():
            self._forget()
            return 0, {}
        with np.load(path) as file:
            record = json.loads(str(file["record"]))
            if record["identity"] != self._identity:
                self.tell(f"{self.folder} is of another run: starting from the beginning")
                self._forget()
                return 0, {}
            state = record["state"]
            for name, count in record["lists"].items():
                state[name] = [file[f"{name}/{index}"] for index in range(count)]
        self.history, self._earlier = record["history"], record["seconds"]
        if self.history:
            self.tell(f"resuming after epoch {len(self.history)}")
        if "step" not in state:
            self._weights, state = state["weights"], {}
        return record["phase"], state

    def _forget(self) -> None:
        """Remove an earlier run's epochs: nobody could tell them from this one's."""
        for path in self.folder.glob(f"{self.card.name}-*.keras"):
            path.unlink()

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the run after the step that is being made; twice, at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the main thread's
            return

        def stop(_number: int, _frame: object) -> None:
            self.asked_to_stop = True
            restore()

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            restore()


def logits(
    model: keras.Model, tensors: Iterator[npt.NDArray[np.float32]]
) -> npt.NDArray[np.float32]:
    """The model's answers to batches: float32, (pictures, labels)."""
    infer = tf.function(lambda x: model(x, training=False), reduce_retracing=True, autograph=False)
    return np.concatenate([infer(tf.constant(batch)).numpy() for batch in tensors])


__all__ = ["Stopped", "Trainer", "logits"]
