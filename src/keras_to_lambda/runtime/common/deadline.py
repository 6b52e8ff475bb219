"""Deadline: one point in time that everything done for a request must respect."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from keras_to_lambda.runtime.common.errors import DeadlineExceeded
from keras_to_lambda.runtime.common.record import Any, TypeVar

T = TypeVar("T")

# Calls of `Deadline.call` that have not ended, in the whole process; those given up on included.
MAX_CALLS = 64
_calls = threading.BoundedSemaphore(MAX_CALLS)


class Deadline:
    """A point on a monotonic clock, `seconds` from now."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left_s(self) -> float:
        """Seconds left; negative when it has passed."""
        return self._end - self._clock()

    def remaining_s(self, doing: str, needs_s: float = 0.0) -> float:
        """Seconds left, more than 0 and at least `needs_s`.

        Raises DeadlineExceeded: too few are left; `doing` names the work.
        """
        left = self.left_s()
        if left <= 0:
            raise DeadlineExceeded(f"{doing} took too long; try a smaller image or a faster host")
        if left < needs_s:
            raise DeadlineExceeded(
                f"{doing} takes about {needs_s:.1f} s, and {left:.1f} s were left; try a smaller "
                "image, or fewer at once"
            )
        return left

    def sooner(self, seconds: float) -> Deadline:
        """This deadline, or one `seconds` from now if that is sooner."""
        return Deadline(min(self.left_s(), seconds), self._clock)

    def call(self, doing: str, function: Callable[..., T], *args: Any) -> T:
        """Call a function without a time-out, in a thread, and wait no longer than this.

        A call that outlives its request ends by itself; too many of them are refused, so that a
        resolver that hangs cannot fill the process with threads.

        Raises DeadlineExceeded; whatever `function` raises.
        """
        outcome: list[tuple[T | None, BaseException | None]] = []
        calls = _calls
        if not calls.acquire(blocking=False):
            raise DeadlineExceeded(f"{doing} is too slow for this function now; try again")

        def run() -> None:
            try:
                outcome.append((function(*args), None))
            except BaseException as error:  # noqa: BLE001  # the waiting thread raises it
                outcome.append((None, error))
            finally:
                calls.release()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(max(0.0, self.left_s()))
        if not outcome:
            self.remaining_s(doing)
            raise DeadlineExceeded(f"{doing} took too long")
        result, error = outcome[0]
        if error is not None:
            raise error
        return result  # type: ignore[return-value]
