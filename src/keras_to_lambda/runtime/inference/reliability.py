"""Reliability: how often answers like this one were right in testing, by the card's calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence

from keras_to_lambda.runtime.common.record import Any
from keras_to_lambda.runtime.model_file.card import ModelCard

LEAST = 1e-7  # probability: its logarithm stands for a logit


def of(outputs: Sequence[float], card: ModelCard) -> dict[str, Any]:
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
