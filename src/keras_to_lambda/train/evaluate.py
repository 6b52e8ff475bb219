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
from typing import Any

from keras_to_lambda import atomic_files, client, html_report
from keras_to_lambda.cli import frame, progress
from keras_to_lambda.convert import command_options as shared
from keras_to_lambda.convert.common import labels as label_files
from keras_to_lambda.train.assess import calibration, evaluation_report, metrics
from keras_to_lambda.train.assess.evaluation_report import Report
from keras_to_lambda.train.assess.split_predictions import (
    Evaluated,
    EvaluatedModel,
    add_card,
    announce,
    matched,
    predict,
)
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data.dataset import SPLITS, Dataset, Split, joined
from keras_to_lambda.train.recipe_options import whole

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
SEED = 1  # where no card has the one that split the data


@frame.command("k2l evaluate")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for whatever the user can put right."""
    options = parser().parse_args(arguments)
    output = _output(options)
    found = evaluate(options)
    given = sys.argv[1:] if arguments is None else arguments
    page = evaluation_report.html(found, html_report.command_line("evaluate", given))
    record = evaluation_report.to_json(found)
    beside = atomic_files.write_report(output, page, record)
    announce(f"wrote {output} and {beside.name}")
    text = progress.plain_lines(evaluation_report.text(found))
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
    add_card(parser)
    add("--labels", type=Path, metavar="FILE", help="labels of a Keras file without a card "
        "(default: the data's, in alphabetical order), or of an endpoint (default: those of its "
        "first answer)")  # fmt: skip
    add("--no-calibration", action="store_true", help="leave the model's card as it is")
    add("--seed", type=whole(0, 2**31 - 1), metavar="N", help="seed of the split of data without "
        f"splits (default: the card's, or {SEED})")  # fmt: skip
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
    """Read the data, run the model or both, measure, and write the calibration into the card.

    Raises:
        DataError: see `predict` and `sources.load`.
        ConvertError: an option of the sandbox or the labels' file is wrong.
    """
    labels = label_files.read(options.labels) if options.labels else None
    shared.sandbox(options)  # its options are wrong before the data is read

    def named(model: str, card: Path | None, names: Sequence[str]) -> EvaluatedModel:
        return EvaluatedModel.of(model, card, options.preprocess, labels or names)

    # The seed is in the card, and the data may have the labels: a first look at the model for both.
    first = named(options.model, options.card, ("unknown", "labels"))
    seed = _seed(first) if options.seed is None else options.seed
    announce(f"reading {options.data} ...")
    path = Path(options.data)
    source = str(path.absolute()) if path.exists() else options.data  # the sandbox is elsewhere
    data = sources.load(source, seed, labels=options.labels_kind)
    part, split = options.split, data.splits.get(options.split)
    if split is None:
        split = joined(data.splits[name] for name in SPLITS)
    first = named(options.model, options.card, data.labels)
    other = named(options.against, None, data.labels) if options.against else None
    for one in (first, other):
        if one and one.card:  # the second model's labels before the first one's minutes
            matched(data.labels, one.card.labels, one.file)

    held_out = data.splits["validation"]
    calibrate = part == "test" and not options.no_calibration and first.place is not None
    notes = _notes((first, other) if other else (first,), data, part, seed)
    if calibrate and len(held_out) < calibration.FEWEST:
        calibrate = False
        notes.append(
            f"no calibration was written into the card: {len(held_out)} validation pictures are "
            f"fewer than {calibration.FEWEST}"
        )

    def run(model: EvaluatedModel, pictures: Split) -> Evaluated:
        announce(f"evaluating {model.file} on {evaluation_report.part(data, part)} ...")
        return predict(model, data, pictures, options, labels)

    evaluated = run(first, joined([split, held_out]) if calibrate else split)
    evaluated, fitted = evaluated.cut(len(split))
    against = None
    if other is not None:
        second = run(other, split)
        comparison = metrics.compare(evaluated.answers, second.answers)
        against = (second, metrics.figures(second.answers), comparison)
    figures = metrics.figures(evaluated.answers)
    name = sources.name_of(options.data)
    made = Report(name, data, part, split, seed, evaluated, figures, tuple(notes), against)
    return _calibrated(made, fitted) if calibrate else made


def _calibrated(made: Report, fitted: Evaluated) -> Report:
    """The report, and a card, with a calibration by the model's answers to held-out pictures."""
    model = made.model.model
    assert model.card is not None
    assert model.place is not None
    found = calibration.fit(
        fitted.answers, f"{made.source}, validation", energies=fitted.output == "logits"
    )
    try:
        calibration.write(Path(model.where), model.place, found)
    except OSError as error:
        note = f"the calibration could not be written into {model.place.name}: {error.strerror}"
        made = replace(made, notes=(*made.notes, note))
    else:
        announce(f"wrote the calibration into {model.place.name}")
    model = replace(model, card=replace(model.card, calibration=found))
    return replace(made, model=replace(made.model, model=model), calibration=found)


def _seed(model: EvaluatedModel) -> int:
    """The seed that split the data when the model was trained: its test pictures are ours."""
    stated: Any = model.card.provenance.get("seed") if model.card else None
    return stated if isinstance(stated, int) and stated >= 0 else SEED


def _notes(models: Sequence[EvaluatedModel], data: Dataset, part: str, seed: int) -> list[str]:
    """What makes the figures look better than they are."""
    if part in ("train", ALL_SPLITS):
        return ["models were trained on these pictures, or may have been: others are harder"]
    notes = []
    for one in models:
        facts = one.card.provenance if one.card else {}
        trained = facts.get("data_sha256", data.sha256)
        if trained != data.sha256:
            notes.append(
                f"{one.file} was trained on other data (SHA-256 {str(trained)[:12]}..., by its "
                "card): whether some pictures are in both is not known"
            )
        elif "data_sha256" in facts and facts.get("seed", seed) != seed:
            notes.append(
                f"{one.file} was trained with seed {facts['seed']}, this is the split of seed "
                f"{seed}: unless the data has its own splits, the model has seen some of these "
                "pictures"
            )
    return notes
