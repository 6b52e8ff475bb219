"""`k2l train`: pictures in, model, card and report out."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from pathlib import Path

from keras_to_lambda.cli.frame import Parser
from keras_to_lambda.convert import output_folders
from keras_to_lambda.convert.progress import fail
from keras_to_lambda.runtime.errors import SetupError
from keras_to_lambda.runtime.model.card import ModelCard, Preprocessing
from keras_to_lambda.train import handover, options, quiet
from keras_to_lambda.train.data import idx, sources
from keras_to_lambda.train.data.dataset import DataError, Dataset
from keras_to_lambda.train.recipe import PHOTOS, Backbone, Recipe
from keras_to_lambda.train.run import SAVE_EVERY_S

PORT = 9000
EPILOG = """\
examples:
  k2l train photos --model MobileNetV2 --fine-tune 60
  k2l train mnist
  k2l train cifar-100-python.tar.gz --labels-kind coarse

A run ends with OUTPUT/NAME.keras and OUTPUT/NAME.tflite, which `k2l convert`
has verified. One that was stopped, at whatever moment, goes on from its last state when it
is started again with the same arguments.

DATA is one of these:
{forms}"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code.

    1: trained, but not converted. 2: wrong arguments or data. 130: stopped.
    """
    parser = _parser()
    args = parser.parse_args(arguments)
    command = [
        "python",
        "-m",
        "keras_to_lambda",
        "train",
        *(sys.argv[1:] if arguments is None else arguments),
    ]
    try:
        output = Path(args.output or f"models/{named(args.data)}")
        if output.exists() and not output.is_dir():
            raise DataError(f"{output} is a file; -o wants a folder")
        if args.serve is not None:  # before minutes of work, not after
            handover.free(args.serve)
        data = read(args)
        # Only now: it takes seconds, and wrong data is refused before.
        print("starting TensorFlow ...", flush=True)
        quiet.tensorflow()
        recipe = options.recipe(args, data)
        name = args.name or output.resolve().name
        if args.output is None:
            _not_another(output, recipe, data)
        with output_folders.made(output):
            status = _train(args, data, recipe, card(name, data.labels, recipe), output, command)
    except (DataError, SetupError) as error:
        fail(f"{parser.prog}: error", error)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from its last state", file=sys.stderr)
        return 130
    if status == 0 and args.serve is not None:
        return handover.serve(output / f"{name}.tflite", args.serve)
    return status


def _train(
    args: argparse.Namespace,
    data: Dataset,
    recipe: Recipe,
    described: ModelCard,
    output: Path,
    command: list[str],
) -> int:
    from keras_to_lambda.train import backbones, preview, report, tracking
    from keras_to_lambda.train.trainer import Stopped, Trainer

    name = described.name
    if isinstance(recipe.network, Backbone) and recipe.network.weights:
        print(f"looking for the weights of {recipe.network.name} ...", flush=True)
        backbones.fetch(recipe.network, recipe.phases()[0].size)
    trackers = tracking.start(args.track, name, recipe, data, args.logs, command)
    folder = output / f"{name}.checkpoints"
    cache = args.cache or folder / "cache"
    sheet = output / f"{name}.augmentation.png"
    preview.write(recipe, described, data, sheet)
    print(f"what augmentation makes of the pictures: {sheet}", flush=True)
    watch = [tracker.epoch for tracker in trackers]
    trainer = Trainer(recipe, described, data, folder, cache, watch, save_every=args.save_every)
    try:
        trainer.run()
    except Stopped:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except DataError:
        sheet.unlink()
        raise
    results = report.write(trainer, output, command)
    for tracker in trackers:
        tracker.finish(results, output, name)
    for line in report.told(results):
        print(line)
    keras_file = output / f"{name}.keras"
    print(f"wrote {keras_file}, its card, training.json and MODEL_CARD.md", flush=True)
    if args.keep_checkpoints:
        (folder / "state.npz").unlink()
        shutil.rmtree(folder / "cache", ignore_errors=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    tflite = handover.convert(keras_file, data)
    if tflite is None:
        return 1
    if args.serve is None:
        print(f"next: k2l serve --model {shlex.quote(str(tflite))}")
    return 0


def _not_another(output: Path, recipe: Recipe, data: Dataset) -> None:
    """Refuse to put a model in another one's place, if nobody has named the place.

    Raises:
        DataError: there is a model of another recipe or other data.
    """
    record = output / "training.json"
    if record.exists():
        there = json.loads(record.read_text(encoding="utf-8"))
        ours = json.loads(json.dumps(recipe.to_json()))
        if (there.get("recipe"), there.get("data_sha256")) != (ours, data.sha256):
            raise DataError(
                f"{output} has a model that was trained otherwise: name another folder with -o, or "
                f"the same with -o {output}, to have it replaced"
            )


def card(name: str, labels: tuple[str, ...], recipe: Recipe) -> ModelCard:
    """How the trained model is to be served: the run prepares its pictures by the same card."""
    return ModelCard(
        name=name,
        labels=labels,
        height=recipe.served_size,
        width=recipe.served_size,
        channels=recipe.channels,
        preprocessing=Preprocessing(
            resize=recipe.resize,
            interpolation="pillow:bilinear",
            scaling=recipe.scaling,
            exif="apply",
            drawing="mnist" if recipe.channels == 1 and labels == idx.DIGITS else "none",
        ),
        output="logits",
    )


def read(args: argparse.Namespace) -> Dataset:
    """The data that a command names, and a word on it.

    Raises:
        DataError: it cannot be trained on.
    """
    data = sources.load(args.data, seed_of(args), labels=args.labels_kind)
    counts = ", ".join(f"{len(photos)} {name}" for name, photos in data.splits.items())
    labels = ", ".join(data.labels[:20]) + (" ..." if len(data.labels) > 20 else "")
    print(f"{len(data.labels)} classes ({labels}); photos: {counts}", flush=True)
    for path, reason in data.broken:
        print(f"skipped {path}: {reason}", file=sys.stderr, flush=True)
    return data


def seed_of(args: argparse.Namespace) -> int:
    """The seed that was given, or that of every recipe."""
    seed: int = PHOTOS.seed if args.seed is None else args.seed
    return seed


def named(source: str) -> str:
    """What a model of this data is called, if nobody says."""
    stem = source.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    return stem.partition(".")[0] or "model"


def add_data(parser: argparse.ArgumentParser) -> None:
    """The arguments that say what is trained on."""
    parser.add_argument("data", metavar="DATA", help="labelled pictures; see below")
    sources.add_kind(parser)
    parser.add_argument(
        "--cache",
        metavar="DIR",
        type=Path,
        help="where decoded pictures and features are kept for the next run (default: with the "
        "checkpoints, and removed with them)",
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="k2l train",
        usage="%(prog)s DATA [options]",
        description="Train an image classifier: from scratch, or on top of a trained network.",
        epilog=EPILOG.format(forms=sources.FORMS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="where the model, its card and the report are written (default: models/NAME, NAME "
        "being that of the data)",
    )
    parser.add_argument("--name", help="the model's name (default: the name of the output folder)")
    parser.add_argument(
        "--save-every",
        type=float,
        default=SAVE_EVERY_S,
        metavar="SECONDS",
        help="between two states of the run: what a power cut can cost (default: %(default)g)",
    )
    parser.add_argument(
        "--keep-checkpoints",
        action="store_true",
        help="keep the best epochs' models, OUTPUT/NAME.checkpoints/NAME-EPOCH-ACCURACY.keras",
    )
    parser.add_argument(
        "--track",
        default="tensorboard",
        metavar="WHERE",
        help="comma-separated: tensorboard, wandb, mlflow, or none (default: %(default)s)",
    )
    parser.add_argument(
        "--logs",
        metavar="DIR",
        type=Path,
        default=Path("runs"),
        help="for TensorBoard: tensorboard --logdir DIR (default: %(default)s)",
    )
    parser.add_argument(
        "--serve",
        nargs="?",
        type=int,
        const=PORT,
        metavar="PORT",
        help="when it is trained and converted: serve it with the playground (default port: "
        "%(const)s)",
    )
    options.add(parser)
    return parser
