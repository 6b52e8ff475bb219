"""k2l convert: a trained Keras classifier -> a verified, self-describing `.tflite`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keras_to_lambda import html_report
from keras_to_lambda.cli import frame, progress
from keras_to_lambda.convert import command_options
from keras_to_lambda.convert.common import labels, output_folders, samples, scaling, source_card
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.inspection import foreign
from keras_to_lambda.convert.load import registries
from keras_to_lambda.convert.load.saved_file import existing
from keras_to_lambda.convert.network import outputs, own_scaling
from keras_to_lambda.convert.quantize import metadata_writer
from keras_to_lambda.convert.quantize.quantization import QUANTIZATIONS
from keras_to_lambda.convert.report import report_page, report_text
from keras_to_lambda.convert.report.findings import Findings
from keras_to_lambda.convert.sandbox.sandbox import model_files
from keras_to_lambda.convert.verification import scaled_decoding
from keras_to_lambda.convert.verification.accuracy import without_claims
from keras_to_lambda.convert.verification.measurement import KerasSide, measure, outline
from keras_to_lambda.convert.verification.quantization_choice import PREFERENCES, Choice, choose
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
NOTHING_FITS = (
    "no other order of labels or scaling is known to fit significantly better: check that the "
    "samples are like the photos of training, each in its label's folder; or the model has not "
    "learned enough"
)
# Fields of Preprocessing that are options of the same name: default and meaning.
STEPS = {
    "interpolation": (
        "pillow:nearest",
        "resizing filter, by its library; pillow:nearest is keras.utils.load_img's, tf:bilinear is "
        "image_dataset_from_directory's",
    ),
    "resize": ("stretch", "way of a picture to the input's shape"),
    "color_order": ("rgb", "order of the channels before the scaling"),
    "exif": (
        "apply",
        "orientation flag of phone photos: apply, or ignore as Keras does; without this option, "
        "ignore if labelled samples show that the model was trained so",
    ),
    "alpha": (
        "drop",
        "transparent pixels: drop the alpha channel as Keras does, or blend with a colour",
    ),
    "drawing": (
        "none",
        "preparation of drawings; mnist: light ink on black, centred as MNIST's digits are",
    ),
}


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
    for name, (default, meaning) in STEPS.items():
        group.add_argument(
            f"--{name.replace('_', '-')}",
            choices=CHOICES[name],
            help=f"{meaning} (default: the card's beside MODEL, or {default})",
        )
    group.add_argument(
        "--accept-scaling",
        action="store_true",
        help="convert with --preprocess although the network scales pixels itself",
    )
    p.add_argument(
        "--output",
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
        type=float,
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
    if not 0 <= args.max_accuracy_drop <= 1:
        raise ConvertError(f"--max-accuracy-drop {args.max_accuracy_drop:g} is not from 0 to 1")
    existing(args.model)
    photos, given = samples.photos(args.samples, args.max_samples), _given(args)
    # Published only if it passes: until then the file has no name under which it could be served.
    with (
        output_folders.made(args.out.parent),
        tempfile.TemporaryDirectory(dir=args.out.parent, prefix=".convert-") as name,
    ):
        folder = Path(name)
        findings = _findings(args, given, photos, folder)
        if args.json:
            print(json.dumps(findings.to_json(), indent=1))
        else:
            print(f"\n{progress.plain(args.model.name)} -> {args.out.name}")
            print(report_text.terminal(findings))
        if args.report:
            args.report.write_text(report_page.html(findings, args.command), encoding="utf-8")
        if not findings.agrees:
            print(
                "\nk2l convert: not written, because the two disagree. Check --preprocess, "
                "--interpolation and --labels, or choose a milder --quantize; --report FILE.html "
                "shows where they differ.",
                file=sys.stderr,
            )
            return frame.FAILED
        if not findings.passed:
            proof = findings.proof
            nothing = proof.judged > proof.right and not proof.hints
            reasons = "; ".join([*proof.faults, *proof.hints, *[NOTHING_FITS] * nothing])
            frame.fail(
                "k2l convert",
                f"not written, because it is not verified: {reasons}. If the model is right all "
                "the same: --accept-accuracy",
            )
            return frame.NOT_VERIFIED
        written = _publish(args.out, folder, findings, args.command)
    if findings.subject.comparison.accuracy is None:
        progress.note(
            "a wrong --labels or --preprocess would go unseen, as Keras was given the same; put "
            "the samples into folders named after their labels to have that checked"
        )
    if not args.json:
        print(f"\nwrote {args.out}, " + " and ".join(path.name for path in written))
    return frame.OK


@dataclass(frozen=True, slots=True)
class _Given:
    """What is known before the model is loaded.

    outline: of the card, see `measurement.outline`. known: the card beside the model or in it, as
    JSON; empty where it has none. calibration: that card's, unless an option makes it another
    model's. notes: sentences on options that contradict the card. stated: labels and scaling are
    those that `k2l train` wrote down. exif_open: neither an option nor a card states `exif`.
    """

    outline: dict[str, Any]
    known: dict[str, Any]
    calibration: dict[str, Any]
    notes: tuple[str, ...]
    stated: bool
    exif_open: bool


def _given(args: argparse.Namespace) -> _Given:
    """The options, and the card beside the model or in it, as one."""
    model, is_tflite = args.model.absolute(), foreign.is_one(args.model)
    aside, known = source_card.place(model), _known(args)
    steps = dict(known.get("preprocessing", {}))
    names: Any = known.get("labels")
    if args.teachable_machine:
        # As the code that Teachable Machine gives with the file; a quantized .tflite itself states
        # its scaling.
        if not (is_tflite and steps.get("scaling")):
            steps["scaling"] = "mobilenet"
        steps |= {"resize": "crop", "interpolation": "pillow:lanczos"}
    options = {name: getattr(args, name) for name in STEPS} | {"scaling": args.preprocess}
    steps |= {name: value for name, value in options.items() if value is not None}
    exif_open = "exif" not in steps
    # What large photos allow is measured again.
    steps = {"exif": "apply", **steps, "decode": "exact"}
    if args.labels or args.teachable_machine:
        file = args.labels or model.with_name("labels.txt")
        names = labels.read(file, numbered=not args.labels)
    _require(args, aside, labels=names, preprocess="scaling" in steps)
    provenance, calibration = known.get("provenance", {}), known.get("calibration", {})
    notes: tuple[str, ...] = ()
    kept = provenance
    if known and not is_tflite:
        contradicted, stale = _contradictions(args, source_card.load(aside), names)
        if stale:
            kept, calibration = without_claims(provenance), {}
        if contradicted:
            dropped = "; its test accuracy is left out" * (kept != provenance)
            notes = (f"the options contradict {aside.name}: {', '.join(contradicted)}{dropped}",)
    version, chosen = known.get("schema_version", 1) if is_tflite else 1, Preprocessing(**steps)
    if version == 2:
        if own_scaling.scales(chosen) or chosen.color_order != "rgb":
            raise ConvertError(
                f"{args.model.name} scales pixels itself: leave out --preprocess and "
                "--color-order, or give the Keras file that it was made of"
            )
        chosen = replace(chosen, scaling="raw")
    return _Given(
        outline(known.get("name") or args.out.stem, names, chosen, kept, version),
        known,
        calibration,
        notes,
        "trained_by" in provenance and not (args.labels or args.preprocess or args.color_order),
        exif_open,
    )


def _require(args: argparse.Namespace, aside: Path, **given: Any) -> None:
    """Raise a ConvertError for required options that neither the user nor a card gives."""
    detect = ["k2l", "detect", str(args.model), "--samples", str(args.samples)]
    meanings = {
        "labels": "a file with one label per line, in the order of the model's outputs",
        "preprocess": "how pixels were scaled in training: rescale (0..1), raw (0..255), the "
        "network's name in keras.applications (mobilenet_v2, resnet50, ...), or numbers "
        f"({scaling.GRAMMAR}); `{shlex.join(detect)}` finds out which fits",
    }
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise ConvertError(
            f"required: {', '.join(f'--{name}' for name in missing)} (no {aside.name} beside the "
            f"model). {'; '.join(f'--{name}: {meanings[name]}' for name in missing)}"
        )


def _known(args: argparse.Namespace) -> dict[str, Any]:
    """The card beside the model or in it, as JSON: without `exif`, where it does not state that."""
    model = args.model.absolute()
    if foreign.is_one(args.model):
        p, names = parser(), ("quantize", "size", "head", "backend", "custom", "trust")
        idle = [f"--{name}" for name in names if getattr(args, name) != p.get_default(name)]
        if idle:
            raise ConvertError(
                f"{args.model.name} is converted already; leave out {', '.join(idle)}, or give the "
                "Keras file that it was made of"
            )
        reads, job = model_files(model), "keras_to_lambda.convert.inspection.foreign:known_of"
        found: dict[str, Any] = command_options.sandbox(args).call(
            job, reads=reads, model=str(model)
        )
        return found
    aside = source_card.place(model)
    if not aside.exists():
        return {}
    known = source_card.load(aside).to_json()
    if "exif" not in json.loads(aside.read_text(encoding="utf-8")).get("preprocessing", {}):
        del known["preprocessing"]["exif"]
    if aside != beside(model):
        # Of a kept epoch: the run's name and accuracy are another model's.
        known |= {"name": "", "provenance": without_claims(known["provenance"]), "calibration": {}}
    return known


def _contradictions(
    args: argparse.Namespace, known: ModelCard, names: Sequence[str]
) -> tuple[list[str], bool]:
    """What options contradict in a card; and whether its accuracy is another model's by that."""
    found = []
    if tuple(names) != known.labels:
        kind = "another order of labels" if set(names) == set(known.labels) else "other labels"
        found.append(f"--labels has {kind}")
    if args.preprocess is not None and not scaling.same(args.preprocess, known):
        found.append(f"--preprocess is not its {scaling.words(known.preprocessing.scaling)}")
    stale = bool(found)
    for name in STEPS:
        ours, theirs = getattr(args, name), getattr(known.preprocessing, name)
        if ours not in (None, theirs):
            found.append(f"--{name.replace('_', '-')} is not its {theirs}")
            # Most photos have no orientation flag and no transparency.
            stale |= name not in ("exif", "alpha")
    return found, stale


def _findings(
    args: argparse.Namespace, given: _Given, photos: Sequence[Path], folder: Path
) -> Findings:
    """Every flatbuffer that could be made, measured; the choice among them; and its proof.

    folder: gets NAME.tflite of each quantization.
    """
    progress.step("starting TensorFlow")
    sandbox, wanted = command_options.sandbox(args), command_options.wanted(args)
    serving = command_options.sandbox(args, args.interpreter)
    auto = args.quantize == "auto"
    keras = KerasSide.ask(
        sandbox,
        folder,
        photos,
        root=args.samples,
        model=str(args.model.absolute()),
        wanted=wanted,
        outline=given.outline,
        quantizations=tuple(QUANTIZATIONS) if auto else (args.quantize,),
        output=args.output,
        accept_scaling=args.accept_scaling,
        exif_open=given.exif_open,
    )
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
    else:
        choice = Choice(candidates[0], "chosen with --quantize", {})
    found = Findings.of(keras, candidates, choice, failed)
    card = replace(found.card, calibration=given.calibration)
    found = replace(found, card=card, option_notes=given.notes)
    if found.agrees:
        proof = keras.judge(
            found.subject.logits,
            sandbox,
            given.known.get("provenance", {}),
            given.known.get("labels") or (),
            model=args.model,
            wanted=wanted,
            sole_proof=foreign.is_one(args.model),
            stated=given.stated,
        )
        found = found.with_proof(proof, accepted=args.accept_accuracy)
    large = scaled_decoding.large(keras.photos) if found.passed else []
    if len(large) >= scaled_decoding.MIN_PHOTOS:
        progress.step(f"decoding {len(large)} large photos at a fraction of their size")
        flatbuffer_alone = _flatbuffer(found, folder)
        decoding = scaled_decoding.examine(serving, flatbuffer_alone, found.card, large, folder)
        found = found.with_decoding(decoding)
    return found


def _flatbuffer(findings: Findings, folder: Path) -> bytes:
    """The subject's flatbuffer, without the archive behind it."""
    subject = findings.subject
    return (folder / f"{subject.quantization}.tflite").read_bytes()[: subject.bytes]


def _publish(output: Path, folder: Path, findings: Findings, command: str) -> list[Path]:
    """Write the model and its reports; they appear whole or not at all. The reports' paths."""
    drafts = {
        output.with_suffix(".report.md"): report_text.markdown(findings).encode(),
        output.with_suffix(".report.html"): report_page.html(findings, command).encode(),
        output: join(_flatbuffer(findings, folder), findings.card),
    }
    for number, content in enumerate(drafts.values()):
        (folder / f"publish-{number}").write_bytes(content)
    for number, path in enumerate(drafts):
        (folder / f"publish-{number}").replace(path)
    return list(drafts)[:2]
