"""What the installed Keras 3 and tf_keras have: the classes that a configuration may name."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil

from keras_to_lambda.convert.scan.keras_configuration import plain_module
from keras_to_lambda.convert.scan.known_names import (
    CODE,
    KERAS_MODULES,
    OPERATOR_LAYERS,
    is_class,
)


def _below(cls):
    for sub in cls.__subclasses__():
        yield sub
        yield from _below(sub)


# They call a function that the configuration names, describe tables of files, or are for training.
NOT_MODULES = (
    "keras.utils",
    "feature_space",
    "compile_utils",
    "distillation",
    "backend.tensorflow.optimizer",
)
NOT_CLASSES = """
    AssociativeScan Cond ForiLoop JVP Map Scan Switch VectorizedMap WhileLoop Function
    LinearModel WideDeepModel"""


def keras_classes():
    """The pairs of a plain module and a name by which a file may name them."""
    import keras
    import tf_keras
    from keras.src.api_export import get_name_from_symbol
    from keras.src.ops.operation import Operation
    from tf_keras.src import initializers
    from tf_keras.src.layers import serialization

    for package in (keras.src.applications, tf_keras.src.applications):
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.endswith("_test"):
                importlib.import_module(f"{package.__name__}.{module.name}")
    three = {
        keras.initializers.Initializer,
        keras.regularizers.Regularizer,
        keras.constraints.Constraint,
        keras.DTypePolicy,
        Operation,
    }
    found = {sub for base in three for sub in (base, *_below(base)) if base is not Operation}
    found |= {sub for sub in _below(Operation) if issubclass(sub, keras.Layer) or _is_op(sub)}
    serialization.populate_deserializable_objects()
    initializers.populate_deserializable_objects()
    layers = serialization.LOCAL.ALL_OBJECTS
    two = {
        x for x in layers.values() if inspect.isclass(x) and issubclass(x, tf_keras.layers.Layer)
    }
    two |= {x for x in initializers.LOCAL.ALL_OBJECTS.values() if inspect.isclass(x)}
    bases = (tf_keras.regularizers.Regularizer, tf_keras.constraints.Constraint)
    two |= {sub for base in bases for sub in (base, *_below(base))}
    two |= {x for x in _below(tf_keras.layers.Layer) if ".applications." in x.__module__}
    two |= set(_below(tf_keras.mixed_precision.Policy)) | {tf_keras.mixed_precision.Policy}
    pairs = set()
    for cls in found | two:
        public = [get_name_from_symbol(cls)] if get_name_from_symbol(cls) else []
        for attribute in ("_keras_api_names", "_keras_api_names_v1"):
            public += vars(cls).get(attribute, ())
        # A file names a class by its public module, or by the file where it has none.
        pairs |= {
            tuple(name.rsplit(".", 1)) for name in public or [f"{cls.__module__}.{cls.__name__}"]
        }
    unlisted = {*CODE, *OPERATOR_LAYERS, *NOT_CLASSES.split()}
    plain = {(plain_module(module), name) for module, name in pairs}
    return {
        (module, name)
        for module, name in plain
        if module.startswith("keras") and not module.endswith(NOT_MODULES) and name not in unlisted
    }


def reachable(library):
    """What a file can name by a place of the library, in it or in its `src`, and a known name."""
    for package in (library.__name__, f"{library.__name__}.src"):
        modules = [package]
        for place in KERAS_MODULES - {""}:
            with contextlib.suppress(ImportError):
                found = importlib.import_module(f"{package}.{place}")
                below = pkgutil.walk_packages(getattr(found, "__path__", ()), found.__name__ + ".")
                modules += [found.__name__, *(module.name for module in below)]
        for module in modules:
            if not module.endswith("_test"):
                for name, value in vars(importlib.import_module(module)).items():
                    if is_class(plain_module(module), name):
                        yield value


def _is_op(cls):
    return cls.__module__.startswith("keras.src.ops.")
