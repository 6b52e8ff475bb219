"""Input shape: which axis of a network's input is which, from its numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

CHANNELS = (1, 3, 4)


def is_channels_first(shape: Sequence[Any]) -> bool:
    """Whether it is (batch, channels, height, width)."""
    return len(shape) == 4 and shape[1] in CHANNELS and shape[3] not in CHANNELS


def lacks_channels(shape: Sequence[Any]) -> bool:
    """Whether it is (batch, height, width): a picture's width is not 1, 3 or 4."""
    return len(shape) == 3 and shape[2] not in CHANNELS


def channels_last(shape: Sequence[Any]) -> tuple[Any, ...]:
    """The shape of the pictures that a network is given: (batch, height, width, channels)."""
    if lacks_channels(shape):
        return (*shape, 1)
    return (shape[0], *shape[2:], shape[1]) if is_channels_first(shape) else tuple(shape)
