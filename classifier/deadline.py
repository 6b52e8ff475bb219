"""Deadline: one point in time that everything done for a request must respect."""

from __future__ import annotations

import time
from collections.abc import Callable

from classifier.errors import DeadlineExceeded


class Deadline:
    """A point on a monotonic clock, `seconds` from now."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def remaining_s(self, doing: str) -> float:
        """Seconds left, more than 0.

        Raises:
            DeadlineExceeded: none are left; `doing` says what was under way.
        """
        left = self._end - self._clock()
        if left <= 0:
            raise DeadlineExceeded(f"{doing} took too long; try a smaller image or a faster host")
        return left

    def sooner(self, seconds: float) -> Deadline:
        """This deadline, or one `seconds` from now if that is sooner."""
        left = self._end - self._clock()
        return Deadline(min(left, seconds), self._clock)
