"""`k2l train`: pictures in, a model with its card, a verified `.tflite` and a report out."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from keras_to_lambda.cli import frame
from keras_to_lambda.convert.common import output_folders
from keras_to_lambda.convert.common.conversion_errors import listed
from keras_to_lambda.runtime.common.errors import UserError
from keras_to_lambda.runtime.model_file.card import ModelCard, Preprocessing
from keras_to_lambda.train import recipe_options
from keras_to_lambda.train.data import arrays, sources, unpack
from keras_to_lambda.train.data.dataset import SEED, DataError, Dataset, untrained
from keras_to_lambda.train.fit import quiet, tracking
from keras_to_lambda.train.fit.recipe import Backbone, Recipe

SAMPLES = 200  # validation pictures that the conversion is verified on, at most
HIGHEST_PORT = 65535
K2L = [sys.executable, "-m", "keras_to_lambda"]
EPILOG = """\
examples:
  k2l train photos --model MobileNetV2 --fine-tune 60
  k2l train mnist
  k2l train cifar-100-python.tar.gz#coarse

A run writes OUTPUT/NAME.keras, its card, and OUTPUT/NAME.tflite, which `k2l convert` has verified.
After an interruption the same command continues it, from its last complete epoch.

exit status:
  0  trained and converted
  1  trained, but not converted
  2  wrong arguments or data
  130  stopped

"""


@frame.command("k2l train", interrupted="stopped; the same command continues from the last epoch")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    args = parser().parse_args(given)
    output = Path(args.output or f"models/{sources.name_of(args.data)}")
    if output.exists() and not output.is_dir():
        raise DataError(f"-o {output} is a file; give a folder")
    interrupted = (_checkpoints(output) / "state").exists()
    if args.output is None and (output / "training.json").exists() and not interrupted:
        raise DataError(
            f"{output} has a model: give another folder with -o, or replace it with -o {output}"
        )
    if args.serve is not None:  # before minutes of work, not after
        _check_port(args.serve)
    data = read(args.data, args.seed)
    print("starting TensorFlow ...", flush=True)  # only now: wrong data fails before
    quiet.tensorflow()
    recipe = recipe_options.recipe(args, data)
    with output_folders.made(output):
        status = _train(args, data, recipe, output, ["k2l", "train", *given])
    if status == 0 and args.serve is not None:
        print(f"serving {output} on port {args.serve}; Ctrl-C ends it", flush=True)
        tflite = output / f"{output.resolve().name}.tflite"
        command = [*K2L, "serve", "--port", str(args.serve), "--model", str(tflite)]
        os.execv(command[0], command)  # noqa: S606
    return status


def _train(
    args: argparse.Namespace, data: Dataset, recipe: Recipe, output: Path, command: list[str]
) -> int:
    from keras_to_lambda.train import run_report
    from keras_to_lambda.train.fit import augmentation, backbones
    from keras_to_lambda.train.fit.fitting import TrainingRun

    name, folder = output.resolve().name, _checkpoints(output)
    described = card(name, data.labels, recipe)
    cache, sheet = output / f"{name}.cache", output / f"{name}.augmentation.png"
    run = TrainingRun(
        recipe, described, data, folder, cache,
        more_callbacks=lambda: [tracker.callback() for tracker in trackers],
    )  # fmt: skip
    run.check()
    if isinstance(recipe.network, Backbone) and recipe.network.weights:
        print(f"looking for the weights of {recipe.network.name} ...", flush=True)
        backbones.fetch(recipe.network, recipe.phases()[0].size)
    trackers = tracking.start(args.track, name, recipe, data, run_report.public(command))
    augmentation.sheet(recipe, described, data, sheet)
    print(f"augmented training pictures: {sheet}", flush=True)
    try:
        model = run.fit()
    except UserError:
        sheet.unlink()
        raise
    results = run_report.write(run, model, output, command)
    print(run_report.summary(results))
    keras_file = output / f"{name}.keras"
    print(f"wrote {keras_file}, its card and training.json", flush=True)
    tflite = convert(keras_file, data)
    # Only now: until here the same command continues.
    for unneeded in (cache, run.state if args.keep_checkpoints else folder):
        shutil.rmtree(unneeded, ignore_errors=True)
    metrics = {f"{split}_accuracy": found["accuracy"] for split, found in results.items()}
    endings = (".keras", ".card.json", ".training.png", *([".tflite"] if tflite else []))
    files = [output / f"{name}{ending}" for ending in endings]
    for tracker in trackers:
        tracker.finish(metrics, [*files, output / "training.json"])
    return 0 if tflite else 1


def _checkpoints(output: Path) -> Path:
    """The folder of a run's checkpoints, with its state until it has ended."""
    return output / f"{output.resolve().name}.checkpoints"


def _check_port(port: int) -> None:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError as error:
        another = port + 1 if port < HIGHEST_PORT else port - 1
        raise DataError(f"port {port} is not available: use --serve {another}") from error


def convert(model: Path, data: Dataset) -> Path | None:
    """Write the `.tflite` beside a trained model, verified on validation pictures.

    Labels and preprocessing come from the card beside the model. A few test pictures are written
    to `samples/` beside it, for the playground and for later conversions.

    Returns:
        The file; None if it was not written.
    """
    name = model.name.removesuffix(".keras")  # a SavedModel has none
    output, examples = model.parent / f"{name}.tflite", model.parent / "samples"
    unpack.examples(data, examples)
    print(f"\nconverting {model.name}, verified on validation pictures", flush=True)
    with tempfile.TemporaryDirectory(prefix="samples-") as held_out:
        unpack.split(data, "validation", Path(held_out), SAMPLES)
        # A low accuracy is the result of a short training here, not of wrong labels or scaling.
        command = [*K2L, "convert", str(model), "--samples", held_out, "-o", str(output)]
        done = subprocess.run([*command, "--accept-accuracy"], check=False)  # noqa: S603
    if done.returncode == 0:
        print(f"next: k2l serve --model {shlex.quote(str(output))}", flush=True)
        return output
    again = ["k2l", "convert", str(model), "--samples", str(examples), "-o", str(output)]
    print(
        f"{model} is trained and saved, but not converted, for the reason above. To repeat the "
        f"conversion:\n  {shlex.join(again)}",
        file=sys.stderr,
    )
    return None


def card(name: str, labels: tuple[str, ...], recipe: Recipe) -> ModelCard:
    """The served preprocessing of the trained model; the run prepares its pictures by it too."""
    return ModelCard(
        name=name,
        labels=labels,
        height=recipe.served_size,
        width=recipe.served_size,
        channels=recipe.channels,
        preprocessing=Preprocessing(
            interpolation="pillow:bilinear",
            scaling=recipe.scaling,
            exif="apply",
            drawing="mnist" if recipe.channels == 1 and labels == arrays.DIGITS else "none",
        ),
        output="logits",
    )


def read(source: str, seed: int | None) -> Dataset:
    """The data that a command names; its size and its faults are printed."""
    data = sources.load(source, SEED if seed is None else seed)
    seen = {int(target) for split in data.splits.values() for target in split.targets}
    trained = {int(target) for target in data.splits["train"].targets}
    if message := untrained(data.labels, trained | (set(range(len(data.labels))) - seen)):
        raise DataError(message)
    counts = ", ".join(f"{len(photos)} {name}" for name, photos in data.splits.items())
    labels = ", ".join(data.labels[:20]) + (" ..." if len(data.labels) > 20 else "")
    print(f"{len(data.labels)} classes ({labels}); photos: {counts}", flush=True)
    # A label without any picture is kept, as Keras' flow_from_directory does.
    if empty := [name for target, name in enumerate(data.labels) if target not in seen]:
        print(f"no photos of {listed(empty)}; kept as a label", file=sys.stderr, flush=True)
    for path, reason in data.broken:
        print(f"skipped {path}: {reason}", file=sys.stderr, flush=True)
    return data


def parser() -> argparse.ArgumentParser:
    parser = frame.Parser(
        "k2l train",
        "Train an image classifier: from scratch, or on top of a trained network.",
        f"{EPILOG}{recipe_options.AUGMENTATION_HELP}\nDATA is one of these:\n{sources.FORMS}",
        usage="%(prog)s DATA [options]",
    )
    sources.add(parser)
    add = parser.add_argument
    add("-o", "--output", metavar="DIR", help="folder for the model, its card and the report; its "
        "name is the model's (default: models/NAME, NAME being that of the data)")  # fmt: skip
    add("--keep-checkpoints", action="store_true", help="keep up to three epochs of each phase, "
        "each better than all before it, as models: "
        "OUTPUT/NAME.checkpoints/NAME-EPOCH-ACCURACY.keras")  # fmt: skip
    add("--track", type=tracking.places, default="tensorboard", metavar="WHERE",
        help="comma-separated: tensorboard, wandb, mlflow, or none; files go to runs/ (default: "
        "%(default)s)")  # fmt: skip
    port = recipe_options.whole(1, HIGHEST_PORT)
    add("--serve", nargs="?", type=port, const=9000, metavar="PORT", help="serve the converted "
        "model with the playground at the end (default port: %(const)s)")  # fmt: skip
    recipe_options.add(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
