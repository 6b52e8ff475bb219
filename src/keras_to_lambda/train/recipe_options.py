"""Options: a recipe on the command line, shared by training and search."""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

from keras_to_lambda.runtime.model_file.card import CHOICES
from keras_to_lambda.train.data.dataset import DataError, Dataset
from keras_to_lambda.train.fit.recipe import (
    ALL,
    AUGMENTATIONS,
    DIGITS,
    FLIPS,
    ONE_SIZE,
    PHOTOS,
    SMALL,
    TRANSFER,
    Augmentation,
    Backbone,
    Head,
    Perceptron,
    Recipe,
    Residual,
)

T = TypeVar("T", int, float)
SCHEDULES = ("cosine", "constant", "exponential", "plateau")
OWN = ("residual", "mlp")  # networks that are not of keras.applications
MLP_SIZE, MLP_RATE = 64, 1e-3
SMALLEST = 96  # small pictures are enlarged to it for a backbone that was trained on photos


def _between(kind: type[T], lowest: T, highest: T) -> Callable[[str], T]:
    """A reader of an option's value."""

    def read(text: str) -> T:
        try:
            value = kind(text)
        except ValueError:
            expected = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {expected}") from None
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"must be from {lowest} to {highest}")
        return value

    return read


whole = functools.partial(_between, int)
number = functools.partial(_between, float)


def _layers(text: str) -> int:
    return ALL if text == "all" else whole(0, 10_000)(text)


EPOCHS, RATE, SHARE, PIXELS = whole(1, 100_000), number(1e-9, 1), number(0, 1), whole(8, 4096)
LOW_HIGH = ("LOW", "HIGH")
# By group: name, values (choices, or a reader), placeholder, help. None has a default: see
# `recipe`. A star: the help gets the recipes' defaults.
TABLE: dict[str, tuple[tuple[str, Any, Any, str], ...]] = {
    "network": (
        ("model", str, "NAME", "residual (small residual net from scratch), mlp (fully connected), "
         "or a network of keras.applications: MobileNetV2, Xception, ResNet50, EfficientNetB0 ... "
         "(default: residual)"),
        ("weights", str, "WHICH", "weights of a network of keras.applications: imagenet "
         "(downloaded once, to KERAS_HOME), none, or a file: .weights.h5, or a whole .h5 or .keras "
         "model with that network in it (default: imagenet)"),
        ("width", number(0.05, 4), "FACTOR", "width multiplier, MobileNets only (default: 1)"),
        ("inner", whole(0, 100_000), "N", "widths of the inner layers between features and logits; "
         "0: none (default: 100 on a trained network, else none)"),
        ("dropout", number(0, 0.95), "SHARE", "dropout before each inner layer and the logits "
         "(default: 0.2 on a trained network, else 0)"),
        ("size", PIXELS, "PIXELS", f"height and width of the input (default: {PHOTOS.size}; 224 on "
         f"a trained network; small pictures as they are, on keras.applications {SMALLEST}; mlp on "
         f"photos {MLP_SIZE})"),
        ("resize", CHOICES["resize"], None, "way in which pictures become square, in training and "
         "in service (default: stretch)"),
    ),
    "training": (
        ("epochs", EPOCHS, "N", "passes over the training pictures; of a trained network, while it "
         "is frozen*"),
        ("batch-size", whole(2, 65536), "N", "pictures in a step*"),
        ("learning-rate", RATE, "RATE", f"highest learning rate, after the warm-up; mlp {MLP_RATE}"
         "*"),
        ("schedule", SCHEDULES, None, "learning rate over time; plateau: Keras' ReduceLROnPlateau"
         "*"),
        ("plateau-factor", number(0.01, 0.99), "FACTOR", "factor of the learning rate after a "
         "plateau of 3 epochs*"),
        ("weight-decay", number(0, 10), "DECAY", "weight decay of AdamW, on kernels*"),
        ("label-smoothing", number(0, 0.9), "SHARE", "probability that is spread over all labels*"),
        ("balance", SHARE, "POWER", "class weights: 0 none, 1 every class counts the same*"),
        ("patience", whole(0, 100_000), "N", "early stopping: epochs without a higher validation "
         "accuracy that end a phase, whose best epoch is taken; 0: none*"),
        ("seed", whole(0, 2**31 - 1), "N", "seed of weights, order, augmentation and split*"),
    ),
    "trained network": (
        ("fine-tune", _layers, "LAYERS", "number of the network's last layers to train after the "
         "head, or all; batch normalizations stay frozen (default: 0)"),
        ("fine-tune-epochs", EPOCHS, "N", "epochs (default: 5)"),
        ("fine-tune-rate", RATE, "RATE", f"learning rate (default: {TRANSFER.fine_tune_rate})"),
        ("enlarge", PIXELS, "PIXELS", "larger size of the input, at which training continues: "
         "--size 150 --enlarge 299"),
        ("enlarge-epochs", EPOCHS, "N", "epochs there (default: 2)"),
        ("views", whole(0, 1000), "N", "augmented copies of each picture, of which the frozen "
         f"network's features are computed as well (default: {TRANSFER.views})"),
    ),
    "augmentation, of training pictures only": (
        ("augment", tuple(sorted(AUGMENTATIONS)), None, "set of ranges; the options below change "
         "one of them (default: strong from scratch, light on a trained network, digits on small "
         "grey pictures)"),
        ("flip", FLIPS, None, "mirroring of half of the pictures"),
        ("rotation", number(0, 180), "DEGREES", "rotation, either way"),
        ("shift", number(0, 0.5), "SHARE", "shift, share of the side"),
        ("shear", SHARE, "SHARE", "shear, either way"),
        ("zoom", number(0.1, 1.9), LOW_HIGH, "share of the picture's side that is seen; above 1, "
         "the border is mirrored"),
        ("brightness", SHARE, "SHARE", "brightness, either way"),
        ("contrast", SHARE, "SHARE", "contrast, either way"),
        ("saturation", SHARE, LOW_HIGH, "saturation: 0 grey, 0.5 unchanged, 1 full"),
        ("hue", SHARE, "SHARE", "hue, share of the colour circle"),
        ("cutout", SHARE, "SHARE", "pictures with an erased box"),
        ("mixup", SHARE, "SHARE", "pictures that are blended with another one (MixUp, CutMix)"),
    ),
}  # fmt: skip


def add(parser: argparse.ArgumentParser) -> None:
    """The options that make a recipe."""
    for title, rows in TABLE.items():
        group = parser.add_argument_group(title)
        for name, values, metavar, text in rows:
            given: dict[str, Any] = {"type": values, "metavar": metavar}
            if isinstance(values, tuple):
                given = {"choices": values}
            elif metavar == LOW_HIGH or name == "inner":
                given["nargs"] = 2 if metavar == LOW_HIGH else "+"
            if text.endswith("*"):
                text = text[:-1] + _defaults(name.replace("-", "_"))
            group.add_argument(f"--{name}", help=text, **given)


def _defaults(field: str) -> str:
    photos, trained, grey, coloured = (getattr(r, field) for r in (PHOTOS, TRANSFER, DIGITS, SMALL))
    kinds = {"on a trained network": trained, "small grey pictures": grey}
    if grey == coloured:
        kinds = {"on a trained network": trained, "small pictures": grey}
    others = "".join(f"; {kind} {value}" for kind, value in kinds.items() if value != photos)
    return f" (default: {photos}{others})"


def _given(options: argparse.Namespace, kind: type) -> dict[str, Any]:
    """The fields of a class that an option of the same name sets."""
    found = {field.name: getattr(options, field.name, None) for field in dataclasses.fields(kind)}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in found.items()
        if value is not None
    }


def recipe(options: argparse.Namespace, data: Dataset) -> Recipe:
    """The recipe: the options that were given, and defaults for the data and the network."""
    own = (options.model or "residual").lower()
    base = _of_pictures(data)
    if own == "mlp":
        base = dataclasses.replace(
            base, network=Perceptron(), learning_rate=MLP_RATE, stages=ONE_SIZE,
            size=base.size if data.shape else MLP_SIZE,
        )  # fmt: skip
    elif own != "residual":
        base = _backbone(options, data, base)
    given = _given(options, Recipe)
    head = _given(options, Head)
    if "inner" in head:
        head["inner"] = tuple(width for width in head["inner"] if width)
    given["head"] = dataclasses.replace(base.head, **head)
    if options.fine_tune:
        given["fine_tune_layers"] = options.fine_tune
        given.setdefault("fine_tune_epochs", 5)
    if options.patience:
        given["keep"] = "best"
    mix = 0.0 if options.augment == "none" and options.mixup is None else options.mixup
    if mix is not None:
        given["mix"] = mix
        given["stages"] = tuple((size, epochs, mix) for size, epochs, _ in base.stages)
    augmentation = AUGMENTATIONS[options.augment] if options.augment else base.augmentation
    given["augmentation"] = dataclasses.replace(augmentation, **_given(options, Augmentation))
    made = dataclasses.replace(base, **given)
    _check(options, made, own)
    return made


def _check(options: argparse.Namespace, made: Recipe, network: str) -> None:
    """Refuse options without effect and sizes that do not fit."""
    # Below it, the residual net's last stage would have less than a pixel.
    shape = made.network if isinstance(made.network, Residual) else None
    least = shape.strides * 2 ** len(shape.widths) if shape else 0
    faults = {
        "--weights and --width are for the networks of keras.applications": network in OWN
        and (options.weights not in (None, "none") or options.width),
        "--fine-tune, --enlarge and --views are for a trained network: name one with --model, and "
        "--weights other than none": not made.pretrained
        and (options.fine_tune or options.enlarge or options.views),
        "--fine-tune-epochs and --fine-tune-rate need --fine-tune LAYERS": (
            options.fine_tune_epochs or options.fine_tune_rate
        )
        and not made.fine_tune_layers,
        "--enlarge-epochs needs --enlarge PIXELS": options.enlarge_epochs and not made.enlarge,
        "--plateau-factor needs --schedule plateau": options.plateau_factor
        and made.schedule != "plateau",
        f"--enlarge {made.enlarge} is not larger than --size {made.size}": made.enlarge
        and made.enlarge <= made.size,
        f"--size must be at least {least} for this network": made.size < least,
        **{
            f"--{name}: the lower value comes first": low > high
            for name in ("zoom", "saturation")
            for low, high in [getattr(made.augmentation, name)]
        },
    }
    for message, wrong in faults.items():
        if wrong:
            raise DataError(message)


def _of_pictures(data: Dataset) -> Recipe:
    if data.shape is None:
        return PHOTOS
    rows, columns, channels = data.shape
    side = max(rows, columns)
    if side > 64:
        return dataclasses.replace(PHOTOS, channels=channels)
    return dataclasses.replace(DIGITS if channels == 1 else SMALL, size=side)


def _backbone(options: argparse.Namespace, data: Dataset, base: Recipe) -> Recipe:
    from keras_to_lambda.train.fit import backbones  # which imports TensorFlow, for seconds

    name = backbones.found(options.model)
    weights = None if options.weights == "none" else options.weights or "imagenet"
    small = data.shape is not None and max(data.shape[:2]) <= 64
    if weights:
        base = TRANSFER
    return dataclasses.replace(
        base, network=Backbone(name, weights, options.width or 1.0), channels=3,
        scaling=backbones.scaling(name), size=SMALLEST if small else base.size, stages=ONE_SIZE,
    )  # fmt: skip
