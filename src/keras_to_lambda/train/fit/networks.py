"""Networks: a recipe's network with its head, from pictures to logits."""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras import layers

from keras_to_lambda.train.fit import backbones
from keras_to_lambda.train.fit.recipe import ALL, Backbone, Perceptron, Recipe, Residual


@dataclass(frozen=True, slots=True)
class Network:
    """One network, seen in three parts that share their weights.

    model: float32 (None, size, size, channels), scaled as the recipe says, to logits.
    base: to features, (None, width). head: from features to the logits.
    backbone: the network of keras.applications in the base, if there is one.
    """

    model: keras.Model
    base: keras.Model
    head: keras.Model
    backbone: keras.Model | None = None

    def freeze(self, layers_trained: int) -> None:
        """Freeze all but the backbone's last layers, and its batch normalizations."""
        if self.backbone is None:
            return
        own = self.backbone.layers
        first = 0 if layers_trained == ALL else len(own) - layers_trained
        for index, layer in enumerate(own):
            norm = isinstance(layer, layers.BatchNormalization)
            layer.trainable = index >= first and not norm


def build(recipe: Recipe, labels: int, size: int) -> Network:
    """A network with random weights.

    Args:
        labels: the number of outputs.
        size: height and width of the input, pixels. The weights are the same for every size, but a
            perceptron's.
    """
    picture = keras.Input((size, size, recipe.channels), name="image")
    backbone = None
    if isinstance(recipe.network, Backbone):
        backbone = backbones.build(recipe.network, size)
        # Batch normalization keeps the statistics that it came with, as in inference
        # (https://keras.io/guides/transfer_learning/).
        maps = backbone(picture, training=False) if recipe.pretrained else backbone(picture)
        features = layers.GlobalAveragePooling2D()(maps)
    elif isinstance(recipe.network, Perceptron):
        features = layers.Flatten()(picture)
        for width in recipe.network.widths:
            features = layers.Dense(width, "relu", kernel_initializer="he_normal")(features)
    else:
        features = layers.GlobalAveragePooling2D()(_residual_net(picture, recipe.network))
    stack = _head(recipe, labels)
    given = keras.Input(features.shape[1:], name="features")
    return Network(
        model=keras.Model(picture, _through(stack, features), name="classifier"),
        base=keras.Model(picture, features, name="base"),
        head=keras.Model(given, _through(stack, given), name="head"),
        backbone=backbone,
    )


def _head(recipe: Recipe, labels: int) -> list[keras.Layer]:
    dense = [
        layers.Dense(width, "relu", name=f"inner_{number}")
        for number, width in enumerate(recipe.inner, start=1)
    ]
    dense.append(layers.Dense(labels, name="logits"))
    if not recipe.dropout:
        return dense
    return [layer for each in dense for layer in (layers.Dropout(recipe.dropout), each)]


def _through(stack: list[keras.Layer], x: keras.KerasTensor) -> keras.KerasTensor:
    for layer in stack:
        x = layer(x)
    return x


def _residual_net(x: keras.KerasTensor, shape: Residual) -> keras.KerasTensor:
    x = _normalized(x, shape.stem, kernel=3, strides=shape.strides)
    for width, blocks in zip(shape.widths, shape.blocks, strict=True):
        for block in range(blocks):
            x = _residual(x, width, strides=2 if block == 0 else 1)
    return x


def _residual(x: keras.KerasTensor, width: int, strides: int) -> keras.KerasTensor:
    """Two 3x3 convolutions beside a shortcut (https://arxiv.org/abs/1512.03385)."""
    y = _normalized(x, width, kernel=3, strides=strides)
    y = _normalized(y, width, kernel=3, activation=False)
    if strides > 1:
        # A strided 1x1 convolution would drop three quarters of the input
        # (ResNet-D, https://arxiv.org/abs/1812.01187).
        x = layers.AveragePooling2D(strides, padding="same")(x)
    if x.shape[-1] != width:
        x = _normalized(x, width, kernel=1, activation=False)
    return layers.ReLU()(layers.Add()([x, y]))


def _normalized(
    x: keras.KerasTensor, width: int, kernel: int, strides: int = 1, *, activation: bool = True
) -> keras.KerasTensor:
    x = layers.Conv2D(
        width, kernel, strides=strides, padding="same", use_bias=False,
        kernel_initializer="he_normal",
    )(x)  # fmt: skip
    # Keras' default momentum, 0.99, remembers two epochs of 48 steps: too slow for short runs.
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.ReLU()(x) if activation else x
