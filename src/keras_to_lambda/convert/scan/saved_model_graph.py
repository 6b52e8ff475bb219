"""SavedModels: folders with a graph of operators, as protobuf, and variables.

https://www.tensorflow.org/guide/saved_model#the_savedmodel_format_on_disk. Loading one runs the
functions that restore variables and initialize resources; its signature runs what it reaches.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.scan.known_names import RESTORE, SAVE, is_operator

GRAPH, VARIABLES = "saved_model.pb", "variables"
MAX_GRAPH_BYTES = (2 << 30) - 1  # protobuf's own limit
_VARIABLE_FILE = re.compile(r"variables\.(index|data-\d{5}-of-\d{5})")
# What may be restored: objects, functions, variables and constants; no tables, no files.
_OBJECTS = (
    *("user_object", "function", "bare_concrete_function", "variable", "constant"),
    "captured_tensor",
)
# The class of TensorFlow that restores itself, and is only a value.
_CONSTANT = "tf.TrackableConstant"
_BLOCK = 1 << 20


def copy(path: Path, folder: Path) -> tuple[Any, list[str]]:
    """Copy a SavedModel's graph and variables, and nothing else of it, into an empty folder.

    Returns the graph, a `saved_model_pb2.SavedModel`, and why the folder is refused.
    """
    if not (path / GRAPH).is_file():
        raise ConvertError(
            f"{path} is a folder but not a SavedModel: it has no {GRAPH}; save it with "
            "model.export(), or give the .keras file that was unpacked there"
        )
    names = [GRAPH]
    if (path / VARIABLES).is_dir():
        found = sorted(file.name for file in (path / VARIABLES).iterdir())
        names += [f"{VARIABLES}/{name}" for name in found if _VARIABLE_FILE.fullmatch(name)]
    links = [name for name in (VARIABLES, *names) if (path / name).is_symlink()]
    if links:
        return None, [f"{links[0]} in it is a symbolic link: copy the folder with `cp -rL`"]
    (folder / VARIABLES).mkdir(parents=True)
    for name in names:
        copy_file(path / name, folder / name, getattr(os, "O_NOFOLLOW", 0))
    return read(path, folder), []


def copy_file(source: Path, target: Path, flags: int = 0) -> str:
    """Copy a plain file, opened with more flags of os.open; its SHA-256."""
    sha256 = hashlib.sha256()
    # Not to wait for a pipe's other end.
    flags |= os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(source, flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ConvertError(f"{source} is not a file")
        with target.open("wb") as out:
            for block in iter(lambda: file.read(_BLOCK), b""):
                sha256.update(block)
                out.write(block)
    return sha256.hexdigest()


def read(path: Path, folder: Path) -> Any:
    """The graphs of a folder, a `saved_model_pb2.SavedModel`; `path` is what messages call it."""
    file = folder / GRAPH
    size = file.stat().st_size
    if not 0 < size <= MAX_GRAPH_BYTES:
        raise ConvertError(f"{path / GRAPH} has {size} bytes: it was cut short, or is not a graph")
    try:
        from tensorflow.core.protobuf import saved_model_pb2
    except ModuleNotFoundError as error:
        raise ConvertError(
            f"{path} is a SavedModel, which only TensorFlow can read: use the environment with it"
        ) from error
    from google.protobuf.message import DecodeError

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString(file.read_bytes())
    except DecodeError as error:
        raise ConvertError(
            f"{path / GRAPH} was cut short or damaged: get it again, or save it with model.export()"
        ) from error
    if not any("serve" in graph.meta_info_def.tags for graph in saved.meta_graphs):
        raise ConvertError(f"{path} has no graph for serving: save it with model.export()")
    return saved


def for_serving(saved: Any) -> Any:
    """The graph for serving, a `MetaGraphDef`."""
    return next(graph for graph in saved.meta_graphs if "serve" in graph.meta_info_def.tags)


def faults(saved: Any) -> Iterator[str]:
    """Yield the files that loading would read, and functions that are not the only one so named."""
    from tensorflow.python.framework import op_def_registry

    for graph in saved.meta_graphs:
        functions = Counter(f.signature.name for f in graph.graph_def.library.function)
        for name, count in functions.items():
            if count > 1:
                yield f"it has {count} functions called {name!r}"
            if op_def_registry.get(name) is not None:
                yield f"it has a function that is called like TensorFlow's operator {name!r}"
        names = [asset.filename for asset in graph.asset_file_def]
        names += [
            f"node {node.asset.asset_file_def_index}"
            for node in graph.object_graph_def.nodes
            if node.WhichOneof("kind") == "asset"
        ]
        if names or "saved_model_assets" in graph.collection_def:
            listed = ", ".join(repr(name) for name in names[:3]) or "in a collection"
            yield f"it has assets ({listed}), files that it reads; an image classifier has none"


def code(saved: Any) -> Iterator[str]:
    """Yield what does more than compute."""
    named: dict[str, str] = {}
    for graph in saved.meta_graphs:
        library = {f.signature.name: f for f in graph.graph_def.library.function}
        nodes, called = _run(graph, library, _starts(graph))
        # In TensorFlow 1 the node that restores is a part of the graph.
        first = [] if graph.object_graph_def.nodes else [graph.saver_def.restore_op_name]
        restoring, more = _run(graph, library, first)
        path = graph.saver_def.filename_tensor_name.partition(":")[0]
        checked = []
        for node in graph.graph_def.node:
            # Only there is the path fed by the loader.
            is_path = bool(node.input) and node.input[0].partition(":")[0] == path
            if not (node.op == RESTORE and is_path and node.name not in nodes):
                checked.append((node, node.name in nodes or node.name in restoring))
        for name, function in library.items():
            checked += [(node, name in called or name in more) for node in function.node_def]
        for node, is_run in checked:
            # Python restores variables itself; the graph's functions for that are for other
            # languages.
            unused = not is_run and (node.op in SAVE or node.op == RESTORE)
            if not (unused or is_operator(node.op) or node.op in library):
                named.setdefault(node.op, f"TensorFlow's operator {node.op} ({node.name})")
        for node in graph.object_graph_def.nodes:
            kind = node.WhichOneof("kind")
            if kind not in (*_OBJECTS, "asset", None):
                named.setdefault(kind, f"a {kind} that is set up when it is loaded")
            for name in {node.registered_name, node.registered_saver} - {"", _CONSTANT}:
                named.setdefault(name, f"an object of the class {name!r}")
    yield from named.values()


def operators(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph and of its functions."""
    yield from graph.graph_def.node
    for function in graph.graph_def.library.function:
        yield from function.node_def


def _starts(graph: Any) -> list[str]:
    """The tensors and nodes of a graph that loading or serving runs."""
    names = [
        tensor.name
        for signature in graph.signature_def.values()
        for tensor in (*signature.outputs.values(), *signature.inputs.values())
    ]
    return names + [name for part in graph.collection_def.values() for name in part.node_list.value]


def _run(graph: Any, library: dict[str, Any], waiting: list[str]) -> tuple[set[str], set[str]]:
    """The names of the graph's own nodes, and of its functions, that are run for some of them."""
    own = {node.name: node for node in graph.graph_def.node}
    nodes: set[str] = set()
    functions = list(graph.object_graph_def.concrete_functions)
    while waiting:
        name = waiting.pop().lstrip("^").partition(":")[0]
        if name in own and name not in nodes:
            nodes.add(name)
            waiting += own[name].input
            functions += _named(own[name])
    called: set[str] = set()
    while functions:
        name = functions.pop()
        if name in library and name not in called:
            called.add(name)
            functions += [part for node in library[name].node_def for part in _named(node)]
    return nodes, called


def _named(node: Any) -> Iterator[str]:
    """Yield the functions that a node may call: its operator, and those in its attributes."""
    yield node.op
    for value in node.attr.values():
        yield value.func.name
        yield from (function.name for function in value.list.func)
