"""The source card: that of a Keras network, with the scaling that a conversion puts in the graph.

`k2l train` writes it as JSON beside the Keras file.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.runtime.model_file.card import Affine, ModelCard, beside, load_json


def place(model: Path) -> Path:
    """The path of a model's card, existing or not."""
    return beside(model)


def load(path: Path) -> ModelCard:
    """The card of a Keras network, from its own file or that of its conversion."""
    card = load_json(path)
    return card if card.schema_version == 1 else network(card)


def converted(card: ModelCard, dtype: str) -> ModelCard:
    """The card of a network with its front, whose scaling is only in the provenance."""
    steps = card.preprocessing
    scaling = asdict(steps.scaling) if isinstance(steps.scaling, Affine) else steps.scaling
    return replace(
        card,
        schema_version=2,
        dtype=dtype,
        preprocessing=replace(steps, scaling="raw", color_order="rgb"),
        provenance={**card.provenance, "color_order": steps.color_order, "scaling": scaling},
    )


def network(card: ModelCard) -> ModelCard:
    """The card of the network without its front."""
    known = dict(card.provenance)
    try:
        scaling, order = known.pop("scaling"), known.pop("color_order")
        if isinstance(scaling, dict):
            scaling = Affine(tuple(scaling["scale"]), tuple(scaling["offset"]))
    except (KeyError, TypeError) as error:
        raise ConvertError(
            "the card's provenance lacks color_order or scaling: convert the Keras model again"
        ) from error
    return replace(
        card,
        schema_version=1,
        dtype="float32",
        preprocessing=replace(card.preprocessing, scaling=scaling, color_order=order),
        provenance=known,
    )
