"""Options: a recipe on the command line, shared by training and search."""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

from keras_to_lambda.runtime.model.card import CHOICES
from keras_to_lambda.train.data.dataset import DataError, Dataset
from keras_to_lambda.train.recipe import (
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
    Perceptron,
    Recipe,
    Residual,
)

T = TypeVar("T", int, float)
SCHEDULES = ("cosine", "constant", "exponential", "plateau")
OWN = ("residual", "mlp")  # networks that are not of keras.applications
MLP_SIZE, MLP_RATE = 64, 1e-3
SMALLEST = 96  # small pictures are enlarged to it for a backbone that was trained on photos


def add(parser: argparse.ArgumentParser) -> None:
    """The options that make a recipe. None has a default: see `recipe`."""
    network = parser.add_argument_group("network").add_argument
    network(
        "--model",
        metavar="NAME",
        help="residual (small residual net from scratch), mlp (fully connected), or a network of "
        "keras.applications: MobileNetV2, Xception, ResNet50, EfficientNetB0 ... (default: "
        "residual)",
    )
    network(
        "--weights",
        metavar="WHICH",
        help="weights of a network of keras.applications: imagenet (downloaded once, to "
        "KERAS_HOME), none, or a file: .weights.h5, or a whole .h5 or .keras model with that "
        "network in it (default: imagenet)",
    )
    network("--width", type=_number(0.05, 4), metavar="FACTOR", help="alpha of the MobileNets")
    network(
        "--inner",
        type=_whole(0, 100_000),
        nargs="+",
        metavar="N",
        help="widths of the inner layers between features and logits; 0: none (default: 100 on a "
        "trained network, else none)",
    )
    network(
        "--dropout",
        type=_number(0, 0.95),
        metavar="SHARE",
        help="dropout before each inner layer and the logits (default: 0.2 on a trained network, "
        "else 0)",
    )
    network(
        "--size",
        type=_whole(8, 4096),
        metavar="PIXELS",
        help=f"height and width of the input (default: {PHOTOS.size}; 224 on a trained network; "
        f"small pictures as they are, on keras.applications {SMALLEST}; mlp on photos {MLP_SIZE})",
    )
    network(
        "--resize",
        choices=CHOICES["resize"],
        help="way in which pictures become square, in training and in service (default: stretch)",
    )

    training = parser.add_argument_group("training").add_argument
    training("--epochs", type=_whole(1, 100_000), metavar="N", help=_help(
        "passes over the training pictures; of a trained network, while it is frozen", "epochs"
    ))  # fmt: skip
    training("--batch-size", type=_whole(2, 65536), metavar="N", help=_help(
        "pictures in a step", "batch_size"
    ))  # fmt: skip
    training("--learning-rate", type=_number(1e-9, 1), metavar="RATE", help=_help(
        f"highest learning rate, after the warm-up; mlp {MLP_RATE}", "learning_rate"
    ))  # fmt: skip
    training("--schedule", choices=SCHEDULES, help=_help(
        "learning rate over time; plateau: Keras' ReduceLROnPlateau", "schedule"
    ))  # fmt: skip
    training("--plateau-factor", type=_number(0.01, 0.99), metavar="FACTOR", help=_help(
        "factor of the learning rate after a plateau of 3 epochs", "plateau_factor"
    ))  # fmt: skip
    training("--weight-decay", type=_number(0, 10), metavar="DECAY", help=_help(
        "weight decay of AdamW", "weight_decay"
    ))  # fmt: skip
    training("--label-smoothing", type=_number(0, 0.9), metavar="SHARE", help=_help(
        "probability that is spread over all labels", "label_smoothing"
    ))  # fmt: skip
    training("--balance", type=_number(0, 1), metavar="POWER", help=_help(
        "class weights: 0 none, 1 every class counts the same", "balance"
    ))  # fmt: skip
    training("--patience", type=_whole(0, 100_000), metavar="N", help=_help(
        "early stopping: epochs without a higher validation accuracy that end a phase, whose best "
        "epoch is taken; 0: none", "patience"
    ))  # fmt: skip
    training("--seed", type=_whole(0, 2**31 - 1), metavar="N", help=_help(
        "seed of weights, order, augmentation and split", "seed"
    ))  # fmt: skip

    trained = parser.add_argument_group("trained network").add_argument
    trained(
        "--fine-tune",
        type=_layers,
        metavar="LAYERS",
        help="number of the network's last layers to train after the head, or all; batch "
        "normalizations stay frozen (default: 0)",
    )
    trained("--fine-tune-epochs", type=_whole(1, 100_000), metavar="N", help="epochs (default: 5)")
    trained(
        "--fine-tune-rate",
        type=_number(1e-9, 1),
        metavar="RATE",
        help=f"learning rate (default: {TRANSFER.fine_tune_rate})",
    )
    trained(
        "--enlarge",
        type=_whole(8, 4096),
        metavar="PIXELS",
        help="larger size of the input, at which training continues: --size 150 --enlarge 299",
    )
    trained(
        "--enlarge-epochs", type=_whole(1, 100_000), metavar="N", help="epochs there (default: 2)"
    )
    trained(
        "--views",
        type=_whole(0, 1000),
        metavar="N",
        help="augmented copies of each picture of which the frozen network's features are "
        f"computed, besides the picture itself (default: {TRANSFER.views})",
    )

    augment = parser.add_argument_group("augmentation, of training pictures only").add_argument
    augment(
        "--augment",
        choices=sorted(AUGMENTATIONS),
        help="set of ranges; the options below change one of them (default: strong from scratch, "
        "light on a trained network, digits on small grey pictures)",
    )
    augment("--flip", choices=FLIPS, help="mirroring of half of the pictures")
    augment("--rotation", type=_number(0, 180), metavar="DEGREES", help="rotation, either way")
    augment("--shift", type=_number(0, 0.5), metavar="SHARE", help="shift, share of the side")
    augment("--shear", type=_number(0, 1), metavar="SHARE", help="shear, either way")
    augment(
        "--zoom", type=_number(0.1, 1.9), nargs=2, metavar=("LOW", "HIGH"),
        help="share of the picture's side that is seen",
    )  # fmt: skip
    augment("--brightness", type=_number(0, 1), metavar="SHARE", help="brightness, either way")
    augment("--contrast", type=_number(0, 1), metavar="SHARE", help="contrast, either way")
    augment(
        "--saturation", type=_number(0, 1), nargs=2, metavar=("LOW", "HIGH"),
        help="saturation: 0 grey, 0.5 unchanged, 1 full",
    )  # fmt: skip
    augment("--hue", type=_number(0, 1), metavar="SHARE", help="hue, share of the colour circle")
    augment("--cutout", type=_number(0, 1), metavar="SHARE", help="pictures with an erased box")
    augment(
        "--mixup", type=_number(0, 1), metavar="SHARE",
        help="pictures that are blended with another one (MixUp, CutMix)",
    )  # fmt: skip


def recipe(options: argparse.Namespace, data: Dataset) -> Recipe:
    """The recipe: the options that were given, and defaults for the data and the network.

    Raises:
        DataError: options that contradict each other.
    """
    given: dict[str, Any] = {
        name: value
        for name in (f.name for f in dataclasses.fields(Recipe))
        if (value := getattr(options, name, None)) is not None
    }
    own = (options.model or "residual").lower()
    base = _of_pictures(data)
    if own == "mlp":
        base = dataclasses.replace(
            base, network=Perceptron(), learning_rate=MLP_RATE, stages=ONE_SIZE,
            size=base.size if data.shape else MLP_SIZE,
        )  # fmt: skip
    elif own != "residual":
        base = _backbone(options, data, base)
    if own in OWN and (options.weights not in (None, "none") or options.width):
        raise DataError("--weights and --width are for the networks of keras.applications")
    if not base.pretrained and (options.fine_tune or options.enlarge or options.views):
        raise DataError(
            "--fine-tune, --enlarge and --views are for a trained network: name one with --model, "
            "and --weights other than none"
        )
    if options.inner is not None or options.dropout is not None:
        inner = base.head.inner if options.inner is None else options.inner
        given["head"] = dataclasses.replace(
            base.head,
            inner=tuple(width for width in inner if width),
            dropout=base.head.dropout if options.dropout is None else options.dropout,
        )
    if options.fine_tune:
        given["fine_tune_layers"] = options.fine_tune
        given.setdefault("fine_tune_epochs", 5)
    if options.patience:
        given["keep"] = "best"
    mix = 0.0 if options.augment == "none" and options.mixup is None else options.mixup
    if mix is not None:
        given["mix"] = mix
        given["stages"] = tuple((size, epochs, mix) for size, epochs, _ in base.stages)
    given["augmentation"] = _augmentation(options, base.augmentation)
    made = dataclasses.replace(base, **given)
    _check(options, made)
    return made


def _check(options: argparse.Namespace, made: Recipe) -> None:
    """Refuse options without effect and sizes that do not fit.

    Raises:
        DataError: one of them.
    """
    if (options.fine_tune_epochs or options.fine_tune_rate) and not made.fine_tune_layers:
        raise DataError("--fine-tune-epochs and --fine-tune-rate need --fine-tune LAYERS")
    if options.enlarge_epochs and not made.enlarge:
        raise DataError("--enlarge-epochs needs --enlarge PIXELS")
    if options.plateau_factor and made.schedule != "plateau":
        raise DataError("--plateau-factor needs --schedule plateau")
    augmenting = options.augment not in (None, "none") or options.mixup
    if augmenting and made.pretrained and not made.views and not made.fine_tune_layers:
        raise DataError("--views 0 leaves nothing to augment: use --augment none, or --views 4")
    if made.enlarge and made.enlarge <= made.size:
        raise DataError(f"--enlarge {made.enlarge} is not larger than --size {made.size}")
    if isinstance(made.network, Residual):
        # Below it, the last stage would have less than a pixel.
        least = made.network.strides * 2 ** len(made.network.widths)
        if made.size < least:
            raise DataError(f"--size must be at least {least} for this network")


def _of_pictures(data: Dataset) -> Recipe:
    if data.shape is None:
        return PHOTOS
    rows, columns, channels = data.shape
    side = max(rows, columns)
    if side > 64:
        return dataclasses.replace(PHOTOS, channels=channels)
    return dataclasses.replace(DIGITS if channels == 1 else SMALL, size=side)


def _backbone(options: argparse.Namespace, data: Dataset, base: Recipe) -> Recipe:
    from keras_to_lambda.train import backbones  # which imports TensorFlow, for seconds

    name = backbones.found(options.model)
    weights = None if options.weights == "none" else options.weights or "imagenet"
    network = Backbone(name, weights, options.width or 1.0)
    small = data.shape is not None and max(data.shape[:2]) <= 64
    if weights is None:
        return dataclasses.replace(
            base, network=network, channels=3, scaling=backbones.scaling(name),
            size=SMALLEST if small else base.size, stages=ONE_SIZE,
        )  # fmt: skip
    return dataclasses.replace(
        TRANSFER, network=network, scaling=backbones.scaling(name),
        size=SMALLEST if small else TRANSFER.size,
    )  # fmt: skip


def _augmentation(options: argparse.Namespace, base: Augmentation) -> Augmentation:
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(Augmentation):
        value = getattr(options, field.name)
        if value is not None:
            changes[field.name] = tuple(value) if isinstance(value, list) else value
            if isinstance(value, list) and value[0] > value[1]:
                raise DataError(f"--{field.name}: the lower value comes first")
    return dataclasses.replace(
        AUGMENTATIONS[options.augment] if options.augment else base, **changes
    )


def _help(text: str, field: str) -> str:
    """The help of an option whose defaults are the recipes'."""
    photos, trained, grey, coloured = (getattr(r, field) for r in (PHOTOS, TRANSFER, DIGITS, SMALL))
    default = str(photos)
    if trained != photos:
        default += f"; on a trained network {trained}"
    if grey == coloured != photos:
        default += f"; small pictures {grey}"
    elif grey != photos:
        default += f"; small grey pictures {grey}"
    return f"{text} (default: {default})"


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


_whole = functools.partial(_between, int)
_number = functools.partial(_between, float)


def _layers(text: str) -> int:
    return ALL if text == "all" else _whole(0, 10_000)(text)
