"""Backbones: the networks of keras.applications, with ImageNet's weights or a file's."""

from __future__ import annotations

import functools
import inspect
import re
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_to_lambda.convert.common.conversion_errors import ConvertError, explained, reason_of
from keras_to_lambda.convert.load import loading, saved_file
from keras_to_lambda.convert.load.saved_file import SavedFile
from keras_to_lambda.convert.sandbox import untrusted_results
from keras_to_lambda.convert.sandbox.sandbox import Sandbox, model_files
from keras_to_lambda.runtime.model_file.card import PRESETS
from keras_to_lambda.train.data.dataset import DataError
from keras_to_lambda.train.fit.recipe import Backbone

Weights = npt.NDArray[np.float32]

# The sizes for which the MobileNets' weights are published.
PUBLISHED = (96, 128, 160, 192, 224)
# From keras.utils.get_file: "URL fetch failure on URL: CODE -- REASON".
_UNFETCHED = re.compile(r"URL fetch failure on (\S+): \S+ -- (.*)")


def names() -> tuple[str, ...]:
    """The functions of keras.applications, sorted."""
    return tuple(sorted(name for name in dir(keras.applications) if name[0].isupper()))


def found(name: str) -> str:
    """The name as keras.applications spells it, from any case."""
    known = {name.lower(): name for name in names()}
    if name.lower() not in known:
        raise DataError(
            f"no model named {name}; there are residual, mlp, and those of keras.applications: "
            + ", ".join(names())
        )
    return known[name.lower()]


def scaling(name: str) -> str:
    """The card's scaling preset: the module that the function is in, by which PRESETS goes."""
    module: str = getattr(keras.applications, found(name)).__module__.rpartition(".")[2]
    if module not in PRESETS:
        raise DataError(f"how {name} wants its pixels scaled is not known here: take another")
    return module


def build(backbone: Backbone, size: int, weights: str | None = None) -> keras.Model:
    """The network without its classifier, pictures to feature maps; weights: random, or Keras'."""
    function = getattr(keras.applications, backbone.name)
    options: dict[str, Any] = {}
    if backbone.width != 1:
        if "alpha" not in inspect.signature(function).parameters:
            raise DataError(f"{backbone.name} has no width: leave --width out")
        options["alpha"] = backbone.width
    try:
        return function(include_top=False, weights=weights, input_shape=(size, size, 3), **options)
    except ValueError as error:
        raise DataError(f"{backbone.name} at {size} pixels: {error}") from error


def load(backbone: Backbone, size: int, into: keras.Model) -> None:
    """Set a network's weights to the trained ones that a backbone names.

    Args:
        backbone: with weights.
        size: the input's, pixels: the MobileNets have weights for several.
        into: what `build` returned, of any size.
    """
    try:
        into.set_weights(fetch(backbone, size) or _of_file(backbone, size))
    except ValueError as error:  # of other shapes, whatever the sandbox sent
        name = Path(str(backbone.weights)).name
        raise DataError(f"{name} does not fit {backbone.name}: {reason_of(error)}") from error


def fetch(backbone: Backbone, size: int) -> list[Weights]:
    """Download the weights that a backbone names, before minutes of other work; of a file: []."""
    if backbone.weights == "imagenet":
        return _imagenet(backbone, size)
    if backbone.weights and not Path(backbone.weights).exists():
        raise DataError(
            f"no weights at {backbone.weights}; give --weights a file, imagenet or none"
        )
    return []


def _of_file(backbone: Backbone, size: int) -> list[Weights]:
    """The weights in a file, read in the sandbox."""
    path = Path(str(backbone.weights)).absolute()
    with tempfile.TemporaryDirectory(prefix="weights-") as folder:
        Sandbox().call(
            "keras_to_lambda.train.fit.backbones:read",
            reads=model_files(path),
            into=Path(folder),
            file=str(path),
            network=asdict(backbone),
            size=size,
        )
        arrays = untrusted_results.arrays(Path(folder) / "weights.npz")
    return [arrays[name] for name in sorted(arrays)]


def read(*, file: str, network: dict[str, Any], size: int, folder: str) -> None:
    """Write the weights of a file that fit a network into weights.npz; runs in the sandbox.

    Raises:
        ConvertError: it is refused, damaged, or of another network.
    """
    backbone, path = Backbone(**network), Path(file)
    into = build(backbone, size)
    with tempfile.TemporaryDirectory(prefix="weights-") as copies:
        if path.suffix == ".keras" or _whole(path):
            found = _within(path, into, backbone.name, Path(copies))
        else:
            subject = f"{path.name} does not fit {backbone.name}"
            with explained(subject, "Give its network with --model"), warnings.catch_warnings():
                # Keras only warns of layers that the file has nothing for.
                warnings.simplefilter("error", UserWarning)
                into.load_weights(saved_file.weights(path, Path(copies)))
            found = into.get_weights()
    named: dict[str, Any] = {f"{n:06}": value for n, value in enumerate(found)}
    np.savez(Path(folder) / "weights.npz", **named)


def _whole(path: Path) -> bool:
    """Whether an .h5 file is a model, not only its weights."""
    import h5py

    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path, "r") as file:
        return "model_config" in file.attrs


def _within(path: Path, into: keras.Model, name: str, copies: Path) -> list[Weights]:
    """The weights of the same network in a whole model: all of it, its front, or a layer."""
    found = SavedFile.read(path, copies)
    for reason in found.refusals():
        raise ConvertError(f"{path.name} is refused: {reason}")
    models = [loading.model_of(path, found, None, trust=False).model]
    wanted = [tuple(weight.shape) for weight in into.weights]
    for candidate in models:
        # A classifier's head comes last: the weights in front of it are the network's.
        weights: list[Weights] = candidate.get_weights()[: len(wanted)]
        if [weight.shape for weight in weights] == wanted:
            return weights
        models += [layer for layer in candidate.layers if hasattr(layer, "layers")]
    raise ConvertError(
        f"{path.name} has no {name} in it: give its network with --model (and --width, if its "
        "channels are fewer)"
    )


@functools.lru_cache(maxsize=1)
def _imagenet(backbone: Backbone, size: int) -> list[Weights]:
    """ImageNet's weights: the MobileNets' for this size, or else for 224 pixels."""
    own = backbone.name in ("MobileNet", "MobileNetV2") and size in PUBLISHED
    sizes = [size] * own + [224]
    for published in sizes:
        try:
            weights: list[Weights] = build(backbone, published, "imagenet").get_weights()
        except DataError:
            raise
        except Exception as error:  # Keras raises the bare class
            found = _UNFETCHED.search(str(error))
            if found is None:
                raise
            file, reason = found[1].rpartition("/")[2], found[2].strip()
        else:
            if published != size:
                print(f"{backbone.name}: ImageNet's weights are those for {published} pixels")
            return weights
    raise DataError(
        f"ImageNet's weights for {backbone.name} could not be downloaded ({reason}); put the file "
        f"{file} into $KERAS_HOME/models (default ~/.keras/models), give --weights FILE or "
        "--weights none, or leave out --model: the residual network needs no weights"
    )
