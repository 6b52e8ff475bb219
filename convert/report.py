"""The report: what a conversion measured, for the terminal and, as Markdown, for git."""

from __future__ import annotations

from collections.abc import Sequence

from classifier.card import Affine, ModelCard
from convert.verify import Outcome, Verification

WORST = 5


def rows(card: ModelCard, result: Verification) -> list[tuple[str, str]]:
    """The verification table: a name and a value in each row."""
    share = result.tolerance.difference
    return [
        ("quantization", str(card.provenance["quantization"])),
        (
            "samples",
            f"{result.samples}" + (f" ({result.skipped} unreadable)" * (result.skipped > 0)),
        ),
        (
            "top-1 agreement",
            f"{result.agreement:.2%} (at least {result.tolerance.agreement:.0%} wanted)",
        ),
        ("largest logit difference", f"{result.max_difference:.3g}"),
        (
            "mean logit difference",
            f"{result.mean_difference:.3g} (at most {share * result.spread:.3g} wanted: "
            f"{share:g} of the spread, {result.spread:.3g})",
        ),
        ("size", f"{result.model_bytes / 1e6:.2f} MB"),
        ("Keras, median", f"{result.keras_ms:.2f} ms"),
        ("TFLite, one thread, median", f"{result.tflite_ms:.2f} ms"),
        ("verdict", "verified" if not result.faults else "FAILED: " + "; ".join(result.faults)),
    ]


def table(pairs: Sequence[tuple[str, str]]) -> str:
    """Rows aligned for a terminal."""
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in pairs)


def markdown(card: ModelCard, result: Verification, outcomes: Sequence[Outcome]) -> str:
    """The report file beside the model."""
    steps = card.preprocessing
    scaling = steps.scaling
    if isinstance(scaling, Affine):
        scaling = f"pixel x {list(scaling.scale)} + {list(scaling.offset)}"
    lines = [
        f"# Conversion of {card.name}",
        "",
        "Written by `python -m convert`; the same figures are in the model's card.",
        "",
        *_grid(("", ""), rows(card, result)),
        "",
        "## Input",
        "",
        *_grid(
            ("", ""),
            [
                ("tensor", f"{card.height} x {card.width} x {card.channels}, {card.dtype}"),
                ("resize", f"{steps.resize}, {steps.interpolation}"),
                ("scaling", f"{scaling}, channels in {steps.color_order} order"),
                ("EXIF orientation, alpha", f"{steps.exif}, {steps.alpha}"),
                ("output", f"{len(card.labels)} {card.output}"),
            ],
        ),
        "",
        "## Source",
        "",
        *_grid(("", ""), [(key, str(value)) for key, value in card.provenance.items()]),
        "",
        "## Where the two differ most",
        "",
        *_grid(
            ("sample", "Keras", "TFLite", "largest difference"),
            [
                (
                    "/".join(outcome.path.parts[-2:]),
                    card.labels[outcome.keras.argmax()],
                    card.labels[outcome.served.argmax()],
                    f"{abs(outcome.keras - outcome.served).max():.3g}",
                )
                for outcome in sorted(outcomes, key=lambda o: -abs(o.keras - o.served).max())[
                    :WORST
                ]
            ],
        ),
    ]
    return "\n".join(lines) + "\n"


def _grid(head: tuple[str, ...], body: Sequence[tuple[str, ...]]) -> list[str]:
    cells = [head, ("---",) * len(head), *body]
    return ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in cells]
