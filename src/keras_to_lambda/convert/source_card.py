"""The source card: what `k2l train` wrote about a Keras file, in JSON beside it."""

from __future__ import annotations

import re
from pathlib import Path

from keras_to_lambda.runtime.model.card import beside

# An epoch that a run has kept: NAME-EPOCH-ACCURACY.keras in NAME.checkpoints/.
KEPT = re.compile(r"(.+)-\d+-\d\.\d+\.keras")


def place(model: Path) -> Path:
    """Where the card of a model is, or would be; that of a kept epoch is its run's."""
    own = beside(model)
    kept = KEPT.fullmatch(model.name)
    if own.exists() or kept is None:
        return own
    runs = (folder / f"{kept[1]}.card.json" for folder in (model.parent, model.parent.parent))
    return next((path for path in runs if path.exists()), own)
