"""Known objects: functions of TensorFlow and layers of keras.applications that Keras does not find.

Files name the functions by their Python names, and an `.h5` file the layers without their module.
"""

from __future__ import annotations

import importlib
from typing import Any

# Functions of TensorFlow whose Python names differ from those in Keras: `tf.nn.softmax` is
# softmax_v2.
FUNCTIONS = {"softmax_v2": "softmax", "log_softmax_v2": "log_softmax"}
FUNCTIONS |= {name: name for name in ("swish", "log_sigmoid")}
# Layers that keras.applications define for themselves: their module there.
APPLICATION_LAYERS = {
    "LayerScale": "convnext",
    "StochasticDepth": "convnext",
    "CustomScaleLayer": "inception_resnet_v2",
}
# Where TensorFlow's initializers are from. Trained weights replace what they would draw.
INITIALIZER_MODULES = ("tensorflow.python.ops.init_ops", "tensorflow.python.ops.init_ops_v2")


def objects_of(library: Any) -> dict[str, Any]:
    """The known objects of a library, the module keras or tf_keras, by name."""
    import tensorflow as tf

    found = {"log_softmax": tf.nn.log_softmax, "log_sigmoid": tf.math.log_sigmoid}
    for name, module in APPLICATION_LAYERS.items():
        home = importlib.import_module(f"{library.__name__}.src.applications.{module}")
        found[name] = getattr(home, name)
    return found
