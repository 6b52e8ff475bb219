"""Own scaling: what a network does to pixels before its first trained layer.

The operators behind the input are followed as long as they treat each number alone or only move
numbers (a multiplication, a subtraction, a resizing), and that part of the graph is computed for a
black, a grey and a white picture: layers, functions and nested models are all found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_to_lambda.convert.network.operators import Operators
from keras_to_lambda.runtime.model_file.card import PRESETS, Affine, Preprocessing

Numbers = npt.NDArray[np.float64]

# Operators that treat each number alone, or move numbers. Pads and concatenations add some, which
# are constant and are recognised by that.
_FOLLOWED = """
    Add AddV2 BiasAdd Cast ClipByValue ConcatV2 Div ExpandDims GatherV2 Identity Maximum Minimum
    MirrorPad Mul Neg Pack Pad PadV2 RealDiv Reshape ResizeBicubic ResizeBilinear
    ResizeNearestNeighbor ReverseV2 ScaleAndTranslate Slice Snapshot Split SplitV Squeeze
    StopGradient StridedSlice Sub Tile Transpose Unpack"""
FOLLOWED = frozenset(_FOLLOWED.split())
# Operators that read only a tensor's shape.
LOOKING = frozenset({"Shape", "ShapeN", "Size", "Rank"})
# tf.nn.batch_normalization's own scope: its numbers were trained, whatever they are.
TRAINED = "/batchnorm"
SAME_SCALE, SAME_OFFSET = 1e-3, 0.01
# The width of 0..255 behind a scaling that is meant for it, and the distance of zero, in widths. A
# Normalization of pictures of low contrast has wide ones.
LEAST_WIDTH, MOST_WIDTH, MOST_AWAY = 0.2, 20.0, 3.0
# Means that are taken off pixels of 0..255, which stay as wide as they are.
LEAST_MEAN, MOST_MEAN = 80.0, 150.0


@dataclass(frozen=True, slots=True)
class OwnScaling:
    """A network's pixel * scale + offset.

    scale, offset: the least and the largest of all channels and places. low, high: the range of
    0..255 behind it.
    """

    scale: tuple[float, float]
    offset: tuple[float, float]
    low: float
    high: float

    @property
    def for_bytes(self) -> bool:
        """Whether it is meant for unscaled pixels, 0..255."""
        widths = [abs(each) * 255 for each in self.scale]
        if all(abs(each - 1) <= SAME_SCALE for each in self.scale):
            return -MOST_MEAN <= float(np.mean(self.offset)) <= -LEAST_MEAN
        near = max(abs(self.low), abs(self.high)) <= MOST_AWAY * max(widths)
        return near and min(widths) >= LEAST_WIDTH and max(widths) <= MOST_WIDTH

    def __str__(self) -> str:
        scale, offset = (_span(each) for each in (self.scale, self.offset))
        return f"pixel x {scale} + {offset}, so that 0..255 becomes {self.low:.3g}..{self.high:.3g}"


def _span(values: tuple[float, float]) -> str:
    low, high = values
    return f"{low:.3g}" if abs(high - low) <= 1e-3 * abs(high) else f"({low:.3g} to {high:.3g})"


def find(
    operators: Operators, graph_def: Any, image: str, shape: tuple[int, ...]
) -> OwnScaling | None:
    """The network's own scaling; None: it has none, or something that is not a scaling.

    operators, graph_def: of `operators.of_graph`. image: the input's name. shape: (1, height,
    width, channels).
    """
    for name in _edges(operators, image):
        values = _computed(operators, graph_def, image, name, shape)
        if values is None:
            continue
        black, middle, white = values
        moved = np.abs(white - black) > 1e-9
        if not moved.any():
            continue
        black, middle, white = black[moved], middle[moved], white[moved]
        extent = float(np.abs(white - black).max())
        if np.abs((black + white) / 2 - middle).max() > 1e-3 * extent:
            continue  # not a straight line
        scale = (white - black) / 255
        if np.allclose(scale, 1, atol=SAME_SCALE) and np.allclose(black, 0, atol=SAME_OFFSET):
            continue
        return OwnScaling(
            (float(scale.min()), float(scale.max())),
            (float(black.min()), float(black.max())),
            float(min(black.min(), white.min())),
            float(max(black.max(), white.max())),
        )
    return None


def scales(steps: Preprocessing) -> bool:
    """Whether a card's preprocessing changes pixels' values."""
    if isinstance(steps.scaling, Affine):
        return set(steps.scaling.scale) != {1.0} or set(steps.scaling.offset) != {0.0}
    return PRESETS[steps.scaling] != "raw"


def _edges(operators: Operators, image: str) -> list[str]:
    """The last tensors of the followed part, in the graph's order."""
    users: dict[str, list[str]] = {}
    for name, node in operators.nodes.items():
        for source in node.inputs:
            users.setdefault(source, []).append(name)
    edges, waiting, seen = [], [image], {image}
    while waiting:
        name = waiting.pop(0)
        for user in users.get(name, ()):
            op = operators.nodes[user].op
            if op in FOLLOWED and TRAINED not in user:
                if user not in seen:
                    seen.add(user)
                    waiting.append(user)
            elif op not in LOOKING and name not in edges:
                edges.append(name)
    return [name for name in edges if name != image]


def _computed(
    operators: Operators, graph_def: Any, image: str, edge: str, shape: tuple[int, ...]
) -> tuple[Numbers, Numbers, Numbers] | None:
    """The tensor at an edge for a black, a grey and a white picture; None: it has no numbers."""
    import tensorflow as tf

    needed, waiting = set(), [edge]
    constants: dict[str, Any] = {}
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        if name == image:
            continue
        numbers = operators.constant(name)
        if numbers is not None:
            constants[name] = numbers
        elif not operators.nodes[name].inputs:
            return None
        else:
            waiting += operators.nodes[name].inputs
    part = tf.compat.v1.GraphDef(versions=graph_def.versions)
    for node in graph_def.node:
        if node.name in constants:
            made = part.node.add(name=node.name, op="Const")
            value = tf.make_tensor_proto(constants[node.name])
            made.attr["value"].tensor.CopyFrom(value)
            made.attr["dtype"].type = value.dtype
        elif node.name in needed:
            made = part.node.add()
            made.CopyFrom(node)
            kept = [x for x in node.input if not x.startswith("^")]
            del made.input[:]
            made.input.extend(kept)
    try:
        wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(part, name=""), [])
        function = wrapped.prune(
            wrapped.graph.get_tensor_by_name(f"{image}:0"),
            wrapped.graph.get_tensor_by_name(f"{edge}:0"),
        )
        black, grey, white = (
            np.asarray(function(tf.fill(shape, value)), np.float64) for value in (0.0, 127.5, 255.0)
        )
    except (tf.errors.OpError, ValueError, TypeError, KeyError):
        return None
    return black, grey, white
