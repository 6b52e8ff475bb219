"""What the model saw, for people: asked for by POST /tensor, or saved where DEBUG_DIR says.

Saved by DEBUG_DIR alone, as the pictures are the callers'.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from classifier import preprocess
from classifier.card import ModelCard

if TYPE_CHECKING:
    from classifier.preprocess import Floats

# Pictures kept; the oldest go first. /tmp is small, and is the function's only place.
KEEP = 50


def picture(tensor: Floats, card: ModelCard) -> Image.Image:
    """A tensor as the picture that it is of, mode "RGB" or "L", at the model's size."""
    pixels = preprocess.unscale(tensor, card)
    return Image.fromarray(pixels[..., 0] if card.channels == 1 else pixels)


def describe(tensor: Floats, card: ModelCard) -> dict[str, Any]:
    """A tensor as JSON can carry it: its figures, and its picture as a data: URL of a PNG file."""
    import base64
    import io

    file = io.BytesIO()
    picture(tensor, card).save(file, "PNG")
    return {
        "model": card.name,
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype),
        "min": float(tensor.min()),
        "max": float(tensor.max()),
        "mean": float(tensor.mean(dtype=np.float64)),
        "image": "data:image/png;base64," + base64.b64encode(file.getvalue()).decode(),
    }


def save(folder: str, tensor: Floats, card: ModelCard) -> None:
    """Save the picture at the model's size as PNG, and the very tensor as .npy, under its hash.

    Args:
        tensor: float32, (height, width, channels), as the model gets it.
    """
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        name = f"{card.name}-{hashlib.sha256(tensor.tobytes()).hexdigest()[:12]}"
        np.save(place / f"{name}.npy", tensor)
        picture(tensor, card).save(place / f"{name}.png")
        for extension in ("png", "npy"):
            files = sorted(place.glob(f"*.{extension}"), key=lambda file: file.stat().st_mtime)
            for old in files[:-KEEP]:
                old.unlink(missing_ok=True)
    except OSError:
        return  # a full disk is no reason not to answer
