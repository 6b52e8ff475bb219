"""k2l detect: with which preprocessing was this model trained?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_to_lambda.class_folders import images
from keras_to_lambda.cli import frame, progress
from keras_to_lambda.convert import command_options
from keras_to_lambda.convert.common import labels, samples
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.detection import unscaled_network
from keras_to_lambda.convert.detection.trials import Trials, search
from keras_to_lambda.convert.detection.verdict import Detected
from keras_to_lambda.convert.sandbox.sandbox import model_files

EPILOG = """\
examples:
  k2l detect cats.h5 --samples photos
      photos/ has a folder for each class, and the model's outputs are in their alphabetical order,
      as keras.utils.image_dataset_from_directory makes them
  k2l detect net.keras --samples photos --labels labels.txt
      the order of the outputs is the file's, or alphabetical: both are tried; the folders may be
      some of the labels
  k2l detect someone.tflite --samples photos --labels l.txt --max-samples 1000 --json
      more photos separate more; the result as JSON

The result is printed as options for `k2l convert`. Photos from the training set are the best
evidence; of others more are needed: --max-samples.

exit status:
  0  found: scaling and colour order at least
  1  not enough evidence; the message names what would help
  2  the model, the labels, the samples or an option is wrong
"""


def parser() -> frame.Parser:
    """The command line."""
    p = frame.Parser(
        "k2l detect",
        "Find the preprocessing that an image classifier was trained with: try the usual ones on "
        "photos of known classes, and show which fits, or that the photos do not decide.",
        EPILOG,
    )
    p.add_argument(
        "model", type=Path, metavar="MODEL", help=".keras, .h5, a SavedModel folder, or a .tflite"
    )
    command_options.add_samples(p, "photos in folders named after their class")
    p.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="one label per output, as for k2l convert (default: the folders, alphabetically)",
    )
    command_options.add_model(p)
    command_options.add_run(p)
    return p


@frame.command("k2l detect")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is explained in its help."""
    args = parser().parse_args(argv)
    progress.use("detect", quiet=args.quiet)
    model, wanted = args.model.absolute(), command_options.wanted(args)
    names = args.labels and labels.located(args.labels).absolute()
    # The whole search is in the sandbox: the network runs thousands of times.
    with samples.local(args.samples, args.max_samples) as folder:
        place = folder.absolute()
        taken = [sample.path for sample in samples.find(place, args.max_samples)]
        folders = [place / name for name in samples.folders(place)]
        if (total := sum(len(images(path)) for path in folders)) > len(taken):
            progress.note(samples.used(len(taken), total))
        progress.step("starting TensorFlow")
        # Folders and photos one by one: links may lead elsewhere.
        reads = [place, *folders, *taken, *([names] if names else [])]
        found = command_options.sandbox(args).call(
            "keras_to_lambda.convert.detect:run",
            reads=[*model_files(model, wanted["custom"]), *reads],
            model=str(model),
            wanted=wanted,
            folder=str(place),
            most=args.max_samples,
            labels=names and str(names),
        )
    text = progress.plain_lines(found["text"])
    print(json.dumps(found["json"], indent=1) if args.json else text)
    return frame.OK if found["json"]["named"] else frame.FAILED


def run(
    *,
    model: str,
    wanted: dict[str, Any],
    folder: str,
    most: int,
    labels: str | None = None,
) -> dict[str, Any]:
    """Investigate a model: the verdict as text and as JSON."""
    path, place = Path(model), Path(folder)
    found = samples.find(place, most)
    progress.step(f"loading {path.name}")
    net = unscaled_network.load(path, wanted)
    given = Path(labels) if labels else None
    places = samples.orders(samples.folders(place), place, net.classes, given)
    matched = next(iter(places.values()))
    found = [sample for sample in found if sample.folder in matched]
    trials = Trials(net, found)
    if len({s.folder for s in trials.samples}) < 2:
        raise ConvertError(f"fewer than two folders of {place} have photos that can be read")
    verdict = Detected(
        finding=search(trials, places),
        model=path,
        photos=len(trials.samples),
        unread=len(found) - len(trials.samples),
        classes=len({s.folder for s in trials.samples}),
        labels=given,
    )
    return {"text": verdict.text(), "json": verdict.to_json()}
