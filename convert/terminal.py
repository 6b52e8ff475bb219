"""The terminal: steps, progress, and TensorFlow's C++ chatter kept off it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path


def step(text: str) -> None:
    """Say what is begun."""
    print(f"convert: {text} ...", file=sys.stderr, flush=True)


def progress(photos: Iterable[Path]) -> Iterable[Path]:
    """Show how far an iteration over photos is, on a terminal."""
    from tqdm import tqdm

    return tqdm(photos, unit="photo", leave=False, disable=not sys.stderr.isatty())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the converter's C++ chatter off the terminal; shown after all if the block raises."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log:
        saved = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            log.seek(0)
            os.write(2, log.read()[-4000:])
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
