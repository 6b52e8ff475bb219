"""Known names: classes, functions and operators that only compute (known_names.txt).

Everything else is code. A configuration names classes by module and name (`.keras`), or by name
alone (`.h5`), and Keras imports what it finds.
"""

from __future__ import annotations

import re
from importlib import resources

_TEXT = resources.files(__package__).joinpath("known_names.txt").read_text("utf-8")
_SECTIONS = {
    name: frozenset(words.split())
    for name, words in re.findall(r"^\[(.*)\]\n((?:[^#\n].*\n)*)", _TEXT, re.MULTILINE)
}
KERAS_MODULES = _SECTIONS["keras modules"] | {""}
KERAS_CLASSES = _SECTIONS["keras classes"]
KERAS_OPERATIONS = _SECTIONS["keras operations"]
KERAS_FUNCTIONS = _SECTIONS["keras functions"]
KERAS_FUNCTION_MODULES = _SECTIONS["keras function modules"]
TENSORFLOW_MODULES = _SECTIONS["tensorflow modules"] | {""}
TENSORFLOW_FUNCTIONS = _SECTIONS["tensorflow functions"]
_STATELESS, _STATEFUL = _SECTIONS["stateless operators"], _SECTIONS["stateful operators"]

# Layers that carry a program, or run one that is stored elsewhere (Keras refuses them in its safe
# mode: keras/src/layers/core/lambda_layer.py, export/tfsm_layer.py, utils/torch_utils.py).
CODE = (
    *("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "__lambda__"),
    # They call any method of any class of TensorFlow, or read the files of feature columns.
    *("ClassMethod", "InstanceMethod", "InstanceProperty", "DenseFeatures", "SequenceFeatures"),
    # They carry a function that joins or drops states, as bytecode (tf_keras's
    # rnn/cell_wrappers.py).
    *("DropoutWrapper", "ResidualWrapper", "DeviceWrapper", "_RNNCellWrapper"),
)
# Layers of Keras 2 that call TensorFlow's operators by name.
OPERATOR_LAYERS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")
# TensorFlow's own initializers (tf.random_normal_initializer and others).
INITIALIZER_MODULES = ("tensorflow.python.ops.init_ops", "tensorflow.python.ops.init_ops_v2")
# Reads variables of the checkpoint whose path the loader gives.
RESTORE = "RestoreV2"
# Operators of the function that writes a checkpoint, which is never called.
SAVE = ("SaveV2", "MergeV2Checkpoints", "ShardedFilename")
_LATER = re.compile(r"(Grad[A-Z]?.*)?(V\d)?$")


def is_class(module: str, name: str) -> bool:
    """Whether a class of Keras only computes; module: by its plain name, "" where not named."""
    package, _, inside = module.partition(".")
    if module in ("", *INITIALIZER_MODULES):
        return name in KERAS_CLASSES
    place = inside.partition(".")[0]
    names = KERAS_OPERATIONS if place == "ops" else KERAS_CLASSES
    return package == "keras" and place in KERAS_MODULES and name in names


def is_symbol(name: str) -> bool:
    """Whether a function of TensorFlow, such as math.add, only computes."""
    module, _, function = name.rpartition(".")
    return module in TENSORFLOW_MODULES and function in TENSORFLOW_FUNCTIONS


def is_operator(name: str, *, stateless: bool = False) -> bool:
    """Whether an operator, one of its releases (MulV2) or its gradient (MulGrad) only computes.

    stateless: whether it must have no variables, no randomness and no functions of the graph.
    """
    first = _LATER.sub("", name, count=1)
    return first in _STATELESS or (first in _STATEFUL and not stateless)
