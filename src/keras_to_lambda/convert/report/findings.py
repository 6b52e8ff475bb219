"""Findings: what a conversion measured, its verdict, and the sentences about both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_to_lambda.cli.evaluation import wilson
from keras_to_lambda.convert.common.conversion_errors import ConvertError, listed
from keras_to_lambda.convert.quantize import metadata_writer
from keras_to_lambda.convert.verification import accuracy
from keras_to_lambda.convert.verification.accuracy import Verdict
from keras_to_lambda.convert.verification.measurement import KerasSide
from keras_to_lambda.convert.verification.quantization_choice import Candidate, Choice
from keras_to_lambda.convert.verification.scaled_decoding import Decoding
from keras_to_lambda.runtime.model_file.card import ModelCard

UNJUDGED = Verdict(())
ENOUGH = 30  # samples, below which a note states what they are worth
CALIBRATED_ON = 100  # photos that int8 is calibrated on, at least, without a caution
NAMED = 30  # labels in a sentence


@dataclass(frozen=True)
class Findings:
    """All that a conversion found.

    card: that of the subject, verification included. subject: the chosen candidate; or the first,
    if none was. failed: why a quantization could not be made or run. proof: what the samples show.
    accepted: the user takes the model whatever they show. option_notes: sentences on the options.
    """

    keras: KerasSide
    card: ModelCard
    candidates: Sequence[Candidate]
    choice: Choice
    subject: Candidate
    failed: Mapping[str, str]
    decoding: Decoding | None = None
    proof: Verdict = UNJUDGED
    accepted: bool = False
    option_notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        keras: KerasSide,
        candidates: Sequence[Candidate],
        choice: Choice,
        failed: Mapping[str, str],
    ) -> Findings:
        """Put the measurements together.

        Raises:
            ConvertError: nothing could be measured.
        """
        if not candidates:
            reasons = "; ".join(f"{name}: {why}" for name, why in failed.items())
            raise ConvertError(f"no quantization could be made: {reasons}")
        subject = choice.chosen or candidates[0]
        verification = {
            **subject.comparison.to_json(),
            "flagged": keras.facts["flagged"],
            "keras_ms": keras.facts["keras_ms"],
            "tflite_ms": subject.one_thread_ms,
            "load_ms": subject.run["load_ms"],
            "interpreter": subject.run["interpreter"],
        }
        card = replace(keras.card_of(subject.quantization), verification=verification)
        return cls(keras, card, candidates, choice, subject, failed)

    def with_proof(self, proof: Verdict, *, accepted: bool) -> Findings:
        """These findings, judged by the samples; the card keeps no figures that they refute."""
        found = replace(self, proof=proof, accepted=accepted)
        verification = {**self.card.verification, "passed": found.passed}
        if proof.faults:
            verification["accuracy_faults"] = list(proof.faults)
        card = replace(self.card, verification=verification)
        if proof.refuted:
            provenance = accuracy.without_claims(card.provenance)
            card = replace(card, provenance=provenance, calibration={})
        return replace(found, card=card)

    def with_decoding(self, found: Decoding) -> Findings:
        """These findings, and a card that lets large photos be decoded as was found."""
        steps = replace(self.card.preprocessing, decode="exact" if found.objection else "scaled")
        verification = {**self.card.verification, "large_photos": found.to_json()}
        card = replace(self.card, preprocessing=steps, verification=verification)
        return replace(self, card=card, decoding=found)

    @property
    def agrees(self) -> bool:
        """Whether the subject was chosen and answers as Keras does."""
        return self.choice.chosen is not None and not self.subject.comparison.faults

    @property
    def passed(self) -> bool:
        """Whether it agrees, and the samples do not speak against it, or are overruled."""
        return self.agrees and (self.accepted or not self.proof.faults)

    @property
    def reference(self) -> str:
        """What the converted model is compared with; a `.tflite` is, with the interpreter."""
        return "LiteRT" if self.keras.facts["kind"] == "tflite" else "Keras"

    @property
    def several(self) -> bool:
        """Whether there was anything to choose from."""
        return len(self.candidates) + len(self.failed) > 1

    @property
    def one_label(self) -> bool:
        """Whether the labelled samples show one label alone: their accuracy proves nothing."""
        return self.proof.judged > 0 and len(self.card.labels) - len(self.proof.unseen) == 1

    @property
    def badge(self) -> str:
        """The verdict in few words."""
        if not self.agrees:
            return "failed"
        if self.proof.faults:
            return "accepted" if self.accepted else "not verified"
        return "the same answers" if self.one_label else "verified"

    @property
    def verdict(self) -> str:
        """The verdict, and what was checked."""
        if self.subject.comparison.faults:
            return "FAILED: " + "; ".join(self.subject.comparison.faults)
        same, labels = f"the same answers as {self.reference}", self.card.labels
        if self.proof.faults:
            faults = "; ".join(self.proof.faults)
            accepted = f"{same}; accepted by --accept-accuracy, although {faults}"
            return accepted if self.accepted else f"NOT VERIFIED: {faults}"
        if self.one_label:
            return f"{same}; accuracy not proven: the samples show {accuracy.shown(1, labels)}"
        verified = f"verified{', on one sample alone' * (len(self.keras.photos) == 1)}: {same}"
        if not self.proof.judged:
            return f"{verified}; accuracy, labels and scaling not checked"
        if self.proof.doubt:
            return f"{verified}; accuracy not proven"
        unseen = len(self.proof.unseen)
        seen = f" for {accuracy.shown(len(labels) - unseen, labels)}" if unseen else ""
        rivals = "; scaling not proven" * bool(self.proof.scaling)
        return f"{verified}, and the accuracy{seen}{rivals}"

    @property
    def accuracy(self) -> str:
        """The accuracies of both sides, or why the samples give none."""
        found = self.subject.comparison
        if found.accuracy is None:
            return "unknown: fewer than half of the samples are in folders named after labels"
        return (
            f"{found.accuracy:.1%} ({self.reference} {found.reference_accuracy:.1%}), on "
            f"{found.judged} photos in folders named after labels"
        )

    @property
    def notes(self) -> list[str]:
        """Sentences that the user should read."""
        found, labels, unseen = self.subject.comparison, self.card.labels, self.proof.unseen
        notes = [*self.option_notes, *self.keras.facts["notes"]]
        if self.keras.unmatched:
            notes.append(self.keras.unmatched)
        if unseen:
            shown = accuracy.shown(len(unseen), labels)
            notes.append(
                f"no sample of {shown}, whose order was not checked: {listed(unseen, NAMED)}"
            )
        # Of a file that was written; of none there is nothing to add.
        if self.passed and (left_out := metadata_writer.objection(self.card)):
            notes.append(f"no standard model metadata: {left_out}")
        if self.proof.doubt:
            notes.append(f"{self.proof.doubt}: give more samples of each label")
        if self.proof.scaling:
            notes.append(f"scaling not proven: {self.proof.scaling}")
        if found.samples < ENOUGH and found.agreement == 1:
            least, wanted = (wilson(count, count)[0] for count in (found.samples, ENOUGH))
            notes.append(
                f"agreement on {_all_photos(found.samples)} shows an agreement of at least "
                f"{least:.0%} (95% confidence); on {ENOUGH} photos it would be {wanted:.0%}"
            )
        if self.subject.quantization == "int8" and found.samples < CALIBRATED_ON:
            notes.append(
                f"int8 was calibrated on {found.samples} photos: give {CALIBRATED_ON} or more, of "
                "all classes, or rarer pictures may be cut off"
            )
        answers = set(self.subject.logits.argmax(axis=1))
        if len(answers) == 1 < found.samples and not found.judged:
            label = labels[answers.pop()]
            notes.append(f"every sample gets the label {label!r}: give samples of several classes")
        return notes

    @property
    def changed(self) -> str:
        """How many photos get another label than from the reference, and whether it is right."""
        keras, subject, other = self.keras, self.subject, self.reference
        before, after = keras.logits.argmax(axis=1), subject.logits.argmax(axis=1)
        changed, total = np.flatnonzero(before != after), len(before)
        kind = "converted" if subject.quantization == "none" else subject.quantization
        if not len(changed):
            return f"the {kind} model gives {_all_photos(total)} the label that {other} gives"
        kinds = Counter(
            "now right" if keras.truth[i] == after[i]
            else "now wrong" if keras.truth[i] == before[i]
            else "wrong before and after"
            for i in changed
            if keras.truth[i] is not None
        )  # fmt: skip
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        return (
            f"the {kind} model gives {len(changed)} of {total} photos another label than {other}"
            + f" ({counts})" * bool(counts)
        )

    @property
    def float_size(self) -> str:
        """The size of the same model without quantization, in brackets, where this one has one."""
        estimate = 4 * (self.keras.facts["parameters"] or 0)
        plain = next((c.bytes for c in self.candidates if c.quantization == "none"), estimate)
        if self.subject.quantization == "none" or not plain:
            return ""
        return f" (float32: {plain / 1e6:.2f} MB)"

    @property
    def conclusion(self) -> str:
        """Two sentences for a reader who stops after them."""
        subject, found = self.subject, self.subject.comparison
        second = "; ".join([*found.faults, *self.proof.faults])
        if not second:
            second = f"It is {subject.bytes / 1e6:.2f} MB{self.float_size}"
            if found.accuracy is not None:
                second += (
                    f", and right on {found.accuracy:.1%} of {found.judged} labelled photos "
                    f"({self.reference}: {found.reference_accuracy:.1%})"
                )
        return f"{upper(self.badge)}: {self.changed}. {upper(second)}."

    def parting(self) -> list[str | None]:
        """For each photo, the first stage at which the two ways part; None: they do not."""
        return self.keras.parting(self.subject.logits, self.subject.comparison.tolerance)

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        chosen, objections = self.choice.chosen, self.choice.objections
        return {
            "passed": self.passed,
            "quantization": chosen and chosen.quantization,
            "reason": self.choice.reason,
            "card": self.card.to_json(),
            "candidates": [
                {**c.to_json(), "objection": objections.get(c.quantization)}
                for c in self.candidates
            ],
            "failed": dict(self.failed),
            "accuracy_faults": list(self.proof.faults),
            "hints": list(self.proof.hints),
            "notes": self.notes,
            "keras": {key: value for key, value in self.keras.facts.items() if key != "card"},
        }


def upper(text: str) -> str:
    """A sentence's first letter in upper case."""
    return text[:1].upper() + text[1:]


def _all_photos(count: int) -> str:
    return "one photo" if count == 1 else f"all {count} photos"
