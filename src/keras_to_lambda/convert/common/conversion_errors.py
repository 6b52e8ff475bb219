"""Errors: any function of convert/ raises ConvertError where the user's input is at fault."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence

from keras_to_lambda.runtime.common.errors import UserError


class ConvertError(UserError):
    """The model, the labels, the samples or an option is wrong; the message names the remedy."""


def listed(names: Sequence[object], most: int = 8) -> str:
    """The names for a sentence: the first ones, and how many more there are."""
    more = f" and {len(names) - most} more" * (len(names) > most)
    return ", ".join(map(str, names[:most])) + more


def reason_of(error: BaseException) -> str:
    """The useful part of a library's message, on one line."""
    text = str(error)
    # Keras wraps a message in bold and the arguments of the call, or puts the cause last.
    bold = re.search(r"\x1b\[1m(.*?)\x1b\[0m", text, re.DOTALL)
    text = bold[1] if bold else text.rpartition("Exception encountered: ")[2]
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line[:300].rstrip(".") or repr(error)[:300]


def raise_if_memory(error: BaseException) -> None:
    """Raise MemoryError for TensorFlow's ResourceExhaustedError, which Keras may have wrapped."""
    if "OOM when allocating" in str(error):
        raise MemoryError(str(error)) from error


@contextlib.contextmanager
def explained(subject: str, remedy: str) -> Iterator[None]:
    """What a library raises inside the block, as a ConvertError: subject, fault, remedy."""
    try:
        yield
    except (ConvertError, ImportError, MemoryError):
        raise
    except Exception as error:
        raise_if_memory(error)
        raise ConvertError(f"{subject}: {reason_of(error)}. {remedy}") from error
