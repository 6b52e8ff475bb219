"""Outputs: whether a network gives logits or probabilities, by evidence.

First, limits that the outputs cannot leave, which follow from the last operators (a sigmoid gives 0
to 1, a mean no more than its input). Second, the answers to the samples: whether they lie in 0..1,
and whether each row adds up to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.network.operators import DAMAGED, Node, Operators, of_flatbuffer

MULTI_LABEL = "multi-label: each label has a sigmoid, and the scores do not add up to 1"
LOGITS, SOFTMAX, SIGMOID = "logits", "softmax", "sigmoid"
CHOICES = (LOGITS, SOFTMAX, SIGMOID)
INFINITY = math.inf
Limits = tuple[float, float]

EVERYTHING: Limits = (-INFINITY, INFINITY)
UNIT: Limits = (0.0, 1.0)
# Operators from the output backwards that are looked at; a network is deeper than its ending.
DEPTH = 40
# Rounding in 0..1, and of the sum of a row of up to 1,000 classes.
ROUNDING, SUM_ROUNDING = 1e-4, 1e-3
# In 8 bits an output is a multiple of 1/256, and a softmax' sum is off by some hundredths.
COARSE_ROUNDING, COARSE_SUM_ROUNDING = 1 / 256, 0.05
# The scale that TensorFlow Lite prescribes for a quantized softmax and sigmoid, and for no other
# (https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec).
PRESCRIBED_SCALE = 1 / 256

# The tables below have operators of TensorFlow and of TensorFlow Lite by `_key`: ResizeBilinear and
# RESIZE_BILINEAR are both resizebilinear. Those of KEEPING stay within the limits of one input,
# whose place is the value.
_KEEPING = """
    identity identityn stopgradient snapshot ensureshape cast reshape squeeze expanddims transpose
    stridedslice slice gather gatherv2 gathernd unpack splitv reversev2 tile broadcastto quantize
    dequantize mean avgpool averagepool2d maxpool maxpool2d max min reducemax reducemin
    resizebilinear resizenearestneighbor"""
KEEPING = {**dict.fromkeys(_KEEPING.split(), 0), "split": 1}
# Operators whose outputs lie in fixed limits.
FIXED: Mapping[str, Limits] = {
    **dict.fromkeys(("softmax", "sigmoid", "logistic", "relu0to1"), UNIT),
    **dict.fromkeys(("tanh", "erf", "softsign", "sin", "cos", "relun1to1"), (-1.0, 1.0)),
    "logsoftmax": (-INFINITY, 0.0),
    "relu6": (0.0, 6.0),
    **dict.fromkeys(("softplus", "abs"), (0.0, INFINITY)),
}
# Those of them that make probabilities.
NAMES = {"softmax": SOFTMAX, "sigmoid": SIGMOID, "logistic": SIGMOID}
# Operators behind which any number can come.
_OPEN = """
    matmul batchmatmul batchmatmulv2 fullyconnected einsum conv2d depthwiseconv2dnative
    depthwiseconv2d log elu leakyrelu selu prelu fusedbatchnormv3"""
OPEN = frozenset(_OPEN.split())


def _key(op: str) -> str:
    return op.replace("_", "").lower()


def _exp(x: Limits) -> Limits:
    low, high = (math.exp(n) if n < 700 else INFINITY for n in x)
    return low, high


def _reciprocal(x: Limits) -> Limits:
    if x[0] < 0 < x[1]:
        return EVERYTHING
    if x[0] >= 0:
        return (1 / x[1] if x[1] else INFINITY), (1 / x[0] if x[0] else INFINITY)
    return (1 / x[1] if x[1] else -INFINITY), 1 / x[0]


def _relu(x: Limits) -> Limits:
    return max(x[0], 0.0), max(x[1], 0.0)


def _root(x: Limits) -> Limits:
    low, high = map(math.sqrt, _relu(x))
    return low, high


# Operators of one number.
SINGLE: Mapping[str, Callable[[Limits], Limits]] = {
    "exp": _exp,
    "relu": _relu,
    "square": lambda x: _relu(_product(x, x)),
    "sqrt": _root,
    "rsqrt": lambda x: _reciprocal(_root(x)),
    "neg": lambda x: (-x[1], -x[0]),
    **dict.fromkeys(("inv", "reciprocal"), _reciprocal),
}


def _product(a: Limits, b: Limits) -> Limits:
    # 0 times infinity is 0 here: the zero is a number, the infinity a limit that is not reached.
    ends = [x * y if x and y else 0.0 for x in a for y in b]
    return min(ends), max(ends)


# Operators of two numbers; more than two are taken one after the other.
PAIRED: Mapping[str, Callable[[Limits, Limits], Limits]] = {
    **dict.fromkeys(("add", "addv2", "addn", "biasadd"), lambda a, b: (a[0] + b[0], a[1] + b[1])),
    "sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "mul": _product,
    **dict.fromkeys(("realdiv", "div", "divnonan"), lambda a, b: _product(a, _reciprocal(b))),
    "maximum": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    "minimum": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
}


def _union(*all_limits: Limits) -> Limits:
    return min(x[0] for x in all_limits), max(x[1] for x in all_limits)


@dataclass(frozen=True, slots=True)
class Ending:
    """The evidence of the last operators.

    limits: that the outputs cannot leave. makers: SOFTMAX or SIGMOID, as far as found. last: the
    last operator that changes numbers. understood: whether all operators up to there are known.
    coarse: whether the outputs are quantized in 8 bits, or were.
    """

    limits: Limits = EVERYTHING
    makers: frozenset[str] = frozenset()
    last: str = ""
    understood: bool = False
    coarse: bool = False

    @classmethod
    def of(cls, operators: Operators) -> Ending:
        """Look at the last operators of a network."""
        return _Reader(operators).ending()

    @classmethod
    def of_tflite(cls, path: Path) -> Ending:
        """Look at the last operators of a `.tflite` file."""
        try:
            return cls.of(of_flatbuffer(path))
        except DAMAGED as error:
            raise ConvertError(f"{path} was cut short or damaged: get it again") from error

    @property
    def bounded(self) -> bool:
        """Whether the operators alone keep the outputs in 0..1."""
        return self.limits[0] >= -ROUNDING and self.limits[1] <= 1 + ROUNDING

    @property
    def maker(self) -> str:
        """What makes the outputs, in words."""
        return " and ".join(sorted(self.makers)) or self.last or "unknown"


def in_words(ending: Ending, units: int) -> str:
    """The outputs by the last operators alone, before any sample is answered."""
    if not ending.bounded:
        return "logits, unless the samples show probabilities"
    if ending.makers == {SIGMOID} and units > 1:
        return f"{MULTI_LABEL}, unless the samples show otherwise"
    return f"probabilities, by the operators ({ending.maker})"


class _Reader:
    def __init__(self, operators: Operators) -> None:
        self.operators = operators
        self.known: dict[str, Limits] = {}
        self.makers: set[str] = set()
        self.strange = False

    def ending(self) -> Ending:
        nodes = [self._node(name) for name in self._way(self.operators.output)]
        limits = self.limits(self.operators.output, DEPTH)
        makers, coarse = frozenset(self.makers), any(node.scale > 0 for node in nodes)
        return Ending(limits, makers, nodes[-1].op, not self.strange, coarse)

    def _node(self, name: str) -> Node:
        return self.operators.nodes.get(name, Node(""))

    def _way(self, name: str) -> list[str]:
        """A tensor and those in front of it, up to an operator that does more than move numbers."""
        way, node = [name], self._node(name)
        while _key(node.op) in KEEPING and not node.clip and len(way) < DEPTH:
            way.append(node.inputs[KEEPING[_key(node.op)]])
            node = self._node(way[-1])
        return way

    def limits(self, name: str, depth: int) -> Limits:
        """The limits that a tensor's numbers cannot leave."""
        if name not in self.known:
            self.known[name] = EVERYTHING  # until it is known
            self.known[name] = self._limits(name, depth)
        return self.known[name]

    def _limits(self, name: str, depth: int) -> Limits:
        node = self.operators.nodes.get(name)
        if node is None or node.op in ("Const", "ReadVariableOp", "Placeholder"):
            numbers = self.operators.constant(name)
            if numbers is None or not numbers.size or numbers.dtype.kind not in "fiu":
                return EVERYTHING
            return float(numbers.min()), float(numbers.max())
        op = _key(node.op)
        if depth == 0 or op in OPEN:
            return _fused(EVERYTHING, node)
        if op in NAMES:
            self.makers.add(NAMES[op])
        found = _fused(self._by_rule(node, depth - 1), node)
        if node.scale == PRESCRIBED_SCALE:
            # The output's own quantization has no other numbers.
            return max(found[0], 0.0), min(found[1], 1.0)
        return found

    def _by_rule(self, node: Node, depth: int) -> Limits:
        op, inputs = _key(node.op), node.inputs
        if op in FIXED:
            return FIXED[op]
        if op in KEEPING:
            return self.limits(inputs[KEEPING[op]], depth)
        if op in SINGLE:
            return SINGLE[op](self.limits(inputs[0], depth))
        if op in PAIRED:
            limits = self.limits(inputs[0], depth)
            for other in inputs[1:]:
                limits = PAIRED[op](limits, self.limits(other, depth))
            return limits
        if op == "clipbyvalue":
            x, low, high = (self.limits(each, depth) for each in inputs)
            return max(x[0], low[0]), min(x[1], high[1])
        if op in ("concatv2", "pack", "concatenation"):
            parts = inputs[:-1] if op == "concatv2" else inputs
            return _union(*(self.limits(each, depth) for each in parts))
        if op in ("selectv2", "select", "where"):
            return _union(*(self.limits(each, depth) for each in inputs[1:]))
        if op == "sum":
            least, most = self.limits(inputs[0], depth)
            return (0.0 if least >= 0 else -INFINITY), (0.0 if most <= 0 else INFINITY)
        self.strange = True
        return EVERYTHING


def _fused(limits: Limits, node: Node) -> Limits:
    """The limits behind a fused activation of TensorFlow Lite."""
    if not node.clip:
        return limits
    low, high = {"relu": (0.0, INFINITY), **FIXED}.get(_key(node.clip), EVERYTHING)
    return min(max(limits[0], low), high), max(min(limits[1], high), low)


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the outputs are.

    output: the card's: "logits" or "probabilities". activation: what makes probabilities of them:
    "softmax" or "sigmoid". multi_label: each label has a probability of its own. note: the
    evidence, a sentence. doubt: a sentence on what to check; or empty.
    """

    output: str
    activation: str
    multi_label: bool
    note: str
    doubt: str = ""


def decide(ending: Ending, rows: np.ndarray, wanted: str | None = None) -> Outputs:
    """Decide what the outputs are.

    rows: float32, (samples, units): the answers. wanted: one of CHOICES, which overrules; None: the
    evidence decides.
    """
    rounding = COARSE_ROUNDING if ending.coarse else ROUNDING
    sum_rounding = COARSE_SUM_ROUNDING if ending.coarse else SUM_ROUNDING
    several, sums = rows.shape[1] > 1, rows.sum(axis=1)
    inside = bool(rows.min() >= -rounding and rows.max() <= 1 + rounding)
    seen = f"on {len(rows)} samples the outputs lie in {rows.min():.3g} to {rows.max():.3g}"
    # Of a softmax written out, of a mean of several, and of (1 - p, p).
    whole = inside and several and bool(np.abs(sums - 1).max() <= sum_rounding)
    if whole:
        seen += ", and each row adds up to 1"
    elif inside and several:
        seen += f", and rows add up to {sums.min():.3g} to {sums.max():.3g}"
        # In 8 bits what is less than 1/512 is 0: a softmax of many labels adds up to less than 1.
        whole = ending.coarse and NAMES.get(_key(ending.last)) == SOFTMAX
    is_multi_label = several and not whole
    if wanted is not None:
        return _overruled(wanted, seen, is_multi_label, inside=inside, several=several)
    if not (inside and (whole or ending.bounded or not ending.understood)):
        note = f"logits: {seen}, and the network ends in {ending.last or 'an unknown operator'}"
        return Outputs("logits", SOFTMAX, False, note, _doubt_of_logits(ending, seen, several))
    doubt = ""
    if not (whole or ending.bounded):
        doubt = (
            f"the network ends in {ending.last or 'an unknown operator'}, and its outputs lie in "
            "0..1: taken for probabilities. If they are logits, give --output logits"
        )
    elif not several and SOFTMAX in ending.makers and float(rows.min()) >= 1 - rounding:
        doubt = (
            "a softmax of one unit is always 1, whatever the picture: train one unit with a "
            "sigmoid, or two with a softmax"
        )
    by_softmax = whole and ending.makers != {SIGMOID}
    how = f"by the operators ({ending.maker})" if ending.bounded else "by the values alone"
    note = f"{MULTI_LABEL}; " * is_multi_label + f"probabilities {how}: {seen}"
    activation = SOFTMAX if by_softmax else SIGMOID
    return Outputs("probabilities", activation, is_multi_label, note, doubt)


def _doubt_of_logits(ending: Ending, seen: str, several: bool) -> str:
    if ending.makers and math.isfinite(ending.limits[0] + ending.limits[1]):
        return (
            f"the network has a {ending.maker} near its end, but {ending.last} comes behind it, "
            f"and {seen}: served as they are. They are not probabilities, and scores=probabilities "
            "would be wrong too; remove the last step from the network if you can"
        )
    if not several and ending.limits[0] >= 0:
        return (
            f"the one output is never below 0, as the network ends in {ending.last}: taken for a "
            "logit, so every picture gets the second label. If it predicts a number, such as an "
            "age, it is not an image classifier"
        )
    return ""


def _overruled(
    wanted: str, seen: str, is_multi_label: bool, *, inside: bool, several: bool
) -> Outputs:
    note = f"{wanted}, by --output; {seen}"
    if wanted == LOGITS:
        return Outputs("logits", SOFTMAX, False, note)
    activation = wanted if several else SIGMOID
    uneven = inside and is_multi_label and activation == SOFTMAX
    doubt = f"--output softmax, but {seen}: a softmax' row adds up to 1" if uneven else ""
    is_multi_label = is_multi_label and activation == SIGMOID
    note = f"{MULTI_LABEL}; " * is_multi_label + note
    if inside:
        return Outputs("probabilities", activation, is_multi_label, note, doubt)
    # The numbers are what a softmax or sigmoid takes. One logit becomes (0, z), whose softmax is
    # the sigmoid of z.
    return Outputs("logits", activation if several else SOFTMAX, is_multi_label, note)
