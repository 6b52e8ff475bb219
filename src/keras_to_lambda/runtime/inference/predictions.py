"""Predictions: a model's outputs by label, in the shape that the options name; reliability."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.common.record import Any
from keras_to_lambda.runtime.inference.request import Options
from keras_to_lambda.runtime.model.engine import rounded
from keras_to_lambda.runtime.model_file.card import ModelCard

# An image's scores in the shape that the options name, as JSON values.
Scores = dict[str, "Any"] | list["Any"]
ImageAnswer = Scores | ClassifierError


def ranked(outputs: Sequence[float], card: ModelCard, options: Options) -> dict[str, float]:
    """A model's outputs, finite numbers, by label, in the shape that the options name."""
    numbers = outputs
    if options.scores == "probabilities" and card.output == "logits":
        numbers = PROBABILITIES[card.activation](outputs)
    if options.top_k is None and options.threshold is None:
        return dict(zip(card.labels, numbers, strict=True))
    if options.top_k is None:
        order: Sequence[int] = range(len(numbers))
    else:
        # Equal scores stay in the labels' order.
        order = sorted(range(len(numbers)), key=lambda index: -numbers[index])[: options.top_k]
    lowest = -math.inf if options.threshold is None else options.threshold
    return {card.labels[index]: numbers[index] for index in order if numbers[index] >= lowest}


def shaped(outputs: Sequence[float], card: ModelCard, options: Options) -> Scores:
    """A model's outputs in the shape that the options name."""
    shape, best_first = SHAPES[options.answer or "scores"]
    if best_first and options.top_k is None:
        options = options._replace(top_k=len(card.labels))
    scores: Scores = shape(ranked(outputs, card, options), card.labels)
    if options.answer == "best" and card.calibration and card.activation == "softmax":
        assert isinstance(scores, dict)
        known = scores["label"] is not None
        scores["reliability"] = reliability(outputs, card) if known else None
    return scores


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


def softmax(logits: Sequence[float]) -> list[float]:
    """Probabilities of logits: as many float32 numbers, whose sum is 1."""
    largest = max(logits)
    exponentials = [math.exp(logit - largest) for logit in logits]
    total = math.fsum(exponentials)
    return rounded(exponential / total for exponential in exponentials)


def sigmoid(logits: Sequence[float]) -> list[float]:
    """Probabilities of logits, each by itself, as float32 numbers."""
    # By tanh, which does not overflow.
    return rounded(0.5 * (1 + math.tanh(0.5 * logit)) for logit in logits)


# Probabilities of logits, by the card's `activation`.
PROBABILITIES = {"softmax": softmax, "sigmoid": sigmoid}


LEAST = 1e-7  # probability: its logarithm stands for a logit


def reliability(outputs: Sequence[float], card: ModelCard) -> dict[str, Any]:
    """What testing says of the best label.

    Args:
        outputs: the model's, finite. card: with a calibration.

    Returns:
        right: share of right answers among the photos of the calibration with such a confidence;
        None where the picture is unlike them. photos: how many these were. unlike_test_photos:
        whether the logits are smaller than those of 99 % of them; None where that is not known,
        as for a model of probabilities.
    """
    calibration, logits = card.calibration, [*map(float, outputs)]
    unlike = None
    if card.output == "probabilities":
        logits = [math.log(max(each, LEAST)) for each in logits]
    elif "energy" in calibration:
        unlike = _log_sum(logits, 1) < calibration["energy"][0]
    if unlike:
        return {"right": None, "photos": 0, "unlike_test_photos": True}
    heat, bins = calibration["temperature"], calibration["bins"]
    confidence = math.exp(max(logits) / heat - _log_sum(logits, heat))
    like = next((row for row in bins if row["low"] <= confidence < row["high"]), bins[-1])
    share = round(like["right"] / like["pictures"], 4)
    return {"right": share, "photos": like["pictures"], "unlike_test_photos": unlike}


def _log_sum(logits: Sequence[float], heat: float) -> float:
    """The logarithm of the sum of the exponentials, which do not overflow."""
    most = max(logits) / heat
    return most + math.log(math.fsum(math.exp(each / heat - most) for each in logits))
