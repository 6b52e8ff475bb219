"""`python -m train`: photos in, model, card and report out."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
from pathlib import Path

from classifier.card import ModelCard, Preprocessing
from classifier.errors import SetupError
from train import idx
from train.photos import DataError, Dataset, load
from train.recipe import DIGITS, PHOTOS, Recipe

# Whole numbers from 1; a size below 32 would leave the last stage less than a pixel.
LOWEST = {"size": 32, "epochs": 1, "batch_size": 2}


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for wrong arguments or photos."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        source = Path(options.data)
        recipe = _recipe(options, DIGITS if idx.found(source) else PHOTOS)
        output = Path(options.output or f"models/{'digits' if idx.found(source) else 'clothing'}")
        name = options.name or output.resolve().name
        if output.exists() and not output.is_dir():
            raise DataError(f"{output} is a file; -o wants a folder")
        if idx.found(source):
            data = idx.load(source, recipe.seed)
        else:
            data = load(source, lambda labels: card(name, labels, recipe), recipe.seed)
    except (DataError, SetupError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    _describe(data)

    # TensorFlow takes seconds to import, and tells of its build on the way: both only now.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from train.trainer import Trainer

    checkpoints = output / f"{name}.checkpoints"
    trainer = Trainer(recipe, card(name, data.labels, recipe), data, checkpoints)
    trainer.run()

    from train import report

    command = ["python", "-m", "train", *(sys.argv[1:] if arguments is None else arguments)]
    for line in report.write(trainer, output, command):
        print(line)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return 0


def card(name: str, labels: tuple[str, ...], recipe: Recipe) -> ModelCard:
    """How the trained model is to be served: the photos of a run are prepared by the same card."""
    return ModelCard(
        name=name,
        labels=labels,
        height=recipe.size,
        width=recipe.size,
        channels=recipe.network.channels,
        preprocessing=Preprocessing(interpolation="pillow:bilinear", scaling="mobilenet_v2"),
        output="logits",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train",
        description="Train an image classifier from scratch. The defaults are the recipes of "
        "the models in models/clothing and models/digits.",
        epilog="A run that was stopped goes on from its last checkpoint when it is started again "
        "with the same arguments.",
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        help="a folder with train, validation and test, each with one folder of photos for each "
        "class; or one with the class folders alone, of which a tenth is set aside for "
        "validation and a tenth for the test; or one with idx files, as MNIST's",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="where the model, its card and the report are written (default: models/clothing; "
        "idx: models/digits)",
    )
    parser.add_argument("--name", help="the model's name (default: the name of the output folder)")
    parser.add_argument(
        "--size",
        type=int,
        metavar="PIXELS",
        help=f"height and width of the model's input{_defaults('size')}",
    )
    parser.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help=f"passes over the training photos{_defaults('epochs')}",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help=f"photos in a step{_defaults('batch_size')}",
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        metavar="RATE",
        help=f"the highest one, after the warm-up{_defaults('learning_rate')}",
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help=f"of weights, order, augmentation and split{_defaults('seed')}",
    )
    return parser


def _defaults(name: str) -> str:
    photos, digits = (getattr(recipe, name) for recipe in (PHOTOS, DIGITS))
    return f" (default: {photos})" if photos == digits else f" (default: {photos}; idx: {digits})"


def _recipe(options: argparse.Namespace, defaults: Recipe) -> Recipe:
    given = {
        name: getattr(options, name)
        for name in ("size", "epochs", "batch_size", "learning_rate", "seed")
        if getattr(options, name) is not None
    }
    for name, lowest in LOWEST.items():
        if name in given and given[name] < lowest:
            raise DataError(f"--{name.replace('_', '-')} must be at least {lowest}")
    recipe = dataclasses.replace(defaults, **given)
    if not 0 < recipe.learning_rate < 1:
        raise DataError("--learning-rate must be between 0 and 1")
    if not 0 <= recipe.seed < 2**31:
        raise DataError("--seed must be from 0 to 2147483647")
    return recipe


def _describe(data: Dataset) -> None:
    counts = ", ".join(f"{len(photos)} {name}" for name, photos in data.splits.items())
    print(f"{len(data.labels)} classes ({', '.join(data.labels)}); photos: {counts}", flush=True)
    for path, reason in data.broken:
        print(f"skipped {path}: {reason}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
