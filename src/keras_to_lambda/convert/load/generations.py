"""Generations: which Keras wrote a file, and so which library is the reference for it.

Keras 3 kept the names of Keras 2, and not always their meaning: its `hard_sigmoid` is another
function. A file of Keras 1 or 2 therefore belongs to tf_keras, which is Keras 2.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from typing import Any

from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.load.obstacles import objects
from keras_to_lambda.convert.load.saved_file import SavedFile

KERAS_2, KERAS_3 = "tf_keras", "keras"
# The first number of a version, and the library that answers as it did.
LIBRARIES = {"0": KERAS_2, "1": KERAS_2, "2": KERAS_2, "3": KERAS_3}

# What Keras 3 loads from an `.h5` file of Keras 2 and computes alike, with every option.
# tests/convert/test_generations.py compares both tables with what the two libraries answer.
_EQUAL_LAYERS = """
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Average AveragePooling1D
    AveragePooling2D AveragePooling3D BatchNormalization CategoryEncoding CenterCrop Concatenate
    Conv1D Conv2D Conv3D Cropping1D Cropping2D Cropping3D Dense Dot Dropout ELU EinsumDense
    Embedding Flatten Functional GaussianDropout GaussianNoise GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D
    GlobalMaxPooling3D GroupNormalization Identity InputLayer LeakyReLU Masking MaxPooling1D
    MaxPooling2D MaxPooling3D Maximum Minimum Model Multiply Normalization PReLU Permute ReLU
    RepeatVector Rescaling Reshape Sequential Subtract TimeDistributed UpSampling1D UpSampling3D
    ZeroPadding1D ZeroPadding2D ZeroPadding3D"""
EQUAL_LAYERS = frozenset(_EQUAL_LAYERS.split())
_EQUAL_ACTIVATIONS = """
    elu exponential gelu linear mish relu selu sigmoid softmax softplus softsign swish tanh"""
EQUAL_ACTIVATIONS = frozenset(_EQUAL_ACTIVATIONS.split())
# What Keras 3 loads without complaint and computes otherwise.
DIFFERENCES = {
    "hard_sigmoid": "Keras 2 computes 0.2 x + 0.5, Keras 3 relu6(x + 3) / 6",
    "Softmax": "over several axes at once, Keras 3 answers otherwise",
    "UnitNormalization": "over several axes at once, Keras 3 answers otherwise",
}


def library_of(saved: SavedFile) -> str:
    """The library that answers as the writer of a `.keras` or `.h5` file did."""
    # Keras 3 describes an input by `batch_shape`, Keras 2 by `batch_input_shape`.
    unstated = "3" if '"batch_shape":' in json.dumps(saved.config) else "2"
    library = LIBRARIES.get((saved.written_by or unstated).partition(".")[0])
    if library is None:
        raise ConvertError(
            f"unsupported Keras version {saved.written_by} in the file; Keras 1 to 3 are supported"
        )
    if library == KERAS_3 or importlib.util.find_spec(KERAS_2) is not None:
        return library
    other = next(unequal(saved.config), None)
    if saved.kind == "h5" and not other:
        return KERAS_3
    known = f" (Keras 3 is not known to compute {other} alike)" if other else ""
    raise ConvertError(
        f"the file is of Keras {saved.written_by or '1 or 2'}, and tf_keras, which answers as that "
        f"did, is not installed{known}: pip install --no-deps tf_keras"
    )


def unequal(config: Any) -> Iterator[str]:
    """Yield the parts of a configuration of Keras 2 that Keras 3 may compute differently."""
    for value in objects(config):
        kind, inside = value.get("class_name"), value.get("config")
        if not (isinstance(inside, list) or (isinstance(inside, dict) and "name" in inside)):
            continue
        if kind not in EQUAL_LAYERS:
            yield f"the layer {kind}"
        within = inside if isinstance(inside, dict) else {}
        activation = within.get("activation", "linear")
        if activation not in (*EQUAL_ACTIVATIONS, None):
            yield f"the activation {activation}"
