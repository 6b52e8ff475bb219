"""k2l convert: a trained Keras classifier -> a verified, self-describing `.tflite`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from keras_to_lambda import html_report
from keras_to_lambda.cli import frame, progress
from keras_to_lambda.convert import command_options, inspect_file
from keras_to_lambda.convert.common import labels, output_folders, samples, scaling, source_card
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.inspection import foreign
from keras_to_lambda.convert.load import registries
from keras_to_lambda.convert.network import outputs, own_scaling
from keras_to_lambda.convert.quantize import metadata_writer
from keras_to_lambda.convert.quantize.quantization import QUANTIZATIONS
from keras_to_lambda.convert.report import conversion_report
from keras_to_lambda.convert.sandbox.sandbox import model_files
from keras_to_lambda.convert.verification import scaled_decoding
from keras_to_lambda.convert.verification.accuracy import without_claims
from keras_to_lambda.convert.verification.measurement import KerasSide, measure, outline
from keras_to_lambda.convert.verification.quantization_choice import (
    PREFERENCES,
    Choice,
    choose,
)
from keras_to_lambda.convert.verification.scaled_decoding import MIN_PHOTOS
from keras_to_lambda.runtime.model_file.card import (
    CHOICES,
    PRESETS,
    ModelCard,
    Preprocessing,
    beside,
    join,
)

EPILOG = """\
examples:
  k2l convert models/clothing/clothing.keras --samples photos -o clothing.tflite
  k2l convert cats.h5 --labels cats.txt --preprocess xception --samples photos -o cats.tflite
  k2l convert net.keras --labels l.txt --preprocess rescale --interpolation tf:bilinear \\
      --samples photos --quantize auto --prefer size -o net.tflite
  k2l convert keras_model.h5 --teachable-machine --samples photos -o tm.tflite
  k2l convert download.tflite --labels l.txt --preprocess rescale --samples photos -o d.tflite

A model trained by `k2l train` has MODEL.card.json beside it, with its labels and its
preprocessing: only the samples are required then. `k2l detect` finds an unknown scaling;
`k2l inspect` shows what a file holds.

exit status:
  0  converted and verified; OUT.tflite, OUT.report.md and OUT.report.html were written
  1  Keras and the converted model disagree beyond the tolerance; only --report was written
  2  the model, the labels, the samples or an option is wrong; nothing was written
  3  not verified: on labelled samples the accuracy is no better than chance or significantly below
     the card's, or all samples get the same answer; or MODEL is another program's .tflite, and too
     few samples are in folders named after their labels (two labels with 2 photos each, and an
     accuracy that is significantly better than guessing). Only --report was written; the message
     names the order of labels or the scaling that would fit
"""


def parser() -> frame.Parser:
    """The command line."""
    p = frame.Parser(
        "k2l convert",
        "Convert a Keras image classifier to a .tflite that contains its labels and its "
        "preprocessing, and prove on sample photos that it answers as Keras does.",
        EPILOG,
    )
    p.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help=".keras, .h5, a SavedModel folder, models:/NAME/VERSION of MLflow's registry, "
        "wandb:PROJECT/NAME or wandb:FOLDER of an offline run, or another program's .tflite",
    )
    p.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        metavar="OUT.tflite",
        help="the file to write, with OUT.report.md and OUT.report.html beside it",
    )
    command_options.add_samples(
        p, "photos like those the model will see; class folders give accuracies as well"
    )
    p.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="one label per line, in the output's order, or one of the other forms in "
        "docs/conversion.md; imagenet: Keras' own list (default: the card's beside MODEL)",
    )
    p.add_argument("--name", help="the model's name for clients and logs (default: OUT's name)")
    p.add_argument(
        "--teachable-machine",
        action="store_true",
        help="MODEL is Google Teachable Machine's export, keras_model.h5 or .tflite: numbered "
        "labels.txt beside it, a centred square by LANCZOS, pixels from -1 to 1",
    )
    group = p.add_argument_group("the way from photos to tensors in training")
    group.add_argument(
        "--preprocess",
        type=scaling.parse,
        metavar="SCALING",
        help=f"scaling of pixels 0..255: {', '.join(sorted(PRESETS))}; or in numbers: "
        f"{scaling.GRAMMAR} (default: the card's beside MODEL)",
    )
    for option, default, meaning in (
        (
            "interpolation",
            "pillow:nearest",
            "resizing filter, by its library; pillow:nearest is keras.utils.load_img's, "
            "tf:bilinear is image_dataset_from_directory's",
        ),
        ("resize", "stretch", "to the input's shape: stretch, crop the centre, or pad"),
        ("color-order", "rgb", "order of the channels before the scaling"),
        (
            "exif",
            "apply",
            "orientation flag of phone photos: apply, or ignore as Keras does; without this "
            "option, ignore if labelled samples show that the model was trained so",
        ),
        (
            "alpha",
            "drop",
            "transparent pixels: drop the alpha channel as Keras does, or blend with a colour",
        ),
        (
            "drawing",
            "none",
            "preparation of drawings; mnist: light ink on black, centred as MNIST's digits are",
        ),
    ):
        group.add_argument(
            f"--{option}",
            choices=CHOICES[option.replace("-", "_")],
            help=f"{meaning} (default: the card's beside MODEL, or {default})",
        )
    group.add_argument(
        "--decode",
        choices=("auto", "exact"),
        default="auto",
        help="decoding of large JPEGs; auto: at a fraction of their size if that alters no answer "
        f"on at least {MIN_PHOTOS} samples of 10 megapixels or more; exact: in full "
        "(default: auto)",
    )
    group.add_argument(
        "--accept-scaling",
        action="store_true",
        help="convert with --preprocess although the network scales pixels itself",
    )
    p.add_argument(
        "--output",
        type=_kind,
        choices=outputs.CHOICES,
        help="kind of the outputs, against the evidence: logits, or the function that makes "
        "probabilities (default: by the network's last operators and its answers to the samples)",
    )
    group = p.add_argument_group("quantization")
    group.add_argument(
        "--quantize",
        choices=(*QUANTIZATIONS, "auto"),
        default="none",
        help="; ".join(f"{name}: {q.meaning}" for name, q in QUANTIZATIONS.items())
        + "; auto: measure all of them, show the table, write the best (default: none)",
    )
    group.add_argument(
        "--prefer",
        choices=tuple(PREFERENCES),
        default="speed",
        help="criterion of auto; "
        + "; ".join(f"{name}: {meaning}" for name, meaning in PREFERENCES.items())
        + " (default: speed)",
    )
    group.add_argument(
        "--max-accuracy-drop",
        type=_share,
        default=0.01,
        metavar="SHARE",
        help="largest loss that auto accepts, 0 to 1: of accuracy where the samples lie in folders "
        "named after labels, of agreement with Keras elsewhere (default: 0.01)",
    )
    command_options.add_proof(p)
    command_options.add_model(p)
    command_options.add_run(p)
    p.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html",
        help="one more copy of the HTML report, also written when the two disagree",
    )
    p.add_argument(
        "--interpreter",
        type=Path,
        metavar="PYTHON",
        help="the Python whose interpreter will serve the model, for example of an environment "
        "with tflite-runtime (default: this one)",
    )
    return p


@frame.command("k2l convert")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is explained in its help."""
    args = parser().parse_args(argv)
    args.command = html_report.command_line("convert", sys.argv[1:] if argv is None else argv)
    progress.use("convert", quiet=args.quiet)
    with (
        registries.local(args.model) as args.model,
        samples.local(args.samples, args.max_samples) as args.samples,
    ):
        return _convert(args)


def _convert(args: argparse.Namespace) -> int:
    if args.out.suffix != ".tflite":
        raise ConvertError(f"the output {args.out} must end in .tflite")
    if not args.model.absolute().name:
        raise ConvertError(f"{args.model} is not a model")
    if foreign.is_one(args.model):
        _only_its_options(args)
    photos = samples.photos(args.samples, args.max_samples)
    given = _given(args)
    # Published only if it passes: until then the file has no name under which it could be served.
    with (
        output_folders.made(args.out.parent),
        tempfile.TemporaryDirectory(dir=args.out.parent, prefix=".convert-") as name,
    ):
        folder = Path(name)
        progress.step("starting TensorFlow")
        keras = KerasSide.ask(
            command_options.sandbox(args),
            folder,
            photos,
            root=args.samples,
            model=str(args.model.absolute()),
            wanted=command_options.wanted(args),
            outline=given.outline,
            quantizations=tuple(QUANTIZATIONS) if args.quantize == "auto" else (args.quantize,),
            output=args.output,
            accept_scaling=args.accept_scaling,
            exif_open=not (args.exif or _exif_beside(args.model)),
        )
        findings = _findings(args, given, keras, folder)
        if findings.agrees:
            proof = keras.judge(
                findings.subject.logits,
                command_options.sandbox(args),
                given.provenance,
                given.labels,
                model=args.model,
                wanted=command_options.wanted(args),
                sole_proof=foreign.is_one(args.model),
                stated=given.stated,
            )
            findings = findings.with_proof(proof, accepted=args.accept_accuracy)
        if findings.passed and args.decode == "auto":
            findings = _decoding(args, findings, folder)
        if args.json:
            print(json.dumps(findings.to_json(), indent=1))
        else:
            print(f"\n{progress.plain(args.model.name)} -> {args.out.name}")
            print(conversion_report.text(findings))
        if args.report:
            args.report.write_text(conversion_report.html(findings, args.command), encoding="utf-8")
        if not findings.agrees:
            print(
                "\nk2l convert: not written, because the two disagree. Check --preprocess, "
                "--interpolation and --labels, or choose a milder --quantize; --report FILE.html "
                "shows where they differ.",
                file=sys.stderr,
            )
            return frame.FAILED
        proof = findings.proof
        if not findings.passed:
            advised = not proof.hints and proof.right < proof.judged
            advice = [_advice(findings, given)] if advised else []
            reasons = "; ".join([*proof.faults, *proof.hints, *advice])
            frame.fail(
                "k2l convert",
                f"not written, because it is not verified: {reasons}. If the model is right all "
                "the same: --accept-accuracy",
            )
            return frame.NOT_VERIFIED
        written = _publish(args.out, folder, findings, args.command)
        if proof.faults and proof.judged and not proof.hints:
            progress.note(_advice(findings, given))
        if findings.subject.comparison.accuracy is None:
            progress.note(
                "a wrong --labels or --preprocess would go unseen, as Keras was given the same; "
                "put the samples into folders named after their labels to have that checked"
            )
    if not args.json:
        print(f"\nwrote {args.out}, " + " and ".join(path.name for path in written))
    return frame.OK


def _only_its_options(args: argparse.Namespace) -> None:
    """Refuse options that do nothing for a `.tflite`, which is converted."""
    p = parser()
    names = ("quantize", "size", "head", "backend", "custom", "trust")
    given = [f"--{name}" for name in names if getattr(args, name) != p.get_default(name)]
    if given:
        raise ConvertError(
            f"{args.model.name} is converted already; leave out {', '.join(given)}, or give the "
            "Keras file that it was made of"
        )


def _advice(findings: conversion_report.Findings, given: Given) -> str:
    """What to do about an accuracy that is too low, where nothing else fits better."""
    check = "check that the samples are like the photos of training, each in its label's folder"
    searched = "no other order of labels or scaling was found that fits significantly better"
    if findings.proof.refuted:
        return f"{searched}: {check}"
    weak = "the model has not learned enough: train it with more --epochs or another --model"
    return weak if given.stated else f"{searched}: {weak}, or {check}"


def _findings(
    args: argparse.Namespace, given: Given, keras: KerasSide, folder: Path
) -> conversion_report.Findings:
    """Every flatbuffer that could be made, measured; why the others could not; and the choice."""
    serving = command_options.sandbox(args, args.interpreter)
    auto = args.quantize == "auto"
    candidates, failed = [], dict(keras.facts["failed"])
    for quantization in QUANTIZATIONS:
        flatbuffer = folder / f"{quantization}.tflite"
        if not flatbuffer.exists():
            continue
        progress.step(f"verifying {quantization} on {len(keras.photos)} photos")
        card = keras.card_of(quantization)
        flatbuffer.write_bytes(join(metadata_writer.attach(flatbuffer.read_bytes(), card), card))
        try:
            threads = (1, 2) if auto else (1,)
            candidates.append(measure(serving, flatbuffer, keras, quantization, threads))
        except ConvertError as error:
            if not auto:
                raise
            failed[quantization] = str(error)
    if auto:
        choice = choose(candidates, prefer=args.prefer, max_drop=args.max_accuracy_drop)
        choice = replace(choice, objections={**choice.objections, **failed})
    else:
        choice = Choice(candidates[0], "chosen with --quantize", {})
    found = conversion_report.Findings.of(keras, candidates, choice, failed)
    card = replace(found.card, calibration=given.calibration)
    return replace(found, card=card, option_notes=given.notes)


def _decoding(
    args: argparse.Namespace, findings: conversion_report.Findings, folder: Path
) -> conversion_report.Findings:
    """The findings, with what was found about decoding large photos, if there are any."""
    photos = findings.keras.photos
    large = [photos[index] for index in scaled_decoding.large(photos)]
    if len(large) < MIN_PHOTOS:
        return findings
    progress.step(f"decoding {len(large)} large photos at a fraction of their size")
    flatbuffer = folder / "flatbuffer"
    flatbuffer.write_bytes(_flatbuffer(findings, folder))
    sandbox = command_options.sandbox(args, args.interpreter)
    return findings.with_decoding(
        scaled_decoding.examine(sandbox, flatbuffer, findings.card, large, folder)
    )


def _flatbuffer(findings: conversion_report.Findings, folder: Path) -> bytes:
    """The subject's flatbuffer, without the archive behind it."""
    subject = findings.subject
    return (folder / f"{subject.quantization}.tflite").read_bytes()[: subject.bytes]


def _publish(
    output: Path, folder: Path, findings: conversion_report.Findings, command: str
) -> list[Path]:
    """Write the model and its reports; they appear whole or not at all."""
    drafts = {
        output.with_suffix(".report.md"): conversion_report.markdown(findings).encode(),
        output.with_suffix(".report.html"): conversion_report.html(findings, command).encode(),
        output: join(_flatbuffer(findings, folder), findings.card),
    }
    for number, content in enumerate(drafts.values()):
        (folder / f"publish-{number}").write_bytes(content)
    for number, path in enumerate(drafts):
        (folder / f"publish-{number}").replace(path)
    return [path for path in drafts if path != output]


@dataclass(frozen=True, slots=True)
class Given:
    """What is known before the model is loaded.

    outline: of the card, see `measurement.outline`. provenance, labels: those of the card beside
    the model or in it; empty where it has none. calibration: that card's, unless an option makes
    it another model's. notes: sentences on options that contradict the card. stated: labels and
    scaling are those that `k2l train` wrote down.
    """

    outline: dict[str, Any]
    provenance: dict[str, Any]
    calibration: dict[str, Any]
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    stated: bool


def _given(args: argparse.Namespace) -> Given:
    """The options, and the card beside the model or in it, as one."""
    model, is_tflite = args.model.absolute(), foreign.is_one(args.model)
    aside = source_card.place(model)
    known: dict[str, Any] = {}
    if is_tflite:
        known = command_options.sandbox(args).call(
            "keras_to_lambda.convert.inspection.foreign:known_of",
            reads=model_files(model),
            model=str(model),
        )
    elif aside.exists():
        known = source_card.load(aside).to_json()
        if aside != beside(model):
            # Of a kept epoch: the run's name and accuracy are another model's.
            kept = without_claims(known["provenance"])
            known |= {"name": "", "provenance": kept, "calibration": {}}
    steps = dict(known.get("preprocessing", {}))
    card_exif = steps.get("exif") if is_tflite else _exif_beside(model)
    named = args.labels
    if args.teachable_machine:
        # As the code that Teachable Machine gives with the file; a quantized .tflite itself states
        # its scaling.
        if not (is_tflite and steps.get("scaling")):
            steps["scaling"] = "mobilenet"
        steps |= {"resize": "crop", "interpolation": "pillow:lanczos"}
        named = named or model.with_name("labels.txt")
    changes = {
        "decode": "exact",  # what large photos allow is measured again
        "scaling": args.preprocess,
        "interpolation": args.interpolation,
        "resize": args.resize,
        "color_order": args.color_order,
        "exif": args.exif or card_exif or "apply",
        "alpha": args.alpha,
        "drawing": args.drawing,
    }
    steps |= {key: value for key, value in changes.items() if value is not None}
    names: Any = known.get("labels")
    if named:
        names = labels.read(named, numbered=args.teachable_machine and args.labels is None)
    missing = {}
    if not names:
        missing["--labels"] = "a file with one label per line, in the order of the model's outputs"
    if "scaling" not in steps:
        detect = ["k2l", "detect", str(args.model), "--samples", str(args.samples)]
        missing["--preprocess"] = (
            "how pixels were scaled in training: rescale (0..1), raw (0..255), the network's name "
            f"in keras.applications (mobilenet_v2, resnet50, ...), or numbers ({scaling.GRAMMAR}); "
            f"`{shlex.join(detect)}` finds out which fits"
        )
    if missing:
        raise ConvertError(
            f"required: {', '.join(missing)} (no {aside.name} beside the model). "
            + "; ".join(f"{option}: {text}" for option, text in missing.items())
        )
    if named:
        _count(args, names)
    provenance = dict(known.get("provenance", {}))
    kept, calibration, notes = provenance, dict(known.get("calibration", {})), []
    if known and not is_tflite:
        apart, stale = _contradictions(args, source_card.load(aside), names)
        if stale:
            kept, calibration = without_claims(provenance), {}
        if apart:
            dropped = "; its test accuracy is left out" if kept != provenance else ""
            notes.append(f"the options contradict {aside.name}: {', '.join(apart)}{dropped}")
    version = known.get("schema_version", 1) if is_tflite else 1
    chosen = Preprocessing(**steps)
    if version == 2:
        if own_scaling.scales(chosen) or chosen.color_order != "rgb":
            raise ConvertError(
                f"{args.model.name} scales pixels itself: leave out --preprocess and "
                "--color-order, or give the Keras file that it was made of"
            )
        chosen = replace(chosen, scaling="raw")
    return Given(
        outline(args.name or known.get("name") or args.out.stem, names, chosen, kept, version),
        provenance,
        calibration,
        tuple(known.get("labels") or ()),
        tuple(notes),
        "trained_by" in provenance and not (args.labels or args.preprocess or args.color_order),
    )


def _contradictions(
    args: argparse.Namespace, known: ModelCard, names: Sequence[str]
) -> tuple[list[str], bool]:
    """What options contradict in a card; and whether its accuracy is another model's by that."""
    apart, stale = [], False
    if tuple(names) != known.labels:
        kind = "another order of labels" if set(names) == set(known.labels) else "other labels"
        apart.append(f"--labels has {kind}")
        stale = True
    if args.preprocess is not None and not scaling.same(args.preprocess, known):
        apart.append(f"--preprocess is not its {scaling.words(known.preprocessing.scaling)}")
        stale = True
    for field in fields(known.preprocessing):
        ours = None if field.name in _NOT_COMPARED else getattr(args, field.name)
        theirs = getattr(known.preprocessing, field.name)
        if ours not in (None, theirs):
            apart.append(f"--{field.name.replace('_', '-')} is not its {theirs}")
            stale |= _STALE[field.name]
    return apart, stale


# The scaling has several names, and is compared above; how to decode is measured again.
_NOT_COMPARED = ("scaling", "decode")
# Whether another value makes the accuracy in a card that of another model; most photos have no
# orientation flag and no transparency.
_STALE = {
    "resize": True,
    "interpolation": True,
    "color_order": True,
    "drawing": True,
    "exif": False,
    "alpha": False,
}


def _exif_beside(model: Path) -> str | None:
    """What the card beside a model states; a card that lacks the field states nothing."""
    aside = source_card.place(model.absolute())
    if not aside.exists():
        return None
    steps = json.loads(aside.read_text(encoding="utf-8")).get("preprocessing", {})
    found: str | None = steps.get("exif")
    return found


def _count(args: argparse.Namespace, names: Sequence[str]) -> None:
    """Refuse another number of labels than of outputs, where TensorFlow is not needed to see it."""
    if not args.model.is_file() or args.head:
        return
    path = str(args.model.absolute())
    try:
        found = command_options.sandbox(args).call(
            "keras_to_lambda.convert.inspect_file:facts",
            reads=model_files(Path(path)),
            path=path,
        )
    except ConvertError:
        return  # loading it gives the better reason
    count = inspect_file.label_count(found)
    # One output is for two labels.
    if count not in (None, len(names)):
        each = "two labels" if count == 2 else "one label for each output"
        raise ConvertError(
            f"{args.labels or 'labels.txt'} has {len(names)} labels, {args.model.name} takes "
            f"{count}: give {each}, in the output's order"
        )


def _kind(text: str) -> str:
    if text.endswith(".tflite"):
        raise argparse.ArgumentTypeError(f"is what the outputs are; for the file: -o {text}")
    return text


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return value
