"""What a test needs and this machine has not: a skip, or a failure where it was promised."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def unavailable(reason: str, promised: str) -> NoReturn:
    """Skip the test, whose report gives the reason; or fail it.

    promised: the environment variable that says, by 1, that this machine has all of its kind.
    """
    if os.environ.get(promised) == "1":
        pytest.fail(f"{reason}, and {promised}=1")
    pytest.skip(reason)
