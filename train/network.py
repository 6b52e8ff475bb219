"""The network: a small residual net of plain 3x3 convolutions."""

from __future__ import annotations

import keras
from keras import layers

from train.recipe import Network

# Depthwise convolutions have fewer multiplications and take longer: on two cores without a GPU, a
# training epoch of MobileNetV2 at half width takes twice as long as one of this net, which has
# more arithmetic.


def build(labels: int, shape: Network, size: int | None = None) -> keras.Model:
    """A network with random weights.

    Args:
        labels: the number of outputs.
        shape: its channels and layers.
        size: height and width of the input, pixels; None: any. The weights are the same.

    Returns:
        A model from float32 (None, size, size, channels) in -1..1 to float32 logits (None, labels).
    """
    picture = keras.Input((size, size, shape.channels), name="image")
    x = _normalized(picture, shape.stem, kernel=3, strides=shape.strides)
    for width, blocks in zip(shape.widths, shape.blocks, strict=True):
        for block in range(blocks):
            x = _residual(x, width, strides=2 if block == 0 else 1)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(picture, layers.Dense(labels, name="logits")(x), name="classifier")


def _residual(x: keras.KerasTensor, width: int, strides: int) -> keras.KerasTensor:
    """Two 3x3 convolutions beside a shortcut (https://arxiv.org/abs/1512.03385)."""
    y = _normalized(x, width, kernel=3, strides=strides)
    y = _normalized(y, width, kernel=3, activation=False)
    if strides > 1:
        # A strided 1x1 convolution would throw three quarters of the input away
        # (ResNet-D, https://arxiv.org/abs/1812.01187).
        x = layers.AveragePooling2D(strides, padding="same")(x)
    if x.shape[-1] != width:
        x = _normalized(x, width, kernel=1, activation=False)
    return layers.ReLU()(layers.Add()([x, y]))


def _normalized(
    x: keras.KerasTensor, width: int, kernel: int, strides: int = 1, *, activation: bool = True
) -> keras.KerasTensor:
    x = layers.Conv2D(
        width,
        kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
    )(x)
    # Keras' default momentum, 0.99, remembers two epochs of 48 steps: too slow for short runs.
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.ReLU()(x) if activation else x
