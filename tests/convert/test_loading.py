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
from keras_to_lambda.convert.network import keras_model, operators
from keras_to_lambda.convert.network.keras_model import Wanted
from keras_to_lambda.convert.network.outputs import Ending
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


def same(path, model, pictures=PICTURES, *, atol=1e-6, **wanted):
    """The loaded network answers as the model that was saved."""
    np.testing.assert_allclose(answers(path, pictures, **wanted), model(pictures), atol=atol)


def stopped(path, **wanted):
    with pytest.raises(ConvertError) as caught:
        keras_model.load(path, Wanted(**wanted)).concrete()
    return str(caught.value)


# The reference is the library that wrote the file.


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
    same(save(model, kind), model)


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
    same(save(model, "h5"), model)


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


def test_names_that_tensorflow_cannot_use_are_replaced(save):
    def named(conv, pool, inner, dense, image):
        layers = keras.layers
        within = [keras.Input((15, 15, 8)), layers.GlobalAveragePooling2D(name=pool)]
        picture = keras.Input((32, 32, 3), name=image)
        x = layers.Conv2D(8, 3, strides=2, name=conv)(picture)
        x = keras.Sequential(within, name=inner)(x)
        return keras.Model(picture, layers.Dense(3, name=dense)(x))

    model, plain = named("conv 1", "日本", "à côté", "-été", "entrée"), named(*"abcde")
    plain.set_weights(model.get_weights())
    for kind in ("h5", "keras"):
        found = keras_model.load(save(model, kind))
        expected = plain(PICTURES[:1])
        np.testing.assert_allclose(found.concrete()(PICTURES[:1]), expected, atol=1e-5)


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
    model(PICTURES)
    path = save(model)
    assert "--custom" in stopped(path)
    same(path, model, custom=custom)


@BOTH
def test_a_sequential_that_was_built_by_training_is_loaded(library, save):
    layers = library.layers
    model = library.Sequential([layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)])
    model(PICTURES)
    same(save(model), model)


def two_heads(outputs):
    image = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(image))
    return keras.Model(image, outputs(x))


def test_one_of_several_outputs_is_chosen(save, tmp_path):
    model = two_heads(lambda x: [keras.layers.Dense(n, name=f"d{n}")(x) for n in (2, 5)])
    path, folder = save(model), tmp_path / "net"
    model.export(folder, verbose=False)
    assert "2 outputs (d2 (None, 2), d5 (None, 5)): choose one with --head NAME" in stopped(path)
    assert "no output 'colour'; it has d2, d5, or 0 to 1" in stopped(path, head="colour")
    assert "choose one with --head" in stopped(folder)
    for where, head in ((path, "d5"), (path, "1"), (folder, "output_1"), (folder, "1")):
        found = answers(where, head=head)
        np.testing.assert_allclose(found, model(PICTURES)[1], atol=1e-6)


def test_outputs_in_a_dict_are_distinguished(save):
    """Keras sorts them by key; here the sizes tell which is which."""
    dense = keras.layers.Dense
    model = two_heads(lambda x: {"zoo": dense(2, name="z")(x), "art": dense(5, name="a")(x)})
    path = save(model)
    head = "art" if "art (" in stopped(path) else "a"
    np.testing.assert_allclose(answers(path, head=head), model(PICTURES)["art"], atol=1e-6)


def test_a_nested_network_is_followed_to_its_ending(save):
    image = keras.Input((32, 32, 3))
    base = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image), name="backbone")
    head = [keras.layers.Dropout(0.3), keras.layers.Dense(5, "softmax")]
    model = keras.Sequential([base, keras.Sequential(head, name="top")])
    path = save(model)
    same(path, model)
    found, _ = operators.of_graph(keras_model.load(path).concrete())
    assert Ending.of(found).makers == {"softmax"}


def test_a_savedmodel_of_a_fixed_batch_is_explained(tmp_path):
    plain = tf.Module()
    signature = tf.TensorSpec((8, 32, 32, 3), tf.float32)
    plain.serve = tf.function(lambda x: tf.reduce_mean(x, (1, 2)), input_signature=[signature])
    tf.saved_model.save(plain, str(tmp_path / "net"), signatures=plain.serve)
    assert "exported for batches of 8" in stopped(tmp_path / "net")


def test_mixed_precision_is_computed_in_float32(save):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = network()
    finally:
        keras.config.set_dtype_policy("float32")
    path = save(model)
    same(path, model, atol=2e-2)
    assert "mixed precision" in keras_model.load(path).notes[0]


def test_channels_first_is_turned(save):
    first, layers = {"data_format": "channels_first"}, keras.layers
    image = keras.Input((3, 32, 40))
    x = layers.BatchNormalization(axis=1)(layers.Conv2D(8, 3, strides=2, **first)(image))
    x = layers.Concatenate(axis=1)([x, layers.Conv2D(4, 3, padding="same", **first)(x)])
    model = keras.Model(
        image, layers.Dense(3)(layers.Flatten()(layers.MaxPooling2D(4, **first)(x)))
    )
    found = keras_model.load(save(model))
    assert (found.height, found.width, found.channels) == (32, 40, 3)
    assert "channels first" in found.notes[0]
    pictures = np.random.default_rng(5).uniform(-1, 1, (1, 32, 40, 3)).astype(np.float32)
    expected = model(pictures.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(found.call(tf.constant(pictures)), expected, atol=1e-6)


def test_a_lambda_layer_is_run_for_those_who_trust_it(save):
    model = network(front=keras.layers.Lambda(lambda x: x * 0.5))
    path = save(model)
    assert "is refused" in stopped(path)
    same(path, model, trust=True)


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


def test_a_model_that_keras_quantized_is_explained(save):
    model = network()
    model.quantize("int8")
    path = save(model)
    assert "Keras has quantized it (int8" in stopped(path)
    assert "Keras has quantized it (int8" in facts(str(path))["stopped_by"][0]
    # As older releases of Keras 3 wrote it.
    layer = {"class_name": "Dense", "config": {"name": "d", "trainable": True}}
    layer["config"]["dtype"] = "int8_from_float32"
    (line,) = obstacles.found({"layers": [layer, layer]})
    assert "Keras has quantized it (int8_from_float32)" in line


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
        (keras, "h5", "Huber"),
        (tf_keras, "keras", "mean_absolute_error"),
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


def test_two_inputs_and_weights_alone_are_explained(save, tmp_path):
    one, other = network(), keras.Input((3,))
    both = one.output + keras.layers.Dense(3)(other)
    assert "has 2 inputs" in stopped(save(keras.Model([one.input, other], both)))
    one.save_weights(tmp_path / "net.weights.h5")
    assert "weights without the network" in stopped(tmp_path / "net.weights.h5")


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
    # TensorFlow's, as Keras passes it on.
    with pytest.raises(MemoryError), explained("x", "y"):
        raise ValueError("Exception encountered: OOM when allocating tensor with shape[9999999999]")
