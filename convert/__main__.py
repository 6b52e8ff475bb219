"""python -m convert: a trained Keras classifier -> a verified, self-describing `.tflite`."""

from __future__ import annotations

import os

# Before TensorFlow is imported: its start-up notes are not the user's concern.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from classifier.card import CHOICES, PRESETS, ModelCard, Preprocessing, beside, join, load_json
from classifier.errors import SetupError
from convert import terminal
from convert.errors import ConvertError

OK, DISAGREES, BAD_INPUT = 0, 1, 2
EPILOG = """\
examples:
  python -m convert models/clothing/clothing.keras --samples photos -o clothing.tflite
  python -m convert cats.h5 --labels cats.txt --preprocess xception --samples photos -o cats.tflite
  python -m convert net.keras --labels l.txt --preprocess rescale --interpolation tf:bilinear \\
      --samples photos --quantize int8 -o net.tflite

A model trained by `python -m train` has MODEL.card.json beside it, with its labels and its
preprocessing: nothing but the samples needs to be said then.

exit status:
  0  converted and verified; OUT.tflite and OUT.report.md were written
  1  Keras and the converted model disagree beyond the tolerance; nothing was written
  2  the model, the labels, the samples or an option is wrong; nothing was written
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m convert",
        description="Convert a Keras image classifier to a .tflite that knows its labels and its "
        "preprocessing, and prove on sample photos that it answers as Keras does.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("model", type=Path, metavar="MODEL", help=".keras, .h5, or a SavedModel folder")
    p.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.tflite")
    p.add_argument(
        "--samples",
        type=Path,
        required=True,
        metavar="DIR",
        help="photos like those the model will see; for verification, and calibration of int8",
    )
    p.add_argument(
        "--labels", type=Path, metavar="FILE", help="a label a line, in the output's order"
    )
    p.add_argument(
        "--preprocess",
        choices=sorted(PRESETS),
        metavar="NAME",
        help=f"how pixels were scaled in training: {', '.join(sorted(PRESETS))}",
    )
    p.add_argument(
        "--quantize",
        choices=("none", "float16", "dynamic", "int8"),
        default="none",
        help="none: float32 (default); float16: half the size; dynamic: int8 weights; "
        "int8: all in int8, calibrated on the samples",
    )
    p.add_argument("--name", help="what clients and logs call the model (default: OUT's name)")
    for option, default, meaning in (
        ("interpolation", "pillow:nearest", "the resizing filter and whose it is; load_img's"),
        ("resize", "stretch", "to the input's shape: stretch, crop the centre, or pad"),
        ("color-order", "rgb", "the order in which channels are handed to the scaling"),
        ("exif", "ignore", "the orientation flag; Keras ignores it"),
        ("alpha", "drop", "transparency: drop it as Keras does, or blend with a colour"),
    ):
        p.add_argument(
            f"--{option}",
            choices=CHOICES[option.replace("-", "_")],
            help=f"{meaning} (default: the card's beside MODEL, or {default})",
        )
    p.add_argument("--size", metavar="HxW", help="input size, where the model leaves it open")
    p.add_argument(
        "--max-samples", type=int, default=200, metavar="N", help="photos looked at (default: 200)"
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is explained in its help."""
    args = parser().parse_args(argv)
    try:
        return _convert(args)
    except (ConvertError, SetupError) as error:
        print(f"convert: {error}", file=sys.stderr)
        return BAD_INPUT


def _convert(args: argparse.Namespace) -> int:
    size = _size(args.size)
    if args.output.suffix != ".tflite":
        raise ConvertError(f"the output {args.output} must end in .tflite")
    if args.max_samples < 1:
        raise ConvertError("--max-samples must be 1 or more")
    # What needs no TensorFlow is checked before its seconds of import.
    from convert import photos

    samples = photos.find(args.samples, args.max_samples)
    terminal.step("loading TensorFlow and the model")
    with terminal.quiet():
        from convert import flatbuffer, keras_model, reference, report, verify

    model = keras_model.load(args.model, size)
    graph = model.concrete()
    card = _card(args, model)

    def tensors(step: int = 1):  # noqa: ANN202
        for photo in samples[::step]:
            try:
                yield reference.tensor(photo, card)
            except OSError:
                continue

    answers = [keras_model.predict(graph, t) for t in tensors(max(1, len(samples) // 8))]
    if not answers:
        raise ConvertError(f"none of the photos in {args.samples} can be read")
    if verify.is_probabilities(iter(answers)):
        card = replace(card, output="probabilities")
    terminal.step(f"converting to {args.quantize if args.quantize != 'none' else 'float32'}")
    data = flatbuffer.build(graph, args.quantize, tensors)

    args.output.parent.mkdir(parents=True, exist_ok=True)
    # Published only if it passes: until then the file has no name that anybody would serve.
    with tempfile.TemporaryDirectory(dir=args.output.parent, prefix=".convert-") as folder:
        draft = Path(folder) / args.output.name
        draft.write_bytes(join(data, card))
        terminal.step(f"verifying on {len(samples)} photos")
        result, outcomes = verify.verify(
            graph, draft, samples, verify.TOLERANCES[args.quantize], terminal.progress
        )
        print(f"\n{args.model.name} -> {args.output.name}")
        print(report.table(report.rows(card, result)))
        if result.faults:
            print(
                "\nconvert: not written, because the two disagree. Check --preprocess, "
                "--interpolation and --labels, or choose a milder --quantize.",
                file=sys.stderr,
            )
            return DISAGREES
        card = replace(card, verification=result.to_json())
        draft.write_bytes(join(data, card))
        text = Path(folder) / "report.md"
        text.write_text(report.markdown(card, result, outcomes), encoding="utf-8")
        report_path = args.output.with_suffix(".report.md")
        text.replace(report_path)
        draft.replace(args.output)
    print(f"\nwrote {args.output} and {report_path.name}")
    return OK


def _card(args: argparse.Namespace, model) -> ModelCard:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """The card, from the one beside the model, the options, and the model itself."""
    import keras
    import tensorflow as tf

    from convert import labels

    aside = beside(args.model)
    known = load_json(aside) if aside.exists() else None
    if known is None and not (args.labels and args.preprocess):
        raise ConvertError(
            f"--labels and --preprocess are needed: there is no {aside.name} beside the model"
        )
    options = {
        "scaling": args.preprocess,
        "interpolation": args.interpolation,
        "resize": args.resize,
        "color_order": args.color_order,
        "exif": args.exif,
        "alpha": args.alpha,
    }
    steps = replace(
        known.preprocessing if known else Preprocessing(),
        **{key: value for key, value in options.items() if value is not None},
    )
    names = labels.read(args.labels, model.classes) if args.labels else known.labels
    if len(names) != model.classes:
        raise ConvertError(
            f"{aside} has {len(names)} labels, the model has {model.classes} outputs"
        )
    return ModelCard(
        name=args.name or (known.name if known else args.output.stem),
        labels=names,
        height=model.height,
        width=model.width,
        channels=model.channels,
        preprocessing=steps,
        provenance={
            **(known.provenance if known else {}),
            "source_file": args.model.name,
            "source_kind": model.kind,
            "source_sha256": model.sha256(),
            "keras_version": keras.__version__,
            "tensorflow_version": tf.__version__,
            "quantization": args.quantize,
        },
    )


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, x, width = text.lower().partition("x")
    if not (x and height.isdecimal() and width.isdecimal()):
        raise ConvertError(f"--size {text!r} is not HEIGHTxWIDTH, like 224x224")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(main())
