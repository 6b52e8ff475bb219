"""Schedule: the learning rate of a step, and when a phase ends. Functions of what has happened.

Nothing is remembered between steps, so that a run which was stopped goes on as it would have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

SCHEDULES = ("cosine", "constant", "exponential", "plateau")
LOWEST = 0.01  # exponential: the share of the rate that is left at the end
# plateau: keras.callbacks.ReduceLROnPlateau(factor=0.3, patience=3, min_delta=1e-4)
FACTOR, WAIT, DELTA = 0.3, 3, 1e-4


def rate(
    schedule: str,
    highest: float,
    step: int,
    *,
    warmup: int,
    steps: int,
    losses: Sequence[float] = (),
) -> float:
    """The learning rate of a step.

    Args:
        schedule: of SCHEDULES: cosine falls to zero (keras.optimizers.schedules.CosineDecay),
            exponential to a hundredth; plateau falls after epochs without a lower loss.
        highest: reached after the warm-up, which is linear from zero.
        step: from 0. warmup: its steps. steps: of the whole phase.
        losses: validation losses of the epochs so far.
    """
    if step < warmup:
        return highest * step / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    if schedule == "cosine":
        return highest * 0.5 * (1.0 + math.cos(math.pi * done))
    if schedule == "exponential":
        return highest * LOWEST**done
    if schedule == "plateau":
        return highest * FACTOR ** plateaus(losses)
    return highest


def plateaus(losses: Sequence[float]) -> int:
    """How often ReduceLROnPlateau would have reduced the rate by now."""
    best, waited, reduced = math.inf, 0, 0
    for loss in losses:
        if loss < best - DELTA:
            best, waited = loss, 0
        else:
            waited += 1
            if waited >= WAIT:
                waited, reduced = 0, reduced + 1
    return reduced


def exhausted(losses: Sequence[float], patience: int) -> bool:
    """Whether EarlyStopping(patience) would have stopped by now; patience 0: never."""
    if not patience or not losses:
        return False
    best = min(range(len(losses)), key=losses.__getitem__)
    return len(losses) - 1 - best >= patience
