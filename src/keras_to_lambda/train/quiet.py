"""Quiet: TensorFlow, imported without its words on how it was built."""

from __future__ import annotations

import os
import sys


def tensorflow() -> None:
    """Import TensorFlow and Keras, which takes seconds, with the process' stderr turned away.

    Its C++ writes there before any log level that Python could set is looked at.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import keras
        import tensorflow as tf

        keras.backend.backend()
        tf.constant(0)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
