"""Choice: which of several quantizations to serve, and why not the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_to_lambda.convert.verification.comparison import Comparison

PREFERENCES = {
    "speed": "the fewest milliseconds on one thread",
    "size": "the fewest bytes",
    "fidelity": "the answers nearest to Keras's",
}
# Two medians nearer than this share are the same speed on a machine that does other things too; and
# sizes so near are not worth a slower model.
SAME = 0.05


@dataclass(frozen=True, slots=True)
class Candidate:
    """One quantization, measured.

    logits: its answers, float32 (photos, classes). bytes: of the flatbuffer. ms: median
    milliseconds of one inference by threads. load_ms: from the path to the first inference's end.
    peak_mb: the serving process's memory. interpreter: whose it was.
    """

    quantization: str
    comparison: Comparison
    logits: np.ndarray
    bytes: int
    ms: dict[str, float]
    load_ms: float
    peak_mb: float
    interpreter: str = ""

    @property
    def one_thread_ms(self) -> float:
        """Milliseconds on one thread."""
        return self.ms["1"]


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen candidate (None: none is admissible), why, and what speaks against the others."""

    chosen: Candidate | None
    reason: str
    objections: dict[str, str]


def choose(candidates: Sequence[Candidate], *, prefer: str, max_drop: float) -> Choice:
    """Choose among candidates.

    Admissible is what its tolerance verifies and what loses at most `max_drop` of the accuracy;
    where that is not known, what keeps at least 1 - `max_drop` of Keras's top-1 labels.

    Args:
        prefer: a name of PREFERENCES.
        max_drop: 0..1.
    """
    objections = {c.quantization: text for c in candidates if (text := _objection(c, max_drop))}
    admissible = [c for c in candidates if c.quantization not in objections]
    if not admissible:
        return Choice(None, "none of them keeps Keras's answers", objections)
    if prefer == "size":
        smallest = min(c.bytes for c in admissible)
        level = [c for c in admissible if c.bytes <= smallest * (1 + SAME)]
        best = min(level, key=lambda c: c.one_thread_ms)
        reason = "smallest of those that keep Keras's answers"
        if len(level) > 1:
            reason += f", and the fastest of {len(level)} that are as small"
    elif prefer == "fidelity":
        best = min(
            admissible, key=lambda c: (-c.comparison.agreement, c.comparison.mean_difference)
        )
        reason = "nearest to Keras's answers"
    else:
        fastest = min(c.one_thread_ms for c in admissible)
        level = [c for c in admissible if c.one_thread_ms <= fastest * (1 + SAME)]
        best = min(level, key=lambda c: c.bytes)
        reason = "fastest of those that keep Keras's answers"
        if len(level) > 1:
            reason += f", and the smallest of {len(level)} that are as fast"
    return Choice(best, reason, objections)


def _objection(candidate: Candidate, max_drop: float) -> str | None:
    found = candidate.comparison
    if found.faults:
        return "; ".join(found.faults)
    if found.drop is not None:
        # A tenth of a photo: the shares are quotients, and 0.01 is not quite 0.01.
        if found.drop > max_drop + 0.1 / found.judged:
            lost = round(found.drop * found.judged)
            return (
                f"loses {found.drop:.1%} of accuracy ({lost} of {found.judged} photos), more than "
                f"{max_drop:.1%}"
            )
    elif found.agreement < 1 - max_drop - 1e-9:
        return f"keeps {found.agreement:.1%} of the top-1 labels, less than {1 - max_drop:.1%}"
    return None
