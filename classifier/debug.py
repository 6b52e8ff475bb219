"""What the model saw, saved for people: by DEBUG_DIR alone, as the pictures are the callers'."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from classifier import preprocess
from classifier.card import ModelCard

if TYPE_CHECKING:
    from classifier.preprocess import Floats

# Pictures kept; the oldest go first. /tmp is small, and is the function's only place.
KEEP = 50


def save(folder: str, image: Image.Image, tensor: Floats, card: ModelCard) -> None:
    """Save the picture at the model's size as PNG, and the very tensor as .npy, under its hash.

    Args:
        image: as decoded.
        tensor: float32, (height, width, channels), as the model gets it.
    """
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        name = f"{card.name}-{hashlib.sha256(tensor.tobytes()).hexdigest()[:12]}"
        np.save(place / f"{name}.npy", tensor)
        seen = np.clip(np.rint(preprocess.resize(image, card)), 0, 255).astype(np.uint8)
        Image.fromarray(seen[..., 0] if card.channels == 1 else seen).save(place / f"{name}.png")
        for extension in ("png", "npy"):
            files = sorted(place.glob(f"*.{extension}"), key=lambda file: file.stat().st_mtime)
            for old in files[:-KEEP]:
                old.unlink(missing_ok=True)
    except OSError:
        return  # a full disk is no reason not to answer
