"""The shapes that a configuration determines, against those of the network itself."""

from __future__ import annotations

import json

import keras
import pytest
import tf_keras

from keras_to_lambda.convert.network.layer_shapes import ANY_RANK, of_network

NETWORKS = {
    "dense": lambda k: [k.layers.Flatten(), k.layers.Dense(7), k.layers.Softmax()],
    "segmentation": lambda k: [
        k.layers.Conv2D(8, 3, padding="same", activation="relu"),
        k.layers.BatchNormalization(),
        k.layers.Conv2D(3, 1),
    ],
    "strides": lambda k: [
        k.layers.Conv2D(4, (5, 3), strides=(3, 2)),
        k.layers.MaxPooling2D(2, padding="same"),
        k.layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", strides=2),
        k.layers.AveragePooling2D(2, strides=1),
    ],
    "detector": lambda k: [
        k.layers.Conv2D(16, 1, strides=4, padding="same"),
        k.layers.Reshape((-1, 8)),
    ],
    "dilated": lambda k: [k.layers.Conv2D(4, 3, dilation_rate=3), k.layers.SeparableConv2D(5, 3)],
    "global": lambda k: [
        k.layers.Conv2D(6, 3),
        k.layers.GlobalAveragePooling2D(keepdims=True),
        k.layers.Dropout(0.1),
        k.layers.Activation("sigmoid"),
    ],
    "nested": lambda k: [
        k.layers.Rescaling(1 / 255),
        k.Sequential([k.layers.Conv2D(4, 3), k.layers.GlobalMaxPooling2D()]),
        k.layers.Dense(3),
    ],
}


def entry(model):
    return json.loads(model.to_json())


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras 3", "keras 2"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("functional", [False, True], ids=["sequential", "functional"])
def test_a_network_gives_what_its_configuration_says(library, name, functional):
    image = library.Input((40, 33, 3))
    layers = NETWORKS[name](library)
    if functional:
        x = image
        for layer in layers:
            x = layer(x)
        model = library.Model(image, x)
    else:
        model = library.Sequential([image, *layers])
    *_, last = of_network(entry(model)).values()
    assert last == tuple(model.output_shape)


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras 3", "keras 2"])
def test_branches_are_joined(library):
    image = library.Input((8, 8, 3))
    parts = [library.layers.Conv2D(n, 3, padding="same", name=f"c{n}")(image) for n in (2, 5)]
    joined = library.layers.Concatenate(name="joined")(parts)
    shapes = of_network(entry(library.Model(image, library.layers.Add(name="sum")([joined] * 2))))
    assert shapes["joined"] == shapes["sum"] == (None, 8, 8, 7)


def test_behind_an_unknown_layer_the_last_size_is_known_and_the_rank_is_not():
    layers = [
        {"class_name": "Mystery", "config": {"name": "a", "batch_input_shape": [None, 8, 8, 3]}},
        {"class_name": "Dense", "config": {"name": "b", "units": 4}},
        {"class_name": "Softmax", "config": {"name": "c"}},
        {"class_name": "Flatten", "config": {"name": "d"}},
    ]
    shapes = of_network({"class_name": "Sequential", "config": {"layers": layers}})
    assert shapes == {"a": None, "b": (ANY_RANK, 4), "c": (ANY_RANK, 4), "d": (None, None)}


@pytest.mark.parametrize(
    "network",
    [
        None,
        [],
        {"config": 5},
        {"config": {"layers": [5, {"config": None}]}},
        {"config": {"layers": [{"class_name": "Reshape", "config": {"name": "a"}}]}},
        {"config": {"layers": [{"class_name": "Conv2D", "config": {
            "name": "a", "batch_shape": [None, 8, 8, 3], "filters": "x", "kernel_size": {}}}]}},
        {"config": {"layers": [{"class_name": "Model", "config": {"name": "m", "layers": []}}]}},
    ],
)  # fmt: skip
def test_a_configuration_of_another_form_determines_nothing(network):
    assert set(of_network(network).values()) <= {None}
