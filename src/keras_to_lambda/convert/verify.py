"""k2l verify: the same photos through Keras and every place that serves the model."""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_to_lambda import client
from keras_to_lambda.cli import frame, progress
from keras_to_lambda.client import Client
from keras_to_lambda.convert import command_options
from keras_to_lambda.convert.common import samples, source_card
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.inspection import foreign
from keras_to_lambda.convert.quantize.quantization import QUANTIZATIONS, Tolerance, tolerance_of
from keras_to_lambda.convert.report import conversion_report
from keras_to_lambda.convert.verification import docker_image
from keras_to_lambda.convert.verification import pipeline_diff as stages
from keras_to_lambda.convert.verification.accuracy import Verdict
from keras_to_lambda.convert.verification.comparison import Comparison, same_answers
from keras_to_lambda.convert.verification.logits_endpoint import LogitsEndpoint
from keras_to_lambda.convert.verification.measurement import KerasSide, measure, outline
from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.model_file.card import ModelCard, beside, join, load_json
from keras_to_lambda.runtime.model_file.card import load as load_card

# Photos with different answers: so many are examined, and saved as pictures.
LOOKED_AT = 8
EPILOG = """\
examples:
  k2l verify clothing.tflite --against clothing.keras --samples photos
  k2l verify clothing.tflite --against clothing.keras --samples photos \\
      --container keras-to-lambda
  k2l verify clothing.tflite --against clothing.keras --samples photos \\
      --url https://ID.execute-api.eu-west-1.amazonaws.com/Prod/predict

Where two ways differ, the table names the first stage that does: decode, resize or inference, which
includes the scaling. An endpoint gets the same photo again without its JPEG coding, and then at the
model's size: the stage without which the answers agree is the one that differs. For differences
here, pictures of what each side saw are saved in MODEL.verify/. The results go into the card.

exit status:
  0  every way gives Keras's answers, within the tolerance of the model's quantization
  1  at least one does not
  2  a file, an option or the endpoint is wrong
  3  not verified: every way agrees, but on labelled samples the accuracy is no better than chance
     or significantly below the card's, or all samples get the same answer
"""


@dataclass(frozen=True)
class Way:
    """One way to the answers, compared with Keras's.

    stages: photos by the first differing stage. local: the largest difference to the `.tflite` in
    this process's own interpreter.
    """

    name: str
    comparison: Comparison
    stages: dict[str, int]
    local: float

    def to_json(self) -> dict[str, Any]:
        """For the card and for machines."""
        return {
            **self.comparison.to_json(),
            "stages": self.stages,
            "max_difference_to_local": self.local,
        }


def parser() -> frame.Parser:
    """The command line."""
    p = frame.Parser(
        "k2l verify",
        "Prove that a .tflite, here, in its container and deployed, answers as the Keras model "
        "does; where it does not, find the first stage that differs.",
        EPILOG,
    )
    p.add_argument("model", type=Path, metavar="MODEL.tflite", help="from `k2l convert`")
    p.add_argument(
        "--against",
        type=Path,
        required=True,
        metavar="MODEL.keras",
        help="the Keras file or folder that it was made of, or another program's .tflite",
    )
    command_options.add_samples(p, "photos like those the model will see")
    p.add_argument(
        "--container", metavar="IMAGE", help="the function's image, run by Docker (default: none)"
    )
    p.add_argument(
        "--url",
        metavar="ENDPOINT",
        help="URL of the deployed /predict, or an invocation URL (default: not tested)",
    )
    p.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="header sent to the endpoint; may be given several times (default: none)",
    )
    p.add_argument(
        "--interpreter",
        type=Path,
        metavar="PYTHON",
        help="the Python whose interpreter runs the .tflite here (default: this one)",
    )
    client.add_options(p)
    p.add_argument("--no-write", action="store_true", help="leave the card unchanged")
    command_options.add_proof(p)
    command_options.add_model(p)
    command_options.add_run(p)
    return p


@frame.command("k2l verify")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is explained in its help."""
    args = parser().parse_args(argv)
    progress.use("verify", quiet=args.quiet)
    with samples.local(args.samples, args.max_samples) as args.samples:
        return _verify(args)


def _verify(args: argparse.Namespace) -> int:
    card = load_card(args.model)
    quantization = str(card.provenance.get("quantization", "none"))
    if quantization not in QUANTIZATIONS:
        raise ConvertError(f"the card's quantization is {quantization!r}, which is unknown")
    photos = samples.photos(args.samples, args.max_samples)
    with tempfile.TemporaryDirectory(prefix="convert-") as name:
        folder = Path(name)
        progress.step("starting TensorFlow")
        keras = KerasSide.ask(
            command_options.sandbox(args),
            folder,
            photos,
            root=args.samples,
            model=str(args.against.absolute()),
            wanted=command_options.wanted(args),
            outline=_outline(args.against, card),
            output=card.provenance.get("output_option"),
            accept_scaling=True,
        )
        for side in ("height", "width", "channels"):
            theirs, ours = getattr(keras.card, side), getattr(card, side)
            if theirs != ours:
                raise ConvertError(
                    f"{args.against} takes a {side} of {theirs}, {args.model} of {ours}: one was "
                    "not made of the other"
                )
        ways = list(_ways(args, card, quantization, keras, folder))
        proof = _proof(args, card, keras)
    if args.json:
        found: dict[str, Any] = {way.name: way.to_json() for way in ways}
        found |= {"accuracy_faults": proof.faults, "hints": proof.hints}
        print(json.dumps(found, indent=1))
    else:
        print(conversion_report.columns(_table(ways)))
    proven = args.accept_accuracy or not proof.faults
    if not args.no_write:
        _write(args.model, card, ways, proof, proven=proven)
    if any(way.comparison.faults for way in ways):
        return frame.FAILED
    if not proven:
        reasons = "; ".join((*proof.faults, *proof.hints))
        frame.fail("k2l verify", f"not verified: {reasons}")
        return frame.NOT_VERIFIED
    return frame.OK


def _outline(against: Path, card: ModelCard) -> dict[str, Any]:
    """The card for Keras, with the scaling that is in the graph, or in the card of a `.tflite`."""
    version = 1
    if foreign.is_one(against):
        with contextlib.suppress(SetupError):
            its = load_card(against)
            version, theirs = its.schema_version, its.preprocessing
            steps = replace(
                card.preprocessing, scaling=theirs.scaling, color_order=theirs.color_order
            )
            card = replace(card, schema_version=1, preprocessing=steps)
    elif card.schema_version == 2:
        card = source_card.network(card)
    return outline(card.name, card.labels, card.preprocessing, card.provenance, version)


def _proof(args: argparse.Namespace, card: ModelCard, keras: KerasSide) -> Verdict:
    """The samples' verdict; the claim is the card's beside the Keras model, or the file's own."""
    aside = beside(args.against.absolute())
    # A card beside another program's .tflite may state less.
    known = load_json(aside) if aside.exists() and not foreign.is_one(args.against) else None
    if known is not None and known.labels != card.labels:
        progress.note(f"{args.model.name} and {aside.name} have other labels, or another order")
    return keras.judge(
        keras.logits,
        command_options.sandbox(args),
        (known or card).provenance,
        (known or card).labels,
        model=args.against,
        wanted=command_options.wanted(args),
    )


def _ways(
    args: argparse.Namespace,
    card: ModelCard,
    quantization: str,
    keras: KerasSide,
    folder: Path,
) -> Iterator[Way]:
    tolerance = tolerance_of(quantization, card.preprocessing.decode)
    copy = folder / "model.tflite"
    # The card may be beside the file, or made of its standard metadata.
    copy.write_bytes(join(foreign.own_part(args.model), card))
    sandbox = command_options.sandbox(args, args.interpreter)
    progress.step(f"running the .tflite here on {len(keras.photos)} photos")
    here = measure(sandbox, copy, keras, quantization)
    found = keras.parting(here.logits, tolerance)
    _save(args.model, card, keras, [i for i, stage in enumerate(found) if stage])
    yield Way("here", here.comparison, _counted(found), 0.0)

    def local(probe: KerasSide) -> np.ndarray:
        return measure(sandbox, copy, probe, quantization).logits

    headers = {}
    for text in args.header:
        header, colon, value = text.partition(":")
        if not colon:
            raise ConvertError(f"--header {text!r} is not NAME:VALUE")
        headers[header.strip()] = value.strip()
    for name, opened in (
        ("container", args.container and docker_image.running(args.container, copy)),
        ("endpoint", args.url and contextlib.nullcontext(args.url)),
    ):
        if not opened:
            continue
        with opened as url:
            caller = Client.of(url, args, headers) if name == "endpoint" else Client(url)
            endpoint = LogitsEndpoint(caller, card.labels)
            progress.step(f"sending {len(keras.photos)} photos to the {name}")
            answers = np.stack(
                [endpoint.logits(photo.read_bytes()) for photo in progress.progress(keras.photos)]
            )
            same = same_answers(keras.logits, answers, tolerance)
            parted = [int(index) for index in np.flatnonzero(~same)]
            yield Way(
                name,
                keras.compare(answers, tolerance),
                _counted(_probe(card, keras, local, endpoint, parted[:LOOKED_AT], tolerance)),
                float(np.abs(answers - here.logits).max()),
            )


def _probe(
    card: ModelCard,
    keras: KerasSide,
    local: Callable[[KerasSide], np.ndarray],
    endpoint: LogitsEndpoint,
    parted: Sequence[int],
    tolerance: Tolerance,
) -> list[str]:
    """For photos with different answers, the stage without which they agree.

    The same picture is sent again as PNG, first in full, then at the model's size; both sides get
    the same bytes, and whatever is left out cannot be the difference.
    """
    if not parted:
        return []
    with tempfile.TemporaryDirectory(prefix="convert-") as name:
        full: list[Path] = []
        small: list[Path] = []
        for index in parted:
            decoded, resized = stages.served(keras.photos[index], card)
            for paths, pixels in ((full, decoded), (small, np.rint(resized))):
                paths.append(Path(name) / f"{index}-{'small' if paths is small else 'full'}.png")
                shown = pixels.clip(0, 255).astype(np.uint8)
                Image.fromarray(shown[..., 0] if card.channels == 1 else shown).save(paths[-1])
        logits = keras.logits[[*parted, *parted]]
        here = local(replace(keras, photos=(*full, *small), logits=logits, truth=()))
        there = np.stack([endpoint.logits(path.read_bytes()) for path in (*full, *small)])
    # Each kind by itself: the tolerance depends on the spread of the compared logits.
    decode, resize = (
        same_answers(ours, theirs, tolerance)
        for ours, theirs in zip(np.split(here, 2), np.split(there, 2), strict=True)
    )
    return [
        "decode" if first else "resize" if second else stages.INFERENCE
        for first, second in zip(decode, resize, strict=True)
    ]


def _save(model: Path, card: ModelCard, keras: KerasSide, parted: Sequence[int]) -> None:
    """Pictures of photos with different answers: Keras' input, the function's, the difference."""
    if not parted:
        return
    folder = model.with_suffix(".verify")
    folder.mkdir(exist_ok=True)
    for index in parted[:LOOKED_AT]:
        photo = keras.photos[index]
        served = stages.served(photo, card)[1]
        images = conversion_report.side_by_side(keras.pictures[index], served)
        wide = Image.new("RGB", (sum(i.width for i in images), images[0].height))
        for number, image in enumerate(images):
            wide.paste(image, (number * image.width, 0))
        wide.save(folder / f"{photo.parent.name}-{photo.stem}.png")
    progress.note(f"pictures of the photos that differ, as each side saw them, are in {folder}")


def _counted(found: Sequence[str | None]) -> dict[str, int]:
    return dict(Counter(stage for stage in found if stage))


def _table(ways: Sequence[Way]) -> list[tuple[str, ...]]:
    head = ["against Keras", "photos", "agreement", "largest diff", "mean diff"]
    judged = ways[0].comparison.accuracy is not None
    head += ["accuracy (Keras)"] * judged + ["parts at", "to here", "verdict"]
    rows = [tuple(head)]
    for way in ways:
        found = way.comparison
        row = [way.name, str(found.samples), f"{found.agreement:.1%}"]
        row += [f"{found.max_difference:.3g}", f"{found.mean_difference:.3g}"]
        row += [f"{found.accuracy:.1%} ({found.reference_accuracy:.1%})"] if judged else []
        row += [", ".join(f"{stage} ({n})" for stage, n in way.stages.items()) or "-"]
        row += [f"{way.local:.3g}" if way.local else "-", "; ".join(found.faults) or "the same"]
        rows.append(tuple(row))
    return rows


def _write(
    model: Path, card: ModelCard, ways: Sequence[Way], proof: Verdict, *, proven: bool
) -> None:
    """The results into the card, beside what the conversion found."""
    data = model.read_bytes()
    if card.model_bytes is None or card.model_bytes >= len(data):
        progress.note(f"{model} has no card in it, so nothing was written into it")
        return
    verification = {
        **card.verification,
        "passed": proven and all(not way.comparison.faults for way in ways),
        "accuracy_faults": list(proof.faults),
        "ways": {way.name: way.to_json() for way in ways},
    }
    draft = model.with_name(model.name + ".part")
    draft.write_bytes(join(data[: card.model_bytes], replace(card, verification=verification)))
    draft.replace(model)
