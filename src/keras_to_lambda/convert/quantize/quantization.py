"""Quantization: the forms that a network's numbers can take, and what each may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the two may part.

    agreement: at least this share of the samples has the same top-1 label (0..1).
    difference: the mean absolute logit difference is at most this share of the logits' spread
        (largest minus smallest logit of a sample, averaged over the samples).
    """

    agreement: float
    difference: float


@dataclass(frozen=True, slots=True)
class Quantization:
    """One form: what it does, and what it may cost."""

    meaning: str
    tolerance: Tolerance


# https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/post_training_quantization
# Tolerances: measured on the clothing and the ImageNet model, see docs/conversion.md.
QUANTIZATIONS = {
    "none": Quantization("float32, as trained", Tolerance(1.0, 1e-4)),
    "float16": Quantization("weights in float16: half the size", Tolerance(0.98, 5e-3)),
    "weights": Quantization(
        "weights in int8, computed in float32: a quarter of the size", Tolerance(0.95, 2e-2)
    ),
    "dynamic": Quantization(
        "weights in int8, computed in int8 where possible: a quarter of the size",
        Tolerance(0.90, 3e-2),
    ),
    "int8": Quantization(
        "weights and activations in int8, calibrated on the samples: a quarter of the size",
        Tolerance(0.90, 3e-2),
    ),
}

# Decoding large photos at a fraction of their size: the same label on every one, and no logit
# further off than this share of the spread (here of the largest difference, not of the mean).
SCALED = Tolerance(1.0, 2e-2)


def tolerance_of(quantization: str, decode: str) -> Tolerance:
    """What a model of this form may differ from Keras, decoding photos this way."""
    own = QUANTIZATIONS[quantization].tolerance
    if decode == "exact":
        return own
    return Tolerance(min(own.agreement, SCALED.agreement), max(own.difference, SCALED.difference))
