"""The lists of what only computes are what the installed libraries have."""

from __future__ import annotations

from keras_to_lambda.convert.scan import keras_names, tensorflow_names
from tests.convert.known_names import keras_classes


def test_the_classes_are_those_of_both_keras():
    listed = {}
    for module, name in keras_names.CLASSES:
        if module.startswith("keras"):
            listed.setdefault(module, set()).add(name)
    assert listed == keras_classes()


def test_what_carries_code_is_not_among_the_classes():
    names = {name for _, name in keras_names.CLASSES} | keras_names.NAMES
    assert not names & {*keras_names.CODE, *keras_names.OPERATOR_LAYERS}


def test_every_symbol_is_a_function_of_tensorflow():
    import tf_keras  # noqa: F401  # registers keras.backend's
    from tensorflow.python.util.tf_export import get_symbol_from_name

    assert [
        name for name in tensorflow_names.SYMBOLS if not callable(get_symbol_from_name(name))
    ] == []


def test_every_operator_is_one_and_the_stateful_ones_are_named_as_such():
    from tensorflow.python.framework import op_def_registry

    stateful = {name: op_def_registry.get(name).is_stateful for name in tensorflow_names.OPERATORS}
    assert {name for name, is_one in stateful.items() if is_one} == tensorflow_names.STATEFUL


def test_no_listed_operator_takes_the_name_of_a_file():
    from tensorflow.python.framework import op_def_registry

    words = (
        "filename",
        "file_name",
        "filepath",
        "directory",
        "logdir",
        "address",
        "shared_library",
    )
    suspicious = {
        name
        for name in tensorflow_names.OPERATORS
        for part in (*op_def_registry.get(name).input_arg, *op_def_registry.get(name).attr)
        if any(word in part.name for word in words)
    }
    assert suspicious == set()
