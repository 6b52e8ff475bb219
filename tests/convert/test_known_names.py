"""The lists of what only computes are what the installed libraries have."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil

import keras
import pytest
import tensorflow as tf
import tf_keras
from keras.src.api_export import get_name_from_symbol
from keras.src.ops.operation import Operation
from tensorflow.python.framework import op_def_registry
from tensorflow.python.util.tf_export import get_symbol_from_name

from keras_to_lambda.convert.scan import known_names as known
from keras_to_lambda.convert.scan.keras_configuration import plain_module

# Operations that call a function which the configuration names.
CALLING = (
    *("AssociativeScan", "Cond", "ForiLoop", "JVP", "Map", "Scan", "Switch", "VectorizedMap"),
    *("WhileLoop", "Function"),
)


def below(cls):
    for sub in cls.__subclasses__():
        yield sub
        yield from below(sub)


def named():
    """The plain modules and names by which a file may name a class of either Keras."""
    for library in (keras, tf_keras):
        for place in ("layers", "initializers", "regularizers", "constraints"):
            for value in vars(getattr(library, place)).values():
                if isinstance(value, type) and value is not library.layers.InputSpec:
                    # By its name in Python, and in `.keras` files by its public one.
                    for name in (value.__name__, get_name_from_symbol(value) or "keras.Layer"):
                        yield f"keras.{place}", name.rpartition(".")[2]
    for cls in below(Operation):
        if cls.__module__.startswith("keras.src.ops."):
            yield plain_module(cls.__module__), cls.__name__


def test_every_class_of_both_keras_is_known():
    found = {(module, name) for module, name in named() if not known.is_class(module, name)}
    assert {name for _, name in found} <= {*known.CODE, *known.OPERATOR_LAYERS, *CALLING}


def reachable(library):
    """What a file can name by a place of the library, in it or in its `src`, and a known name."""
    for package in (library.__name__, f"{library.__name__}.src"):
        modules = [package]
        for place in known.KERAS_MODULES - {""}:
            with contextlib.suppress(ImportError):
                found = importlib.import_module(f"{package}.{place}")
                inside = pkgutil.walk_packages(getattr(found, "__path__", ()), found.__name__ + ".")
                modules += [found.__name__, *(module.name for module in inside)]
        for module in modules:
            if not module.endswith("_test"):
                for name, value in vars(importlib.import_module(module)).items():
                    if known.is_class(plain_module(module), name):
                        yield value


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_a_known_name_in_a_known_place_is_never_more_than_a_class_that_computes(library):
    bases = (
        *(library.layers.Layer, library.initializers.Initializer),
        *(library.regularizers.Regularizer, library.constraints.Constraint),
    )
    strange = {
        value
        for value in reachable(library)
        if not (isinstance(value, type) and issubclass(value, bases))
    }
    # By other bases, but the same: policies, initializers of Keras 1's kind, a list of losses.
    homes = {getattr(value, "__module__", None) or value.__name__ for value in strange}
    allowed = ("dtype_policies", "policy", "initializers_v1", "compile_utils", "identity", "ops")
    assert {x for x in homes if not any(part in x for part in allowed)} == set()


def test_what_carries_code_is_not_among_the_classes():
    assert not known.KERAS_CLASSES & {*known.CODE, *known.OPERATOR_LAYERS}


def is_anywhere(name):
    for module in known.TENSORFLOW_MODULES:
        with contextlib.suppress(AttributeError, ValueError):
            if callable(get_symbol_from_name(f"{module}.{name}".lstrip("."))):
                return True
    return False


def test_a_symbol_is_one_of_the_known_functions_in_a_known_module():
    assert {name for name in known.TENSORFLOW_FUNCTIONS if not is_anywhere(name)} == set()
    assert known.is_symbol("math.add")
    for name in ("io.add", "add.math", "math.write_file", "raw_ops.add", " math.add", "math."):
        assert not known.is_symbol(name)


def test_releases_and_gradients_of_an_operator_are_known_by_its_name():
    pure = ("Mul", "AddV2", "ReluGrad", "FusedBatchNormGradV3", "AvgPoolGrad", "TensorArrayV3")
    stateful = ("AssignVariableOp", "VarHandleOp", "ReadVariableOp", "If", "While", "Case")
    stateful += ("StatefulPartitionedCall", "RandomUniform", "TensorArrayV3", "Assert")
    unknown = ("WriteFile", "SaveV2", "RestoreV2", "PyFunc", "Grad", "V2", "", "MulX")
    assert all(map(known.is_operator, pure + stateful))
    assert not any(map(known.is_operator, unknown))
    assert not any(known.is_operator(name, stateless=True) for name in stateful)


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
