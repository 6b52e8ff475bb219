"""Options: the command line's words for a recipe, shared by training and search."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any, TypeVar

from keras_to_lambda.runtime.model.card import CHOICES
from keras_to_lambda.train import schedule
from keras_to_lambda.train.data.dataset import DataError, Dataset
from keras_to_lambda.train.recipe import (
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

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T", int, float)
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
OWN = ("residual", "mlp")  # networks that are not of keras.applications
MLP_SIZE, MLP_RATE = 64, 1e-3
SMALLEST = 96  # what small pictures are enlarged to for a backbone that has seen photos


def add(parser: argparse.ArgumentParser) -> None:
    """The options that make a recipe. None of them has a default: see `recipe`."""
    group = parser.add_argument_group("the network")
    group.add_argument(
        "--model",
        metavar="NAME",
        help="residual (a small residual net, from scratch), mlp (fully connected), or a network "
        "of keras.applications: MobileNetV2, Xception, ResNet50, DenseNet121, EfficientNetB0 ... "
        "(default: residual)",
    )
    group.add_argument(
        "--weights",
        metavar="WHICH",
        help="of a network of keras.applications: imagenet (downloaded once; without a network, "
        "found below KERAS_HOME), none, or a file: .weights.h5, .h5, or a .keras model with that "
        "network in it (default: imagenet)",
    )
    group.add_argument(
        "--width", type=_number(0.05, 4), metavar="FACTOR", help="alpha of the MobileNets"
    )
    group.add_argument(
        "--inner",
        type=_whole(0, 100_000),
        nargs="+",
        metavar="N",
        help="widths of the inner layers between features and logits; 0: none (default: 100 on a "
        "trained network, else none)",
    )
    group.add_argument(
        "--dropout",
        type=_number(0, 0.95),
        metavar="SHARE",
        help="before each inner layer and the logits (default: 0.2 on a trained network, else 0)",
    )
    group.add_argument("--pooling", choices=("avg", "max"), help="of the features (default: avg)")
    group.add_argument(
        "--size",
        type=_whole(8, 4096),
        metavar="PIXELS",
        help=f"height and width of the input (default: {PHOTOS.size}; 224 on a trained network; "
        f"small pictures as they are, on one of keras.applications {SMALLEST}; mlp on photos "
        f"{MLP_SIZE})",
    )
    group.add_argument(
        "--resize",
        choices=CHOICES["resize"],
        help="how pictures become square, in training and in service (default: stretch)",
    )

    group = parser.add_argument_group("training")
    group.add_argument("--epochs", type=_whole(1, 100_000), metavar="N", help=_help(
        "passes over the training pictures; of a trained network: with its layers frozen", "epochs"
    ))  # fmt: skip
    group.add_argument("--batch-size", type=_whole(2, 65536), metavar="N", help=_help(
        "pictures in a step", "batch_size"
    ))  # fmt: skip
    group.add_argument("--optimizer", choices=("adam", "adamw"), help=_help("", "optimizer"))
    group.add_argument("--learning-rate", type=_number(1e-9, 1), metavar="RATE", help=_help(
        f"the highest one, after the warm-up; mlp: {MLP_RATE}", "learning_rate"
    ))  # fmt: skip
    group.add_argument("--schedule", choices=schedule.SCHEDULES, help=_help(
        "of the learning rate; plateau: as ReduceLROnPlateau does", "schedule"
    ))  # fmt: skip
    group.add_argument("--weight-decay", type=_number(0, 10), metavar="DECAY", help=_help(
        "adamw's", "weight_decay"
    ))  # fmt: skip
    group.add_argument("--label-smoothing", type=_number(0, 0.9), metavar="SHARE", help=_help(
        "probability spread over all labels", "label_smoothing"
    ))  # fmt: skip
    group.add_argument("--balance", type=_number(0, 1), metavar="POWER", help=_help(
        "class weights: 0 none, 1 every class counts the same", "balance"
    ))  # fmt: skip
    group.add_argument("--patience", type=_whole(0, 100_000), metavar="N", help=_help(
        "end a phase after N epochs without a lower validation loss; 0: never", "patience"
    ))  # fmt: skip
    group.add_argument("--keep", choices=("best", "last"), help=_help(
        "the epoch whose weights are taken", "keep"
    ))  # fmt: skip
    group.add_argument("--precision", choices=PRECISIONS, help=_help(
        "of the arithmetic; the saved model is float32", "precision"
    ))  # fmt: skip
    group.add_argument("--seed", type=_whole(0, 2**31 - 1), metavar="N", help=_help(
        "of weights, order, augmentation and split", "seed"
    ))  # fmt: skip

    group = parser.add_argument_group("a trained network")
    group.add_argument(
        "--fine-tune",
        type=_layers,
        metavar="LAYERS",
        help="after the head, train this many of the network's last layers too, or all; batch "
        "normalizations stay frozen (default: 0)",
    )
    group.add_argument(
        "--fine-tune-epochs", type=_whole(1, 100_000), metavar="N", help="for how long (default: 5)"
    )
    group.add_argument(
        "--fine-tune-rate",
        type=_number(1e-9, 1),
        metavar="RATE",
        help=f"with which learning rate (default: {TRANSFER.fine_tune_rate})",
    )
    group.add_argument(
        "--enlarge",
        type=_whole(8, 4096),
        metavar="PIXELS",
        help="then go on at a larger size with the same weights: 150 before, 299 here",
    )
    group.add_argument(
        "--enlarge-epochs", type=_whole(1, 100_000), metavar="N", help="for how long (default: 2)"
    )
    group.add_argument(
        "--views",
        type=_whole(0, 1000),
        metavar="N",
        help="augmented crops of each picture, of which the frozen network's features are computed "
        f"once, beside the picture itself (default: {TRANSFER.views})",
    )

    group = parser.add_argument_group("augmentation, of training pictures alone")
    group.add_argument(
        "--augment",
        choices=sorted(AUGMENTATIONS),
        help="how far crops may be from the pictures, none: not at all, and none are blended; what "
        "follows changes one thing in it (default: strong from scratch, light on a trained network "
        "and, with --cutout 0.5, on small coloured pictures, digits on small grey ones)",
    )
    group.add_argument("--flip", action=argparse.BooleanOptionalAction, help="mirror half of them")
    group.add_argument("--rotation", type=_number(0, 180), metavar="DEGREES", help="either way")
    group.add_argument("--shift", type=_number(0, 0.5), metavar="SHARE", help="of the side")
    group.add_argument("--shear", type=_number(0, 1), metavar="SHARE", help="either way")
    group.add_argument(
        "--zoom", type=_number(0.1, 3), nargs=2, metavar=("LOW", "HIGH"),
        help="share of the picture's side that is seen",
    )  # fmt: skip
    group.add_argument("--brightness", type=_number(0, 2), metavar="STEP", help="of -1..1")
    group.add_argument("--contrast", type=_number(0, 1), metavar="SHARE", help="less or more")
    group.add_argument("--hue", type=_number(0, 3.2), metavar="RADIANS", help="standard deviation")
    group.add_argument(
        "--saturation", type=_number(0, 5), nargs=2, metavar=("LOW", "HIGH"), help="0: grey"
    )
    group.add_argument("--cutout", type=_number(0, 1), metavar="SHARE", help="with a grey box")
    group.add_argument(
        "--mixup", type=_number(0, 1), metavar="SHARE",
        help="of crops that are blended with another: half of them wholly (mixup), half in a box "
        "(cutmix) (default: 0.5 from scratch, 0.2 at the end; else 0)",
    )  # fmt: skip


def recipe(options: argparse.Namespace, data: Dataset) -> Recipe:
    """The recipe: what was given, and for all else what suits the data and the network.

    Raises:
        DataError: options that do not go together.
    """
    given = {
        name: value
        for name in (f.name for f in dataclasses.fields(Recipe))
        if (value := getattr(options, name, None)) is not None
    }
    own = (options.model or "residual").lower()
    base = _photos_or_pictures(data)
    if own == "residual":
        pass
    elif own == "mlp":
        base = dataclasses.replace(
            base, network=Perceptron(), learning_rate=MLP_RATE, stages=ONE_SIZE,
            size=base.size if data.shape else MLP_SIZE,
        )  # fmt: skip
    else:
        base = _backbone(options, data, base)
    if own in OWN and (options.weights not in (None, "none") or options.width):
        raise DataError("--weights and --width are for the networks of keras.applications")
    if not base.pretrained and (options.fine_tune or options.enlarge or options.views):
        raise DataError(
            "--fine-tune, --enlarge and --views are for a trained network: name one with --model, "
            "and --weights other than none"
        )
    if options.inner is not None or options.dropout is not None or options.pooling:
        inner = base.head.inner if options.inner is None else options.inner
        given["head"] = dataclasses.replace(
            base.head,
            inner=tuple(width for width in inner if width),
            dropout=base.head.dropout if options.dropout is None else options.dropout,
            pooling=options.pooling or base.head.pooling,
        )
    if options.fine_tune:
        given["fine_tune_layers"] = options.fine_tune
        given.setdefault("fine_tune_epochs", 5)
    if options.enlarge:
        given.setdefault("enlarge_epochs", 2)
    mixup = 0.0 if options.augment == "none" and options.mixup is None else options.mixup
    if mixup is not None:
        given["mix"] = mixup
        given["stages"] = tuple((size, epochs, mixup) for size, epochs, _ in base.stages)
    given["augmentation"] = _augmentation(options, base.augmentation)
    made = dataclasses.replace(base, **given)
    _effective(options, made)
    if made.enlarge and made.enlarge <= made.size:
        raise DataError(f"--enlarge {made.enlarge} is not larger than --size {made.size}")
    if isinstance(made.network, Residual) and made.size < (least := _least(made.network)):
        raise DataError(f"--size must be at least {least} for this network")
    return made


def _effective(options: argparse.Namespace, made: Recipe) -> None:
    """Refuse what would be given in vain.

    Raises:
        DataError: an option that nothing would come of.
    """
    tuning = options.fine_tune_epochs or options.fine_tune_rate
    if tuning and not made.fine_tune_layers:
        raise DataError("--fine-tune-epochs and --fine-tune-rate go with --fine-tune LAYERS")
    if options.enlarge_epochs and not made.enlarge:
        raise DataError("--enlarge-epochs goes with --enlarge PIXELS")
    if options.weight_decay and made.optimizer != "adamw":
        raise DataError("--weight-decay goes with --optimizer adamw")
    augmenting = options.augment not in (None, "none") or options.mixup
    if augmenting and made.pretrained and not made.views and not made.fine_tune_layers:
        raise DataError("--views 0 leaves nothing to augment: say --augment none, or --views 4")


def _photos_or_pictures(data: Dataset) -> Recipe:
    if data.shape is None:
        return PHOTOS
    rows, columns, channels = data.shape
    side = max(rows, columns)
    if side > 64:
        return dataclasses.replace(PHOTOS, channels=channels)
    base = DIGITS if channels == 1 else SMALL
    return dataclasses.replace(base, size=side)


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
    changes: dict[str, Any] = {
        "mirror": options.flip,
        "rotation": None if options.rotation is None else math.radians(options.rotation),
        "shift": options.shift,
        "shear": options.shear,
        "zoom": options.zoom and tuple(options.zoom),
        "brightness": options.brightness,
        "contrast": options.contrast,
        "hue": options.hue,
        "saturation": options.saturation and tuple(options.saturation),
        "erased": options.cutout,
    }
    start = AUGMENTATIONS[options.augment] if options.augment else base
    if options.zoom and options.zoom[0] > options.zoom[1]:
        raise DataError("--zoom wants the lower share first")
    return dataclasses.replace(
        start, **{name: value for name, value in changes.items() if value is not None}
    )


def _least(network: Residual) -> int:
    """The size below which the last stage would have less than a pixel."""
    return int(network.strides * 2 ** len(network.widths))


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
    return f"{text} (default: {default})".strip()


def _between(kind: type[T], lowest: T, highest: T) -> Callable[[str], T]:
    """A reader of an option's value."""

    def read(text: str) -> T:
        try:
            value = kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"must be from {lowest} to {highest}")
        return value

    return read


_whole = functools.partial(_between, int)
_number = functools.partial(_between, float)


def _layers(text: str) -> int:
    return ALL if text == "all" else _whole(0, 10_000)(text)
