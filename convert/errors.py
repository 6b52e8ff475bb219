"""What can be wrong with what the user gave."""

from __future__ import annotations


class ConvertError(Exception):
    """The model, the labels, the samples or an option is wrong; the message says what to do."""
