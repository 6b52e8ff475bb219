"""Write small models with the Keras that runs this, and what that Keras answers.

    python write.py FOLDER

index.json says of each what it is, and what model.predict answers in inference mode for three
pictures, images/*.png, whose pixels are scaled to -1..1. Weights are drawn by numpy and set one by
one: two runs write equal numbers.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

keras = tf.keras
layers = keras.layers
MODELS = {}


def model(name, file, about, **facts):
    """Register a function that makes a model; `file` is what it is saved as."""

    def register(build):
        MODELS[name] = {"file": file, "about": about, "channels": 3, "expected": "loads", **facts}
        MODELS[name]["build"] = build
        return build

    return register


def also(name, of, file, about):
    """Save a model as another kind of file as well."""
    MODELS[name] = {**MODELS[of], "file": file, "about": about}


def settle(net, seed=7, spread=3.0):
    """Set every weight, with logits well apart and statistics that normalize for real."""
    random = np.random.RandomState(seed)

    def values(weight):
        shape = weight.shape
        if "variance" in weight.name:
            return random.uniform(0.5, 1.5, shape)
        if "gamma" in weight.name:
            return random.uniform(0.8, 1.2, shape)
        if "kernel" in weight.name:
            return random.normal(0, spread / np.sqrt(max(1, np.prod(shape[:-1]))), shape)
        return random.normal(0, 0.1, shape)

    net.set_weights([values(w) for w in net.weights])
    return net


def block(x, name, filters, slash=False):
    """Depthwise and pointwise convolution, as in a MobileNet."""
    bar = "/" if slash else "_"
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}{bar}dw")(x)
    x = layers.BatchNormalization(name=f"{name}{bar}dw_bn")(x)
    x = layers.ReLU(6.0, name=f"{name}{bar}relu")(x)
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}{bar}pw")(x)
    return layers.BatchNormalization(name=f"{name}{bar}pw_bn")(x)


def pooled(head, channels=3, after=lambda x: x, **conv):
    """A convolution, pooling, and a head."""
    image = keras.Input((32, 32, channels))
    x = layers.GlobalAveragePooling2D()(after(layers.Conv2D(6, 3, **conv)(image)))
    return keras.Model(image, head(x))


def backbone(size=32, top=False, name="mini_mobilenet"):
    image = keras.Input((size, size, 3))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="Conv1_pad")(image)
    x = layers.Conv2D(8, 3, strides=2, use_bias=False, name="Conv1")(x)
    x = layers.BatchNormalization(name="bn_Conv1")(x)
    x = layers.ReLU(6.0, name="Conv1_relu")(x)
    x = layers.Add(name="add")([x, block(x, "expanded_conv", 8)])
    if top:
        x = layers.Dense(4, name="predictions")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, x, name=name)


@model("sequential", "h5", "Sequential, no optimizer")
def _():
    return keras.Sequential(
        [
            layers.Conv2D(6, 3, activation="relu", input_shape=(32, 32, 3)),
            layers.MaxPooling2D(4),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )


def trained(optimizer):
    image = keras.Input((32, 32, 3))
    x = layers.GlobalMaxPooling2D()(layers.Conv2D(6, 3, activation="relu")(image))
    net = keras.Model(image, layers.Dense(4)(x))
    net.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["acc"])
    random = np.random.RandomState(1)
    net.fit(random.rand(8, 32, 32, 3), random.randint(0, 4, 8), verbose=0)
    return net


@model("adam", "h5", "functional, with the optimizer's state")
def _():
    return trained(keras.optimizers.Adam(0.01))


@model("legacy_sgd", "h5", "functional, with a legacy optimizer's state")
def _():
    return trained(keras.optimizers.legacy.SGD(0.01, momentum=0.9))


@model("mobilenet", "h5", "DepthwiseConv2D, whose config has `groups`")
def _():
    return backbone(top=True)


@model("densenet", "h5", "`/` in layer names, as in DenseNet")
def _():
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(6, 3, strides=2, use_bias=False, name="conv1/conv")(image)
    x = layers.ReLU(name="conv1/relu")(layers.BatchNormalization(name="conv1/bn")(x))
    y = layers.Conv2D(4, 3, padding="same", name="conv2_block1/conv")(x)
    x = layers.Concatenate(name="conv2_block1/concat")([x, y])
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


@model("nested_sequential", "h5", "a backbone as the first layer of a Sequential")
def _():
    return keras.Sequential(
        [backbone(), layers.GlobalAveragePooling2D(), layers.Dense(4, activation="softmax")]
    )


@model("teachable_machine", "h5", "Sequentials in a Sequential, as Teachable Machine exports them")
def _():
    first = keras.Sequential([backbone(), layers.GlobalAveragePooling2D()], name="sequential_1")
    second = keras.Sequential(
        [
            layers.Dense(10, activation="relu", input_shape=(8,)),
            layers.Dense(3, activation="softmax", use_bias=False),
        ],
        name="sequential_3",
    )
    return keras.Sequential([first, second])


@model("tf_operators", "h5", "operators of TensorFlow as layers (TFOpLambda)")
def _():
    image = keras.Input((32, 32, 3))
    x = keras.applications.mobilenet_v2.preprocess_input(127.5 * (image + 1.0))
    x = tf.nn.relu(layers.Conv2D(6, 3)(x)) / 2.0
    x = tf.reduce_mean(x[:, 1:, 1:], axis=[1, 2])
    return keras.Model(image, layers.Dense(4)(x))


@model("transfer_learning", "h5", "augmentation, scaling and a nested base, as in the tutorial")
def _():
    image = keras.Input((32, 32, 3))
    x = layers.RandomRotation(0.2)(layers.RandomFlip("horizontal")(image))
    x = layers.Rescaling(0.5, offset=0.1)(x)
    x = layers.GlobalAveragePooling2D()(backbone()(x, training=False))
    return keras.Model(image, layers.Dense(4)(layers.Dropout(0.2)(x)))


@model("preprocessing", "h5", "Resizing and an adapted Normalization")
def _():
    normalization = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.5, 0.6, 0.7])
    image = keras.Input((32, 32, 3))
    x = layers.Resizing(24, 24)(image)
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(normalization(x))))


@model("initializers", "h5", "initializers with a dtype, as TensorFlow 1 wrote them")
def _():
    v1 = tf.compat.v1.keras.initializers
    return keras.Sequential(
        [
            layers.Conv2D(6, 3, kernel_initializer=v1.he_normal(), input_shape=(32, 32, 3)),
            layers.GlobalMaxPooling2D(),
            layers.Dense(4, kernel_initializer=v1.VarianceScaling(dtype=tf.float32)),
        ]
    )


@model("recurrent", "h5", "the first recurrent classes: rows as a sequence", channels=1)
def _():
    rows = layers.Reshape((32, 32), input_shape=(32, 32, 1))
    lstm = tf.compat.v1.keras.layers.LSTM(6)
    return keras.Sequential([rows, lstm, layers.Dense(4)])


@model("cudnn", "h5", "CuDNNLSTM", channels=1, expected="refused", reason="on a CPU")
def _():
    rows = layers.Reshape((32, 32), input_shape=(32, 32, 1))
    return keras.Sequential([rows, tf.compat.v1.keras.layers.CuDNNLSTM(6), layers.Dense(4)])


@model("mixed_precision", "h5", "the mixed_float16 policy", nearly=True)
def _():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        head = layers.Dense(4, dtype="float32")
        return pooled(head, after=layers.BatchNormalization(), activation="relu")
    finally:
        keras.mixed_precision.set_global_policy("float32")


@model("two_classes", "h5", "one sigmoid")
def _():
    return pooled(layers.Dense(1, activation="sigmoid"))


@model("two_outputs", "h5", "two named outputs", head="kind")
def _():
    return pooled(lambda x: [layers.Dense(2, name="tag")(x), layers.Dense(4, name="kind")(x)])


@model("fixed_batch", "h5", "a batch of 3, fixed")
def _():
    image = keras.Input(batch_shape=(3, 32, 32, 3))
    x = layers.Flatten()(layers.MaxPooling2D(4)(layers.Conv2D(6, 3)(image)))
    return keras.Model(image, layers.Dense(4)(layers.Reshape((-1,))(x)))


@model("four_channels", "h5", "four channels", channels=4)
def _():
    return pooled(layers.Dense(4), channels=4)


@model("own_layer", "h5", "a layer of its author's own, of tf.keras", custom="own.py")
def _():
    return with_own(None)


@model("zipped_own", "keras", "a .keras file: a layer and a function of one's own", custom="own.py")
def _():
    import own

    return with_own(own.squared)


def with_own(activation):
    import own

    image = keras.Input((32, 32, 3))
    x = own.Halve(name="halve")(block(image, "block", 6))
    return keras.Model(image, layers.Dense(4, activation=activation)(layers.Flatten()(x)))


@model("lambda", "h5", "a Lambda layer", expected="refused", reason="Lambda")
def _():
    image = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(layers.Lambda(lambda x: x / 2)(image))
    return keras.Model(image, layers.Dense(4)(x))


@model("channels_first", "h5", "channels first", first=True)
def _():
    image = keras.Input((3, 32, 32))
    x = layers.Conv2D(6, 3, data_format="channels_first")(image)
    x = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    return keras.Model(image, layers.Dense(4)(x))


@model("hard_sigmoid", "h5", "hard_sigmoid, which Keras 3 computes otherwise")
def _():
    return pooled(lambda x: layers.Dense(4)(layers.Dense(8, "hard_sigmoid")(x)))


@model("tensorflows", "h5", "initializers and functions of TensorFlow")
def _():
    draw = {"kernel_initializer": tf.random_normal_initializer()}
    head = layers.Dense(4, activation=tf.nn.softmax, **draw)
    return pooled(head, activation=tf.nn.relu6, **draw)


@model("layer_scale", "h5", "a layer that keras.applications define for themselves")
def _():
    home = sys.modules[keras.applications.ConvNeXtTiny.__module__]
    return pooled(layers.Dense(4), after=home.LayerScale(0.5, 6))


@model("weights", "weights.h5", "weights alone", expected="refused", reason="without the network")
def _():
    return keras.Sequential([layers.Flatten(input_shape=(32, 32, 3)), layers.Dense(4)])


also("zipped_sequential", "sequential", "keras", "a .keras file: Sequential with Dropout")
also("zipped_mobilenet", "mobilenet", "keras", "a .keras file: DepthwiseConv2D")
also("zipped_nested", "nested_sequential", "keras", "a .keras file: a nested backbone")
also(
    "zipped_tensorflows",
    "tensorflows",
    "keras",
    "a .keras file: TensorFlow's initializers and softmax",
)
also("saved_sequential", "adam", "folder", "a SavedModel of model.save(folder)")
also(
    "saved_mobilenet", "mobilenet", "folder", "a SavedModel of model.save(folder): DepthwiseConv2D"
)


@model("plain", "folder", "a SavedModel of plain TensorFlow")
def _():
    class Plain(tf.Module):
        def __init__(self):
            super().__init__()
            weights = np.random.RandomState(7).normal(0, 1, (3, 4)).astype(np.float32)
            self.weights = tf.Variable(weights)

        @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.float32, "photo")])
        def serve(self, photo):
            return {"scores": tf.reduce_mean(photo, (1, 2)) @ self.weights}

    return Plain()


def images(channels):
    """Three smooth pictures: uint8, (3, 32, 32, channels)."""
    random = np.random.RandomState(11)
    coarse = random.randint(0, 256, (3, 4, 4, channels)).astype(np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def answers(net, pictures, facts):
    """What this Keras answers; None where it cannot compute its own network on a CPU."""
    scaled = (pictures / np.float32(127.5) - np.float32(1)).astype(np.float32)
    if isinstance(net, keras.Model):
        if facts["expected"] == "refused":
            return None
        if facts.get("first"):
            scaled = scaled.transpose(0, 3, 1, 2)
        found = net.predict(scaled, batch_size=3, verbose=0)
        return found[net.output_names.index(facts["head"])] if "head" in facts else found
    return net.serve(tf.constant(scaled))["scores"].numpy()


def save(net, folder, name, kind):
    """The name of what was written."""
    if kind == "folder":
        path = folder / name
        if isinstance(net, keras.Model):
            net.save(path)
        else:
            tf.saved_model.save(net, str(path), signatures=net.serve)
        return name
    path = folder / f"{name}.{kind}"
    if kind == "weights.h5":
        net.save_weights(path)
    else:
        net.save(path)
    return path.name


def main(folder):
    """Write all models that this version can write."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    for channels in (1, 3, 4):
        for number, picture in enumerate(images(channels)):
            data = tf.io.encode_png(picture).numpy()
            (folder / "images" / f"{channels}-{number}.png").write_bytes(data)
    index = {"tensorflow": tf.__version__, "models": {}}
    for name, facts in MODELS.items():
        keras.backend.clear_session()
        facts = dict(facts)
        net = facts.pop("build")()
        if isinstance(net, keras.Model):
            settle(net)
        pictures = images(facts["channels"])
        found = answers(net, pictures, facts)
        facts["file"] = save(net, folder, name, facts["file"])
        if found is not None:
            facts["answers"] = np.asarray(found, np.float64).round(7).tolist()
        index["models"][name] = facts
        print(name)
    text = json.dumps(index, indent=1) + "\n"
    (folder / "index.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
