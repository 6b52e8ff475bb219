"""Layer shapes: the outputs' shapes, as far as a configuration determines them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# (batch, ...); None in it is a size that is not known. None instead of it: nothing is known. Of a
# shape that begins with ANY_RANK, the last size alone is known.
Shape = tuple[int | None, ...]
ANY_RANK = -1
Config = Mapping[str, Any]


def of_network(network: Any, given: Shape | None = None) -> dict[str, Shape | None]:
    """The output shape of each layer of a Sequential or Functional configuration, by name.

    network: a layer's entry, with its config. given: the input's shape, from an outer network.
    """
    inside = network.get("config") if isinstance(network, dict) else None
    layers = inside.get("layers") if isinstance(inside, dict) else inside
    shapes: dict[str, Shape | None] = {}
    last = given
    for layer in layers if isinstance(layers, list) else ():
        if not isinstance(layer, dict) or not isinstance(layer.get("config"), dict | list):
            continue
        name = name_of(layer)
        taken = _taken(layer, shapes)
        last = shapes[name] = _given(layer, taken or [_own_input(layer) or last], given)
    return shapes


def name_of(layer: Mapping[str, Any]) -> str:
    """A layer's name."""
    config = layer.get("config")
    return str(config.get("name", layer.get("name")) if isinstance(config, dict) else layer["name"])


def _given(
    layer: Mapping[str, Any], taken: list[Shape | None], outer: Shape | None
) -> Shape | None:
    kind, config = str(layer.get("class_name")), layer["config"]
    if kind == "InputLayer":
        return outer or _own_input(layer)
    if isinstance(config, list) or "layers" in config:
        inner = of_network(layer, taken[0])
        wanted = names(config.get("output_layers")) if isinstance(config, dict) else []
        return inner.get(wanted[0]) if wanted else next(reversed(inner.values()), None)
    rule, shape = RULES.get(kind), taken[0]
    if kind == "Dense":
        shape = shape or (ANY_RANK, None)
    if kind in FLAT and not config.get("keepdims") and (not shape or shape[0] == ANY_RANK):
        shape = (None, None)
    if shape is None or (shape[0] == ANY_RANK and kind not in ("Dense", *SAME)):
        return None
    try:
        if kind == "Concatenate":
            return _joined(shape, taken, config)
        return rule(shape, config) if rule else None
    except (TypeError, ValueError, LookupError, ArithmeticError):  # a configuration of another form
        return None


def _own_input(layer: Mapping[str, Any]) -> Shape | None:
    """What a layer's entry states of its input: as the first of a Sequential, or when built."""
    config, built = layer["config"], layer.get("build_config")
    shape = built.get("input_shape") if isinstance(built, dict) else None
    if isinstance(config, dict):
        shape = config.get("batch_shape") or config.get("batch_input_shape") or shape
    return _shape(shape)


def _shape(value: Any) -> Shape | None:
    whole = isinstance(value, list) and all(x is None or type(x) is int for x in value)
    return tuple(value) if whole and value else None


def _taken(layer: Mapping[str, Any], shapes: Mapping[str, Shape | None]) -> list[Shape | None]:
    """The shapes of what goes into a layer of a Functional network."""
    nodes = layer.get("inbound_nodes")
    if not isinstance(nodes, list) or not nodes:
        return []
    if isinstance(nodes[0], dict):  # Keras 3 writes the shapes beside the names
        return [_shape(tensor.get("shape")) for tensor in _tensors(nodes[0])]
    found = []
    for entry in nodes[0] if isinstance(nodes[0], list) else ():
        name = entry[0] if isinstance(entry, list) and entry else entry
        if isinstance(name, str) and name in shapes:
            found.append(shapes[name])
    return found


def _tensors(value: Any) -> list[Mapping[str, Any]]:
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            return [value["config"]] if isinstance(value.get("config"), dict) else []
        return [tensor for part in value.values() for tensor in _tensors(part)]
    if isinstance(value, list):
        return [tensor for part in value for tensor in _tensors(part)]
    return []


def names(value: Any) -> list[str]:
    """The layers of [["a", 0, 0], ["b", 0, 0]], of ["a", 0, 0], or of a dict of those."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list) or not value:
        return []
    if isinstance(value[0], str):
        return [value[0]]
    return [name for part in value for name in names(part)]


# Rules: the shape of what a layer takes, and its configuration -> the shape of what it gives.


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _moved(shape: Shape, config: Config, channels: int | None, window: Any) -> Shape:
    """Sizes behind a window that is moved: Keras' formulas for `same` and `valid`."""
    if config.get("data_format") == "channels_first":
        return (shape[0], channels, None, None)
    steps = _pair(config.get("strides") or window)
    dilation = _pair(config.get("dilation_rate") or 1)
    sizes: list[int | None] = []
    for size, wide, step, apart in zip(shape[1:3], _pair(window), steps, dilation, strict=True):
        if size is None:
            sizes.append(None)
        elif config.get("padding") == "same":
            sizes.append(-(-size // step))
        else:
            sizes.append((size - apart * (wide - 1) - 1) // step + 1)
    return (shape[0], *sizes, channels)


def _depthwise(shape: Shape, config: Config) -> Shape:
    wide = shape[-1] and shape[-1] * int(config.get("depth_multiplier", 1))
    return _moved(shape, config, wide, config["kernel_size"])


def _pooled(shape: Shape, config: Config) -> Shape:
    first = config.get("data_format") == "channels_first"
    channels = shape[1 if first else -1]
    ones = (1,) * (len(shape) - 2) if config.get("keepdims") else ()
    return (shape[0], channels, *ones) if first else (shape[0], *ones, channels)


def _product(sizes: Sequence[int | None]) -> int | None:
    return None if None in sizes else math.prod(n for n in sizes if n is not None)


def _reshaped(shape: Shape, config: Config) -> Shape:
    target, whole = config["target_shape"], _product(shape[1:])
    rest = None if whole is None else whole // math.prod(n for n in target if n != -1)
    return (shape[0], *(rest if n == -1 else n for n in target))


def _joined(shape: Shape, taken: Sequence[Shape | None], config: Config) -> Shape:
    if config.get("axis", -1) not in (-1, len(shape) - 1):
        return (shape[0], *(None for _ in shape[1:]))
    last = [each and each[-1] for each in taken]
    return (*shape[:-1], None if None in last else sum(n for n in last if n))


_SAME = """
    Activation ActivityRegularization Add Average BatchNormalization Dropout ELU GaussianDropout
    GaussianNoise Gelu GroupNormalization LayerNormalization LeakyReLU Maximum Multiply
    Normalization PReLU RandomBrightness RandomContrast RandomFlip RandomRotation RandomTranslation
    RandomZoom ReLU Relu Rescaling Sigmoid Silu Softmax SpatialDropout2D Tanh ThresholdedReLU"""
SAME = frozenset(_SAME.split())
GLOBAL = [f"Global{name}Pooling{rank}D" for name in ("Average", "Max") for rank in (1, 2)]
FLAT = ("Flatten", *GLOBAL)
RULES: Mapping[str, Callable[[Shape, Config], Shape]] = {
    **dict.fromkeys(SAME, lambda shape, _: shape),
    "Dense": lambda shape, config: (*shape[:-1], config["units"]),
    **dict.fromkeys(
        ("Conv2D", "SeparableConv2D"),
        lambda shape, config: _moved(shape, config, config["filters"], config["kernel_size"]),
    ),
    "DepthwiseConv2D": _depthwise,
    **dict.fromkeys(
        ("MaxPooling2D", "AveragePooling2D"),
        lambda shape, config: _moved(shape, config, shape[-1], config["pool_size"]),
    ),
    **dict.fromkeys(
        ("ZeroPadding2D", "Cropping2D", "UpSampling2D"),
        lambda shape, _: (shape[0], *(None for _ in shape[1:-1]), shape[-1]),
    ),
    **dict.fromkeys(GLOBAL, _pooled),
    "Flatten": lambda shape, _: (shape[0], _product(shape[1:])),
    "Reshape": _reshaped,
    **dict.fromkeys(
        ("Resizing", "RandomCrop", "CenterCrop"),
        lambda shape, config: (shape[0], config["height"], config["width"], shape[-1]),
    ),
}
