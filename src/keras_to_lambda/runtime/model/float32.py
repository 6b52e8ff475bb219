"""Numbers as float32 has them, in plain Python: importing numpy is most of a cold start."""

from __future__ import annotations

import struct
from collections.abc import Iterable


def rounded(numbers: Iterable[float]) -> list[float]:
    """Each number as the nearest float32.

    A sum, difference, product or quotient of float32 numbers is then what float32 arithmetic gives.
    """
    values = [*numbers]
    kind = f"{len(values)}f"
    return [*struct.unpack(kind, struct.pack(kind, *values))]
