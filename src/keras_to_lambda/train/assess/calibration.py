"""Calibration: what a model's confidence is worth, measured on pictures that it was not trained on.

It is written into the model's card, for the playground and for answers with the best label alone.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.train.assess.metrics import Predictions

FEWEST = 30  # pictures; a temperature of fewer says little
PER_BIN = 25  # pictures at least: their share has an interval of some 18 points to each side
EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)  # where mistakes get rare, bins get narrow
TEMPERATURES = (0.05, 20.0)


def fit(answers: Predictions, data: str, *, energies: bool) -> dict[str, Any]:
    """The card's `calibration`.

    Args:
        answers: to FEWEST held-out pictures or more.
        data: what they are, for people.
        energies: whether the model answers with logits, whose size says how familiar a picture is.
    """
    temperature = best_temperature(answers)
    confidence = answers.confidence(temperature)
    predicted, edges = answers.predicted, _edges(confidence)
    place = np.digitize(confidence, edges[1:-1])

    def counted(name: str, chosen: Any) -> dict[str, int]:
        return {name: int(chosen.sum()), "right": int(answers.right[chosen].sum())}

    found: dict[str, Any] = {
        "temperature": round(temperature, 4),
        "pictures": len(answers),
        "data": data,
        "bins": [
            {"low": low, "high": high, **counted("pictures", place == index)}
            for index, (low, high) in enumerate(pairwise(edges))
        ],
        "classes": {
            answers.labels[index]: counted("predicted", predicted == index)
            for index in np.unique(predicted).tolist()
        },
    }
    if energies:
        energy = np.percentile(logsumexp(answers.logits, axis=1), (1, 99))
        found["energy"] = [round(float(value), 4) for value in energy]
    return found


def best_temperature(answers: Predictions) -> float:
    """What the logits are divided by for the smallest log loss on these pictures."""
    rows = np.arange(len(answers))

    def loss(log_t: float) -> float:
        logs = answers.log_probabilities(math.exp(log_t))
        return float(-logs[rows, answers.targets].mean())

    low, high = (math.log(bound) for bound in TEMPERATURES)
    return math.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x)


def _edges(confidence: Any) -> list[float]:
    """Bounds of bins with PER_BIN pictures or more, from 0 to 1."""
    edges = [0.0]
    for edge in EDGES:
        below = (confidence < edge).sum() - (confidence < edges[-1]).sum()
        if below >= PER_BIN and (confidence >= edge).sum() >= PER_BIN:
            edges.append(edge)
    return [*edges, 1.0]


def write(model: Path, place: Path, calibration: Mapping[str, Any]) -> None:
    """Put a calibration into a card, at once: readers find the old card or the new one.

    place: the file that has the model's card: the model itself, or the JSON beside it.

    Raises:
        OSError: it cannot be written there.
        SetupError: the card cannot be read any more.
    """
    if place == model:
        with model.open("rb") as file:
            size, _ = cards.read(file)
            file.seek(0)
            network = file.read(size)
        content = cards.join(network, replace(cards.load(model), calibration=calibration))
    else:
        body = replace(cards.load_json(place), calibration=calibration).to_json()
        content = (json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode()
    draft = place.with_name(place.name + ".part")
    draft.write_bytes(content)
    shutil.copymode(place, draft)
    draft.replace(place)
