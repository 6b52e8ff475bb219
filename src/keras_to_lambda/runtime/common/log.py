"""Log: one JSON line on standard output, which CloudWatch Logs Insights reads by field."""

from __future__ import annotations

import json
import sys

from keras_to_lambda.runtime.common.record import Any
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.common.text import clean

# The levels of the lines that are printed, by LOG_LEVEL.
LOGGED = {"INFO": ("INFO", "ERROR"), "ERROR": ("ERROR",), "FATAL": ()}
MAX_LINE_BYTES = 8192
# What a line's lists (failed images, a traceback's frames) and texts are cut to.
MAX_LIST = 10
MAX_TEXT = 256


def log(settings: Settings, level: str, **fields: Any) -> None:
    """Print one JSON line, which CloudWatch Logs Insights reads by field.

    Written to standard output at once, not through `logging`, whose import costs milliseconds, and
    which a frozen or killed process would not flush.
    """
    if level not in LOGGED[settings.log_level]:
        return
    for limit in (MAX_TEXT, 40):  # the second for texts that are long when escaped; ids fit in it
        line = json.dumps({"level": level, **_bounded(fields, limit)})
        if len(line) <= MAX_LINE_BYTES:
            break
    print(line, file=sys.stdout, flush=True)


def _bounded(value: Any, limit: int) -> Any:
    """A field's value with clean texts of at most `limit` characters, and short lists."""
    if isinstance(value, dict):
        return {name: _bounded(member, limit) for name, member in value.items()}
    if isinstance(value, list):
        return [_bounded(member, limit) for member in value[:MAX_LIST]]
    return value if value is None or isinstance(value, int | float) else clean(value, limit)
