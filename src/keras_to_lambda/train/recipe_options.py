"""Options: a recipe on the command line, shared by training and search."""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from keras_to_lambda.train.data.dataset import DataError, Dataset
from keras_to_lambda.train.fit import quiet
from keras_to_lambda.train.fit.recipe import (
    ALL,
    AUGMENTATIONS,
    DIGITS,
    ONE_SIZE,
    PHOTOS,
    SMALL,
    TRANSFER,
    Augmentation,
    Backbone,
    Perceptron,
    Recipe,
    Residual,
)

T = TypeVar("T", int, float)
MLP_SIZE, MLP_RATE = 64, 1e-3
SMALLEST = 96  # small pictures are enlarged to it for a backbone that was trained on photos
FLIPS = ("none", "horizontal", "vertical", "horizontal_and_vertical")
# Ranges of an augmentation: the highest value (the lowest is 0) and its meaning.
RANGES: dict[str, tuple[float, str]] = {
    "rotation": (180, "degrees, either way"),
    "shift": (0.5, "share of the side, beyond the room that the zoom leaves"),
    "shear": (1, "either way"),
    "stretch": (1, "logarithm of the change of the aspect ratio, either way"),
    "zoom": (1.9, "LOW..HIGH, share of the side that is seen; above 1, the border is mirrored"),
    "brightness": (1, "either way"),
    "contrast": (1, "either way"),
    "saturation": (1, "LOW..HIGH: 0 grey, 0.5 unchanged, 1 full"),
    "hue": (1, "share of the colour circle"),
    "cutout": (1, "share of pictures with an erased box"),
    "mixup": (1, "share of pictures that are blended with another one (MixUp, CutMix)"),
}
PAIRS = ("zoom", "saturation")  # both ends are given
AUGMENTATION_HELP = "\n".join([
    "augmentation, of training pictures only: --augment SET,NAME=VALUE,... changes ranges of a set",
    f"  flip        mirroring of half of the pictures: {', '.join(FLIPS)}",
    *(f"  {name:<11} {text}" for name, (_, text) in RANGES.items()),
    "",
])  # fmt: skip


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


def _model(text: str) -> str:
    if text.lower() in ("residual", "mlp"):
        return text.lower()
    quiet.tensorflow()
    from keras_to_lambda.train.fit import backbones

    return backbones.found(text)


def _weights(text: str) -> str:
    if text in ("imagenet", "none"):
        return text
    forms = "give a .weights.h5 file, or an .h5 or .keras model"
    prefix = text.removesuffix(".index")
    if Path(f"{prefix}.index").exists():
        raise DataError(
            f"{text} is a checkpoint of TensorFlow; {forms}: build its model in Keras 2, then "
            f"model.load_weights({prefix!r}) and model.save_weights('NAME.weights.h5')"
        )
    if Path(text).is_dir():
        raise DataError(
            f"{text} is a folder; {forms}: load a SavedModel where it was trained, then "
            "model.save('NAME.h5')"
        )
    if not Path(text).exists():
        raise DataError(f"no weights at {text}; {forms}, imagenet or none")
    return text


def _layers(text: str) -> int:
    return ALL if text == "all" else whole(0, 10_000)(text)


def _inner(text: str) -> tuple[int, ...]:
    widths = map(whole(0, 100_000), text.split(","))
    return tuple(width for width in widths if width)


def _schedule(text: str) -> str:
    name, colon, factor = text.partition(":")
    if name not in ("cosine", "constant", "exponential", "plateau"):
        raise argparse.ArgumentTypeError("use cosine, constant, exponential or plateau:FACTOR")
    if colon and name != "plateau":
        raise argparse.ArgumentTypeError(f"{text!r}: only plateau takes a factor; use {name}")
    if colon:
        number(0.01, 0.99)(factor)
    return text


def augmentation(text: str) -> Callable[[Augmentation], Augmentation]:
    """What --augment changes a recipe's augmentation to: "light", "flip=none,zoom=0.5..1"."""
    first, *rest = words = text.split(",")
    base = None
    if "=" not in first:
        words = rest
        if (base := AUGMENTATIONS.get(first)) is None:
            raise argparse.ArgumentTypeError(f"{first!r} is not one of {', '.join(AUGMENTATIONS)}")
    changes: dict[str, Any] = {}
    for name, _, value in (word.partition("=") for word in words):
        if name == "flip" and value in FLIPS:
            changes[name] = value
            continue
        if name not in RANGES:
            known = f"flip={'|'.join(FLIPS)} or NAME=VALUE of {', '.join(RANGES)}"
            raise argparse.ArgumentTypeError(f"{name}={value}: use {known}")
        lowest = 0.1 if name == "zoom" else 0
        try:
            ends = [number(lowest, RANGES[name][0])(end) for end in value.split("..")]
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f"{name}={value}: {error}") from None
        pair = name in PAIRS
        if len(ends) != 1 + pair or ends != sorted(ends):
            form = "LOW..HIGH, the lower end first" if pair else "one number"
            raise argparse.ArgumentTypeError(f"{name}={value}: use {form}")
        changes[name] = tuple(ends) if pair else ends[0]
    return lambda own: dataclasses.replace(base or own, **changes)


EPOCHS, RATE, SHARE, PIXELS = whole(1, 100_000), number(1e-9, 1), number(0, 1), whole(8, 4096)
# By group: name, reader of the value, placeholder, help. Options of `Recipe`'s fields have their
# names. None has a default: see `recipe`. A star: the help gets the recipes' defaults.
TABLE: dict[str, tuple[tuple[str, Callable[[str], Any], str, str], ...]] = {
    "network": (
        ("model", _model, "NAME", "residual (small residual net from scratch), mlp (fully "
         "connected), or a network of keras.applications: MobileNetV2, Xception, ResNet50, "
         "EfficientNetB0 ... (default: residual)"),
        ("weights", _weights, "WHICH", "weights of a network of keras.applications: imagenet "
         "(downloaded once, to KERAS_HOME), none, or a file: .weights.h5, or a whole .h5 or .keras "
         "model with that network in it (default: imagenet)"),
        ("width", number(0.05, 4), "FACTOR", "width multiplier, MobileNets only (default: 1)"),
        ("inner", _inner, "N[,N]", "widths of the inner layers between features and logits; 0: "
         "none (default: 100 on a trained network, else none)"),
        ("dropout", number(0, 0.95), "SHARE", "dropout before each inner layer and the logits*"),
        ("size", PIXELS, "PIXELS", f"height and width of the input (default: {PHOTOS.size}; 224 on "
         f"a trained network; small pictures as they are, on keras.applications {SMALLEST}; mlp on "
         f"photos {MLP_SIZE})"),
    ),
    "training": (
        ("epochs", EPOCHS, "N", "passes over the training pictures; of a trained network, while it "
         "is frozen*"),
        ("batch-size", whole(2, 65536), "N", "pictures in a step*"),
        ("learning-rate", RATE, "RATE", f"highest learning rate, after the warm-up; mlp {MLP_RATE}"
         "*"),
        ("schedule", _schedule, "NAME", "learning rate over time: cosine, constant, exponential, "
         "or plateau:FACTOR, Keras' ReduceLROnPlateau*"),
        ("weight-decay", number(0, 10), "DECAY", "weight decay of AdamW, on kernels*"),
        ("label-smoothing", number(0, 0.9), "SHARE", "probability that is spread over all labels*"),
        ("balance", SHARE, "POWER", "class weights: 0 none, 1 every class counts the same*"),
        ("patience", whole(0, 100_000), "N", "early stopping: epochs without a higher validation "
         "accuracy that end a phase, whose best epoch is taken; 0: none*"),
        ("augment", augmentation, "SET", f"{', '.join(AUGMENTATIONS)}; see below (default: strong "
         "from scratch, light on a trained network, digits on small grey pictures)"),
        ("seed", whole(0, 2**31 - 1), "N", "seed of weights, order, augmentation and split*"),
    ),
    "trained network": (
        ("fine-tune", _layers, "LAYERS", "number of the network's last layers to train after the "
         "head, or all; batch normalizations stay frozen (default: 0)"),
        ("enlarge", PIXELS, "PIXELS", "larger size of the input, at which training continues: "
         "--size 150 --enlarge 299"),
        ("fine-tune-epochs", EPOCHS, "N", "epochs of each of the two*"),
        ("fine-tune-rate", RATE, "RATE", "learning rate of fine-tuning*"),
    ),
}  # fmt: skip
READERS = {name.replace("-", "_"): read for rows in TABLE.values() for name, read, *_ in rows}


def add(parser: argparse.ArgumentParser) -> None:
    """The options that make a recipe."""
    for title, rows in TABLE.items():
        group = parser.add_argument_group(title)
        for name, read, metavar, text in rows:
            shown = text[:-1] + _defaults(name.replace("-", "_")) if text.endswith("*") else text
            group.add_argument(f"--{name}", type=read, metavar=metavar, help=shown)


def _defaults(field: str) -> str:
    photos, trained, grey, coloured = (getattr(r, field) for r in (PHOTOS, TRANSFER, DIGITS, SMALL))
    kinds = {"on a trained network": trained, "small grey pictures": grey}
    if grey == coloured:
        kinds = {"on a trained network": trained, "small pictures": grey}
    others = "".join(f"; {kind} {value}" for kind, value in kinds.items() if value != photos)
    return f" (default: {photos}{others})"


def recipe(options: argparse.Namespace, data: Dataset) -> Recipe:
    """The recipe: the options that were given, and defaults for the data and the network."""
    own = options.model or "residual"
    base = _of_pictures(data)
    if own == "mlp":
        base = dataclasses.replace(
            base, network=Perceptron(), learning_rate=MLP_RATE,
            size=base.size if data.shape else MLP_SIZE,
        )  # fmt: skip
    elif own != "residual":
        base = _backbone(options, data, base)
    if own != "residual":  # blends are for the residual net
        base = dataclasses.replace(
            base, stages=ONE_SIZE, augmentation=dataclasses.replace(base.augmentation, mixup=0)
        )
    given = {
        field.name: value
        for field in dataclasses.fields(Recipe)
        if (value := getattr(options, field.name, None)) is not None
    }
    if options.patience:
        given["keep"] = "best"
    if options.augment:
        given["augmentation"] = options.augment(base.augmentation)
    made = dataclasses.replace(base, **given)
    _check(options, made)
    return made


def _check(options: argparse.Namespace, made: Recipe) -> None:
    """Refuse options without effect and sizes that do not fit."""
    # Below it, the residual net's last stage would have less than a pixel.
    shape = made.network if isinstance(made.network, Residual) else None
    least = shape.strides * 2 ** len(shape.widths) if shape else 0
    faults = {
        "--weights and --width are for the networks of keras.applications": not isinstance(
            made.network, Backbone
        )
        and (options.weights not in (None, "none") or options.width),
        "--fine-tune and --enlarge are for a trained network: name one with --model, and --weights "
        "other than none": not made.pretrained and (made.fine_tune or made.enlarge),
        "--fine-tune-epochs and --fine-tune-rate need --fine-tune LAYERS or --enlarge PIXELS": (
            options.fine_tune_epochs or options.fine_tune_rate
        )
        and not (made.fine_tune or made.enlarge),
        f"--enlarge {made.enlarge} is not larger than --size {made.size}": made.enlarge
        and made.enlarge <= made.size,
        f"--size must be at least {least} for this network": made.size < least,
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

    weights = None if options.weights == "none" else options.weights or "imagenet"
    small = data.shape is not None and max(data.shape[:2]) <= 64
    if weights:
        base = TRANSFER
    return dataclasses.replace(
        base, network=Backbone(options.model, weights, options.width or 1.0), channels=3,
        scaling=backbones.scaling(options.model), size=SMALLEST if small else base.size,
    )  # fmt: skip
