"""Quiet: TensorFlow, without its messages about its build and its warnings."""

from __future__ import annotations

import os
import sys


def tensorflow() -> None:
    """Import TensorFlow and Keras, which takes seconds, without standard error.

    TensorFlow's C++ writes there before it reads any log level.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 2)
    try:
        import keras
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")  # "triggered tf.function retracing", in every phase
        keras.backend.backend()
        tf.constant(0)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
