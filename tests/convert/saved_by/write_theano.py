"""Write small models with Keras 1.2.2, 2.2.4 or 2.3.1 on Theano, and what that Keras answers.

    python write_theano.py FOLDER

As write.py, for the years before TensorFlow had Keras in it. These versions are of Pythons that are
no longer to be had; on Python 3.11 they need the names below, which Python, NumPy, SciPy and Theano
have dropped since.
"""

from __future__ import annotations

import collections.abc
import inspect
import json
import os
import sys
import textwrap
import warnings
from pathlib import Path

os.environ["KERAS_BACKEND"] = "theano"
os.environ["THEANO_FLAGS"] = "cxx=,device=cpu,floatX=float32,blas__ldflags="
warnings.filterwarnings("ignore")

ArgSpec = collections.namedtuple("ArgSpec", "args varargs keywords defaults")
inspect.getargspec = lambda function: ArgSpec(*inspect.getfullargspec(function)[:4])
for _name in ("Iterable", "Mapping", "Callable", "MutableMapping", "Sequence"):
    setattr(collections, _name, getattr(collections.abc, _name))

import scipy.signal._signaltools
import scipy.signal._sigtools

# Theano's convolution without a C compiler.
sys.modules["scipy.signal.signaltools"] = scipy.signal._signaltools
sys.modules["scipy.signal.sigtools"] = scipy.signal._sigtools
import theano.ifelse
import theano.sandbox.rng_mrg
import theano.tensor.signal.pool

theano.sandbox.rng_mrg.MRG_RandomStreams = theano.sandbox.rng_mrg.MRG_RandomStream

# NumPy no longer takes a list of slices for a tuple of them.
_pool = theano.tensor.signal.pool
_source = textwrap.dedent(inspect.getsource(_pool.Pool.perform))
_slices = "[region_slices[i][r[i]] for i in range(nd)]"
exec(_source.replace(f"yk[{_slices}]", f"yk[tuple({_slices})]"), vars(_pool))
_pool.Pool.perform = _pool.perform

import keras
import numpy as np
from keras import layers
from keras.models import Model, Sequential
from PIL import Image

ONE = keras.__version__.startswith("1.")


def conv(filters, size=3, stride=1, **options):
    if ONE:
        return layers.Convolution2D(filters, size, size, subsample=(stride, stride), **options)
    return layers.Conv2D(filters, size, strides=stride, **options)


def sequential():
    """Each of the layers that people's first networks had, activations apart."""
    return Sequential(
        [
            conv(6, stride=2, input_shape=(32, 32, 3)),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.ZeroPadding2D((1, 1)),
            conv(6, activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(8, activation="tanh"),
            layers.Dense(4),
            layers.Activation("softmax"),
        ]
    )


def functional():
    """Two ways that meet, average pooling, a head without an activation."""
    image = layers.Input((32, 32, 3))
    a = conv(4, activation="relu")(layers.ZeroPadding2D((1, 1))(image))
    b = conv(4, size=1)(image)
    x = layers.merge([a, b], mode="concat") if ONE else layers.concatenate([a, b])
    x = layers.AveragePooling2D((4, 4))(x)
    return Model(image, layers.Dense(4)(layers.GlobalMaxPooling2D()(x)))


def two_classes():
    """One sigmoid, and the state of an optimizer."""
    net = Sequential(
        [
            conv(6, stride=2, input_shape=(32, 32, 3)),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    net.layers[0].trainable = False  # Theano has no gradient of it without a C compiler
    net.compile("adam", "binary_crossentropy")
    net.train_on_batch(np.random.RandomState(1).rand(4, 32, 32, 3), np.array([0, 1, 0, 1]))
    return net


def vgg():
    """Pictures in the order of VGG16 from Keras's own applications: a chain of convolutions."""
    net = Sequential()
    net.add(layers.ZeroPadding2D((1, 1), input_shape=(32, 32, 3)))
    for filters in (4, 6):
        net.add(conv(filters, activation="relu"))
        net.add(layers.MaxPooling2D((2, 2), **({} if ONE else {"strides": (2, 2)})))
    net.add(layers.Flatten())
    net.add(layers.Dense(8, activation="relu"))
    net.add(layers.Dropout(0.5))
    net.add(layers.Dense(4, activation="softmax"))
    return net


def strided():
    """What Theano pads in another way than TensorFlow."""
    same = {"border_mode": "same"} if ONE else {"padding": "same"}
    return Sequential(
        [
            layers.MaxPooling2D((2, 2), input_shape=(32, 32, 3), **same),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )


MODELS = {
    "sequential": (sequential, "convolutions, batch norm, separate activations"),
    "functional": (functional, "two branches that are concatenated"),
    "two_classes": (two_classes, "one sigmoid, with the optimizer's state"),
    "vgg": (vgg, "a chain of convolutions as in VGG16"),
    "strided": (strided, "a stride with the padding `same`"),
}


def settle(net):
    """Set every weight; logits well apart, and a variance that is one."""
    random = np.random.RandomState(7)
    for layer in net.layers:
        values = []
        for weight in layer.get_weights():
            if weight.ndim > 1:
                scale = 3 / np.sqrt(np.prod(weight.shape[:-1]))
                values.append(random.normal(0, scale, weight.shape))
            else:
                values.append(random.uniform(0.1, 0.9, weight.shape))
        layer.set_weights(values)
    return net


def main(folder):
    """Write all models."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(11)
    pictures = random.randint(0, 256, (3, 4, 4, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(str(folder / "images" / f"3-{number}.png"))
    index = {"keras": keras.__version__, "models": {}}
    for name, (build, about) in MODELS.items():
        net = settle(build())
        net.save(str(folder / f"{name}.h5"))
        facts = {"file": f"{name}.h5", "about": about, "channels": 3, "expected": "loads"}
        if ONE:
            facts["backend"] = "theano"  # which its files do not say
        if name == "strided":
            facts.update(expected="refused", reason="trained on Theano, which pads")
        else:
            answers = net.predict((pictures / 127.5 - 1).astype(np.float32), batch_size=3)
            facts["answers"] = np.asarray(answers, np.float64).round(7).tolist()
        index["models"][name] = facts
        print(name)
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
