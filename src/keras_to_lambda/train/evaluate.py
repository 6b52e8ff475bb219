"""`k2l evaluate`: a model and labelled pictures in, what it gets right and wrong out.

k2l evaluate MODEL --data DATA   writes NAME.evaluation.html and .json beside the model
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from keras_to_lambda.convert import labels as label_files
from keras_to_lambda.convert import options as shared
from keras_to_lambda.convert import progress
from keras_to_lambda.convert.errors import ConvertError
from keras_to_lambda.runtime.errors import ClassifierError
from keras_to_lambda.train.assess import findings, metrics
from keras_to_lambda.train.assess.answers import Asked, Asking, Subject, announce, ask, matched
from keras_to_lambda.train.assess.findings import Report
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data.dataset import SPLITS, DataError, Joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keras_to_lambda.train.assess.metrics import Figures
    from keras_to_lambda.train.data.dataset import Dataset

EPILOG = """\
examples:
  k2l evaluate models/clothing/clothing.keras --data clothing-dataset-small
  k2l evaluate models/digits/digits.tflite --data mnist \\
      --against models/digits-tree/digits-tree.tflite -o digits.html
  k2l evaluate https://ID.execute-api.REGION.amazonaws.com/Prod/predict --data photos

A model file runs in a sandbox: no network, few files, bounded memory and time. It needs a card, in
it or beside it, which says how pictures are prepared. An endpoint is sent the photos' own bytes, or
PNG files of pictures that are in arrays.

exit status:
  0  evaluated
  2  the model, the data, an option or the endpoint is wrong

DATA is one of these:
"""
ALL_SPLITS = "all"
SEED = 1  # where no card says which one split the data


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for whatever the user can put right."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        output = _output(options)
        report = evaluate(options)
        for path in write(report, output, options.most):
            announce(f"wrote {path}")
    except (DataError, ConvertError, ClassifierError) as error:
        progress.fail(f"{parser.prog}: error", error)
        return 2
    except OSError as error:
        reason = f"{error.filename or ''}: {error.strerror or error}".removeprefix(": ")
        print(f"{parser.prog}: error: {reason}", file=sys.stderr)
        return 2
    text = progress.plain_lines(findings.text(report))
    print(json.dumps(findings.to_json(report), indent=1) if options.json else text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = shared.command(
        "k2l evaluate",
        "Ask a model, as a file or behind a URL, about labelled pictures, and tell what it gets "
        "right, how certain that is, what it confuses, and how far its confidence can be trusted.",
        EPILOG + sources.FORMS,
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a .keras or .h5 file or SavedModel folder with its card beside it, a .tflite, or "
        "the URL of an endpoint",
    )
    parser.add_argument("--data", required=True, help="labelled pictures; see below")
    sources.add_kind(parser)
    parser.add_argument(
        "--split",
        choices=(*SPLITS, ALL_SPLITS),
        default="test",
        help="which pictures; all: those of every split (default: %(default)s, which is a tenth "
        "of a folder without splits)",
    )
    parser.add_argument(
        "--against", metavar="MODEL2", help="compare with another model on the same pictures"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE.html",
        type=Path,
        help="the report, and beside it FILE.json (default: NAME.evaluation.html beside the "
        "model; of an endpoint, in this folder)",
    )
    parser.add_argument(
        "--card", type=Path, metavar="FILE", help="the model's (default: in it or beside it)"
    )
    parser.add_argument("--against-card", type=Path, metavar="FILE", help="MODEL2's")
    parser.add_argument(
        "--top-k",
        type=int,
        default=5,
        metavar="K",
        help="right if the true label is among the first K; at most one less than there are "
        "labels (default: %(default)s)",
    )
    parser.add_argument(
        "--most",
        type=int,
        default=24,
        metavar="N",
        help="mistakes that are shown as pictures (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="of the split, where the data has none, and of the bootstrap (default: the one that "
        f"the card names, or {SEED})",
    )
    _add_endpoint(parser)
    shared.add_model(parser)
    shared.add_run(parser)
    return parser


def _add_endpoint(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("endpoints")
    group.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="the endpoint's labels, a line each, or a JSON list (default: those of its first "
        "answer)",
    )
    group.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="sent along, for example x-api-key:...; may be given several times",
    )
    group.add_argument(
        "--workers",
        type=int,
        default=4,
        metavar="N",
        help="requests at a time (default: %(default)s)",
    )


def _output(options: argparse.Namespace) -> Path:
    """Where the report goes.

    Raises:
        DataError: it cannot go there.
    """
    output: Path | None = options.output
    if output is None:
        if options.model.startswith(("http://", "https://")):
            host = Subject.of(options.model).name.replace(":", "-").strip("[]")
            return Path(f"{host}.evaluation.html")
        model = Path(options.model).resolve()
        return model.with_name(f"{model.stem}.evaluation.html")
    if output.suffix.lower() not in (".html", ".htm"):
        raise DataError(f"-o {output} must end in .html; the JSON is written beside it")
    if not output.absolute().parent.is_dir():
        raise DataError(f"-o {output}: there is no folder {output.parent}")
    return output


def evaluate(options: argparse.Namespace) -> Report:
    """Read the data, ask the model or both, and measure.

    Raises:
        DataError: see `ask` and `sources.load`; or an option is out of range.
        ConvertError: an option of the sandbox or the labels' file is wrong.
    """
    for name, least in (("top_k", 1), ("workers", 1), ("most", 0), ("seed", 0)):
        if (value := getattr(options, name)) is not None and value < least:
            raise DataError(f"--{name.replace('_', '-')} must be at least {least}")
    asking = Asking(
        sandbox=shared.sandbox(options),
        wanted=shared.wanted(options),
        workers=options.workers,
        labels=label_files.read(options.labels) if options.labels else None,
        headers=_headers(options.header),
    )
    subject = Subject.of(options.model, options.card)
    other = Subject.of(options.against, options.against_card) if options.against else None
    if options.labels and subject.card and (other is None or other.card):
        raise DataError("--labels is for endpoints: a file's labels are in its card")
    if options.against_card and other is None:
        raise DataError("--against-card goes with --against")
    seed = _seed(subject) if options.seed is None else options.seed
    announce(f"reading {options.data} ...")
    data = sources.load(options.data, seed, labels=options.labels_kind)
    if options.split == ALL_SPLITS:
        every = Joined.of(data.splits[name] for name in SPLITS)
        data = replace(data, splits={**data.splits, ALL_SPLITS: every})
    split = data.splits[options.split]
    for one in (subject, other):
        if one and one.card:  # the second model's labels before the first one's minutes
            matched(data.labels, one.card.labels, one.file)

    def answered(one: Subject) -> tuple[Asked, Figures]:
        announce(f"asking {one.file} about {findings.part(data, options.split)} ...")
        asked = ask(one, data, split, asking)
        announce("measuring ...")
        return asked, metrics.figures(asked.answers, options.top_k, seed)

    asked, found = answered(subject)
    against = None
    if other is not None:
        second, figures = answered(other)
        comparison = metrics.compare(asked.answers, second.answers, seed)
        against = (second, figures, comparison)
    return Report(
        source=_name(options.data),
        data=data,
        name=options.split,
        seed=seed,
        asked=asked,
        figures=found,
        notes=tuple(_notes(subject, other, data, options.split, seed)),
        against=against,
    )


def _name(source: str) -> str:
    """What the data is called: the last part of its path, or what stands behind keras: or git:."""
    scheme, _, rest = source.partition(":")
    path = Path(rest if scheme in ("keras", "git") else source)
    return path.name or path.resolve().name or "data"


def _headers(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, colon, value = pair.partition(":")
        if not colon or not name.strip():
            raise DataError(f"--header {pair!r} is not NAME:VALUE")
        found[name.strip()] = value.strip()
    return found


def _seed(subject: Subject) -> int:
    """The seed that split the data when the model was trained: its test pictures are ours."""
    said = subject.card.provenance.get("seed") if subject.card else None
    return said if isinstance(said, int) and said >= 0 else SEED


def _notes(
    subject: Subject, other: Subject | None, data: Dataset, split: str, seed: int
) -> list[str]:
    """What makes the figures look better than they are."""
    if split in ("train", ALL_SPLITS):
        return ["models were trained on these pictures, or may have been: others are harder"]
    notes = []
    for one in (subject, other):
        facts = one.card.provenance if one and one.card else {}
        trained = facts.get("data_sha256")
        if one and trained == data.sha256 and facts.get("seed", seed) != seed:
            notes.append(
                f"{one.file} was trained with seed {facts['seed']}, this is the split of seed "
                f"{seed}: where the data is not split by itself, the model has seen some of these "
                "pictures"
            )
        elif one and trained not in (None, data.sha256):
            notes.append(
                f"{one.file} was trained on other data than this (its SHA-256 is "
                f"{str(trained)[:12]}..., by the card): whether some pictures are in both is not "
                "known"
            )
    return notes


def write(report: Report, output: Path, most: int = 24) -> list[Path]:
    """Write the page and the JSON, both or none.

    Args:
        output: the page's path. most: pictures of each kind.

    Returns:
        The files.
    """
    from keras_to_lambda.train.assess import report_page

    body = json.dumps(findings.to_json(report), indent=1, ensure_ascii=False)
    files = {
        output: report_page.html(report, most),
        output.with_suffix(".json"): body + "\n",
    }
    with tempfile.TemporaryDirectory(dir=output.absolute().parent, prefix=".evaluate-") as folder:
        for path, content in files.items():
            (Path(folder) / path.name).write_text(content, encoding="utf-8")
        for path in files:
            (Path(folder) / path.name).replace(path)
    return list(files)
