"""Files that people have: what loads, answers as it did, and what ends with a true way out."""

from __future__ import annotations

import json
import re
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from keras_to_lambda.convert.common.conversion_errors import ConvertError, explained, reason_of
from keras_to_lambda.convert.inspect_file import facts
from keras_to_lambda.convert.load import loading, obstacles, repairs
from keras_to_lambda.convert.network import keras_model
from keras_to_lambda.convert.network.keras_model import Wanted
from keras_to_lambda.convert.quantize import flatbuffer

# Both Keras warn of the `.h5` file.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
BOTH = pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
PICTURES = np.random.default_rng(4).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)


def network(library=keras, *, classes=3, activation=None, front=None, **options):
    """A small classifier; `front` is a layer in front, `options` are the layers'."""
    library.utils.set_random_seed(3)
    layers = library.layers
    image = library.Input((32, 32, 3))
    x = image if front is None else front(image)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, strides=2, **options)(x))
    return library.Model(image, layers.Dense(classes, activation=activation, **options)(x))


@pytest.fixture
def save(tmp_path):
    def to(model, kind="keras"):
        path = tmp_path / f"net.{kind}"
        model.save(path)
        return path

    return to


def answers(path, pictures=PICTURES, **wanted):
    return np.asarray(keras_model.load(path, Wanted(**wanted)).call(tf.constant(pictures)))


def stopped(path, **wanted):
    with pytest.raises(ConvertError) as caught:
        keras_model.load(path, Wanted(**wanted)).concrete()
    return str(caught.value)


# The reference is the library that wrote the file.


@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_hard_sigmoid_answers_as_keras_2_had_it(kind, save):
    model = network(tf_keras, activation="hard_sigmoid", kernel_initializer="he_normal")
    found = keras_model.load(save(model, kind))
    assert found.loaded_by == f"tf_keras {tf_keras.__version__}"
    features = tf_keras.Model(model.input, model.layers[-2].output)(PICTURES)
    kernel, bias = (np.asarray(w) for w in model.layers[-1].get_weights())
    expected = np.clip(0.2 * (np.asarray(features) @ kernel + bias) + 0.5, 0, 1)
    np.testing.assert_allclose(found.call(tf.constant(PICTURES)), expected, atol=1e-6)


def test_a_file_that_its_library_refuses_is_not_offered_to_the_other(save, monkeypatch):
    path = save(network(), "h5")
    tried = []

    def unsafe(*args, **rest):
        tried.append("keras")
        raise ValueError("Deserialization of a Lambda is disallowed in safe_mode")

    monkeypatch.setattr(keras.models, "load_model", unsafe)
    monkeypatch.setattr(tf_keras.models, "load_model", lambda *a, **k: tried.append("tf_keras"))
    assert "is refused by Keras: Deserialization of a Lambda" in stopped(path)
    assert tried == ["keras"]


# What loads.

INITIALIZERS = (
    tf.random_normal_initializer(),
    tf.random_uniform_initializer(),
    tf.constant_initializer(0.2),
    tf.ones_initializer(),
    tf.zeros_initializer(),
    tf.compat.v1.truncated_normal_initializer(),
    tf.compat.v1.orthogonal_initializer(),
)

FUNCTIONS = (
    *("softmax", "relu", "relu6", "sigmoid", "elu", "gelu", "leaky_relu", "swish", "silu", "tanh"),
    *("softplus", "softsign", "selu", "log_softmax"),
)


@BOTH
@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_names_of_tensorflow_and_of_keras_applications_are_found(kind, library, save):
    """In one network: initializers, functions, and layers that applications define themselves."""
    layers, own = library.layers, loading.objects_of(library)
    image = library.Input((32, 32, 3))
    x = own["StochasticDepth"](0.1)(own["LayerScale"](0.3, 3)(image))
    x = own["CustomScaleLayer"](0.17)([x, x])
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, strides=2)(x))
    functions = [*(getattr(tf.nn, name) for name in FUNCTIONS), tf.math.log_sigmoid]
    heads = [layers.Dense(2, kernel_initializer=made)(x) for made in INITIALIZERS]
    heads += [layers.Dense(2, activation=function)(x) for function in functions]
    model = library.Model(image, layers.Concatenate()(heads))
    np.testing.assert_allclose(answers(save(model, kind)), model(PICTURES), atol=1e-6)


def test_every_layer_of_keras_applications_is_known():
    for library in (keras, tf_keras):
        found = set()
        for module in set(loading.APPLICATION_LAYERS.values()) | {"mobilenet_v3", "nasnet"}:
            home = __import__(f"{library.__name__}.src.applications.{module}", fromlist=[module])
            found |= {
                name
                for name, value in vars(home).items()
                if isinstance(value, type) and value.__module__ == home.__name__
            }
        assert found == set(loading.APPLICATION_LAYERS)


def test_operations_in_an_h5_file_are_not_layers_of_the_same_name(save):
    """`Add` of two tensors, and of a tensor and a number, and an operation that is no layer."""
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3)(image)
    x = keras.layers.Add()([keras.ops.sigmoid(x) * x, (x + 3.0) / 6.0])
    x = keras.ops.mean(x - keras.ops.relu(x), axis=(1, 2))
    model = keras.Model(image, keras.layers.Dense(3)(x))
    path = save(model, "h5")
    np.testing.assert_allclose(answers(path), model(PICTURES), atol=1e-6)


AUGMENTATIONS = {
    "MaxNumBoundingBoxes": (3,),
    "RandomBrightness": (0.2,),
    "RandomColorDegeneration": (0.2,),
    "RandomContrast": (0.2,),
    "RandomHue": (0.2,),
    "RandomPosterization": (4,),
    "RandomRotation": (0.2,),
    "RandomSaturation": (0.2,),
    "RandomSharpness": (0.2,),
    "RandomShear": (0.1, 0.1),
    "RandomTranslation": (0.1, 0.1),
    "RandomZoom": (0.2,),
}


def augmentation(name):
    if name == "Pipeline":
        return keras.layers.Pipeline([keras.layers.RandomHue(0.2), keras.layers.RandomFlip()])
    return getattr(keras.layers, name)(*AUGMENTATIONS.get(name, ()))


def test_augmentation_is_the_identity_and_converts(save):
    layers = [augmentation(name) for name in (*sorted(repairs.AUGMENTATIONS), "Pipeline")]
    for layer in layers:
        np.testing.assert_array_equal(layer(PICTURES, training=False), PICTURES)
    model = network(front=keras.Sequential([keras.Input((32, 32, 3)), *layers]))
    found = keras_model.load(save(model))
    expected = np.asarray(model(PICTURES, training=False))
    np.testing.assert_allclose(found.call(tf.constant(PICTURES)), expected, atol=1e-6)
    interpreter = tf.lite.Interpreter(model_content=flatbuffer.build(found.concrete(), "none", ()))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], PICTURES[:1])
    interpreter.invoke()
    served = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(served, expected[:1], atol=1e-5)


def test_every_random_layer_of_keras_3_is_among_them():
    random = {name for name in vars(keras.layers) if name.startswith("Random")}
    # It cuts pictures in inference as well.
    assert random - {"RandomCrop"} <= repairs.AUGMENTATIONS


def test_pictures_without_a_channel_axis_get_one(save):
    model = keras.Sequential([keras.Input((28, 30)), keras.layers.Flatten(), keras.layers.Dense(4)])
    path = save(model)
    found = keras_model.load(path)
    assert (found.height, found.width, found.channels, found.classes) == (28, 30, 1, 4)
    assert found.notes == ("the network has no channel axis: it gets grey pictures without it",)
    grey = PICTURES[:, :28, :30, :1]
    np.testing.assert_allclose(found.call(tf.constant(grey)), model(grey[..., 0]), atol=1e-6)
    assert facts(str(path))["stopped_by"] == []


def open_head():
    image = keras.Input((None, None, 3))
    x = keras.layers.AveragePooling2D(15)(keras.layers.Conv2D(8, 3, strides=2)(image))
    return keras.Model(image, keras.layers.Conv2D(2, 1)(x))


def test_a_head_of_open_size_is_a_vector_at_the_size_that_is_given(save):
    model = open_head()
    path = save(model)
    assert "leaves its input size open: give --size" in stopped(path)
    found = answers(path, size=(32, 32))
    np.testing.assert_allclose(found, np.asarray(model(PICTURES))[:, 0, 0], atol=1e-6)
    assert "(1, 2, 2, 2) and gives no single vector" in stopped(path, size=(64, 64))
    assert "cannot be computed for (1, 8, 8, 3)" in stopped(path, size=(8, 8))


@pytest.mark.parametrize("order", ["channels_last", "channels_first"])
def test_a_convolution_as_the_head_gives_a_vector_in_both_orders(order, save):
    first = order == "channels_first"
    image = keras.Input((3, 32, 40) if first else (32, 40, 3))
    x = keras.layers.Conv2D(8, 3, data_format=order)(image)
    x = keras.layers.GlobalAveragePooling2D(keepdims=True, data_format=order)(x)
    model = keras.Model(image, keras.layers.Conv2D(5, 1, data_format=order)(x))
    found = keras_model.load(save(model))
    assert (found.height, found.width, found.channels, found.classes) == (32, 40, 3, 5)
    pictures = np.random.default_rng(5).uniform(-1, 1, (1, 32, 40, 3)).astype(np.float32)
    turned = pictures.transpose(0, 3, 1, 2) if first else pictures
    expected = np.asarray(model(turned)).reshape(1, 5)
    np.testing.assert_allclose(found.call(tf.constant(pictures)), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_names_that_tensorflow_cannot_use_are_replaced(kind, save):
    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((15, 15, 8)), layers.GlobalAveragePooling2D(name="日本")], name="à côté"
    )
    image = keras.Input((32, 32, 3), name="entrée")
    x = inner(layers.Conv2D(8, 3, strides=2, name="conv 1")(image))
    model = keras.Model(image, layers.Dense(3, name="-été")(x), name="réseau")
    expected = answers_of_weights(model)
    found = keras_model.load(save(model, kind))
    assert np.asarray(found.concrete()(tf.constant(PICTURES[:1]))).shape == (1, 3)
    np.testing.assert_allclose(found.call(tf.constant(PICTURES)), expected, atol=1e-5)


def answers_of_weights(model):
    """What the network above answers, by numpy: TensorFlow cannot call it under its names."""
    kernel, bias, dense, shift = (np.asarray(w) for w in model.get_weights())
    windows = np.lib.stride_tricks.sliding_window_view(PICTURES, (3, 3), axis=(1, 2))[:, ::2, ::2]
    features = np.einsum("bhwcij,ijco->bhwo", windows, kernel) + bias
    return features.mean((1, 2)) @ dense + shift


SUBCLASSED = """
from {library} import Model, layers

class Net(Model):
    def __init__(self, **rest):
        super().__init__(**rest)
        self.conv, self.pool = layers.Conv2D(8, 3), layers.GlobalAveragePooling2D()
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.dense(self.pool(self.conv(x)))
"""


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_a_subclassed_model_is_built_from_the_users_file(library, save, tmp_path):
    custom = tmp_path / "own.py"
    custom.write_text(SUBCLASSED.format(library=library), encoding="utf-8")
    exec(compile(SUBCLASSED.format(library=library), "own.py", "exec"), own := {})
    model = own["Net"]()
    expected = np.asarray(model(PICTURES))
    path = save(model)
    assert "--custom" in stopped(path)
    np.testing.assert_allclose(answers(path, custom=custom), expected, atol=1e-6)


@BOTH
def test_a_sequential_that_was_built_by_training_is_loaded(library, save):
    layers = library.layers
    model = library.Sequential([layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)])
    expected = np.asarray(model(PICTURES))
    np.testing.assert_allclose(answers(save(model)), expected, atol=1e-6)


# What ends with a true way out.


def test_a_sequential_that_was_never_built_is_explained(save):
    path = save(keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)]))
    assert "was saved before it was built" in stopped(path)
    assert "keras.Input((HEIGHT, WIDTH, 3))" in stopped(path)


@pytest.mark.parametrize(
    ("dtype", "library", "kind"),
    [("bfloat16", keras, "keras"), ("float16", tf_keras, "h5"), ("float64", tf_keras, "keras")],
)
def test_other_floats_are_explained(dtype, library, kind, save):
    line = stopped(save(network(library, dtype=dtype), kind))
    assert f"it computes in {dtype}: build the same network with dtype float32" in line


@pytest.mark.parametrize(("mode", "kind"), [("int8", "h5"), ("int4", "keras"), ("float8", "keras")])
def test_a_model_that_keras_quantized_is_explained(mode, kind, save):
    model = network()
    model.quantize(mode)
    path = save(model, kind)
    assert f"Keras has quantized it ({mode}" in stopped(path)
    assert f"Keras has quantized it ({mode}" in facts(str(path))["stopped_by"][0]


def test_a_policy_that_older_keras_3_wrote_as_a_string_is_quantized_too():
    layer = {"class_name": "Dense", "config": {"name": "d", "trainable": True}}
    layer["config"]["dtype"] = "int8_from_float32"
    (line,) = obstacles.found({"layers": [layer, layer]})
    assert "Keras has quantized it (int8_from_float32)" in line


def test_a_model_with_lora_answers_as_it_did(save):
    model = network()
    model.layers[-1].enable_lora(2)
    model.layers[-1].lora_kernel_b.assign(np.full((2, 3), 0.1))
    np.testing.assert_allclose(answers(save(model)), model(PICTURES), atol=1e-6)


def rewritten(path, change):
    """An .h5 file with its configuration changed."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config["config"]["layers"])
        file.attrs["model_config"] = json.dumps(config).encode()
    return path


def test_a_layer_of_tensorflow_hub_is_explained(save):
    def hub(layers):
        layers[1]["class_name"] = "KerasLayer"
        layers[1]["config"]["handle"] = "https://example.com/model"

    path = rewritten(save(network(tf_keras), "h5"), hub)
    assert "model.export('FOLDER')" in stopped(path)
    assert "KerasLayer of TensorFlow Hub" in facts(str(path))["stopped_by"][0]


@pytest.mark.parametrize(
    ("library", "kind", "loss"),
    [
        *((keras, "keras", "mse"), (keras, "h5", "Huber")),
        *((tf_keras, "keras", "mean_absolute_error"), (tf_keras, "h5", "log_cosh")),
    ],
)
def test_a_network_that_predicts_a_number_is_explained(loss, kind, library, save):
    model = network(library, classes=1)
    model.compile("sgd", getattr(library.losses, loss)() if loss == "Huber" else loss)
    assert "it predicts a number, such as an age" in stopped(save(model, kind))


@BOTH
def test_a_sigmoid_tells_two_classes_apart_whatever_its_loss(library, save):
    model = network(library, classes=1, activation="sigmoid")
    model.compile("sgd", "mse")
    assert keras_model.load(save(model)).classes == 1


@pytest.mark.parametrize(
    ("shape", "build", "words"),
    [
        ((784,), lambda x: x, "takes no picture"),
        ((128, 3), keras.layers.Flatten(), "takes no picture"),
        ((32, 32, 3), keras.layers.Conv2D(4, 3), "gives no single vector"),
        ((32, 32, 3), keras.layers.Reshape((8, 8, 6, 8)), "gives no single vector"),
        ((32, 32, 5), keras.layers.Flatten(), "takes 5 channels"),
    ],
)
def test_what_is_no_classifier_of_pictures_is_explained(shape, build, words, save):
    image = keras.Input(shape)
    assert words in stopped(save(keras.Model(image, build(image))))


def test_an_unknown_layer_is_named(save):
    path = rewritten(save(network(), "h5"), lambda layers: layers[1].update(class_name="Patches"))
    assert re.search(r"Patches.*--custom", stopped(path))


def test_weights_that_do_not_fit_are_a_sentence(save):
    path = save(network())
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data.replace(b'"filters": 8', b'"filters": 9'))
    line = stopped(path)
    assert line.startswith(f"cannot load {path}, written by Keras {keras.__version__}: keras ")
    assert "Load it where it was trained" in line


def test_what_a_library_raises_is_one_line():
    wrapped = ValueError(
        "calling Functional.call().\n\n\x1b[1m'été' is no name.\x1b[0m\n\nArguments"
    )
    assert reason_of(wrapped) == "'été' is no name"
    assert reason_of(KeyError()) == "KeyError()"
    expected = r"^x.keras fails: 'été' is no name. Save it again$"
    with pytest.raises(ConvertError, match=expected), explained("x.keras fails", "Save it again"):
        raise wrapped
    with pytest.raises(MemoryError), explained("x", "y"):
        raise MemoryError


def test_a_configuration_that_needs_no_repair_is_left_alone():
    loaded = {
        "class_name": "Dense",
        "config": {"name": "d", "trainable": True},
        "inbound_nodes": [],
    }
    assert repairs._operation(loaded) == loaded
    assert repairs._named(loaded) == loaded
    assert loading._UNKNOWN.search("Could not locate class 'Net'. Make sure")[1] == "Net"
