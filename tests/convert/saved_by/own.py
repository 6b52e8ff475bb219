"""Layers of one's own, as people wrote them for tf.keras."""

import tensorflow as tf
from tensorflow import keras
from tensorflow.keras.layers import Layer


class Halve(Layer):
    def call(self, x):
        return keras.backend.relu(x) / 2


def squared(x):
    return tf.square(x)
