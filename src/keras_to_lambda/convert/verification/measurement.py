"""Measurement: the answers of both sides to the same photos, each in its own sandbox."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_to_lambda.class_folders import ClassFolders
from keras_to_lambda.cli import progress
from keras_to_lambda.convert.common import source_card
from keras_to_lambda.convert.common.conversion_errors import ConvertError, listed
from keras_to_lambda.convert.common.samples import spread
from keras_to_lambda.convert.inspection import tflite_file
from keras_to_lambda.convert.quantize.quantization import Tolerance, tolerance_of
from keras_to_lambda.convert.sandbox import untrusted_results
from keras_to_lambda.convert.sandbox.sandbox import Sandbox, model_files
from keras_to_lambda.convert.verification import accuracy, pipeline_diff
from keras_to_lambda.convert.verification.accuracy import Verdict
from keras_to_lambda.convert.verification.comparison import (
    Comparison,
    compare,
    labelled,
    same_answers,
)
from keras_to_lambda.convert.verification.quantization_choice import Candidate
from keras_to_lambda.runtime.model_file.card import ModelCard, Preprocessing
from keras_to_lambda.runtime.model_file.card import load as load_card

# Photos that scalings are tried on, where nothing else is in doubt.
SCALING_PHOTOS = 100
# The interpreter's words for an operator that is newer than itself.
_MISSING = re.compile(r"Didn't find op for builtin opcode '(\w+)' version '(\d+)'")


@dataclass(frozen=True)
class KerasSide:
    """What Keras answered.

    facts: as `keras_worker.run` returns them. card: the Keras network's, with its scaling. photos:
    those that it could read. skipped: how many it could not. logits: float32, (photos, classes).
    parts: float32, (photos, 2), see `stages`. pictures: uint8, (photos, height, width, channels):
    what the model saw, before the scaling. truth: the right output of each photo, where its folder
    is named after a label. unmatched: a sentence on the folders that are not.
    """

    facts: Mapping[str, Any]
    card: ModelCard
    photos: tuple[Path, ...]
    skipped: int
    logits: np.ndarray
    parts: np.ndarray
    pictures: np.ndarray
    truth: tuple[int | None, ...]
    unmatched: str = ""

    @classmethod
    def ask(
        cls,
        sandbox: Sandbox,
        folder: Path,
        photos: Sequence[Path],
        *,
        root: Path,
        model: str,
        wanted: Mapping[str, Any],
        **arguments: Any,
    ) -> KerasSide:
        """Run `keras_worker.run` in a sandbox.

        folder: gets its files. root: the folder of samples that the photos are from.
        """
        paths = [str(path.absolute()) for path in photos]
        facts = sandbox.call(
            "keras_to_lambda.convert.keras_worker:run",
            reads=[*model_files(Path(model), wanted.get("custom")), *paths],
            into=folder,
            model=model,
            wanted=dict(wanted),
            photos=paths,
            **arguments,
        )
        arrays, shaped = untrusted_results.arrays(folder / "keras.npz"), untrusted_results.shaped
        read = shaped(arrays.get("read"), np.bool_, len(photos))
        seen, stages = int(read.sum()), len(pipeline_diff.STAGES)
        kept = tuple(path for path, fine in zip(photos, read, strict=True) if fine)
        bad = [path for path, fine in zip(photos, read, strict=True) if not fine]
        if bad:
            names = [path.relative_to(root) for path in bad]
            progress.note(f"{len(bad)} of {len(photos)} samples cannot be read: {listed(names)}")
        card = ModelCard.from_json(facts["card"])
        folders = ClassFolders(card.labels)
        return cls(
            facts=facts,
            card=card,
            photos=kept,
            skipped=len(bad),
            logits=shaped(arrays.get("logits"), np.float32, seen, None),
            parts=shaped(arrays.get("parts"), np.float32, seen, stages),
            pictures=shaped(arrays.get("pictures"), np.uint8, seen, None, None, None),
            truth=_truth(kept, folders),
            unmatched=folders.unmatched(kept, root),
        )

    def card_of(self, quantization: str) -> ModelCard:
        """The card of a flatbuffer that was made of the model."""
        card = replace(self.card, provenance={**self.card.provenance, "quantization": quantization})
        dtype = self.facts["pixels"]
        return source_card.converted(card, dtype) if dtype else card

    def parting(self, answers: np.ndarray, tolerance: Tolerance) -> list[str | None]:
        """For each photo, the first stage at which a path of these logits parts; None: none."""
        same = same_answers(self.logits, answers, tolerance)
        return [
            pipeline_diff.first(parts, same_answer=bool(fine))
            for parts, fine in zip(self.parts, same, strict=True)
        ]

    def judge(
        self,
        answers: np.ndarray,
        sandbox: Sandbox,
        provenance: Mapping[str, Any],
        card_labels: Sequence[str],
        *,
        model: Path,
        wanted: Mapping[str, Any],
        sole_proof: bool = False,
        stated: bool = False,
    ) -> Verdict:
        """The samples' verdict on a path's answers, and what would fit significantly better.

        answers: float32, (photos, classes). provenance, card_labels: of the card with the measured
        accuracy. model, wanted: for trials of other scalings. sole_proof: see `accuracy.examine`.
        stated: the training itself stated labels and scaling: no others are tried, unless the
        accuracy is below the card's.
        """
        labels, (known, targets) = self.card.labels, labelled(self.truth)
        found = accuracy.examine(
            answers,
            self.truth,
            labels,
            self.pictures,
            claim=accuracy.Claim.of(provenance),
            card_labels=card_labels,
            sole_proof=sole_proof,
        )
        if not found.judged or found.hints or (stated and not found.refuted):
            return found
        unsure = bool(found.faults or found.doubt)
        if not unsure:
            if why := accuracy.too_few(targets):
                return replace(found, scaling=why)
            some = spread(list(range(len(known))), SCALING_PHOTOS)
            known, targets = known[some], targets[some]
        progress.step(f"trying other scalings on {len(known)} photos")
        photos = [str(self.photos[index].absolute()) for index in known]
        trials: list[dict[str, Any]] = sandbox.call(
            "keras_to_lambda.convert.detection.trials:scalings",
            reads=[*model_files(model.absolute(), wanted.get("custom")), *photos],
            model=str(model.absolute()),
            wanted=dict(wanted),
            card=self.card.to_json(),
            photos=photos,
            targets=targets.tolist(),
        )
        own = answers[known].argmax(axis=1)
        hints = accuracy.slip(trials, own, targets, labels, card_labels, unsure=bool(found.faults))
        if hints:
            # Another scaling is a fault, and turns a doubt into one.
            fault = (
                f"{found.right} of {found.judged} labelled samples are right, and significantly "
                "more would be with another scaling"
            )
            return replace(
                found, faults=found.faults or (found.doubt or fault,), hints=hints, doubt=""
            )
        if found.faults:
            return found
        hint, scaling = accuracy.likelier(trials, targets)
        if hint:
            fault = "the samples fit another scaling significantly better"
            return replace(found, faults=(fault,), hints=(hint,), doubt="")
        return replace(found, scaling=scaling)

    def compare(self, answers: np.ndarray, tolerance: Tolerance) -> Comparison:
        """Compare another path's logits, float32 (photos, classes), with Keras's."""
        return compare(self.logits, answers, tolerance, skipped=self.skipped, truth=self.truth)


def _truth(photos: Sequence[Path], folders: ClassFolders) -> tuple[int | None, ...]:
    """The right outputs; none, where fewer than half are known: a few would judge for all."""
    found = folders.truth(photos)
    known = sum(right is not None for right in found)
    return tuple(found) if 2 * known >= len(found) else (None,) * len(found)


def measure(
    sandbox: Sandbox,
    model: Path,
    keras: KerasSide,
    quantization: str,
    threads: Sequence[int] = (1,),
) -> Candidate:
    """Answer the photos with a `.tflite` in a sandbox, and compare with Keras."""
    try:
        facts, logits = served(sandbox, model, keras.photos, threads)
    except ConvertError as error:
        missing = _MISSING.search(str(error))
        if missing is None:
            raise
        operator, version = missing[1], int(missing[2])
        # TensorFlow calls a tensor after all that was fused into it: "layer/MatMul;layer/Bias".
        made = tflite_file.makers(model, operator, version)
        raise ConvertError(
            f"the interpreter lacks {operator} in version {version} (at "
            f"{listed([name.partition(';')[0] for name in made], 3)}): it is older than the "
            "converter. Choose another --quantize, or serve with a newer interpreter"
        ) from error
    card = load_card(model)
    tolerance = tolerance_of(quantization, card.preprocessing.decode)
    size = card.model_bytes or model.stat().st_size
    return Candidate(quantization, keras.compare(logits, tolerance), logits, size, facts)


def served(
    sandbox: Sandbox, model: Path, photos: Sequence[Path], threads: Sequence[int] = (1,)
) -> tuple[dict[str, Any], np.ndarray]:
    """What `tflite_worker.run` found of a `.tflite`, and its logits: float32, (photos, classes)."""
    paths = [str(path.absolute()) for path in photos]
    with tempfile.TemporaryDirectory(prefix="convert-") as folder:
        facts = sandbox.call(
            "keras_to_lambda.convert.tflite_worker:run",
            reads=[*model_files(model.absolute()), *paths],
            into=Path(folder),
            model=str(model.absolute()),
            photos=paths,
            threads=list(threads),
        )
        classes = len(load_card(model).labels)
        data = untrusted_results.read(Path(folder) / "logits.npy", 1000 + 4 * len(photos) * classes)
    logits = untrusted_results.array(data)
    if logits.dtype != np.float32 or logits.shape != (len(photos), classes):
        raise ConvertError(f"the model gave {logits.shape} answers for {len(photos)} photos")
    return facts, logits


def outline(
    name: str,
    labels: Sequence[str],
    steps: Preprocessing,
    provenance: Mapping[str, Any],
    schema_version: int = 1,
) -> dict[str, Any]:
    """What is known of a card before the model is loaded, as JSON, for `keras_worker.run`."""
    return {
        "schema_version": schema_version,
        "name": name,
        "labels": list(labels),
        "preprocessing": asdict(steps),
        "provenance": dict(provenance),
    }
