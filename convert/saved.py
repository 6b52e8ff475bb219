"""SavedFile: what a file of Keras says about itself, read without loading it.

Loading a model runs what its author wrote. Here only JSON is parsed, the tables of zip archives
and of HDF5 are walked, and a SavedModel's graph is decoded: no Keras, no class named in the file.
"""

from __future__ import annotations

import json
import math
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from convert.errors import ConvertError

# Layers that carry a program, or run one that is kept elsewhere. The first part are the classes
# that Keras's own safe mode refuses (keras/src/layers/core/lambda_layer.py, export/tfsm_layer.py,
# utils/torch_utils.py, utils/jax_layer.py); `__lambda__` is a Python function inside a config.
CODE = ("Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
# tf_keras imports whatever module a config names and takes the named thing out of it.
PACKAGES = ("keras", "tf_keras", "keras_hub", "keras_cv", "keras_nlp", "builtins", "__main__")
# Functions of Keras that download, load and save; a network has no use for them.
NOT_FOR_NETWORKS = ("utils", "saving", "models", "preprocessing", "config", "backend")
# What a layer of Keras 2 that calls TensorFlow by name (`TFOpLambda`) has no reason to call.
NOT_FOR_GRAPHS = ("io.", "raw_ops.", "py_function", "numpy_function", "saved_model.", "data.")
# Operators of TensorFlow that read, write, send or call Python, in a graph that is only to compute.
# https://github.com/tensorflow/tensorflow/blob/master/SECURITY.md: models are programs.
OPERATORS = frozenset(
    {
        *("ReadFile", "WriteFile", "MatchingFiles", "WholeFileReader", "WholeFileReaderV2"),
        *("PyFunc", "PyFuncStateless", "EagerPyFunc", "PrintV2", "Save", "SaveSlices"),
        *("DebugIdentity", "DebugIdentityV2", "DebugIdentityV3", "DebugNanCount"),
        *("DebugNumericSummary", "DebugNumericSummaryV2", "RpcCall", "RpcClient", "RpcServer"),
        *("TextLineDataset", "TFRecordDataset", "TFRecordDatasetV2", "FixedLengthRecordDataset"),
        *("FixedLengthRecordDatasetV2", "SqlDataset", "CreateSummaryFileWriter"),
        *("CreateSummaryDbWriter", "DataServiceDataset", "DataServiceDatasetV2"),
    }
)

MAX_MEMBERS = 10_000
MAX_OBJECTS = 200_000
MAX_JSON_BYTES = 256 << 20
MAX_GRAPH_BYTES = (2 << 30) - 1  # protobuf's own limit
# Keras stores weights as they are. Deflate reaches 1032 with zeros; what people's own tools pack,
# weights or JSON, stays below 50.
MAX_RATIO = 200
SMALL = 1 << 20
# HDF5's own filters and h5py's LZF (https://docs.hdfgroup.org/hdf5/develop/group___h5_z.html):
# others are libraries that it looks for on this machine.
FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})

SAVE_AGAIN = "save it again with model.save('NAME.keras')"


@dataclass(frozen=True)
class SavedFile:
    """A model of Keras as a file.

    kind: "keras", "h5" or "saved_model", by the content, whatever the file is called.
    written_by: the version of Keras; of TensorFlow for a SavedModel; None where it does not say.
    backend: "tensorflow", "jax", "torch" or "theano"; only HDF5 files say it.
    classes: each layer's class, in the file's order, those of nested models as well.
    code: what would run a program if the file were loaded; it needs the user's trust.
    own: modules and names of classes and functions that are not Keras's: the author's own.
    config: the network as Keras's JSON; None for SavedModels and files of weights.
    faults: why the file is refused whoever trusts it.
    """

    kind: str
    written_by: str | None = None
    backend: str | None = None
    classes: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    own: tuple[tuple[str, str], ...] = ()
    config: dict[str, Any] | None = None
    faults: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> SavedFile:
        """Read what the file says.

        Raises:
            ConvertError: there is no such file, it is of another kind, or it was cut short.
        """
        if not path.exists():
            raise ConvertError(f"there is no model at {path}")
        try:
            if path.is_dir():
                return _saved_model(path)
            with path.open("rb") as file:
                head = file.read(512)
            if head.startswith(b"PK"):
                return _keras(path)
            # HDF5's signature: https://docs.hdfgroup.org/hdf5/develop/_f_m_t3.html
            if head.startswith(b"\x89HDF\r\n\x1a\n"):
                return _h5(path)
        except OSError as error:
            reason = error.strerror or error
            raise ConvertError(f"cannot read {path}: {reason}") from error
        raise ConvertError(_stranger(path, head))


def _stranger(path: Path, head: bytes) -> str:
    """What a file is that begins like none of ours, and what to do."""
    if not head:
        return f"{path} is empty: it was cut short; {SAVE_AGAIN}"
    if head.startswith(b"version https://git-lfs"):
        return f"{path} is a pointer of Git LFS, not the model: run `git lfs pull`"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return f"{path} is a web page: the download gave an error or a login, not the model"
    if head[4:8] == b"TFL3":
        return f"{path} is a .tflite already: it needs no conversion, but a card"
    if path.suffix in (".keras", ".h5", ".hdf5"):
        return (
            f"{path} begins neither like a .keras nor like an .h5 file: it was cut short, damaged "
            f"or renamed; {SAVE_AGAIN}"
        )
    return f"{path} is neither a .keras or .h5 file nor a SavedModel folder"


# .keras: a zip archive with metadata.json, config.json and model.weights.h5
# (keras/src/saving/saving_lib.py).


def _keras(path: Path) -> SavedFile:
    try:
        with zipfile.ZipFile(path) as archive:
            return _of_archive(path, archive)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ConvertError(
            f"{path} was cut short or damaged ({error}): get it again, or {SAVE_AGAIN}"
        ) from error


def _of_archive(path: Path, archive: zipfile.ZipFile) -> SavedFile:
    faults = tuple(_archive_faults(archive, path.stat().st_size))
    if faults:
        # Nothing of it is unpacked.
        return SavedFile("keras", faults=faults)
    names = archive.namelist()
    if "config.json" not in names:
        if any(name.endswith("saved_model.pb") for name in names):
            raise ConvertError(f"{path} is a SavedModel in a zip: unpack it and give the folder")
        if any(name.endswith(".weights.h5") for name in names):
            return SavedFile("keras", faults=(_WEIGHTS_ALONE,))
        raise ConvertError(f"{path} is a zip archive without config.json: not a model of Keras")
    metadata = _json(archive.read("metadata.json")) if "metadata.json" in names else {}
    found = _of_config("keras", _json(archive.read("config.json")), metadata.get("keras_version"))
    faults = found.faults
    for name in names:
        if name.endswith((".npz", ".npy", ".pkl", ".pickle")):
            faults += (f"{name} in it can hold pickled objects, which are programs",)
        elif name.endswith(".h5"):
            # h5py seeks, which a compressed member cannot; reading it whole also checks its CRC.
            with tempfile.TemporaryFile() as weights:
                with archive.open(name) as member:
                    shutil.copyfileobj(member, weights)
                size = weights.tell()
                with _open_h5(path, weights) as file:
                    faults += tuple(f"{name}: {fault}" for fault in _h5_faults(file, size))
    if not any(name.endswith((".h5", ".npz", ".weights.json")) for name in names):
        faults += ("it has no weights in it; " + SAVE_AGAIN,)
    return _with_faults(found, faults)


_WEIGHTS_ALONE = (
    "it holds weights without the network: build the network, load_weights() into it, and "
    + SAVE_AGAIN
)


def _archive_faults(archive: zipfile.ZipFile, size: int) -> Iterator[str]:
    """Yield what an archive of Keras has never had."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        yield f"it is an archive of {len(members)} files"
        return
    if len({member.filename for member in members}) != len(members):
        yield "it is an archive with two files of the same name"
    if sum(member.compress_size for member in members) > size:
        yield "its files overlap in the archive, as in a zip bomb"
    for member in members:
        name = member.filename
        parts = name.replace("\\", "/").split("/")
        if name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0]:
            yield f"{name!r} in it would be unpacked outside of its folder"
        if stat.S_ISLNK(member.external_attr >> 16):
            yield f"{name!r} in it is a symbolic link"
        if member.flag_bits & 1:
            yield f"{name!r} in it is encrypted"
        if member.file_size > SMALL and member.file_size > MAX_RATIO * member.compress_size:
            yield (
                f"{name!r} in it would grow from {member.compress_size} bytes to "
                f"{member.file_size}, as in a zip bomb"
            )
        if name.endswith(".json") and member.file_size > MAX_JSON_BYTES:
            yield f"{name!r} in it is {member.file_size} bytes long"


# .h5: the network as JSON in the attribute model_config, weights in groups
# (keras/src/legacy/saving/legacy_h5_format.py).


def _h5(path: Path) -> SavedFile:
    with _open_h5(path, path) as file:
        faults = tuple(_h5_faults(file, path.stat().st_size))
        text = _text(file, "model_config")
        version, backend = _text(file, "keras_version"), _text(file, "backend")
    if text is None:
        return SavedFile("h5", version, backend, faults=(*faults, _WEIGHTS_ALONE))
    try:
        config = _json(text.encode())
    except ValueError as error:
        raise ConvertError(
            f"{path}: its model_config is damaged ({error}): get it again, or {SAVE_AGAIN}"
        ) from error
    found = _of_config("h5", config, version, backend)
    return _with_faults(found, found.faults + faults)


def _open_h5(path: Path, source: Path | BinaryIO | Any) -> Any:
    import h5py

    try:
        return h5py.File(source, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise ConvertError(
            f"{path} was cut short or damaged ({_brief(error)}): get it again, or {SAVE_AGAIN}"
        ) from error


def _brief(error: Exception) -> str:
    # HDF5: "Unable to synchronously open file (truncated file: eof = 5, ...)".
    return str(error).partition("(")[2].rstrip(")") or str(error)


def _text(file: Any, name: str) -> str | None:
    """A string attribute; a single one, so that nothing is read that the file does not hold."""
    try:
        if name not in file.attrs or file.attrs.get_id(name).shape != ():
            return None
        value = file.attrs[name]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, UnicodeError):
        return None
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return value if isinstance(value, str) else None


def _h5_faults(file: Any, size: int) -> Iterator[str]:
    """Yield links out of the file, and weights that are larger than what it holds."""
    try:
        yield from _tree_faults(file, size)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, UnicodeError) as error:
        yield f"its HDF5 part is damaged ({_brief(error)})"


def _tree_faults(file: Any, size: int) -> Iterator[str]:
    import h5py

    total = 0
    seen = set()
    groups = [file]
    while groups:
        group = groups.pop()
        for name in group:
            link = group.get(name, getlink=True)
            place = f"{group.name}/{name}".replace("//", "/")
            if isinstance(link, h5py.ExternalLink):
                yield f"{place} is a link to another file, {link.filename!r}"
                continue
            if isinstance(link, h5py.SoftLink):
                # Keras never writes one and refuses to read it.
                yield f"{place} is a symbolic link to {link.path!r}"
                continue
            entry = group[name]
            # Hard links can go round in circles.
            info = h5py.h5o.get_info(entry.id)
            if info.addr in seen:
                continue
            seen.add(info.addr)
            if len(seen) > MAX_OBJECTS:
                yield f"it has more than {MAX_OBJECTS} objects in it"
                return
            if isinstance(entry, h5py.Group):
                groups.append(entry)
            elif isinstance(entry, h5py.Dataset):
                fault = _dataset_fault(entry)
                if fault:
                    yield f"{place} {fault}"
                else:
                    total += _bytes(entry)
    if total > SMALL and total > MAX_RATIO * size:
        yield f"its weights would take {total} bytes of memory, and the file has {size}"


def _dataset_fault(dataset: Any) -> str | None:
    if dataset.external:
        return f"has its values in another file, {dataset.external[0][0]!r}"
    if dataset.is_virtual:
        return "is put together from other files"
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
    unknown = sorted(set(filters) - FILTERS)
    if unknown:
        return f"is packed with a filter that HDF5 has not got itself (number {unknown[0]})"
    needed, stored = _bytes(dataset), dataset.id.get_storage_size()
    # A dataset without filters is stored as it is; small ones can lie in their header.
    most = stored * (MAX_RATIO if filters else 1)
    if needed > SMALL and needed > most:
        return (
            f"is a tensor of shape {tuple(dataset.shape)}, {needed} bytes; the file holds "
            f"{stored} of them"
        )
    return None


def _bytes(dataset: Any) -> int:
    return math.prod(dataset.shape or ()) * int(dataset.dtype.itemsize)


# The network as JSON, which both kinds have.


def _json(data: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: it is not JSON, not an object, or nested beyond reason.
    """
    try:
        value = json.loads(data)
    except RecursionError as error:
        raise ValueError("JSON nested too deep") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004
    return value


def _of_config(
    kind: str, config: dict[str, Any], version: Any, backend: str | None = None
) -> SavedFile:
    classes, code, own = [], [], []
    # Nothing is compiled: a loss of the user's own is neither needed nor touched.
    network = {key: value for key, value in config.items() if key != "compile_config"}
    for node, is_layer in _nodes(network):
        name = node["class_name"]
        if is_layer:
            classes.append(name)
        program = _program(node)
        if program and program not in code:
            code.append(program)
        stranger = _stranger_in(node)
        if stranger and stranger not in own:
            own.append(stranger)
    return SavedFile(
        kind,
        version if isinstance(version, str) else None,
        backend,
        tuple(classes),
        tuple(code),
        tuple(own),
        config,
    )


def _nodes(config: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield each object that the config describes, and whether it is a layer."""
    waiting: list[tuple[Any, bool]] = [(config, False)]
    while waiting:
        value, is_layer = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get("class_name"), str):
                yield value, is_layer
            # Last in, first out: reversed, the layers come in the file's order.
            for key, part in reversed(value.items()):
                # A list of layers is `layers`, and was `config` of Sequential until Keras 2.2.
                listed = isinstance(part, list) and (
                    key == "layers" or (key == "config" and "class_name" in value)
                )
                waiting.append((part, listed or key in ("layer", "cell")))
        elif isinstance(value, list):
            waiting += [(x, is_layer) for x in reversed(value)]


def _program(node: dict[str, Any]) -> str | None:
    """What the object would run, as the user is told of it; None: nothing of its own."""
    kind, module = node["class_name"], node.get("module")
    inside = node.get("config")
    name = inside.get("name") if isinstance(inside, dict) else None
    named = f"{kind} layer {name!r}" if isinstance(name, str) else kind
    # "Package>Lambda" and "keras.layers.Lambda" are loaded as well.
    bare = kind.rpartition(">")[2].rpartition(".")[2]
    if bare in CODE:
        return "a Python function" if bare == "__lambda__" else named
    if isinstance(inside, dict) and inside.get("function_type") == "lambda":
        return named
    if bare in ("TFOpLambda", "SlicingOpLambda") and isinstance(inside, dict):
        function = str(inside.get("function"))
        if function.startswith(NOT_FOR_GRAPHS):
            return f"{named}, which calls tf.{function}"
    if isinstance(module, str) and module:
        package, *parts = module.split(".")
        if kind == "function" and package != "builtins" and set(parts) & set(NOT_FOR_NETWORKS):
            return f"the function {inside!r} of {module}"
    return None


def _stranger_in(node: dict[str, Any]) -> tuple[str, str] | None:
    """The module and the name of what is not Keras's; None: it is."""
    kind, module = node["class_name"], node.get("module")
    if not isinstance(module, str) or not module or module.split(".")[0] in PACKAGES:
        return None
    # A function is {"class_name": "function", "config": its name}.
    inside = node.get("config")
    return module, inside if kind == "function" and isinstance(inside, str) else kind


def _with_faults(found: SavedFile, faults: tuple[str, ...]) -> SavedFile:
    return replace(found, faults=faults)


# SavedModel: a folder with a graph as protobuf and variables
# (https://www.tensorflow.org/guide/saved_model#the_savedmodel_format_on_disk).


def _saved_model(path: Path) -> SavedFile:
    graph = graph_of(path)
    faults = [
        f"its asset {asset.filename!r} lies outside of its folder"
        for asset in graph.asset_file_def
        if asset.filename.startswith("/") or ".." in asset.filename.split("/")
    ]
    named: dict[str, str] = {}
    for node in _operators(graph):
        if node.op in OPERATORS:
            named.setdefault(node.op, f"TensorFlow's operator {node.op} ({node.name})")
    version = graph.meta_info_def.tensorflow_version or None
    return SavedFile("saved_model", version, code=tuple(named.values()), faults=tuple(faults))


def _operators(graph: Any) -> Iterator[Any]:
    yield from graph.graph_def.node
    for function in graph.graph_def.library.function:
        yield from function.node_def


def graph_of(path: Path) -> Any:
    """The graph for serving of a SavedModel folder: a `tensorflow.MetaGraphDef`.

    Raises:
        ConvertError: it is no such folder, it is damaged, or TensorFlow is not installed.
    """
    file = path / "saved_model.pb"
    if not file.is_file():
        if (path / "config.json").is_file():
            raise ConvertError(f"{path} is an unpacked .keras file: give the file itself")
        if (path / "saved_model.pbtxt").is_file():
            raise ConvertError(f"{path} is a SavedModel as text: save it with model.export()")
        raise ConvertError(f"{path} is a folder but not a SavedModel: it has no saved_model.pb")
    size = file.stat().st_size
    if not 0 < size <= MAX_GRAPH_BYTES:
        raise ConvertError(f"{file} has {size} bytes: it was cut short, or is no graph")
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
            f"{file} was cut short or damaged: get it again, or save it with model.export()"
        ) from error
    for graph in saved.meta_graphs:
        if "serve" in graph.meta_info_def.tags:
            return graph
    raise ConvertError(f"{path} has no graph for serving: save it with model.export()")
