"""The serving side: what runs in the sandbox with a `.tflite`, by the function's own path."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_to_lambda.cli import progress
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.inference.pipeline import Pipeline
from keras_to_lambda.runtime.inference.telemetry import Stopwatch
from keras_to_lambda.runtime.model import engine
from keras_to_lambda.runtime.model import interpreter as runtime
from keras_to_lambda.runtime.sources.images import Raw

# Inferences on each thread count after the photos, for the medians.
TIMED = 50


def run(*, model: str, photos: Sequence[str], folder: str, threads: Sequence[int] = (1,)) -> Any:
    """Answer photos with a `.tflite`, card included, as the function does.

    folder: gets logits.npy, float32 (photos, classes). threads: the thread counts to time; the
    answers are of the first. Returns ms: the median of one inference by thread count; decode_ms:
    the median of decoding a photo; load_ms: from the path to the end of the first inference;
    interpreter: its package.
    """
    start = time.perf_counter()
    classifier = runtime.Classifier(Path(model), threads[0])
    card = classifier.card
    blank = np.zeros((card.height, card.width, card.channels), np.float32)
    classifier.logits(blank)
    load_ms = (time.perf_counter() - start) * 1000

    settings = Settings(model_path=model, num_threads=threads[0], log_level="FATAL")
    pipeline = Pipeline(settings)
    rows, times, decodes = [], [], []
    for photo in progress.progress(photos):
        watch = Stopwatch()
        try:
            source = Raw(Path(photo).read_bytes())
            rows.append(pipeline.logits(source, Deadline(60), watch))
        except ClassifierError as error:
            raise ConvertError(
                f"{photo} is read by Keras, but refused by the serving path: {error}"
            ) from error
        times.append(watch.stages["inference"])
        decodes.append(watch.stages["decode"])
    np.save(Path(folder) / "logits.npy", np.array(rows, np.float32))
    ms = {str(threads[0]): float(np.median(times))}
    for count in threads[1:]:
        ms[str(count)] = _median_ms(runtime.Classifier(Path(model), count), blank)
    return {
        "ms": ms,
        "decode_ms": float(np.median(decodes)),
        "load_ms": load_ms,
        "interpreter": engine.package(),
    }


def _median_ms(classifier: runtime.Classifier, tensor: np.ndarray) -> float:
    times = []
    for _ in range(TIMED):
        start = time.perf_counter()
        classifier.logits(tensor)
        times.append((time.perf_counter() - start) * 1000)
    return float(np.median(times[TIMED // 10 :]))
