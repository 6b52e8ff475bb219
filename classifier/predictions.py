"""Predictions: a model's outputs by label, in the shape that the options ask for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from classifier.card import ModelCard
from classifier.errors import ClassifierError
from classifier.request import Options

if TYPE_CHECKING:
    from classifier.model import Floats

Answer = dict[str, Any] | list[Any] | ClassifierError


def ranked(outputs: Floats, card: ModelCard, options: Options) -> dict[str, float]:
    """A model's outputs, finite float32 (labels,), by label, as the options ask for them."""
    scores = outputs
    if options.scores == "probabilities" and card.output == "logits":
        scores = PROBABILITIES[card.activation](outputs)
    # tolist gives Python floats, which JSON can carry; each is the float32 exactly.
    numbers = scores.tolist()
    if options.top_k is None and options.threshold is None:
        return dict(zip(card.labels, numbers, strict=True))
    if options.top_k is None:
        order: Sequence[int] = range(len(numbers))
    else:
        order = np.argsort(-scores, kind="stable")[: options.top_k].tolist()
    lowest = -math.inf if options.threshold is None else options.threshold
    return {card.labels[index]: numbers[index] for index in order if numbers[index] >= lowest}


def shaped(outputs: Floats, card: ModelCard, options: Options) -> Answer:
    """A model's outputs in the shape that the options ask for."""
    shape, best_first = SHAPES[options.answer or "scores"]
    if best_first and options.top_k is None:
        options = options._replace(top_k=len(card.labels))
    answer: Answer = shape(ranked(outputs, card, options), card.labels)
    return answer


def _best(chosen: dict[str, float], _labels: Sequence[str]) -> dict[str, Any]:
    label = next(iter(chosen), None)
    return {"label": label, "score": None if label is None else chosen[label]}


# What a shape makes of the chosen scores by label, and whether it wants them best first.
SHAPES: dict[str, tuple[Callable[[dict[str, float], Sequence[str]], Any], bool]] = {
    "scores": (lambda chosen, _: chosen, False),
    "best": (_best, True),
    "list": (lambda chosen, _: [{"label": x, "score": chosen[x]} for x in chosen], True),
    "values": (lambda chosen, labels: [chosen.get(label) for label in labels], False),
}


def softmax(logits: Floats) -> Floats:
    """Probabilities of logits: float32, the same shape, summing to 1."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    shares: Floats = (exponentials / exponentials.sum()).astype(np.float32)
    return shares


def sigmoid(logits: Floats) -> Floats:
    """Probabilities of logits, each by itself: float32, the same shape."""
    # By tanh, which does not overflow.
    shares: Floats = (0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))).astype(np.float32)
    return shares


# Probabilities of logits, by the card's `activation`.
PROBABILITIES = {"softmax": softmax, "sigmoid": sigmoid}
