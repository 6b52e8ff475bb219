"""What is told about a request: the milliseconds of each stage, and one structured log line.

Never logged: query strings, user info, bodies, data: URLs, image bytes. The line is built from
numbers, codes and ids alone, so that nothing has to be filtered out.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from classifier.settings import Settings

STAGES = ("fetch", "decode", "preprocess", "inference")


class Stopwatch:
    """Milliseconds by stage, summed over a request's images."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.stages: dict[str, float] = {}
        self.bytes = 0
        self.pixels = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a `with` block as one of STAGES."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + (time.perf_counter() - start) * 1000

    def total_ms(self) -> float:
        """Milliseconds since the request came."""
        return (time.perf_counter() - self._start) * 1000

    def server_timing(self, cold: bool) -> str:
        """The Server-Timing header's value (https://www.w3.org/TR/server-timing/)."""
        marks = [f"{name};dur={ms:.2f}" for name, ms in self.stages.items()]
        marks.append(f"total;dur={self.total_ms():.2f}")
        return ", ".join([*marks, 'start;desc="cold"' if cold else 'start;desc="warm"'])


def log(settings: Settings, level: str, **fields: Any) -> None:
    """Print one JSON line, which CloudWatch Logs Insights reads by field.

    Written to standard output at once, not through `logging`, whose import costs milliseconds.
    """
    if settings.log_level == "FATAL" or (settings.log_level == "ERROR" and level != "ERROR"):
        return
    line = json.dumps({"level": level, **fields}, default=str)
    print(line, file=sys.stdout, flush=True)
