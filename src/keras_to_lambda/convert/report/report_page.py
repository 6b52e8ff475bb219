"""The report as a page: one HTML file that needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_to_lambda import html_report
from keras_to_lambda.convert.report import report_text
from keras_to_lambda.convert.report.findings import Findings, upper
from keras_to_lambda.convert.verification import pipeline_diff

WORST = 8  # photos
DOTS = 1000  # of the plot, that differ most; and as many of the others
TEMPLATE = Path(__file__).with_name("conversion_report.html.jinja")


def html(findings: Findings, command: str) -> str:
    """The report for a person. command: the command line, without secrets."""
    card, subject, other = findings.card, findings.subject, findings.reference
    found = subject.comparison
    tiles = [
        (f"{found.agreement:.2%}", f"same label as {other}"),
        (f"{found.max_difference:.3g}", f"largest {card.output} difference"),
        (f"{subject.bytes / 1e6:.2f} MB", f"size{findings.float_size}"),
        (f"{subject.one_thread_ms:.2f} ms", "one inference, one thread"),
        (f"{found.samples:,}", "photos compared"),
    ]
    if found.accuracy is not None:
        share = f"{found.reference_accuracy:.1%}"
        tiles.insert(1, (f"{found.accuracy:.1%}", f"accuracy ({other}: {share})"))
    return html_report.render(
        TEMPLATE,
        kind="Conversion",
        title=f"{card.name} ({subject.quantization})",
        conclusion=findings.conclusion,
        command=command,
        tiles=tiles,
        notes=[f"{upper(note)}." for note in findings.notes],
        reference=other,
        table=report_text.quantizations(findings) if findings.several else [],
        changed=f"{upper(findings.changed)}.",
        plot=_plot(findings),
        worst=[_photo(findings, index) for index in worst(findings)],
        sections=[
            ("Verification", report_text.verification(findings)),
            ("How a photo becomes the tensor", report_text.tensor(findings)),
            ("Source", report_text.source(findings)),
        ],
    )


def worst(findings: Findings) -> list[int]:
    """The photos, by index, that the two answer most differently, worst first."""
    keras, served = findings.keras.logits, findings.subject.logits
    same = keras.argmax(axis=1) == served.argmax(axis=1)
    order = np.lexsort((-np.abs(keras - served).max(axis=1), same))
    return [int(index) for index in order[:WORST]]


def _photo(findings: Findings, index: int) -> dict[str, Any]:
    """A photo for the template: its answers, their logits, and what both sides saw.

    The logits are those of both answers and of the largest difference.
    """
    keras, labels = findings.keras, findings.card.labels
    expected, served = keras.logits[index], findings.subject.logits[index]
    rows = (expected, served, np.abs(expected - served))
    shown = dict.fromkeys(int(row.argmax()) for row in rows)
    images = side_by_side(
        keras.pictures[index], pipeline_diff.served(keras.photos[index], findings.card)[1]
    )
    sides = (findings.reference, "function", "difference x 8")
    return {
        "name": "/".join(keras.photos[index].parts[-2:]),
        "keras": labels[expected.argmax()],
        "served": labels[served.argmax()],
        "stage": findings.parting()[index],
        "logits": [(labels[k], float(expected[k]), float(served[k])) for k in shown],
        "pictures": [
            (side, html_report.thumbnail(image)) for side, image in zip(sides, images, strict=False)
        ],
    }


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


def _plot(findings: Findings) -> dict[str, Any]:
    """Differences by Keras' outputs, for an SVG of 600 x 200: the largest, and some of the others.

    low, high, most: the ends of the axes. same, other: paths of dots of photos with the same label
    and with another one.
    """
    expected, served = findings.keras.logits, findings.subject.logits
    changed = (expected.argmax(axis=1) != served.argmax(axis=1)).repeat(expected.shape[1])
    across, apart = expected.ravel(), np.nan_to_num(served - expected).ravel()
    order = np.argsort(-np.abs(apart), kind="stable")
    order = np.concatenate([order[:DOTS], order[DOTS :: 1 + len(order) // DOTS]])
    low, high, most = float(across.min()), float(across.max()), float(np.abs(apart).max())
    x, y = 600 * (across - low) / (high - low or 1), 100 - 100 * apart / (most or 1)

    def dots(changes: bool) -> str:
        return "".join(f"M{x[i]:.0f} {y[i]:.0f}h0" for i in order if changed[i] == changes)

    return {"low": low, "high": high, "most": most, "same": dots(False), "other": dots(True)}
