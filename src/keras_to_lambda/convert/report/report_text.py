"""The report as text: for a terminal, and as Markdown for git."""

from __future__ import annotations

from collections import Counter

from keras_to_lambda import html_report
from keras_to_lambda.cli import progress
from keras_to_lambda.convert.common import scaling, text_table
from keras_to_lambda.convert.detection.sample_orientation import Flagged
from keras_to_lambda.convert.report.findings import Findings

Rows = list[tuple[str, ...]]


def verification(findings: Findings) -> Rows:
    """What was compared, and the verdict: a name and a value in each row."""
    subject, facts, other = findings.subject, findings.keras.facts, findings.reference
    found = subject.comparison
    share, spread = found.tolerance.difference, found.spread
    kind = "logit " * (findings.card.output == "logits")
    flagged = Flagged(**facts["flagged"])
    parted = Counter(stage for stage in findings.parting() if stage)
    ways = ", ".join(f"{stage} ({count} photos)" for stage, count in parted.most_common())
    return [
        ("quantization", subject.quantization),
        ("loaded by", str(facts["loaded_by"])),
        ("samples", f"{found.samples}" + f" ({found.skipped} unreadable)" * (found.skipped > 0)),
        (
            "top-1 agreement",
            f"{found.agreement:.2%} (at least {found.tolerance.agreement:.0%} wanted)",
        ),
        (f"largest {kind}difference", f"{found.max_difference:.3g}"),
        (
            f"mean {kind}difference",
            f"{found.mean_difference:.3g} (at most {share * spread:.3g} wanted: {share:g} of the "
            f"spread, {spread:.3g})",
        ),
        ("accuracy", findings.accuracy),
        ("EXIF orientation", flagged.row(findings.card.preprocessing.exif)),
        *([("first stage that differs", ways)] if found.faults and ways else []),
        *([("decoding of large photos", str(findings.decoding))] if findings.decoding else []),
        ("size", f"{subject.bytes / 1e6:.2f} MB"),
        (f"{other}, median", f"{facts['keras_ms']:.2f} ms"),
        ("TFLite, one thread, median", f"{subject.one_thread_ms:.2f} ms"),
        *(("fits better", hint) for hint in findings.proof.hints),
        ("verdict", findings.verdict),
    ]


def quantizations(findings: Findings) -> Rows:
    """The `auto` table: a head, then a row for each quantization."""
    judged = findings.candidates[0].comparison.accuracy is not None
    head = ["quantization", "agreement", "largest diff", "mean diff", *["accuracy"] * judged]
    head += ["MB", "ms, 1 thread", "2 threads", "cold load, ms", "verdict"]
    table = [head]
    for c in findings.candidates:
        found, objection = c.comparison, findings.choice.objections.get(c.quantization, "fine")
        row = [c.quantization, f"{found.agreement:.1%}", f"{found.max_difference:.3g}"]
        row += [f"{found.mean_difference:.3g}", *[f"{found.accuracy or 0:.1%}"] * judged]
        row += [f"{c.bytes / 1e6:.2f}", *(f"{ms:.2f}" for ms in c.run["ms"].values())]
        row += [""] * (len(c.run["ms"]) == 1) + [f"{c.run['load_ms']:.1f}"]
        table.append([*row, "chosen" if c is findings.choice.chosen else objection])
    blank = [""] * (len(head) - 2)
    table += [[name, *blank, f"cannot be served: {why}"] for name, why in findings.failed.items()]
    return [tuple(row) for row in table]


def tensor(findings: Findings) -> Rows:
    """How a photo becomes the tensor."""
    card = findings.card
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


def source(findings: Findings) -> Rows:
    """Where the model came from."""
    known, parameters = findings.card.provenance, findings.keras.facts["parameters"]
    counted = [] if parameters is None else [("parameters", f"{parameters:,}")]
    return [*html_report.provenance(known), *counted]


def terminal(findings: Findings) -> str:
    """The report for a terminal."""
    parts = []
    if findings.several:
        parts.append(text_table.columns(quantizations(findings)))
        if findings.choice.chosen:
            parts.append(f"chosen: {findings.subject.quantization}, {findings.choice.reason}")
    parts.append(text_table.columns(verification(findings)))
    return "\n\n".join([*parts, *(progress.plain(f"note: {note}") for note in findings.notes)])


def markdown(findings: Findings) -> str:
    """The report for git."""
    lines = [f"# Conversion of {findings.card.name}", ""]
    lines += ["Written by `k2l convert`; the same figures are in the model's card.", ""]
    lines += _grid([("", ""), *verification(findings)])
    if findings.several:
        reason = f"Chosen: {findings.subject.quantization}, {findings.choice.reason}."
        lines += ["## Quantizations", "", *_grid(quantizations(findings)), reason, ""]
    lines += ["## Input", "", *_grid([("", ""), *tensor(findings)])]
    lines += ["## Source", "", *_grid([("", ""), *source(findings)])]
    if findings.notes:
        lines += ["## Notes", "", *(f"- {note}" for note in findings.notes), ""]
    return "\n".join(map(progress.plain, lines))


def _grid(table: Rows) -> list[str]:
    head, *body = table
    cells = [head, ("---",) * len(head), *body]
    return [*("| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in cells), ""]
