"""Text that goes out: a caller's words in answers, headers, errors, result lines and logs.

`clean` is for words that a message repeats. `to_json` is the border: what it returns can be
encoded, whatever went in.
"""

from __future__ import annotations

import json
import re

from keras_to_lambda.runtime.common.record import Any

# Control characters, line and paragraph separators, marks that reorder a line on a screen, and
# halves of surrogate pairs, which no encoding has.
_UNFIT = "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
UNFIT = "\ufffd"
encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def clean(words: object, limit: int = 100) -> str:
    """Words of at most `limit` characters, all of them printable and encodable."""
    text = words if isinstance(words, str) else str(words)
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text if text.isascii() and text.isprintable() else re.sub(_UNFIT, UNFIT, text)


def header(words: str) -> str:
    """Words as a header's value: at most 256 characters of printable ASCII (RFC 9110, 5.5)."""
    return re.sub(r"[^ -~]", "?", words[:256])


def encodable(words: str) -> bool:
    """Whether UTF-8 can carry a text: one with half a surrogate pair is no text."""
    try:
        return words.isascii() or bool(words.encode())
    except UnicodeEncodeError:
        return False


def to_json(value: Any) -> str:
    """Any JSON value as JSON that UTF-8 can carry: what it cannot becomes a question mark.

    Raises TypeError, ValueError: not a JSON value; a number that is not finite is none.
    """
    text = encode(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
