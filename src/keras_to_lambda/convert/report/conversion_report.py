"""The report: what a conversion measured, for the terminal, for git, and for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_to_lambda import html_report
from keras_to_lambda.class_folders import ClassFolders
from keras_to_lambda.cli import progress
from keras_to_lambda.cli.evaluation import wilson
from keras_to_lambda.convert.common import scaling
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.detection.sample_orientation import Flagged
from keras_to_lambda.convert.quantize import metadata_writer
from keras_to_lambda.convert.verification import accuracy, pipeline_diff
from keras_to_lambda.convert.verification.accuracy import Verdict
from keras_to_lambda.convert.verification.comparison import per_class
from keras_to_lambda.convert.verification.measurement import KerasSide
from keras_to_lambda.convert.verification.quantization_choice import Candidate, Choice
from keras_to_lambda.convert.verification.scaled_decoding import Decoding
from keras_to_lambda.runtime.model_file.card import ModelCard

WORST = 8
UNJUDGED = Verdict(())
ENOUGH = 30  # samples, below which it is said what they are worth
CALIBRATED_ON = 100  # photos that int8 is calibrated on, at least, without a caution
NAMED = 30  # labels in a sentence
CLASSES_SHOWN = 30  # at once; the others on a click
DOTS = 1000  # of a plot, that differ most; and as many of the others
# What candidates are compared by, as bars.
SCALES: dict[str, Callable[[Candidate], float]] = {
    "Size, MB": lambda candidate: candidate.bytes / 1e6,
    "One inference on one thread, ms": lambda candidate: candidate.one_thread_ms,
}
TEMPLATE = Path(__file__).with_name("conversion_report.html.jinja")


@dataclass(frozen=True)
class Findings:
    """All that a conversion found.

    card: that of the subject, verification included. subject: the chosen candidate; or the first,
    if none was. failed: why a quantization could not be made or run. proof: what the samples say.
    accepted: the user takes the model whatever they say. option_notes: sentences on the options.
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

    def with_proof(self, proof: Verdict, *, accepted: bool) -> Findings:
        """These findings, judged by the samples; the card keeps no figures that they refute."""
        found = replace(self, proof=proof, accepted=accepted)
        verification = {**self.card.verification, "passed": found.passed}
        provenance = self.card.provenance
        if proof.faults:
            verification["accuracy_faults"] = list(proof.faults)
        calibration = self.card.calibration
        if proof.refuted:
            provenance, calibration = accuracy.without_claims(provenance), {}
        card = replace(
            self.card,
            verification=verification,
            provenance=provenance,
            calibration=calibration,
        )
        return replace(found, card=card)

    def with_decoding(self, found: Decoding) -> Findings:
        """These findings, and a card that lets large photos be decoded as was found."""
        steps = replace(self.card.preprocessing, decode="scaled" if found.scaled else "exact")
        verification = {**self.card.verification, "large_photos": found.to_json()}
        card = replace(self.card, preprocessing=steps, verification=verification)
        return replace(self, card=card, decoding=found)

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
        found = subject.comparison
        card = keras.card_of(subject.quantization)
        card = replace(
            card,
            verification={
                **found.to_json(),
                "flagged": keras.facts["flagged"],
                "keras_ms": keras.facts["keras_ms"],
                "tflite_ms": subject.one_thread_ms,
                "load_ms": subject.load_ms,
                "interpreter": subject.interpreter,
            },
        )
        return cls(keras, card, candidates, choice, subject, failed)

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
        """What the converted model is compared with.

        A `.tflite` of another program is compared with the interpreter, behind Keras' readers.
        """
        return "LiteRT" if self.keras.facts["kind"] == "tflite" else "Keras"

    @property
    def several(self) -> bool:
        """Whether there was anything to choose from."""
        return len(self.candidates) + len(self.failed) > 1

    @property
    def notes(self) -> list[str]:
        """Sentences that the user should read."""
        left_out = metadata_writer.objection(self.card)
        # Of a file that was written; of none there is nothing to add.
        without = [f"no standard model metadata: {left_out}"] if left_out and self.passed else []
        unmatched = [self.keras.unmatched] if self.keras.unmatched else []
        return [
            *self.option_notes,
            *self.keras.facts["notes"],
            *unmatched,
            *self._unseen(),
            *without,
            *self._few(),
        ]

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

    def _unseen(self) -> Iterator[str]:
        unseen = self.proof.unseen
        if unseen:
            names = ", ".join(unseen[:NAMED]) + ", ..." * (len(unseen) > NAMED)
            yield (
                f"no sample of {accuracy.shown(len(unseen), self.card.labels)}, whose order was "
                f"not checked: {names}"
            )

    def _few(self) -> Iterator[str]:
        """What is to be said of samples that are few, or all alike to the network."""
        found, pictures = self.subject.comparison, self.keras.pictures
        if self.proof.doubt:
            yield f"{self.proof.doubt}: give more samples of each label"
        copies = found.samples - len({picture.tobytes() for picture in pictures})
        if copies:
            yield f"{copies} of the {found.samples} samples are copies of others"
        if found.samples < ENOUGH and found.agreement == 1:
            least = wilson(found.samples, found.samples)[0]
            yield (
                f"agreement on {_all_photos(found.samples)} shows an agreement of at least "
                f"{least:.0%} (95% confidence); on {ENOUGH} photos it would be "
                f"{wilson(ENOUGH, ENOUGH)[0]:.0%}"
            )
        if self.subject.quantization == "int8" and found.samples < CALIBRATED_ON:
            yield (
                f"int8 was calibrated on {found.samples} photos: give {CALIBRATED_ON} or more, of "
                "all classes, or rarer pictures may be cut off"
            )
        answers = set(self.subject.logits.argmax(axis=1))
        if len(answers) == 1 and len({p.tobytes() for p in pictures}) > 1 and not found.judged:
            yield (
                f"every sample gets the label {self.card.labels[answers.pop()]!r}: give samples of "
                "several classes"
            )

    def parting(self) -> list[str | None]:
        """For each photo, the first stage at which the two ways part; None: they do not."""
        return self.keras.parting(self.subject.logits, self.subject.comparison.tolerance)

    def worst(self) -> list[int]:
        """The photos, by index, that the two answer most differently, worst first."""
        apart = np.abs(self.keras.logits - self.subject.logits).max(axis=1)
        disagree = self.keras.logits.argmax(axis=1) != self.subject.logits.argmax(axis=1)
        order = np.lexsort((-apart, ~disagree))
        return [int(index) for index in order[:WORST]]

    def classes(self) -> tuple[str, list[tuple[str, int, int]]]:
        """What the samples are grouped by; and label, agreeing samples, samples, worst first."""
        truth = self.keras.truth
        by_folder = bool(truth) and all(right is not None for right in truth)
        groups = list(truth) if by_folder else list(self.keras.logits.argmax(axis=1))
        counts = per_class(self.keras.logits, self.subject.logits, [int(g or 0) for g in groups])
        rows = [(self.card.labels[k], agree, total) for k, (agree, total) in counts.items()]
        rows.sort(key=lambda row: row[1] / row[2])  # stable: the labels' order where all agree
        return ("folder" if by_folder else "Keras's answer"), rows

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "passed": self.passed,
            "quantization": self.choice.chosen and self.choice.chosen.quantization,
            "reason": self.choice.reason,
            "card": self.card.to_json(),
            "candidates": [
                {
                    "quantization": c.quantization,
                    **c.comparison.to_json(),
                    "bytes": c.bytes,
                    "ms": c.ms,
                    "load_ms": c.load_ms,
                    "peak_mb": c.peak_mb,
                    "objection": self.choice.objections.get(c.quantization),
                }
                for c in self.candidates
            ],
            "failed": dict(self.failed),
            "accuracy_faults": list(self.proof.faults),
            "hints": list(self.proof.hints),
            "notes": self.notes,
            "keras": {key: value for key, value in self.keras.facts.items() if key != "card"},
        }


def rows(findings: Findings) -> list[tuple[str, str]]:
    """The verification table: a name and a value in each row."""
    subject, facts = findings.subject, findings.keras.facts
    found = subject.comparison
    share = found.tolerance.difference
    kind = "logit " * (findings.card.output == "logits")
    other = findings.reference
    table = [
        ("quantization", subject.quantization),
        ("loaded by", str(facts["loaded_by"])),
        ("samples", f"{found.samples}" + (f" ({found.skipped} unreadable)" * (found.skipped > 0))),
        (
            "top-1 agreement",
            f"{found.agreement:.2%} (at least {found.tolerance.agreement:.0%} wanted)",
        ),
        (f"largest {kind}difference", f"{found.max_difference:.3g}"),
        (
            f"mean {kind}difference",
            f"{found.mean_difference:.3g} (at most {share * found.spread:.3g} wanted: "
            f"{share:g} of the spread, {found.spread:.3g})",
        ),
    ]
    if found.accuracy is not None:
        table.append(
            (
                "accuracy",
                f"{found.accuracy:.1%} ({other} {found.reference_accuracy:.1%}), on {found.judged} "
                "photos in folders named after labels",
            )
        )
    else:
        table.append(("accuracy", f"unknown: {_unlabelled(findings)}"))
    flagged = Flagged(**facts["flagged"])
    table.append(("EXIF orientation", flagged.row(findings.card.preprocessing.exif)))
    parted = Counter(stage for stage in findings.parting() if stage)
    if found.faults and parted:
        ways = ", ".join(f"{stage} ({count} photos)" for stage, count in parted.most_common())
        table.append(("the two part first at", ways))
    if findings.decoding is not None:
        table.append(("decoding of large photos", findings.decoding.sentence()))
    return [
        *table,
        ("size", f"{subject.bytes / 1e6:.2f} MB"),
        (f"{other}, median", f"{facts['keras_ms']:.2f} ms"),
        ("TFLite, one thread, median", f"{subject.one_thread_ms:.2f} ms"),
        *(("fits better", hint) for hint in findings.proof.hints),
        ("verdict", _verdict(findings)),
    ]


def _all_photos(count: int) -> str:
    return "one photo" if count == 1 else f"all {count} photos"


def _unlabelled(findings: Findings) -> str:
    """Why the samples give no accuracy."""
    photos = findings.keras.photos
    truth = ClassFolders(findings.card.labels).truth(photos)
    labelled = sum(place is not None for place in truth)
    if len(photos) == 1:
        return "the sample is not in a folder named after a label"
    if not labelled:
        return f"none of the {len(photos)} samples is in a folder named after a label"
    return (
        f"only {labelled} of the {len(photos)} samples "
        f"{'is in a folder' if labelled == 1 else 'are in folders'} named after a label; at least "
        "half are needed"
    )


def _verdict(findings: Findings) -> str:
    if findings.subject.comparison.faults:
        return "FAILED: " + "; ".join(findings.subject.comparison.faults)
    if not findings.proof.faults:
        return _verified(findings)
    faults = "; ".join(findings.proof.faults)
    if findings.accepted:
        return f"the same answers as Keras; accepted by --accept-accuracy, although {faults}"
    return f"NOT VERIFIED: {faults}"


def _verified(findings: Findings) -> str:
    """What was checked, and what was not."""
    proof, labels, other = findings.proof, findings.card.labels, findings.reference
    if findings.one_label:
        return (
            f"the same answers as {other}; accuracy not proven: the samples show "
            f"{accuracy.shown(1, labels)}"
        )
    alone = ", on one sample alone" * (findings.subject.comparison.samples == 1)
    if not proof.judged:
        unchecked = "accuracy, labels and scaling not checked"
        return f"verified{alone}: the same answers as {other}; {unchecked}"
    if proof.unseen:
        seen = accuracy.shown(len(labels) - len(proof.unseen), labels)
        return f"verified{alone}: the same answers as {other}, and the accuracy for {seen}"
    return f"verified{alone}: the same answers as {other}, and the accuracy"


def candidate_rows(findings: Findings) -> list[tuple[str, ...]]:
    """The `auto` table: a head, then a row for each quantization."""
    judged = findings.candidates[0].comparison.accuracy is not None
    head = (
        "quantization",
        "agreement",
        "largest diff",
        "mean diff",
        *(("accuracy",) if judged else ()),
        "MB",
        "ms, 1 thread",
        "2 threads",
        "cold load, ms",
        "verdict",
    )
    body: list[tuple[str, ...]] = [head]
    for c in findings.candidates:
        found = c.comparison
        verdict = findings.choice.objections.get(c.quantization, "fine")
        if c is findings.choice.chosen:
            verdict = "chosen"
        body.append(
            (
                c.quantization,
                f"{found.agreement:.1%}",
                f"{found.max_difference:.3g}",
                f"{found.mean_difference:.3g}",
                *((f"{found.accuracy:.1%}",) if found.accuracy is not None else ()),
                f"{c.bytes / 1e6:.2f}",
                f"{c.one_thread_ms:.2f}",
                f"{c.ms['2']:.2f}" if "2" in c.ms else "",
                f"{c.load_ms:.1f}",
                verdict,
            )
        )
    for name, why in findings.failed.items():
        body.append((name, *[""] * (len(head) - 2), f"cannot be served: {why}"))
    return body


def text(findings: Findings) -> str:
    """The report for a terminal."""
    parts = []
    if findings.several:
        table = candidate_rows(findings)
        parts.append(columns(table))
        if findings.choice.chosen:
            parts.append(f"chosen: {findings.subject.quantization}, {findings.choice.reason}")
    parts.append(aligned(rows(findings)))
    parts += [progress.plain(f"note: {note}") for note in findings.notes]
    return "\n\n".join(parts)


def aligned(pairs: Sequence[tuple[str, str]]) -> str:
    """Rows of a name and a value, aligned for a terminal."""
    width = max(len(name) for name, _ in pairs)
    return "\n".join(progress.plain(f"  {name:<{width}}  {value}") for name, value in pairs)


def columns(table: Sequence[tuple[str, ...]]) -> str:
    """A table with a head, aligned for a terminal; the last column is as wide as it is."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]) - 1)]
    return "\n".join(
        progress.plain(
            f"  {row[0]:<{widths[0]}}  "
            + "".join(f"{cell:>{w}}  " for cell, w in zip(row[1:-1], widths[1:], strict=True))
            + row[-1]
        )
        for row in table
    )


def markdown(findings: Findings) -> str:
    """The report for git."""
    card = findings.card
    grouped, classes = findings.classes()
    lines = [
        f"# Conversion of {card.name}",
        "",
        "Written by `k2l convert`; the same figures are in the model's card.",
        "",
        *_grid(("", ""), rows(findings)),
        "",
    ]
    if findings.several:
        head, *body = candidate_rows(findings)
        reason = f"Chosen: {findings.subject.quantization}, {findings.choice.reason}."
        lines += ["## Quantizations", "", *_grid(head, body), "", reason, ""]
    lines += ["## Input", "", *_grid(("", ""), input_rows(card)), "", "## Source", ""]
    lines += [*_grid(("", ""), source_rows(findings)), ""]
    if findings.notes:
        lines += ["## Notes", "", *(f"- {note}" for note in findings.notes), ""]
    lines += [f"## Agreement by {grouped}", ""]
    lines += _grid(
        ("", "same top-1 label", "photos"),
        [(label, f"{agree / total:.1%}", str(total)) for label, agree, total in classes],
    )
    lines += ["", "## Where the two differ most", ""]
    lines += _grid(
        ("sample", "Keras", "TFLite", "largest difference"),
        [(w.name, w.keras, w.served, w.difference) for w in worst(findings)],
    )
    return "\n".join(progress.plain(line) for line in lines) + "\n"


def input_rows(card: ModelCard) -> list[tuple[str, str]]:
    """How a photo becomes the tensor."""
    steps = card.preprocessing
    return [
        ("tensor", f"{card.height} x {card.width} x {card.channels}, {card.dtype}"),
        ("decoding", steps.decode),
        ("resize", f"{steps.resize}, {steps.interpolation}"),
        ("scaling", scaling.done(card)),
        ("EXIF orientation, alpha", f"{steps.exif}, {steps.alpha}"),
        ("drawing", steps.drawing),
        ("output", f"{len(card.labels)} {card.output}, {card.activation}"),
    ]


def source_rows(findings: Findings) -> list[tuple[str, str]]:
    """Where the model came from."""
    facts = findings.keras.facts
    known = html_report.provenance(findings.card.provenance)
    if facts["parameters"] is not None:
        known.append(("parameters", f"{facts['parameters']:,}"))
    return known


@dataclass(frozen=True)
class Worst:
    """A photo that the two answer differently.

    logits: label, Keras' logit, the function's; of both answers and of the largest difference.
    pictures: data: URLs of what Keras saw, what the function saw, and their difference, if any.
    """

    name: str
    keras: str
    served: str
    difference: str
    stage: str
    logits: list[tuple[str, float, float]]
    pictures: list[tuple[str, str]]


def worst(findings: Findings, *, pictures: bool = False) -> list[Worst]:
    """The samples with the largest differences."""
    keras, subject, labels = findings.keras, findings.subject, findings.card.labels
    parting, found = findings.parting(), []
    for i in findings.worst():
        expected, served = keras.logits[i], subject.logits[i]
        apart = np.abs(expected - served)
        shown = dict.fromkeys(int(row.argmax()) for row in (expected, served, apart))
        found.append(
            Worst(
                name="/".join(keras.photos[i].parts[-2:]),
                keras=labels[expected.argmax()],
                served=labels[served.argmax()],
                difference=f"{apart.max():.3g}",
                stage=parting[i] or "",
                logits=[(labels[k], float(expected[k]), float(served[k])) for k in shown],
                pictures=_pictures(findings, i) if pictures else [],
            )
        )
    return found


def side_by_side(keras: np.ndarray, served: np.ndarray) -> tuple[Image.Image, ...]:
    """What Keras saw, what the function saw, and their difference x 8, if there is one.

    Args:
        keras: uint8, (height, width, channels). served: float32, the same shape, 0..255.
    """
    apart = np.abs(keras.astype(np.float32) - served)
    shown = [keras, np.rint(served.clip(0, 255)).astype(np.uint8)]
    if apart.max() > 1:
        shown.append((apart * 8).clip(0, 255).astype(np.uint8))
    return tuple(Image.fromarray(a[..., 0] if a.shape[-1] == 1 else a) for a in shown)


def _pictures(findings: Findings, index: int) -> list[tuple[str, str]]:
    served = pipeline_diff.served(findings.keras.photos[index], findings.card)[1]
    images = side_by_side(findings.keras.pictures[index], served)
    sides = (findings.reference, "function", "difference x 8")
    return [
        (side, html_report.thumbnail(image)) for side, image in zip(sides, images, strict=False)
    ]


def conclusion(findings: Findings) -> str:
    """Two sentences for a reader who stops after them."""
    subject, other = findings.subject, findings.reference
    found, faults = subject.comparison, [*subject.comparison.faults, *findings.proof.faults]
    size = f"It is {subject.bytes / 1e6:.2f} MB{_of_float(findings)}"
    if found.accuracy is not None:
        size += (
            f", and right on {found.accuracy:.1%} of {found.judged} labelled photos ({other}: "
            f"{found.reference_accuracy:.1%})"
        )
    verdict, second = findings.badge, "; ".join(faults) or size
    return f"{_upper(verdict)}: {_changed(findings)}. {_upper(second)}."


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _of_float(findings: Findings) -> str:
    """The size of the same model without quantization, where this one has one."""
    if findings.subject.quantization == "none":
        return ""
    plain = [c.bytes for c in findings.candidates if c.quantization == "none"]
    if parameters := findings.keras.facts["parameters"]:
        plain.append(4 * parameters)
    return f" (float32: {plain[0] / 1e6:.2f} MB)" if plain else ""


def _changed(findings: Findings) -> str:
    """How many photos get another label than from the float model, and whether it is right."""
    keras, subject, other = findings.keras, findings.subject, findings.reference
    before, after = keras.logits.argmax(axis=1), subject.logits.argmax(axis=1)
    changed, total = np.flatnonzero(before != after), len(before)
    name = f"the {'converted' if subject.quantization == 'none' else subject.quantization} model"
    if not len(changed):
        return f"{name} gives {_all_photos(total)} the label that {other} gives"
    text = f"{name} gives {len(changed)} of {total} photos another label than {other}"
    truth = [keras.truth[i] if i < len(keras.truth) else None for i in changed]
    kinds = Counter(
        "now right" if right == new else "now wrong" if right == old else "wrong before and after"
        for right, old, new in zip(truth, before[changed], after[changed], strict=True)
        if right is not None
    )
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return text + (f" ({counts})" if counts else "")


def _differences(findings: Findings) -> dict[str, Any]:
    """Differences by Keras' outputs, for an SVG of 600 x 200: the largest, and some of the others.

    low, high, most: the ends of the axes. same, other: paths of dots of photos with the same label
    and with another one.
    """
    expected, served = findings.keras.logits, findings.subject.logits
    changed = (expected.argmax(axis=1) != served.argmax(axis=1)).repeat(expected.shape[1])
    across, apart = expected.ravel(), (served - expected).ravel()
    order = np.argsort(-np.abs(apart), kind="stable")
    order = order[np.isfinite(apart[order])]
    order = np.concatenate([order[:DOTS], order[DOTS :: 1 + len(order) // DOTS]])
    low, high = float(across.min()), float(across.max())
    most = float(np.abs(apart[order]).max(initial=0))
    x = 600 * (across - low) / (high - low or 1)
    y = 100 - 100 * apart / (most or 1)

    def dots(changes: bool) -> str:
        return "".join(f"M{x[i]:.0f} {y[i]:.0f}h0" for i in order if changed[i] == changes)

    return {"low": low, "high": high, "most": most, "same": dots(False), "other": dots(True)}


def html(findings: Findings, command: str) -> str:
    """The report for a person: one file that needs no network. command: without secrets."""
    card, subject, other = findings.card, findings.subject, findings.reference
    found = subject.comparison
    grouped, classes = findings.classes()
    tiles = [
        (f"{found.agreement:.2%}", f"same label as {other}"),
        (f"{found.max_difference:.3g}", f"largest {card.output} difference"),
        (f"{subject.bytes / 1e6:.2f} MB", f"size{_of_float(findings)}"),
        (f"{subject.one_thread_ms:.2f} ms", "one inference, one thread"),
        (f"{found.samples:,}", "photos compared"),
    ]
    if found.accuracy is not None:
        share = f"{found.reference_accuracy:.1%}"
        tiles.insert(1, (f"{found.accuracy:.1%}", f"accuracy ({other}: {share})"))
    scales = [
        (title, [(c.quantization, value(c), f"{value(c):.2f}") for c in findings.candidates])
        for title, value in SCALES.items()
    ]
    return html_report.render(
        TEMPLATE,
        kind="Conversion",
        title=f"{card.name} ({subject.quantization})",
        conclusion=conclusion(findings),
        command=command,
        tiles=tiles,
        notes=[f"{_upper(note)}." for note in findings.notes],
        reference=other,
        table=candidate_rows(findings),
        scales=scales if len(findings.candidates) > 1 else [],
        changed=_changed(findings),
        dots=_differences(findings),
        worst=worst(findings, pictures=True),
        grouped=grouped,
        classes=[(label, agree / total, f"{agree} of {total}") for label, agree, total in classes],
        shown=CLASSES_SHOWN,
        sections=[
            ("Verification", rows(findings)),
            ("How a photo becomes the tensor", input_rows(card)),
            ("Source", source_rows(findings)),
        ],
    )


def _grid(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    cells = [head, ("---",) * len(head), *body]
    return ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in cells]
