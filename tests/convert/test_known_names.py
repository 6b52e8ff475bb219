"""The lists of what only computes are what the installed libraries have."""

from __future__ import annotations

import keras
import pytest
import tensorflow as tf
import tf_keras
from tensorflow.python.framework import op_def_registry
from tensorflow.python.util.tf_export import get_symbol_from_name

from keras_to_lambda.convert.scan import known_names as known
from tests.convert.known_names import keras_classes, reachable


def test_every_class_of_both_keras_is_known():
    assert {pair for pair in keras_classes() if not known.is_class(*pair)} == set()


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_a_known_name_in_a_known_place_is_never_more_than_a_class_that_computes(library):
    bases = (
        *(library.layers.Layer, library.initializers.Initializer),
        *(library.regularizers.Regularizer, library.constraints.Constraint),
    )
    strange = {value for value in reachable(library) if not _is_below(value, bases)}
    # By other bases, but the same: policies, initializers of Keras 1's kind, a list of losses.
    homes = {getattr(value, "__module__", None) or value.__name__ for value in strange}
    allowed = ("dtype_policies", "policy", "initializers_v1", "compile_utils", "identity", "ops")
    assert {x for x in homes if not any(part in x for part in allowed)} == set()


def _is_below(value, bases):
    return isinstance(value, type) and issubclass(value, bases)


def test_what_carries_code_is_not_among_the_classes():
    assert not known.KERAS_CLASSES & {*known.CODE, *known.OPERATOR_LAYERS}


def test_a_symbol_is_one_of_the_known_functions_in_a_known_module():
    found = {name for name in known.TENSORFLOW_FUNCTIONS if not is_anywhere(name)}
    assert found == set()
    assert known.is_symbol("math.add")
    for name in ("io.add", "add.math", "math.write_file", "raw_ops.add", " math.add", "math."):
        assert not known.is_symbol(name)


def is_anywhere(name):
    for module in known.TENSORFLOW_MODULES:
        try:
            if callable(get_symbol_from_name(f"{module}.{name}".lstrip("."))):
                return True
        except (AttributeError, ValueError):
            continue
    return False


def test_releases_and_gradients_of_an_operator_are_known_by_its_name():
    names = ("Mul", "AddV2", "ReluGrad", "FusedBatchNormGradV3", "AvgPoolGrad", "TensorArrayV3")
    assert all(map(known.is_operator, names))
    stateful = ("AssignVariableOp", "VarHandleOp", "ReadVariableOp", "If", "While", "Case")
    stateful += ("StatefulPartitionedCall", "RandomUniform", "TensorArrayV3", "Assert")
    assert all(map(known.is_operator, stateful))
    assert not any(known.is_operator(name, stateless=True) for name in stateful)
    unknown = ("WriteFile", "SaveV2", "RestoreV2", "PyFunc", "Grad", "V2", "", "MulX")
    assert not any(map(known.is_operator, unknown))


def test_no_known_operator_takes_the_name_of_a_file():
    words = ("filename", "file_name", "filepath", "directory", "logdir", "address")
    words += ("shared_library",)
    listed = [op_def_registry.get(name) for name in tf.raw_ops.__dict__]
    listed = [op for op in listed if op is not None and known.is_operator(op.name)]
    assert len(listed) > 500
    stateless = [op for op in listed if known.is_operator(op.name, stateless=True)]
    assert len(stateless) > 400
    assert [op.name for op in stateless if op.is_stateful] == []
    parts = {(op.name, part.name) for op in listed for part in (*op.input_arg, *op.attr)}
    assert {x for x in parts if any(word in x[1] for word in words)} == set()
