"""k2l verify: the same photos through Keras and every place that serves the model."""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_to_lambda import client
from keras_to_lambda.cli import frame, progress
from keras_to_lambda.client import Client
from keras_to_lambda.convert import command_options
from keras_to_lambda.convert.common import samples, source_card, text_table
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.inspection import foreign
from keras_to_lambda.convert.quantize.quantization import QUANTIZATIONS, Tolerance, tolerance_of
from keras_to_lambda.convert.verification import docker_image, pipeline_diff
from keras_to_lambda.convert.verification.comparison import Comparison, same_answers
from keras_to_lambda.convert.verification.logits_endpoint import LogitsEndpoint
from keras_to_lambda.convert.verification.measurement import KerasSide, measure, outline
from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.model_file.card import ModelCard, beside, join, load_json
from keras_to_lambda.runtime.model_file.card import load as load_card

# Photos with different answers: so many are examined.
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
model's size: the stage without which the answers agree is the one that differs. The results go
into the card.

exit status:
  0  every way gives Keras's answers, within the tolerance of the model's quantization
  1  at least one does not
  2  a file, an option or the endpoint is wrong
  3  not verified: every way agrees, but on labelled samples the accuracy is no better than chance
     or significantly below the card's, or all samples get the same answer
"""


@dataclass(frozen=True)
class Way:
    """One way to the answers, compared with Keras's. stages: photos by the first that differs."""

    name: str
    comparison: Comparison
    stages: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """For the card and for machines."""
        return {**self.comparison.to_json(), "stages": self.stages}


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
    client.add_options(p)
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
    aside, is_tflite = beside(args.against.absolute()), foreign.is_one(args.against)
    # The claim is the card's beside the Keras model; one beside a .tflite may state less.
    known = load_json(aside) if aside.exists() and not is_tflite else card
    if known.labels != card.labels:
        progress.note(f"{args.model.name} and {aside.name} have other labels, or another order")
    sandbox, wanted = command_options.sandbox(args), command_options.wanted(args)
    with tempfile.TemporaryDirectory(prefix="convert-") as name:
        folder = Path(name)
        progress.step("starting TensorFlow")
        keras = KerasSide.ask(
            sandbox,
            folder,
            photos,
            root=args.samples,
            model=str(args.against.absolute()),
            wanted=wanted,
            outline=_outline(args.against, card),
            output=card.provenance.get("output_option"),
            accept_scaling=True,
        )
        for side in ("height", "width", "channels"):
            theirs, ours = getattr(keras.card, side), getattr(card, side)
            if theirs != ours:
                raise ConvertError(
                    f"{args.against} takes a {side} of {theirs}, {args.model} of {ours}: the "
                    ".tflite was not converted from this model"
                )
        ways = list(_ways(args, card, quantization, keras, folder))
        proof = keras.judge(
            keras.logits,
            sandbox,
            known.provenance,
            known.labels,
            model=args.against,
            wanted=wanted,
        )
    if args.json:
        found = {way.name: way.to_json() for way in ways}
        print(
            json.dumps({**found, "accuracy_faults": proof.faults, "hints": proof.hints}, indent=1)
        )
    else:
        print(text_table.columns(_table(ways)))
    if proof.scaling:
        progress.note(f"scaling not proven: {proof.scaling}")
    proven = args.accept_accuracy or not proof.faults
    same = all(not way.comparison.faults for way in ways)
    verification = {
        **card.verification,
        "passed": proven and same,
        "accuracy_faults": list(proof.faults),
        "ways": {way.name: way.to_json() for way in ways},
    }
    _write(args.model, replace(card, verification=verification))
    if not same:
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


def _ways(
    args: argparse.Namespace, card: ModelCard, quantization: str, keras: KerasSide, folder: Path
) -> Iterator[Way]:
    tolerance = tolerance_of(quantization, card.preprocessing.decode)
    copy = folder / "model.tflite"
    # The card may be beside the file, or made of its standard metadata.
    copy.write_bytes(join(foreign.own_part(args.model), card))
    sandbox = command_options.sandbox(args)
    progress.step(f"running the .tflite here on {len(keras.photos)} photos")
    here = measure(sandbox, copy, keras, quantization)
    found = keras.parting(here.logits, tolerance)
    yield Way("here", here.comparison, dict(Counter(stage for stage in found if stage)))

    for name, opened in (
        ("container", args.container and docker_image.running(args.container, copy)),
        ("endpoint", args.url and contextlib.nullcontext(args.url)),
    ):
        if not opened:
            continue
        with opened as url:
            caller = Client.of(url, args) if name == "endpoint" else Client(url)
            endpoint = LogitsEndpoint(caller, card.labels)
            progress.step(f"sending {len(keras.photos)} photos to the {name}")
            answers = endpoint.all_logits(progress.progress(keras.photos))
            same = same_answers(keras.logits, answers, tolerance)
            apart = np.flatnonzero(~same)[:LOOKED_AT].tolist()
            stages = []
            if apart:
                probes, logits = _probes(card, keras, apart, folder), keras.logits[[*apart, *apart]]
                copies = replace(keras, photos=probes, logits=logits, truth=())
                local = measure(sandbox, copy, copies, quantization).logits
                stages = _parted(local, endpoint.all_logits(probes), tolerance)
            yield Way(name, keras.compare(answers, tolerance), dict(Counter(stages)))


def _probes(
    card: ModelCard, keras: KerasSide, apart: Sequence[int], folder: Path
) -> tuple[Path, ...]:
    """The photos as PNG, first all of them in full, then at the model's size."""
    found: dict[str, list[Path]] = {"full": [], "small": []}
    for index in apart:
        decoded, resized = pipeline_diff.served(keras.photos[index], card)
        for kind, pixels in (("full", decoded), ("small", np.rint(resized))):
            shown = pixels.clip(0, 255).astype(np.uint8)
            path = folder / f"{index}-{kind}.png"
            Image.fromarray(shown[..., 0] if card.channels == 1 else shown).save(path)
            found[kind].append(path)
    return (*found["full"], *found["small"])


def _parted(here: np.ndarray, there: np.ndarray, tolerance: Tolerance) -> list[str]:
    """For photos with different answers, the stage without which they agree.

    Both sides were given the photos of `_probes`: whatever is left out cannot be the difference.
    """
    # Each kind by itself: the tolerance depends on the spread of the compared logits.
    decode, resize = (
        same_answers(ours, theirs, tolerance)
        for ours, theirs in zip(np.split(here, 2), np.split(there, 2), strict=True)
    )
    return [
        "decode" if first else "resize" if second else pipeline_diff.INFERENCE
        for first, second in zip(decode, resize, strict=True)
    ]


def _table(ways: Sequence[Way]) -> list[tuple[str, ...]]:
    judged = ways[0].comparison.accuracy is not None
    head = ["against Keras", "photos", "agreement", "largest diff", "mean diff"]
    rows = [(*head, *["accuracy (Keras)"] * judged, "differs from", "verdict")]
    for way in ways:
        found = way.comparison
        row = [way.name, str(found.samples), f"{found.agreement:.1%}"]
        row += [f"{found.max_difference:.3g}", f"{found.mean_difference:.3g}"]
        row += [f"{found.accuracy:.1%} ({found.reference_accuracy:.1%})"] if judged else []
        row += [", ".join(f"{stage} ({n})" for stage, n in way.stages.items()) or "-"]
        rows.append((*row, "; ".join(found.faults) or "the same"))
    return rows


def _write(model: Path, card: ModelCard) -> None:
    """The card into its file."""
    data = model.read_bytes()
    if card.model_bytes is None or card.model_bytes >= len(data):
        progress.note(f"{model} has no card in it, so nothing was written into it")
        return
    draft = model.with_name(model.name + ".part")
    draft.write_bytes(join(data[: card.model_bytes], card))
    draft.replace(model)
