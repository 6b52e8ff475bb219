"""Backbones: the networks of keras.applications, with ImageNet's weights or a file's."""

from __future__ import annotations

import functools
import inspect
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras.src.legacy.saving.legacy_h5_format import load_attributes_from_hdf5_group as names_in

from keras_to_lambda.convert.common.conversion_errors import ConvertError, explained, reason_of
from keras_to_lambda.convert.load import repairs, saved_file
from keras_to_lambda.convert.load.generations import KERAS_2
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
_OTHER_LAYERS = "its layers are others, or have other shapes"


def names() -> tuple[str, ...]:
    """The functions of keras.applications, sorted."""
    return tuple(sorted(name for name in dir(keras.applications) if name[0].isupper()))


def found(name: str) -> str:
    """The name as keras.applications spells it, from "resnet-50" or "applications.ResNet50"."""
    known = {name.lower(): name for name in names()}
    plain = re.sub("[_-]", "", name.rpartition(".")[2].lower())
    if plain not in known:
        raise DataError(
            f"no model named {name}; there are residual, mlp, and those of keras.applications: "
            + ", ".join(names())
        )
    return known[plain]


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
    return _imagenet(backbone, size) if backbone.weights == "imagenet" else []


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
    subject = f"{path.name} does not fit {backbone.name} of width {backbone.width:g}"
    remedy = "Give its network with --model, and a MobileNet's width (alpha) with --width"
    with tempfile.TemporaryDirectory(prefix="weights-") as copies, explained(subject, remedy):
        copy = _judged(path, Path(copies))
        if copy.name == "model.h5":
            _set_in_order(into, copy)
        else:
            _set_by_name(into, copy)
    named: dict[str, Any] = {f"{n:06}": value for n, value in enumerate(into.get_weights())}
    np.savez(Path(folder) / "weights.npz", **named)


def _judged(path: Path, folder: Path) -> Path:
    """A copy of the weights in a file; a model's own code and layers are left aside."""
    if saved_file.kind_of(path) != "keras":
        return saved_file.weights(path, folder)
    found = SavedFile.read(path, folder)
    if found.copy is None:
        raise ConvertError(f"{path.name} is refused: {'; '.join(found.faults)}")
    return found.copy


def _set_in_order(into: keras.Model, file: Path) -> None:
    """Set a network's weights from an .h5 of Keras 2's format, in front of a head or nested."""
    import h5py

    with h5py.File(file, "r") as opened:
        group = opened.get("model_weights", opened)
        if group.attrs.get("backend") in ("theano", b"theano"):
            raise ConvertError("weights of Theano are refused: their kernels are mirrored")
        layers = [
            [(name, group[layer][name]) for name in names_in(group[layer], "weight_names")]
            for layer in names_in(group, "layer_names")
        ]
        for weights, arrays in _pairings(into, layers):
            if [tuple(weight.shape) for weight in weights] == [array.shape for array in arrays]:
                for weight, array in zip(weights, arrays, strict=True):
                    weight.assign(array[()])
                return
    raise ValueError(_OTHER_LAYERS)


def _pairings(
    into: keras.Model, layers: list[list[tuple[str, Any]]]
) -> Iterator[tuple[list[Any], list[Any]]]:
    """Yield a network's weights, and those of a file that may be theirs."""
    arrays: list[Any] = []
    for layer in layers:
        # A nested network has its trainable weights first: each goes to its layer's first one.
        owners = [name.rpartition("/")[0] for name, _ in layer]
        first = [owners.index(owner) for owner in owners]
        arrays += [layer[n][1] for n in sorted(range(len(layer)), key=first.__getitem__)]
    count = len(into.weights)
    for start in range(len(arrays) - count + 1):
        yield into.weights, arrays[start : start + count]
    # The order of a partly frozen one is of no use: by the layers' names.
    own = _by_name((weight.path, weight) for weight in into.weights)
    for theirs in map(_by_name, layers):
        if [layer for (layer, _), _ in theirs] == [layer for (layer, _), _ in own]:
            yield [weight for _, weight in own], [array for _, array in theirs]


def _by_name(weights: Iterable[tuple[str, Any]]) -> list[tuple[tuple[str, int], Any]]:
    """Weights sorted by layer and number, which Keras counts on from earlier networks: conv2d_9."""

    def place(name: str) -> tuple[str, int]:
        layer = f"//{name}".split("/")[-2]
        front, _, number = layer.rpartition("_")
        return (front, int(number)) if number.isdecimal() else (layer, 0)

    return sorted(((place(name), weight) for name, weight in weights), key=itemgetter(0))


def _set_by_name(into: keras.Model, file: Path) -> None:
    """Set a network's weights from a .weights.h5, in front of a head or nested."""
    import h5py

    file = repairs.weights(SavedFile("keras", copy=file), KERAS_2)
    with h5py.File(file, "r+") as opened:
        names: list[str] = []
        opened.visit(names.append)
        lists = [name for name in names if name.rpartition("/")[2] == "layers"]
        largest = max(lists, key=lambda name: len(opened[name]), default="layers")
        if largest != "layers":  # it is nested: where Keras looks for the layers
            opened.move(largest, "network")
            opened.pop("layers", None)
            opened.move("network", "layers")
    with warnings.catch_warnings():
        # Keras only warns of layers that the file has nothing for.
        warnings.simplefilter("error", UserWarning)
        try:
            into.load_weights(file)
        except (UserWarning, ValueError) as error:
            raise ValueError(_OTHER_LAYERS) from error


_note = functools.cache(print)  # once, not in every trial of a search


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
                _note(f"{backbone.name}: ImageNet's weights are those for {published} pixels")
            return weights
    raise DataError(
        f"ImageNet's weights for {backbone.name} could not be downloaded ({reason}); put the file "
        f"{file} into $KERAS_HOME/models (default ~/.keras/models), give --weights FILE or "
        "--weights none, or leave out --model: the residual network needs no weights"
    )
