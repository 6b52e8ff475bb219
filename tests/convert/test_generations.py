"""Which library answers for a file, and where Keras 3 computes otherwise than Keras 2.

Every layer that both have, with its options: built and saved by tf_keras, loaded by both, answers
compared. The tables of src/keras_to_lambda/convert/load/generations.py have to say what comes out.
"""

from __future__ import annotations

import contextlib
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.load import generations
from keras_to_lambda.convert.load.generations import DIFFERENCES, EQUAL_ACTIVATIONS, EQUAL_LAYERS
from keras_to_lambda.convert.load.obstacles import objects
from keras_to_lambda.convert.load.saved_file import SavedFile

# Both warn of the `.h5` file, and Keras 3 of how a network of Keras 2 lists its inputs.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
old = tf_keras.layers
ROW, STEPS, PICTURE, SOLID = (8,), (6, 4), (12, 10, 3), (6, 6, 6, 2)


def two_pictures(layer, x):
    return layer([x, old.Conv2D(3, 1)(x)])


def two_sequences(layer, x):
    return layer([x, old.Dense(4)(x)])


def query_and_value(layer, x):
    return layer(x, old.Dense(4)(x))


def whole_numbers(layer, x):
    return layer(old.Rescaling(3.0, 3.0)(x))


RATE, UNITS, WHOLE = {"rate": 0.3}, {"units": 3}, {"axis": [1, 2]}
MEAN = {"mean": [0.4, 0.5, 0.6], "variance": [0.1, 0.2, 0.3]}
EINSUM = {"equation": "abc,cd->abd", "output_shape": [None, 5]}
# Classes: input shape, options, and how a layer is called where that is not by one tensor. Of a
# class that is not equal one option is enough.
CASES = {
    "ActivityRegularization Identity": (ROW, [{}]),
    "Add Average Maximum Minimum Multiply Subtract": (PICTURE, [{}], two_pictures),
    "AlphaDropout Dropout GaussianDropout": (ROW, [RATE]),
    "GRU LSTM SimpleRNN": (STEPS, [UNITS]),
    "RandomBrightness RandomContrast RandomRotation": (PICTURE, [{"factor": 0.2}]),
    "RandomTranslation": (PICTURE, [{"height_factor": 0.2, "width_factor": 0.2}]),
    "RandomZoom": (PICTURE, [{"height_factor": 0.2}]),
    "RandomCrop": (PICTURE, [{"height": 7, "width": 6}]),
    "RandomFlip": (PICTURE, [{}]),
    "LayerNormalization Softmax UnitNormalization": (PICTURE, [WHOLE]),
    "AdditiveAttention": (STEPS, [{}, {"use_scale": False}], two_sequences),
    "Attention": (STEPS, [{}], two_sequences),
    "BatchNormalization": (
        PICTURE,
        [{}, {"axis": 1}, {"epsilon": 0.01, "momentum": 0.5}, {"center": False}, {"scale": False}],
    ),
    "Bidirectional": (STEPS, [{"layer": "GRU", "merge_mode": "concat"}]),
    "CategoryEncoding": (
        ROW,
        [{"num_tokens": 9, "output_mode": mode} for mode in ("multi_hot", "count")],
        whole_numbers,
    ),
    "CenterCrop": (
        PICTURE,
        [{"height": h, "width": w} for h, w in ((7, 6), (8, 5), (20, 18), (20, 6))],
    ),
    "Concatenate": (PICTURE, [{}, {"axis": 1}], two_pictures),
    "Dense": (ROW, [{"units": 5}, {"units": 5, "use_bias": False}]),
    "Discretization": (ROW, [{"bin_boundaries": [0.0]}], lambda f, x: old.Flatten()(f(x))),
    "Dot": (STEPS, [{"axes": 2}, {"axes": 1}, {"axes": 2, "normalize": True}], two_sequences),
    "ELU": (ROW, [{}, {"alpha": 0.4}]),
    "EinsumDense": (STEPS, [EINSUM, EINSUM | {"bias_axes": "d"}]),
    "Embedding": (ROW, [{"input_dim": 9, "output_dim": 4}], whole_numbers),
    "Flatten": (PICTURE, [{}, {"data_format": "channels_first"}]),
    "GaussianNoise": (ROW, [{"stddev": 0.3}]),
    "GroupNormalization": (
        (12, 10, 6),
        [{"groups": n} for n in (1, 3, -1)] + [{"groups": 2, "axis": 1, "epsilon": 0.01}],
    ),
    "LeakyReLU": (ROW, [{}, {"alpha": 0.1}]),
    "Masking": (STEPS, [{"mask_value": 0.0}]),
    "MultiHeadAttention": (STEPS, [{"num_heads": 2, "key_dim": 3}], query_and_value),
    "Normalization": (
        PICTURE,
        [{}, MEAN, MEAN | {"invert": True}, {"mean": 0.5, "variance": 0.2, "axis": None}],
    ),
    "PReLU": (PICTURE, [{}, {"shared_axes": [1, 2]}]),
    "Permute": (PICTURE, [{"dims": [3, 1, 2]}]),
    "RNN": (STEPS, [{"cell": "GRUCell"}]),
    "ReLU": (
        ROW,
        [
            *({}, {"max_value": 6.0}, {"threshold": 0.3}),
            {"max_value": 1.0, "negative_slope": 0.2, "threshold": 0.1},
        ],
    ),
    "RepeatVector": (ROW, [{"n": 3}]),
    "Rescaling": (
        PICTURE,
        [{"scale": 1 / 127.5, "offset": -1}, {"scale": [0.5, 0.3, 0.2], "offset": [-1, 0, 1]}],
    ),
    "Reshape": (PICTURE, [{"target_shape": [-1, 6]}]),
    "Resizing": (PICTURE, [{"height": 7, "width": 15, "interpolation": "gaussian"}]),
    "TimeDistributed": ((4, *PICTURE), [{"layer": "Conv2D"}]),
}
CASES = {kind: case for kinds, case in CASES.items() for kind in kinds.split()}
for rank, shape in ((1, STEPS), (2, PICTURE), (3, SOLID)):
    conv = {"filters": 2 * shape[-1], "kernel_size": 3}
    more = [
        {"strides": 2, "padding": "same", "use_bias": False},
        {"kernel_size": 2, "dilation_rate": 2, "activation": "relu"},
        {"groups": shape[-1]},
    ]
    pools = [{}, {"pool_size": 3, "strides": 2, "padding": "same"}, {"pool_size": 3, "strides": 1}]
    size = {"size": [2, 3], "interpolation": "gaussian"} if rank == 2 else {"size": 2}
    found = {
        "AveragePooling": (shape, pools),
        "MaxPooling": (shape, pools),
        "Conv": (shape, [conv, *(conv | x for x in more)]),
        "ConvLSTM": ((2, *shape), [{"filters": 2, "kernel_size": 2}]),
        "Cropping": (shape, [{"cropping": 1}]),
        "GlobalAveragePooling": (shape, [{}, {"keepdims": True}]),
        "GlobalMaxPooling": (shape, [{}, {"keepdims": True}]),
        "SpatialDropout": (shape, [RATE]),
        "UpSampling": (shape, [size]),
        "ZeroPadding": (shape, [{"padding": 2}]),
    }
    if rank < 3:
        found |= {"DepthwiseConv": (shape, [{"kernel_size": 3}]), "SeparableConv": (shape, [conv])}
    CASES |= {f"{name}{rank}D": case for name, case in found.items()}
    CASES[f"Conv{rank}DTranspose"] = (shape, [conv])
# No network of pictures has them, or they are no layers that a configuration can name.
LEFT_OUT = {
    *("GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"),  # inside RNN
    *("HashedCrossing", "Hashing", "IntegerLookup", "StringLookup", "TextVectorization"),
    *("Activation", "InputLayer", "Lambda", "Layer", "Wrapper"),
    "SpectralNormalization",  # tf_keras 2.21 cannot call its own
}


def made(kind, options):
    """The layer, with the layers and cells in it that its options name."""
    options = dict(options)
    if kind == "Bidirectional":
        options["layer"] = old.GRU(3, return_sequences=True)
    if kind == "TimeDistributed":
        options["layer"] = old.Conv2D(3, 2)
    if kind == "RNN":
        options["cell"] = old.GRUCell(3)
    return getattr(old, kind)(**options)


def settled(net):
    """A network with weights that tell everything apart: none is 0 or 1."""
    random = np.random.default_rng(1)
    net.set_weights(
        [
            random.uniform(0.1, 0.9, w.shape)
            * (random.choice([-1, 1], w.shape) if w.ndim > 1 else 1)
            for w in net.get_weights()
        ]
    )
    return net


def answered(shape, layers, path, scale=1):
    """How Keras 3 fares with layers of Keras 2, in one network: those that differ; None: refused.

    layers: by their names, functions of the network's input.
    """
    image = old.Input(shape)
    net = settled(tf_keras.Model(image, [layer(image) for _, layer in layers]))
    net.save(path)
    x = scale * np.random.default_rng(2).uniform(-1, 1, (2, *shape)).astype(np.float32)
    first = tf.nest.flatten(net(x, training=False))
    try:
        second = tf.nest.flatten(keras.models.load_model(path, compile=False)(x, training=False))
    except Exception:  # noqa: BLE001
        return None
    return {
        name
        for (name, _), one, two in zip(layers, first, second, strict=True)
        if one.shape != two.shape or not np.allclose(one, two, rtol=1e-5, atol=1e-5)
    }


def layers_of(kind):
    """The layers of a class with each of its options, their input's shape and its scale."""
    shape, options, call = (*CASES[kind], lambda layer, x: layer(x))[:3]
    scale = 4 if shape == ROW and call is not whole_numbers else 1
    layers = [(kind, functools.partial(call, made(kind, option))) for option in options]
    return (shape, scale), layers


def test_layers_that_the_table_calls_equal_are(tmp_path):
    """All of one input shape in one network."""
    networks = {}
    for kind in sorted(EQUAL_LAYERS & CASES.keys()):
        key, layers = layers_of(kind)
        networks.setdefault(key, []).extend(layers)
    networks[ROW, 4] += [(name, old.Activation(name)) for name in EQUAL_ACTIVATIONS]
    networks[ROW, 4] += [(name, old.Dense(5, activation=name)) for name in EQUAL_ACTIVATIONS]
    for (shape, scale), layers in networks.items():
        assert answered(shape, layers, tmp_path / "net.h5", scale) == set(), shape


@pytest.mark.parametrize("kind", sorted({*CASES, "hard_sigmoid"} - EQUAL_LAYERS))
def test_layers_that_the_table_does_not_call_equal_are_not(kind, tmp_path):
    if kind == "hard_sigmoid":
        (shape, scale), layers = (ROW, 4), [(kind, old.Activation(kind))]
    else:
        (shape, scale), layers = layers_of(kind)
    expected = {kind} if kind in DIFFERENCES else None
    assert answered(shape, layers, tmp_path / "net.h5", scale) == expected


def test_every_layer_and_activation_that_both_have_is_compared():
    def layers(library):
        classes = {n: c for n, c in vars(library.layers).items() if isinstance(c, type)}
        return {c.__name__ for c in classes.values() if issubclass(c, library.layers.Layer)}

    both = layers(tf_keras) & layers(keras)
    assert len(both) > 100
    assert both == set(CASES) | LEFT_OUT
    assert (set(CASES) | {"Activation", "InputLayer"}) >= EQUAL_LAYERS - {
        *("Sequential", "Functional", "Model")
    }
    functions = set(vars(tf_keras.activations)) & set(vars(keras.activations))
    functions = {n for n in functions if callable(getattr(keras.activations, n))}
    assert functions - {"deserialize", "get", "serialize"} == EQUAL_ACTIVATIONS | {"hard_sigmoid"}


@pytest.mark.parametrize("name", ["Constant", "Identity", "Ones", "Zeros"])
def test_initializers_that_draw_nothing_are_equal(name):
    first, second = (getattr(k.initializers, name)() for k in (tf_keras, keras))
    np.testing.assert_array_equal(first((4, 3)), second((4, 3), dtype="float32"))


def test_keras_3_loads_no_keras_file_of_keras_2(tmp_path):
    image = old.Input(ROW)
    tf_keras.Model(image, old.Dense(3)(image)).save(tmp_path / "net.keras")
    with pytest.raises(TypeError, match="Could not locate class 'Functional'"):
        keras.models.load_model(tmp_path / "net.keras")


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ([{"a": 1, "b": [{"a": 2}, {"c": {"a": 3}}]}, {"a": 4}], [1, 2, 3, 4]),
        ("text", []),
        (functools.reduce(lambda inner, _: [inner], range(5000), {"a": 5}), [5]),
    ],
    ids=["nested", "none", "deep"],
)
def test_every_object_of_a_configuration_is_looked_at(config, names):
    assert [value["a"] for value in objects(config) if "a" in value] == names


# Which library is the reference.


def described(version, kind="h5", shape="batch_input_shape", layers=(), **options):
    rows = [{"class_name": "InputLayer", "config": {"name": "i", shape: [None, 8, 8, 3]}}]
    rows += [{"class_name": x, "config": {"name": x.lower(), **options}} for x in layers]
    config = {"class_name": "Functional", "config": {"name": "net", "layers": rows}}
    return SavedFile(kind, version, config=config)


@pytest.mark.parametrize(
    ("version", "shape", "library"),
    [
        ("1.2.2", "batch_input_shape", "tf_keras"),
        ("2.2.4-tf", "batch_input_shape", "tf_keras"),
        ("2.15.0", "batch_input_shape", "tf_keras"),
        ("3.0.5", "batch_shape", "keras"),
        (None, "batch_input_shape", "tf_keras"),
        (None, "batch_shape", "keras"),
    ],
)
def test_the_writers_generation_is_the_reference(version, shape, library):
    assert generations.library_of(described(version, shape=shape)) == library


@pytest.mark.parametrize("version", ["4.0.0", "rubbish"])
def test_a_version_of_no_known_keras_is_refused(version):
    with pytest.raises(ConvertError, match=f"Keras version {version} in the file; Keras 1 to 3"):
        generations.library_of(described(version))


@pytest.fixture
def without_tf_keras(monkeypatch):
    monkeypatch.setattr(generations.importlib.util, "find_spec", lambda name: None)


@pytest.mark.parametrize(
    ("layers", "options", "kind", "stopped_by"),
    [
        (("Conv2D", "Dense"), {}, "h5", None),
        (("Dense",), {"activation": "softmax"}, "h5", None),
        (("Dense",), {"activation": "hard_sigmoid"}, "h5", "the activation hard_sigmoid"),
        (("Dense",), {"activation": {"class_name": "Own"}}, "h5", "the activation {'class_name'"),
        (("Conv2D", "Softmax"), {}, "h5", "the layer Softmax"),
        (("Patches",), {}, "h5", "the layer Patches"),
        (("Dense",), {}, "keras", "is not installed: pip install"),
    ],
)
def test_without_tf_keras_only_what_is_equal_is_loaded_by_keras_3(
    layers, options, kind, stopped_by, without_tf_keras
):
    saved = described("2.15.0", kind, layers=layers, **options)
    refused = pytest.raises(ConvertError) if stopped_by else contextlib.nullcontext()
    with refused as caught:
        assert generations.library_of(saved) == "keras"
    assert stopped_by is None or stopped_by in str(caught.value)
