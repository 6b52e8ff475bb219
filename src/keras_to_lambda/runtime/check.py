"""python -m keras_to_lambda.runtime.check: one real inference of each model; in image builds."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from keras_to_lambda.runtime.errors import SetupError
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.image.preprocess import matches_helper
from keras_to_lambda.runtime.model import card as cards
from keras_to_lambda.runtime.settings import Settings


def check(handler: Handler) -> str:
    """Check each model's hash and scaling and run one inference; a line about each.

    Raises:
        SetupError: a file was altered; it does not answer with finite numbers; its pixels are not
            scaled as keras-image-helper scales them.
    """
    lines = []
    for name, (path, card) in handler.models.installed.items():
        cards.check_hash(path, card)
        grey = np.zeros((card.height, card.width, card.channels), np.float32)
        if not np.isfinite(handler.models.get(name).logits(grey)).all():
            raise SetupError(f"{path}: output contains NaN or infinity")
        same = matches_helper(card)
        if same is False:
            raise SetupError(f"{path}: its scaling is not keras-image-helper's; report this")
        scaling = ", scaling as keras-image-helper's" if same else ""
        default = " (default)" if name == handler.models.default else ""
        lines.append(
            f"{name}{default}: {len(card.labels)} labels, hash and inference checked{scaling}"
        )
    return "\n".join(lines)


def main() -> int:
    """Print what was checked. Exit status 2: a model or a setting is wrong."""
    try:
        print(check(Handler(replace(Settings.from_environ(), log_level="FATAL"))))
    except (SetupError, OSError) as error:
        print(f"check: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
