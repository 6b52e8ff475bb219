"""Choice: which of several quantizations to serve, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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

    logits: its answers, float32 (photos, classes). bytes: of the flatbuffer. run: what
    `tflite_worker.run` measured.
    """

    quantization: str
    comparison: Comparison
    logits: np.ndarray
    bytes: int
    run: Mapping[str, Any]

    @property
    def one_thread_ms(self) -> float:
        """Median milliseconds of one inference on one thread."""
        return float(self.run["ms"]["1"])

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        figures = {"bytes": self.bytes, **self.run}
        return {"quantization": self.quantization, **self.comparison.to_json(), **figures}


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen candidate (None: none is admissible), why, and what speaks against the others."""

    chosen: Candidate | None
    reason: str
    objections: Mapping[str, str]


def choose(candidates: Sequence[Candidate], *, prefer: str, max_drop: float) -> Choice:
    """Choose among candidates.

    Admissible is what its tolerance verifies and what loses at most `max_drop`, 0..1, of the
    accuracy; where that is not known, what keeps at least 1 - `max_drop` of Keras's top-1 labels.
    prefer: a name of PREFERENCES.
    """
    objections = {c.quantization: text for c in candidates if (text := _objection(c, max_drop))}
    admissible = [c for c in candidates if c.quantization not in objections]
    if not admissible:
        return Choice(None, "none of them keeps Keras's answers", objections)
    if prefer == "fidelity":
        found = {c.quantization: c.comparison for c in admissible}
        near = {name: (-one.agreement, one.mean_difference) for name, one in found.items()}
        best = min(admissible, key=lambda c: near[c.quantization])
        return Choice(best, "nearest to Keras's answers", objections)
    first, second, most, more, level = _ORDERS[prefer]
    least = min(getattr(c, first) for c in admissible)
    equal = [c for c in admissible if getattr(c, first) <= least * (1 + SAME)]
    reason = f"{most} of those that keep Keras's answers"
    if len(equal) > 1:
        reason += f", and the {more} of {len(equal)} that are as {level}"
    return Choice(min(equal, key=lambda c: float(getattr(c, second))), reason, objections)


# By preference: what is compared first, what among equals, and the words for both.
_ORDERS = {
    "size": ("bytes", "one_thread_ms", "smallest", "fastest", "small"),
    "speed": ("one_thread_ms", "bytes", "fastest", "smallest", "fast"),
}


def _objection(candidate: Candidate, max_drop: float) -> str:
    found = candidate.comparison
    if found.faults:
        return "; ".join(found.faults)
    if found.accuracy is None:
        if found.agreement >= 1 - max_drop - 1e-9:
            return ""
        return f"keeps {found.agreement:.1%} of the top-1 labels, less than {1 - max_drop:.1%}"
    drop = (found.reference_accuracy or 0) - found.accuracy
    # A tenth of a photo: the shares are quotients, and 0.01 is not quite 0.01.
    if drop <= max_drop + 0.1 / found.judged:
        return ""
    lost = f"{round(drop * found.judged)} of {found.judged} photos"
    return f"loses {drop:.1%} of accuracy ({lost}), more than {max_drop:.1%}"
