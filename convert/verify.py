"""Verification: the same photos through Keras as it was trained, and through the serving path."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from classifier.card import ModelCard
from classifier.deadline import Deadline
from classifier.errors import ClassifierError
from classifier.handler import Handler
from classifier.settings import Settings
from classifier.sources import Raw
from classifier.telemetry import Stopwatch
from convert import reference
from convert.errors import ConvertError
from convert.keras_model import predict
from convert.terminal import quiet


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the two may part.

    agreement: at least this share of the samples has the same top-1 label (0..1).
    difference: the mean absolute logit difference is at most this share of the logits' spread
        (largest minus smallest logit of a sample, averaged over the samples).
    """

    agreement: float
    difference: float


# Measured on the clothing and the ImageNet model: see docs/conversion.md for the figures behind.
TOLERANCES = {
    "none": Tolerance(agreement=1.0, difference=1e-4),
    "float16": Tolerance(agreement=0.98, difference=5e-3),
    "dynamic": Tolerance(agreement=0.90, difference=3e-2),
    "int8": Tolerance(agreement=0.90, difference=3e-2),
}


@dataclass(frozen=True, slots=True)
class Verification:
    """What was measured.

    samples: photos compared. skipped: files that Keras could not read.
    agreement: share of the samples with the same top-1 label, 0..1.
    max_difference, mean_difference: of the logits, absolute. spread: see Tolerance.
    keras_ms, tflite_ms: median milliseconds of one inference, TensorFlow's graph on all cores and
        the interpreter on one thread.
    model_bytes: size of the flatbuffer.
    """

    samples: int
    skipped: int
    agreement: float
    max_difference: float
    mean_difference: float
    spread: float
    keras_ms: float
    tflite_ms: float
    model_bytes: int
    tolerance: Tolerance

    @property
    def faults(self) -> list[str]:
        """A sentence for each way in which the tolerance is exceeded; empty: verified."""
        allowed, found = self.tolerance, []
        if self.agreement < allowed.agreement:
            found.append(
                f"top-1 labels agree on {self.agreement:.1%} of the samples, "
                f"less than {allowed.agreement:.1%}"
            )
        # Written so that a NaN is a fault.
        if not self.mean_difference <= allowed.difference * self.spread:
            found.append(
                f"logits differ by {self.mean_difference:.3g} on average, more than "
                f"{allowed.difference:g} of their spread ({self.spread:.3g})"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """For the card."""
        return {**asdict(self), "passed": not self.faults}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One photo on both sides: logits, float32 (classes,)."""

    path: Path
    keras: np.ndarray
    served: np.ndarray


class ServingPath:
    """The handler's own path, from the file's bytes to the logits, on one thread."""

    def __init__(self, model: Path) -> None:
        self._handler = Handler(Settings(model_path=model, num_threads=1, log_level="FATAL"))
        self.card: ModelCard = self._handler.classifier.card
        self.inference_ms: list[float] = []

    def logits(self, photo: Path) -> np.ndarray:
        """float32, (classes,)."""
        watch = Stopwatch()
        logits = self._handler.logits(Raw(photo.read_bytes()), Deadline(60), watch)
        self.inference_ms.append(watch.stages["inference"])
        return logits


def verify(
    graph: Any,
    model: Path,
    photos: Sequence[Path],
    tolerance: Tolerance,
    progress: Callable[[Iterable[Path]], Iterable[Path]] = iter,
) -> tuple[Verification, list[Outcome]]:
    """Compare a Keras network with the `.tflite` made of it.

    Raises:
        ConvertError: no sample can be read, or one that Keras reads is refused by the serving path.

    Args:
        graph: the network, as `KerasModel.concrete` gives it.
        model: the `.tflite`, card included.
        photos: the samples.
        progress: wraps the iteration, to show how far it is.
    """
    with quiet():
        served = ServingPath(model)
    outcomes, keras_ms, skipped = [], [], 0
    for photo in progress(photos):
        try:
            tensor = reference.tensor(photo, served.card)
        except OSError:  # Pillow's for what it cannot read
            skipped += 1
            continue
        try:
            answer = served.logits(photo)
        except ClassifierError as error:
            raise ConvertError(
                f"{photo} is read by Keras, but refused by the serving path: {error}"
            ) from error
        start = time.perf_counter()
        expected = predict(graph, tensor)
        keras_ms.append((time.perf_counter() - start) * 1000)
        outcomes.append(Outcome(photo, expected, answer))
    if not outcomes:
        raise ConvertError("none of the samples could be read")
    difference = np.abs(np.stack([o.keras - o.served for o in outcomes]))
    return Verification(
        samples=len(outcomes),
        skipped=skipped,
        agreement=float(np.mean([o.keras.argmax() == o.served.argmax() for o in outcomes])),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        spread=float(np.mean([np.ptp(o.keras) for o in outcomes])),
        keras_ms=float(np.median(keras_ms)),
        tflite_ms=float(np.median(served.inference_ms)),
        model_bytes=served.card.model_bytes or model.stat().st_size,
        tolerance=tolerance,
    ), outcomes


def is_probabilities(answers: Iterator[np.ndarray]) -> bool:
    """Whether a network's outputs are probabilities: none negative, and each row's sum is 1."""
    rows = np.stack(list(answers))
    return bool((rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-3))
