"""`k2l evaluate`: a model and labelled pictures in, what it gets right and wrong out.

k2l evaluate MODEL --data DATA   writes NAME.evaluation.html and .json beside the model
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from keras_to_lambda import atomic_files, client, html_report
from keras_to_lambda.cli import frame, progress
from keras_to_lambda.convert import command_options as shared
from keras_to_lambda.convert.common import labels as label_files
from keras_to_lambda.convert.common import scaling as scalings
from keras_to_lambda.train.assess import calibration, evaluation_report
from keras_to_lambda.train.assess.evaluation_report import Report
from keras_to_lambda.train.assess.metrics import Predictions
from keras_to_lambda.train.assess.split_predictions import (
    Evaluated,
    EvaluatedModel,
    matched,
    predict,
)
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data.dataset import SEED, SPLITS, Dataset, Split, joined

EPILOG = """\
examples:
  k2l evaluate models/clothing/clothing.keras --data clothing-dataset-small
  k2l evaluate models/digits/digits.tflite --data mnist \\
      --against models/digits-tree/digits-tree.tflite -o digits.html
  k2l evaluate cats.h5 --preprocess xception --data cats
  k2l evaluate https://ID.execute-api.REGION.amazonaws.com/Prod/predict --data photos

A model file runs in a sandbox: no network, few files, bounded memory and time. Its card, in it or
beside it, has the labels and the preprocessing; a Keras file without one needs --preprocess. An
endpoint is sent the photos' own bytes, or PNG files of pictures that are in arrays.

With the test split, the validation pictures are used as well: how often answers of which confidence
are right is written into the model's card, where the playground finds it.

exit status:
  0  evaluated
  2  the model, the data, an option or the endpoint is wrong

DATA is one of these:
"""
ALL_SPLITS = "all"
T = TypeVar("T", int, str)


@frame.command("k2l evaluate")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for whatever the user can put right."""
    options = parser().parse_args(arguments)
    progress.use("evaluate", quiet=options.quiet)
    output = _output(options)
    found = evaluate(options)
    record = evaluation_report.to_json(found)
    given = sys.argv[1:] if arguments is None else arguments
    page = evaluation_report.html(found, record, html_report.command_line("evaluate", given))
    beside = atomic_files.write_report(output, page, record)
    progress.note(f"wrote {output} and {beside.name}")
    text = progress.plain_lines(evaluation_report.text(record))
    print(json.dumps(record, indent=1) if options.json else text)
    return 0


def parser() -> argparse.ArgumentParser:
    parser = frame.Parser(
        "k2l evaluate",
        "Evaluate a model, as a file or behind a URL, on labelled pictures: accuracy and its "
        "interval, figures by label, confusions, calibration.",
        EPILOG + sources.FORMS,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help=".keras or .h5 file, SavedModel folder, .tflite, or URL of "
        "an endpoint")  # fmt: skip
    sources.add(parser, "--data", required=True)
    add("--split", choices=(*SPLITS, ALL_SPLITS), default="test", help="pictures to evaluate on; a "
        "tenth of data without splits (default: %(default)s)")  # fmt: skip
    add("--against", metavar="MODEL2", help="second model to compare with, on the same pictures")
    add("-o", "--output", metavar="FILE.html", type=Path, help="report; the JSON is written beside "
        "it (default: NAME.evaluation.html beside the model; for an endpoint, in the current "
        "folder)")  # fmt: skip
    add("--preprocess", type=scalings.parse, metavar="SCALING", help="scaling of pixels for a "
        "Keras file without a card, MODEL or MODEL2, as for `k2l convert`")  # fmt: skip
    add("--labels", type=Path, metavar="FILE", help="labels of a Keras file without a card, "
        "MODEL or MODEL2 (default: the data's, in alphabetical order)")  # fmt: skip
    add("--no-calibration", action="store_true", help="leave the model's card as it is")
    client.add_options(parser)
    shared.add_model(parser)
    shared.add_run(parser)
    return parser


def _output(options: argparse.Namespace) -> Path:
    """Where the report goes."""
    if options.output is not None:
        return atomic_files.checked(options.output)
    if options.model.startswith(("http://", "https://")):
        host = EvaluatedModel.of(options.model).name.replace(":", "-").strip("[]")
        return Path(f"{host}.evaluation.html")
    model = Path(options.model).resolve()
    return model.with_name(f"{model.stem}.evaluation.html")


def evaluate(options: argparse.Namespace) -> Report:
    """Read the data, run the model or both, and write the calibration into the card.

    Raises:
        DataError: see `predict` and `sources.load`.
        ConvertError: an option or the labels' file is wrong.
    """
    labels = label_files.read(options.labels) if options.labels else None
    shared.wanted(options)  # its options are wrong before the data is read
    given = [name for name in (options.model, options.against) if name]
    models = [EvaluatedModel.of(name, options.preprocess) for name in given]
    seed = _trained_on(models[0], "seed", SEED)
    progress.step(f"reading {options.data}")
    data = sources.load(options.data, seed)
    models = [model.labelled(labels or data.labels) for model in models]
    for model in models:  # the second model's labels before the first one's minutes
        if model.card:
            matched(data, model.card.labels, model.file)
        unused = [name for name in ("preprocess", "labels") if vars(options)[name]]
        if unused and not model.cardless:
            named = " and ".join(f"--{name}" for name in unused)
            progress.note(f"{model.file}: {named} not used, its card decides")

    part, held_out = options.split, data.splits["validation"]
    whole = part == ALL_SPLITS
    split = joined(map(data.splits.__getitem__, SPLITS)) if whole else data.splits[part]
    notes = _notes(models, data, part, seed)
    calibrate = part == "test" and not options.no_calibration and models[0].place is not None
    if calibrate and len(held_out) < calibration.FEWEST:
        calibrate = False
        notes.append(
            f"no calibration was written into the card: {len(held_out)} validation pictures are "
            f"fewer than {calibration.FEWEST}"
        )

    def run(model: EvaluatedModel, shown: Split) -> Evaluated:
        progress.step(f"evaluating {model.file} on {evaluation_report.pictures(data, part)}")
        return predict(model, data, shown, options)

    if len(models) > 1 and models[1].cardless:
        # Whether its outputs are as many as its labels is known only when it runs.
        one = Split(split.targets[:1], split.names[:1], split.items[:1])
        predict(models[1], data, one, options)
    evaluated = run(models[0], joined([split, held_out]) if calibrate else split)
    fitted = evaluated.answers.rows(slice(len(split), None))
    evaluated = replace(evaluated, answers=evaluated.answers.rows(slice(len(split))))
    against = run(models[1], split) if len(models) > 1 else None
    name = sources.name_of(options.data)
    made = Report(name, data, part, split, seed, evaluated, tuple(notes), against)
    return _calibrated(made, fitted) if calibrate else made


def _calibrated(made: Report, fitted: Predictions) -> Report:
    """The report, and a card, with a calibration by the model's answers to held-out pictures."""
    model = made.model.model
    assert model.card is not None
    assert model.place is not None
    logits = made.model.output == "logits"
    found = calibration.fit(fitted, f"{made.source}, validation", energies=logits)
    try:
        calibration.write(Path(model.where), model.place, found)
    except OSError as error:
        note = f"the calibration could not be written into {model.place.name}: {error.strerror}"
        made = replace(made, notes=(*made.notes, note))
    else:
        progress.note(f"wrote the calibration into {model.place.name}")
    model = replace(model, card=replace(model.card, calibration=found))
    return replace(made, model=replace(made.model, model=model), calibration=found)


def _trained_on(model: EvaluatedModel, fact: str, otherwise: T) -> T:
    """What a model's card has about its training: its seed decided which pictures are ours."""
    stated = model.card.provenance.get(fact) if model.card else None
    return stated if isinstance(stated, type(otherwise)) else otherwise


def _notes(models: Sequence[EvaluatedModel], data: Dataset, part: str, seed: int) -> list[str]:
    """What makes the figures look better than they are."""
    if part in ("train", ALL_SPLITS):
        return ["models were trained on these pictures, or may have been: others are harder"]
    notes = []
    for model in models:
        trained = _trained_on(model, "data_sha256", data.sha256)
        own = _trained_on(model, "seed", seed)
        if trained != data.sha256:
            notes.append(
                f"{model.file} was trained on other data (SHA-256 {trained[:12]}..., by its card): "
                "whether some pictures are in both is not known"
            )
        elif own != seed:
            notes.append(
                f"{model.file} was trained with seed {own}, this is the split of seed {seed}: "
                "unless the data has its own splits, the model has seen some of these pictures"
            )
    return notes
