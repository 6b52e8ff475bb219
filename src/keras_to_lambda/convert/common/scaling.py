"""Scaling: the values of `--preprocess`, a name or numbers."""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import replace

import numpy as np

from keras_to_lambda.cli.frame import nearest
from keras_to_lambda.runtime.image import preprocess
from keras_to_lambda.runtime.model_file.card import PRESETS, Affine, ModelCard

GRAMMAR = "scale=1/127.5,offset=-1 or mean=123.7,116.8,103.9,std=58.4,57.1,57.4"
_PAIRS = ({"scale", "offset"}, {"mean", "std"})
_WORD = re.compile(r"(?:(\w+)=)?([^=]+)")


def parse(text: str) -> str | Affine:
    """A preset's name, `scale=..,offset=..` or `mean=..,std=..`; numbers are for pixels of 0..255.

    Each takes one number, or one for each channel; a number may be a fraction, 1/255. Missing ones
    change nothing. Anything else is an argparse.ArgumentTypeError.
    """
    if text in PRESETS:
        return text
    if "=" not in text:
        near = nearest(text, PRESETS) or f"choose from {', '.join(sorted(PRESETS))}"
        if re.fullmatch(r"(x?[*/])?(1(\.0*)?/)?255(\.0*)?", re.sub(r"\s", "", text.lower())):
            near = "x / 255 is `rescale`;"
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a preset; {near} or give numbers: {GRAMMAR}; "
            "`k2l detect` finds which one fits"
        )
    given: dict[str, list[float]] = {}
    key = ""
    for word in re.split(r"[,;\s]+", re.sub(r"\s*=\s*", "=", text.strip(" ,;"))):
        match = _WORD.fullmatch(word)
        if match is None or not (match[1] or key):
            raise argparse.ArgumentTypeError(f"{word!r} in {text!r} is not NAME=NUMBER: {GRAMMAR}")
        if match[1]:
            key = match[1].lower()
            if key in given:
                raise argparse.ArgumentTypeError(f"duplicate {key} in {text!r}; give it once")
        given.setdefault(key, []).append(_number(match[2], text))
    if not any(set(given) <= pair for pair in _PAIRS):
        raise argparse.ArgumentTypeError(
            f"{text!r} has {', '.join(given)}; give scale and offset, or mean and std: {GRAMMAR}"
        )
    channels = max(map(len, given.values()))
    if channels not in (1, 3, 4) or any(len(v) not in (1, channels) for v in given.values()):
        counts = ", ".join(f"{len(values)} for {name}" for name, values in given.items())
        raise argparse.ArgumentTypeError(
            f"{text!r} has {counts}; give one number, or one for each channel"
        )
    return _affine({name: v * (channels // len(v)) for name, v in given.items()}, channels, text)


def _affine(given: dict[str, list[float]], channels: int, text: str) -> Affine:
    scale = given.get("scale", [1.0] * channels)
    offset = given.get("offset", [0.0] * channels)
    if "mean" in given or "std" in given:
        mean, std = given.get("mean", [0.0] * channels), given.get("std", [1.0] * channels)
        if all(x <= 1 for x in (*mean, *std)) and any(x < 1 for x in std):
            raise argparse.ArgumentTypeError(
                f"{text!r} seems to be for pixels of 0..1; multiply mean and std by 255: 0.485 is "
                "123.675"
            )
        if not all(std):
            raise argparse.ArgumentTypeError(f"std is 0 in {text!r}; give the deviation in 0..255")
        scale = [1 / x for x in std]
        offset = [-m / s for m, s in zip(mean, std, strict=True)]
    if not all(scale):
        raise argparse.ArgumentTypeError(f"scale is 0 in {text!r}; every pixel would be the same")
    return Affine(tuple(scale), tuple(offset))


def _number(text: str, whole: str) -> float:
    above, slash, below = text.partition("/")
    try:
        value = float(above) / float(below) if slash else float(above)
    except (ValueError, ZeroDivisionError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} in {whole!r} is not a number: {GRAMMAR}")
    return value


def for_channels(scaling: Affine, channels: int) -> Affine:
    """A scaling with a number for each channel; a single number is for all."""
    if len(scaling.scale) != 1:
        return scaling
    return Affine(tuple(scaling.scale) * channels, tuple(scaling.offset) * channels)


def same(given: str | Affine, card: ModelCard) -> bool:
    """Whether a scaling maps pixels to the same numbers as a card's."""
    if isinstance(given, Affine):
        given = for_channels(given, card.channels)
    other = replace(card, preprocessing=replace(card.preprocessing, scaling=given))
    pixels = np.linspace(0, 255, 3, dtype=np.float32)[:, None, None].repeat(card.channels, axis=2)
    return bool(
        np.allclose(preprocess.scale(pixels, card), preprocess.scale(pixels, other), atol=1e-3)
    )


def words(given: str | Affine) -> str:
    """A scaling for a sentence."""
    if isinstance(given, Affine):
        return f"pixel x {list(given.scale)} + {list(given.offset)}"
    return given


def done(card: ModelCard) -> str:
    """The scaling for a sentence, and whether the function or the model's graph applies it."""
    steps, past = card.preprocessing, card.provenance
    if card.schema_version == 1:
        return f"{words(steps.scaling)}, channels in {steps.color_order} order"
    scaling = past.get("scaling", "unknown")
    if isinstance(scaling, dict):
        scaling = words(Affine(scaling["scale"], scaling["offset"]))
    return f"in the graph: {scaling}, channels in {past.get('color_order', 'unknown')} order"
