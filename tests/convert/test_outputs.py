"""What a network's outputs are: by its last operators and by its answers."""

from __future__ import annotations

import math
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from keras_to_lambda.convert import inspect_file
from keras_to_lambda.convert.network import operators, outputs
from keras_to_lambda.convert.network.outputs import Ending
from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.inference.request import Options
from keras_to_lambda.runtime.inference.telemetry import Stopwatch
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.sources.images import Raw

layers, ops = keras.layers, keras.ops
INF = math.inf


def net(*last, units=3):
    """A network with one output for each function of a layer's numbers."""
    keras.utils.set_random_seed(3)
    image = keras.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(image))
    heads = [each(layers.Dense(units, kernel_initializer="he_normal")(x)) for each in last]
    return keras.Model(image, heads if len(heads) > 1 else heads[0])


def concrete(model):
    spec = tf.TensorSpec((1, *model.inputs[0].shape[1:]), tf.float32, name="image")
    call = tf.function(lambda image: model(image, training=False), autograph=False)
    return call.get_concrete_function(spec)


def pooled(x):
    """A sigmoid for each place, then the mean of all places."""
    maps = ops.sigmoid(ops.reshape(x, (-1, 1, 1, 3)))
    return layers.GlobalAveragePooling2D()(maps)


# Each ending, the limits that its operators keep, and what its probabilities are made by.
ENDINGS = {
    "linear": (lambda x: x, (-INF, INF), set()),
    "softmax": (layers.Softmax(), (0, 1), {"softmax"}),
    "sigmoid": (ops.sigmoid, (0, 1), {"sigmoid"}),
    "activation behind a reshape": (
        lambda x: ops.reshape(layers.Activation("sigmoid")(ops.reshape(x, (-1, 3, 1))), (-1, 3)),
        (0, 1),
        {"sigmoid"},
    ),
    "pooled": (pooled, (0, 1), {"sigmoid"}),
    "hard sigmoid": (layers.Activation("hard_sigmoid"), (0, 1), set()),
    "clipped line": (lambda x: ops.clip(0.2 * x + 0.5, 0, 1), (0, 1), set()),
    "by exp": (lambda x: 1 / (1 + ops.exp(-x)), (0, 1), set()),
    "by tanh": (lambda x: 0.5 * (ops.tanh(x / 2) + 1), (0, 1), set()),
    "square": (lambda x: ops.square(ops.tanh(x)), (0, 1), set()),
    "root": (lambda x: ops.sqrt(ops.sigmoid(x)), (0, 1), {"sigmoid"}),
    "reciprocal root": (lambda x: ops.rsqrt(1 + ops.exp(x)), (0, 1), set()),
    "complement": (lambda x: 1 - ops.sigmoid(x), (0, 1), {"sigmoid"}),
    "both": (
        lambda x: ops.concatenate([1 - ops.sigmoid(x[:, :1]), ops.sigmoid(x[:, :1])]),
        (0, 1),
        {"sigmoid"},
    ),
    "mean of two": (lambda x: (ops.softmax(x) + ops.softmax(2 * x)) / 2, (0, 1), {"softmax"}),
    "gated": (lambda x: ops.sigmoid(x) * ops.softmax(x), (0, 1), {"sigmoid", "softmax"}),
    "dropout behind": (
        lambda x: layers.Dropout(0.5)(ops.sigmoid(x)),
        (0, 1),
        {"sigmoid"},
    ),
    "percent": (lambda x: 100 * ops.softmax(x), (0, 100), {"softmax"}),
    "log softmax": (layers.Activation("log_softmax"), (-INF, 0), set()),
    "softmax, then dense": (
        lambda x: layers.Dense(3)(ops.softmax(x)),
        (-INF, INF),
        set(),
    ),
    "relu": (layers.ReLU(), (0, INF), set()),
    "swish": (layers.Activation("swish"), (-INF, INF), {"sigmoid"}),
    "batch normalization": (layers.BatchNormalization(), (-INF, INF), set()),
}


# What `inspect` says of some.
WORDS = {
    "linear": "logits, unless the samples show probabilities",
    "softmax": "probabilities, by the operators (softmax)",
    "sigmoid": "multi-label: each label has a sigmoid",
    "hard sigmoid": "probabilities, by the operators (MUL)",
}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """The operators of all endings, in one network: of TensorFlow's graph and of a `.tflite`."""
    graph = concrete(net(*(last for last, _, _ in ENDINGS.values())))
    found, _ = operators.of_graph(graph)
    path = tmp_path_factory.mktemp("net") / "net.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([graph]).convert())
    flat, details = operators.of_flatbuffer(path), Interpreter(str(path)).get_output_details()
    return {
        name: (
            replace(found, output=tensor.name.partition(":")[0]),
            replace(flat, output=str(detail["index"])),
        )
        for name, tensor, detail in zip(ENDINGS, graph.outputs, details, strict=True)
    }


@pytest.mark.parametrize("name", ENDINGS)
def test_the_last_operators_limit_the_outputs(name, graphs):
    _, limits, makers = ENDINGS[name]
    ending = Ending.of(graphs[name][0])
    assert ending.limits == pytest.approx(limits)
    assert ending.makers == makers
    assert ending.understood
    if name not in ("log softmax", "swish", "batch normalization"):
        flat = Ending.of(graphs[name][1])
        assert flat.limits == pytest.approx(limits)
        text = outputs.in_words(flat, 3)
        assert text.startswith(WORDS.get(name, text))


UNIT, OPEN = (
    Ending((0.0, 1.0), frozenset({"sigmoid"}), "Sigmoid", True),
    Ending((-INF, INF), frozenset(), "MatMul", True),
)
STRANGE = Ending((-INF, INF), frozenset(), "Pow", False)
TABLE = [
    # ending, rows, wanted; output, activation, several labels at once
    (UNIT, [[0.1], [0.9]], None, ("probabilities", "sigmoid", False)),
    (UNIT, [[0.1, 0.8], [0.9, 0.7]], None, ("probabilities", "sigmoid", True)),
    (UNIT, [[0.1, 0.9], [0.7, 0.3]], None, ("probabilities", "sigmoid", False)),
    (OPEN, [[0.1], [0.9]], None, ("logits", "softmax", False)),
    (OPEN, [[0.1, 0.8], [0.9, 0.7]], None, ("logits", "softmax", False)),
    (OPEN, [[0.25, 0.75], [0.5, 0.5]], None, ("probabilities", "softmax", False)),
    (STRANGE, [[0.1], [0.9]], None, ("probabilities", "sigmoid", False)),
    (STRANGE, [[-0.1], [0.9]], None, ("logits", "softmax", False)),
    (UNIT, [[0.1], [0.9]], "logits", ("logits", "softmax", False)),
    (OPEN, [[0.1], [0.9]], "sigmoid", ("probabilities", "sigmoid", False)),
    (OPEN, [[-4.0, 3.0], [2.0, 9.0]], "sigmoid", ("logits", "sigmoid", True)),
    (OPEN, [[-4.0], [3.0]], "sigmoid", ("logits", "softmax", False)),
    (UNIT, [[0.1, 0.9], [0.7, 0.3]], "softmax", ("probabilities", "softmax", False)),
]


@pytest.mark.parametrize(("ending", "rows", "wanted", "expected"), TABLE)
def test_operators_and_values_decide_together(ending, rows, wanted, expected):
    found = outputs.decide(ending, np.float32(rows), wanted)
    assert (found.output, found.activation, found.multi_label) == expected
    assert ("multi-label" in found.note) == expected[2]


def test_rows_of_an_8_bit_softmax_need_not_add_up_to_1_exactly():
    rows = np.float32([[0.5, 0.25, 0.234375], [0.99609375, 0, 0]])
    ending = Ending((0.0, 1.0), frozenset({"softmax"}), "SOFTMAX", True, coarse=True)
    assert not outputs.decide(ending, rows).multi_label


@pytest.fixture
def answered(convert, samples, tmp_path):
    """Convert a network: card, the served logits and probabilities of a photo, Keras's answer."""

    def run(model, *options, names):
        model.save(tmp_path / "net.keras")
        file = tmp_path / "names.txt"
        file.write_text("\n".join(names), encoding="utf-8")
        status, output = convert(tmp_path / "net.keras", *options, names=file)
        assert status == 0
        photo = sorted(samples.iterdir())[3]
        handler = Handler(Settings(model_path=str(output), num_threads=1, log_level="FATAL"))
        plain = handler.pipeline.logits(Raw(photo.read_bytes()), Deadline(60), Stopwatch())
        [shares] = handler.pipeline.classify(
            [Raw(photo.read_bytes())], Options(None, "probabilities", None)
        )
        picture = keras.utils.load_img(photo, target_size=(16, 16))
        scaled = keras.utils.img_to_array(picture)[np.newaxis] / 127.5 - 1
        return cards.load(output), plain, shares, np.asarray(model(scaled))[0]

    return run


def test_one_unit_with_a_sigmoid_for_each_place_gives_the_probability_that_keras_gives(answered):
    maps = lambda x: ops.sigmoid(ops.reshape(x, (-1, 1, 1, 1)))  # noqa: E731
    model = net(lambda x: ops.mean(maps(x), axis=(1, 2)), units=1)
    card, plain, shares, expected = answered(model, names=("no", "yes"))
    assert (card.output, card.activation) == ("probabilities", "sigmoid")
    np.testing.assert_allclose(plain, [1 - expected[0], expected[0]], atol=1e-5)
    assert shares["yes"] == pytest.approx(expected[0], abs=1e-5)
    assert "on 12 samples the outputs lie in" in card.provenance["outputs"]


def test_several_sigmoids_are_multi_label_and_never_go_through_a_softmax(answered):
    card, plain, shares, expected = answered(net(ops.sigmoid), names=("a", "b", "c"))
    assert (card.output, card.activation) == ("probabilities", "sigmoid")
    assert card.provenance["outputs"].startswith("multi-label: ")
    np.testing.assert_allclose(plain, expected, atol=1e-5)
    np.testing.assert_allclose(list(shares.values()), expected, atol=1e-5)


def test_logits_of_several_labels_become_probabilities_by_a_sigmoid(answered):
    card, plain, shares, expected = answered(
        net(lambda x: 5 * x), "--output", "sigmoid", names=("a", "b", "c")
    )
    assert (card.output, card.activation) == ("logits", "sigmoid")
    np.testing.assert_allclose(plain, expected, atol=1e-5)
    np.testing.assert_allclose(list(shares.values()), 1 / (1 + np.exp(-expected)), atol=1e-5)


def test_inspect_names_a_keras_file_of_several_labels_at_once(tmp_path):
    image = keras.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D()(image)
    keras.Model(image, layers.Dense(3, "sigmoid", name="tags")(x)).save(tmp_path / "net.keras")
    [note] = inspect_file.facts(str(tmp_path / "net.keras"))["notes"]
    assert note.startswith("multi-label: ")
    assert note.endswith("(tags, 3 units)")
    keras.Model(image, layers.Dense(3, "softmax")(x)).save(tmp_path / "net.keras")
    assert inspect_file.facts(str(tmp_path / "net.keras"))["notes"] == []


@pytest.mark.parametrize(
    ("ending", "rows", "doubt"),
    [
        (Ending((0.0, 1.0), frozenset({"softmax"}), "Softmax", True), [[1], [1]], "is always 1"),
        (
            Ending((0.0, 100.0), frozenset({"softmax"}), "Mul", True),
            [[20, 80], [70, 30]],
            "softmax near its end, but Mul comes behind it",
        ),
        (Ending((0.0, INF), last="Relu", understood=True), [[33], [41.5]], "every picture gets"),
        (Ending((-INF, INF), last="MatMul", understood=True), [[33], [41.5]], ""),
    ],
)
def test_what_is_doubtful_is_said(ending, rows, doubt):
    found = outputs.decide(ending, np.float32(rows)).doubt
    assert doubt in found
    assert bool(found) == bool(doubt)
