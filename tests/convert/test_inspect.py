"""What a model file holds: reported for every kind, damaged and hostile ones too, and never run."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import zipfile
from dataclasses import replace

import flatbuffers
import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.inspect_file import facts, inspect, main
from keras_to_lambda.convert.load.saved_file import SavedFile
from keras_to_lambda.convert.quantize import metadata_writer
from keras_to_lambda.runtime.model_file import card as cards
from tests.convert.attacks import members_of
from tests.convert.conftest import write_h5

# The real sandbox is in test_sandbox.py.
pytestmark = pytest.mark.usefixtures("in_process")
CARD = cards.ModelCard(name="net", labels=("a", "b", "c", "d", "e"), height=40, width=40)


def as_tflite(model, **options):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    for name, value in options.items():
        setattr(converter, name, value)
    return converter.convert()


@pytest.fixture(scope="module")
def flatbuffer(network):
    return as_tflite(network())


@pytest.fixture
def write(tmp_path):
    def to(data, name="net.tflite"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return to


def archive(members):
    """A .keras file of these members, deflated."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


# .tflite


def test_a_served_model_is_reported_and_exits_with_0(flatbuffer, write, network, capsys):
    path = write(cards.join(metadata_writer.attach(flatbuffer, CARD), CARD))
    assert main([str(path)]) == 0
    out = capsys.readouterr().out
    for words in ("1 x 40 x 40 x 3, float32", "CONV_2D", "5: a, b, c, d, e", "It can be served."):
        assert words in out
    assert "were not tried on photos" in out
    assert main([str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["inputs"][0]["shape"] == [1, 40, 40, 3]
    # The converter leaves out a bias that is zero: that of the five logits.
    assert found["parameters"] == network().count_params() - 5
    assert found["card_from"] == "the file"
    assert found["quantization"] == "float32 (none)"


def test_without_a_card_the_remedy_is_said(flatbuffer, write, capsys):
    assert main([str(write(flatbuffer))]) == 1
    assert "net.card.json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("a", "b")}, "output of shape (1, 5), its card has 2 labels: give one"),
        ({"height": 41}, "of shape (1, 40, 40, 3), its card says (1, 41, 40, 3)"),
        ({"channels": 1}, "of shape (1, 40, 40, 3), its card says (1, 40, 40, 1)"),
        ({"dtype": "uint8"}, "takes float32, its card says uint8"),
    ],
)
def test_a_card_of_another_network_stops_it(changes, message, flatbuffer, write):
    [stopped] = inspect(write(cards.join(flatbuffer, replace(CARD, **changes))))["stopped_by"]
    assert message in stopped


def test_several_inputs_and_outputs_are_reported_by_name(write):
    one, two = keras.Input((4,), name="one"), keras.Input((4,), name="two")
    x = keras.layers.Concatenate()([one, two])
    model = keras.Model([one, two], [keras.layers.Dense(2)(x), keras.layers.Dense(3)(x)])
    stopped = " ".join(facts(str(write(as_tflite(model))))["stopped_by"])
    assert "2 inputs" in stopped
    assert "2 outputs" in stopped


@pytest.mark.parametrize(
    ("name", "message"),
    [("Digamma", "is a custom operator"), ("FlexDigamma", "is TensorFlow's own operator")],
)
def test_an_operator_that_the_interpreter_lacks_is_reported_by_name(name, message, write):
    class Strange(keras.layers.Layer):
        def call(self, x):
            return tf.reduce_mean(tf.raw_ops.Digamma(x=x), axis=(1, 2))

    image = keras.Input((8, 8, 3), batch_size=1)
    data = as_tflite(keras.Model(image, Strange(name="strange")(image)), allow_custom_ops=True)
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    (code,) = (code for code in model.operatorCodes if code.customCode)
    code.customCode = name
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    stopped = facts(str(write(bytes(builder.Output()))))["stopped_by"]
    assert re.match(f"{name} \\(which makes '.*strange.*'\\) {message}", stopped[0])


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_a_tflite_cut_short_stops_it(share, flatbuffer, write, capsys):
    whole = cards.join(metadata_writer.attach(flatbuffer, CARD), CARD)
    status = main([str(write(whole[: int(share * len(whole))]))])
    captured = capsys.readouterr()
    assert status in (1, 2)
    assert "cut short" in captured.out + captured.err
    assert "Traceback" not in captured.err


def test_bit_flips_in_a_tflite_are_reported_or_harmless(flatbuffer, write):
    random = np.random.default_rng(1)
    for _ in range(60):
        data = bytearray(cards.join(metadata_writer.attach(flatbuffer, CARD), CARD))
        for _ in range(4):
            data[random.integers(8, 3000)] ^= 1 << int(random.integers(8))
        try:
            facts(str(write(data)))
        except ConvertError as error:
            assert "damaged" in str(error)  # noqa: PT017


# .keras, .h5, SavedModel


@pytest.mark.parametrize("kind", ["keras", "h5", "saved_model"])
def test_a_model_that_can_be_converted_exits_with_0(kind, models, network, capsys):
    assert main([str(models[kind]), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == kind
    assert found["inputs"][0]["shape"][1:] == [40, 40, 3]
    assert found["parameters"] == network().count_params()
    assert main([str(models[kind])]) == 0
    if kind != "saved_model":
        saved = SavedFile.read(models[kind])
        assert saved.written_by == keras.__version__
        names = ("InputLayer", "Conv2D", "Conv2D", "AveragePooling2D", "Flatten", "Dense")
        assert (saved.classes, saved.code, saved.faults) == (names, (), ())


def test_the_card_beside_a_keras_file_gives_its_labels(models, tmp_path):
    path, aside = tmp_path / "net.keras", tmp_path / "net.card.json"
    path.write_bytes(models["keras"].read_bytes())
    aside.write_text(json.dumps(CARD.to_json()), encoding="utf-8")
    found = inspect(path)
    assert (found["labels"], found["card_from"]) == (list(CARD.labels), "net.card.json")
    aside.write_text("{", encoding="utf-8")
    [stopped] = inspect(path)["stopped_by"]
    assert "net.card.json is not JSON" in stopped


def test_a_network_in_a_network_has_the_outer_ones_input_and_output(network, tmp_path):
    inner = network(classes=7)
    layers = [keras.Input((40, 40, 3)), inner, keras.layers.Dense(2, name="last")]
    keras.Sequential(layers).save(tmp_path / "nested.keras")
    found = inspect(tmp_path / "nested.keras")
    assert found["stopped_by"] == []
    assert [x["shape"] for x in found["inputs"]] == [[None, 40, 40, 3]]
    assert [(x["name"], x["shape"]) for x in found["outputs"]] == [("last", [None, 2])]
    classes = SavedFile.read(tmp_path / "nested.keras").classes
    assert classes[:4] == ("InputLayer", "Functional", "InputLayer", "Conv2D")
    assert classes[-1] == "Dense"


def test_the_first_keras_is_read_as_well(tmp_path):
    # What Keras 1.2 wrote: a Sequential's config is the list of its layers.
    first = {"name": "one", "batch_input_shape": [None, 8, 8, 3], "dim_ordering": "tf"}
    config = {
        "class_name": "Sequential",
        "config": [
            {"class_name": "Convolution2D", "config": first},
            {"class_name": "Flatten", "config": {"name": "two"}},
            {"class_name": "Dense", "config": {"name": "three", "output_dim": 4}},
        ],
    }
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["keras_version"] = b"1.2.2"
        file.attrs["model_config"] = json.dumps(config).encode()
    saved = SavedFile.read(tmp_path / "old.h5")
    assert saved.classes == ("Convolution2D", "Flatten", "Dense")
    assert (saved.written_by, saved.backend, saved.code, saved.faults) == ("1.2.2", None, (), ())
    found = inspect(tmp_path / "old.h5")
    assert found["inputs"][0]["shape"] == [None, 8, 8, 3]
    assert found["outputs"] == [{"name": "three", "shape": [None, 4], "dtype": None}]


def test_the_content_tells_the_kind_and_not_the_name(models, tmp_path):
    (tmp_path / "net.h5").write_bytes(models["keras"].read_bytes())
    assert SavedFile.read(tmp_path / "net.h5").kind == "keras"


def quantized(method, mode):
    config = {"mode": mode, "source_name": "float32"}
    return {
        "class_name": f"{method}DTypePolicy",
        "module": "keras.dtype_policies",
        "registered_name": None,
        "config": config,
    }


@pytest.mark.parametrize(
    ("node", "own"),
    [
        ({"class_name": "system", "module": "os", "config": None}, (("os", "system"),)),
        ({"class_name": "function", "module": "os", "config": "system"}, (("os", "system"),)),
        ({"class_name": "Halve", "module": "my.layers", "config": {}}, (("my.layers", "Halve"),)),
        # A mode of Keras with slashes, which is no path.
        (quantized("GPTQ", "gptq/4/128"), ()),
        (quantized("AWQ", "awq/4/-1"), ()),
    ],
)
def test_what_is_not_of_keras_and_nothing_else_is_reported_by_module_and_name(
    node, own, models, write
):
    members = members_of(models["keras"])
    config = json.loads(members["config.json"])
    config["config"]["layers"][1]["config"]["activation"] = {"deep": [{"down": node}]}
    members["config.json"] = json.dumps(config)
    saved = SavedFile.read(write(archive(members), "net.keras"))
    assert (saved.own, saved.code, saved.faults) == (own, (), ())


def test_a_loss_of_the_users_own_is_not_in_the_way(models, write):
    members = members_of(models["keras"])
    config = json.loads(members["config.json"])
    config["compile_config"] = {"loss": {"class_name": "L", "module": "mine", "config": {}}}
    members["config.json"] = json.dumps(config)
    assert SavedFile.read(write(archive(members), "net.keras")).code == ()


def test_weights_alone_are_reported(network, tmp_path):
    network().save_weights(tmp_path / "net.weights.h5")
    saved = SavedFile.read(tmp_path / "net.weights.h5")
    assert "weights without the network" in saved.faults[0]
    assert inspect(tmp_path / "net.weights.h5")["stopped_by"] == list(saved.faults)


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("assets/zeros.bin", bytes(50_000_000), "zip bomb"),
        ("../out.txt", "x", "outside of its folder"),
        ("/tmp/out.txt", "x", "outside of its folder"),
        ("a/../../out.txt", "x", "outside of its folder"),
        ("C:\\out.txt", "x", "outside of its folder"),
        ("model.weights.npz", "x", "pickled"),
    ],
)
def test_a_member_of_an_archive_that_does_harm_is_refused(name, content, fault, models, write):
    path = write(archive({**members_of(models["keras"]), name: content}), "net.keras")
    assert path.stat().st_size < 500_000
    assert fault in SavedFile.read(path).faults[0]


def soft_link(file):
    file["round"] = h5py.SoftLink("/")


def virtual(file):
    layout = h5py.VirtualLayout((10,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(10,))
    file.create_virtual_dataset("stolen", layout)


def circle(file):
    file["again"] = file["/"]


@pytest.mark.parametrize(
    ("change", "message"),
    [(soft_link, "symbolic link"), (virtual, "put together from other files"), (circle, "")],
)
def test_weights_that_reach_out_are_refused_and_groups_that_hold_themselves_end(
    change, message, models, write
):
    path = write(models["h5"].read_bytes(), "net.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    faults = SavedFile.read(path).faults
    assert bool(faults) == bool(message)
    assert message in "".join(faults)


@pytest.mark.parametrize("kind", ["keras", "h5"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9])
def test_a_model_cut_short_exits_with_2(kind, share, models, write, capsys):
    whole = models[kind].read_bytes()
    path = write(whole[: int(share * len(whole))], models[kind].name)
    assert main([str(path)]) == 2
    assert "was cut short" in capsys.readouterr().err


def test_bit_flips_give_our_error_or_an_answer(models, write):
    # Not of .h5 here: HDF5 can loop in those, which only the child process's limit ends.
    random = np.random.default_rng(2)
    for _ in range(40):
        data = bytearray(models["keras"].read_bytes())
        for place in random.integers(0, min(len(data), 6000), 5):
            data[place] ^= 1 << int(random.integers(8))
        with contextlib.suppress(ConvertError):
            SavedFile.read(write(data, models["keras"].name))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("net.onnx", b"\0" * 100, "not a .keras, .h5 or .tflite file"),
        ("net.h5", b"<!DOCTYPE html><html>", "web page"),
        ("net.keras", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("net.keras", b"", "cut short"),
        ("net.keras", archive({"readme.txt": "x"}), "not a model of Keras"),
        ("net.keras", archive({"config.json": "["}), "damaged"),
        ("net.keras", archive({"config.json": "[" * 100_000}), "damaged"),
    ],
)
def test_a_file_that_is_not_a_model_is_refused_with_a_remedy(name, data, message, write, capsys):
    assert main([str(write(data, name))]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shape", "layout", "stopped", "note"),
    [
        ((None, None, 3), "channels_last", "it leaves its input size open: give --size", ""),
        ((3, 8, 8), "channels_first", "", "channels first: not every network"),
    ],
)
def test_an_open_size_and_channels_first_are_reported(shape, layout, stopped, note, tmp_path):
    image = keras.Input(shape)
    x = keras.layers.GlobalAveragePooling2D(data_format=layout)(image)
    keras.Model(image, keras.layers.Dense(2)(x)).save(tmp_path / "net.keras")
    found = inspect(tmp_path / "net.keras")
    assert "".join(found["stopped_by"]).startswith(stopped)
    assert bool(found["stopped_by"]) == bool(stopped)
    assert "".join(found["notes"]).startswith(note)


def test_a_savedmodel_cut_short_exits_with_2(models, tmp_path, capsys):
    shutil.copytree(models["saved_model"], tmp_path / "net")
    file = tmp_path / "net" / "saved_model.pb"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert main([str(tmp_path / "net")]) == 2
    assert "cut short" in capsys.readouterr().err


def test_reading_a_file_imports_neither_tensorflow_nor_keras(models):
    import subprocess
    import sys

    program = (
        "import sys; "
        "from keras_to_lambda.convert.inspect_file import facts; facts(sys.argv[1]); "
        "print([m for m in ('tensorflow', 'keras', 'tf_keras') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(models["keras"])],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
@pytest.mark.parametrize(
    ("layers", "stopped", "shown"),
    [
        (
            [keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, padding="same", name="out")],
            ["not an image classifier: output shape (None, 8, 8, 2); expected (batch, labels)"],
            "out: ? x 8 x 8 x 2",
        ),
        (
            [keras.Input((8, 8, 3)), keras.layers.Reshape((-1, 6), name="out")],
            ["not an image classifier: output shape (None, 32, 6); expected (batch, labels)"],
            "out: ? x 32 x 6",
        ),
        (
            [keras.layers.Flatten(), keras.layers.Dense(3, name="out")],
            ["it does not state its input shape, as it was saved before it was built"],
            "unknown; the outputs take 3",
        ),
        (
            [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(1, name="out")],
            [],
            "unknown; the outputs take 2",
        ),
        (
            [keras.Input((8, 8, 3)), keras.layers.Permute((2, 1, 3), name="out")],
            [],
            "out: unknown shape",
        ),
        (
            [keras.Input((8, 8, 3)), keras.layers.UpSampling2D(2, name="out")],
            [],
            "out: ? x ? x ? x 3",
        ),
    ],
)
def test_what_a_network_gives_is_claimed_as_far_as_it_is_known(
    layers, stopped, shown, tmp_path, capsys
):
    keras.Sequential(layers).save(tmp_path / "net.keras")
    assert main([str(tmp_path / "net.keras")]) == (1 if stopped else 0)
    text = capsys.readouterr().out
    assert shown in text
    for reason in stopped or ["The network was not built or run"]:
        assert reason in text


def test_a_layer_without_a_module_asks_for_custom(network, tmp_path):
    class Patches(keras.layers.Layer):
        def call(self, x):
            return x

    write_h5(network(extra=Patches()), tmp_path / "own.h5")
    found = facts(str(tmp_path / "own.h5"))
    assert "not of Keras: Patches. Give the Python file" in found["stopped_by"][0]
    assert SavedFile.read(tmp_path / "own.h5").own == (("", "Patches"),)
