"""Decoding: whether large photos may be decoded at a fraction of their size.

libjpeg then leaves out high frequencies, and the pixels that the model sees change a little.
`decode: scaled` goes into a card only if no answer changes on large photos of the user's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from keras_to_lambda.convert.quantize.quantization import SCALED
from keras_to_lambda.convert.sandbox.sandbox import Sandbox
from keras_to_lambda.convert.verification.comparison import compare
from keras_to_lambda.convert.verification.measurement import served
from keras_to_lambda.runtime.model_file.card import ModelCard, join

# What counts as large: phones' 12 megapixels, which are 12.0 to 12.2, and a little less.
LARGE_PIXELS = 10_000_000
# Fewer photos than these show nothing.
MIN_PHOTOS = 5


@dataclass(frozen=True)
class Decoding:
    """What was found about decoding large photos.

    objection: why they are decoded in full; "": scaled. photos: the number of large ones.
    Differences and spread are of the logits by the same `.tflite`. exact_ms, scaled_ms: median
    milliseconds of decoding.
    """

    objection: str
    photos: int
    agreement: float
    max_difference: float
    spread: float
    exact_ms: float
    scaled_ms: float

    def to_json(self) -> dict[str, Any]:
        """For the card."""
        return {**asdict(self), "tolerance": SCALED.difference}

    def __str__(self) -> str:
        """For the report."""
        return (
            f"{f'exact ({self.objection})' if self.objection else 'scaled'}; "
            f"{self.photos} photos of 10 megapixels and more: {self.exact_ms:.0f} ms to decode in "
            f"full, {self.scaled_ms:.0f} ms scaled; same label on {self.agreement:.0%}, logits "
            f"apart by at most {self.max_difference / self.spread:.2%} of their spread"
        )


def large(photos: Sequence[Path]) -> list[Path]:
    """The photos that are large JPEGs."""
    found = []
    for path in photos:
        with Image.open(path) as image:
            if image.format in ("JPEG", "MPO") and image.width * image.height >= LARGE_PIXELS:
                found.append(path)
    return found


def examine(
    serving: Sandbox, flatbuffer: bytes, card: ModelCard, photos: Sequence[Path], folder: Path
) -> Decoding:
    """Answer large JPEGs by both ways; folder: for drafts."""
    logits, ms = {}, {}
    for decode in ("exact", "scaled"):
        draft = folder / f"decode-{decode}.tflite"
        steps = replace(card.preprocessing, decode=decode)
        draft.write_bytes(join(flatbuffer, replace(card, preprocessing=steps)))
        facts, logits[decode] = served(serving, draft, photos)
        ms[decode] = facts["decode_ms"]
    found = compare(logits["exact"], logits["scaled"], SCALED)
    spread, objection = found.spread or 1.0, ""
    if found.agreement < SCALED.agreement:
        objection = "another label comes first on some"
    elif found.max_difference / spread > SCALED.difference:
        objection = f"more than {SCALED.difference:.0%} of the spread apart"
    elif ms["scaled"] >= ms["exact"]:
        objection = "it is no faster"
    return Decoding(
        objection,
        len(photos),
        found.agreement,
        found.max_difference,
        spread,
        ms["exact"],
        ms["scaled"],
    )
