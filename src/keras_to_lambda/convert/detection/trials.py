"""Trials: what a network answers to the samples under each convention, and which are tried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_to_lambda.cli import progress
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.common.samples import Sample, spread
from keras_to_lambda.convert.detection import conventions
from keras_to_lambda.convert.detection.conventions import (
    UPRIGHT,
    Convention,
    Evidence,
    Floats,
    Ints,
)
from keras_to_lambda.convert.detection.unscaled_network import UnscaledNetwork, load
from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.image.decode import decode
from keras_to_lambda.runtime.image.preprocess import prepare, resize, scale
from keras_to_lambda.runtime.model_file.card import ModelCard, Preprocessing

MAX_PIXELS = 100_000_000  # of one photo: what a large camera takes, not a decompression bomb
MEMORY_BYTES = 1 << 29  # of decoded photos that are kept; beyond, they are decoded again
FLOOR_PHOTOS = 300  # what `conventions.floor` looks at, to keep its time short
START = ("pillow:bilinear", "stretch")  # the geometry in which the colours are tried first
CARRIED = 4  # scalings with colour orders that the geometries are tried with, at most


class Trials:
    """What the model answers to the photos under each convention that was tried so far."""

    def __init__(
        self, network: UnscaledNetwork, samples: Sequence[Sample], steps: Preprocessing = UPRIGHT
    ) -> None:
        """Read the photos; of steps: the policies on orientation, transparency and drawings."""
        self.network = network
        self._steps = steps
        self._decoded: dict[Path, Image.Image] = {}
        self._free = MEMORY_BYTES
        self.scores: dict[Convention, Floats] = {}
        found = progress.progress(samples, "reading photos")
        self.samples = [sample for sample in found if self._decode(sample.path) is not None]

    def _decode(self, path: Path) -> Image.Image | None:
        if path in self._decoded:
            return self._decoded[path]
        try:
            image = decode(path.read_bytes(), self._steps, self.network.channels, MAX_PIXELS)
        except (ClassifierError, OSError):
            return None
        size = image.width * image.height * self.network.channels
        if size <= self._free:
            self._free -= size
            self._decoded[path] = image
        return image

    def thumbnails(self, samples: Sequence[Sample]) -> Floats:
        """The photos as `conventions.floor` wants them."""
        side = conventions.THUMBNAIL
        card = Convention("raw", "rgb", *START).card(side, side, self.network.channels)
        return np.stack([prepare(self._image(s.path), card) for s in samples])

    def _image(self, path: Path) -> Image.Image:
        image = self._decode(path)
        if image is None:
            raise ConvertError(f"{path} could be read a moment ago, and cannot now")
        return image

    def run(self, wanted: Iterable[Convention], what: str) -> None:
        """Run the model under each convention that it was not yet run under."""
        new = [one for one in dict.fromkeys(wanted) if one not in self.scores]
        if not new:
            return
        progress.step(f"trying {len(new)} ways: {what}")
        net, steps = self.network, self._steps
        plan = [(one, one.card(net.height, net.width, net.channels, steps)) for one in new]
        answers = [self._answers(s.path, plan) for s in progress.progress(self.samples, what)]
        for one, column in zip(new, zip(*answers, strict=True), strict=True):
            self.scores[one] = np.stack(column)

    def _answers(self, path: Path, plan: Sequence[tuple[Convention, ModelCard]]) -> list[Floats]:
        """One photo under all conventions: resized once a geometry, run once a distinct tensor."""
        image = self._image(path)
        resized: dict[tuple[str, str], Floats] = {}
        tensors: dict[bytes, Floats] = {}
        keys = []
        for one, card in plan:
            geometry = (one.interpolation, one.resize)
            if geometry not in resized:
                resized[geometry] = resize(image, card)
            tensor = scale(resized[geometry], card)
            keys.append(tensor.tobytes())
            tensors[keys[-1]] = tensor
        scores = dict(zip(tensors, self.network.scores(np.stack([*tensors.values()])), strict=True))
        return [scores[key] for key in keys]


class Detective:
    """The search: which conventions are tried, and the finding."""

    def __init__(self, trials: Trials, places: dict[str, dict[str, int]]) -> None:
        self._trials = trials
        self._colours = _colours(trials.network)
        if not self._colours:
            raise ConvertError(
                "no known scaling fits the scale and zero point of the model's input, which state "
                "how pixels are scaled: leave --preprocess out of `k2l convert`"
            )
        self._targets = {
            order: np.array([place[s.folder] for s in trials.samples], np.int64)
            for order, place in places.items()
        }
        # Any numbering of the classes will do where they only need to differ.
        self.classes: Ints = next(iter(self._targets.values()))
        some = spread(list(range(len(trials.samples))), FLOOR_PHOTOS)
        thumbnails = trials.thumbnails([trials.samples[index] for index in some])
        self._floor = conventions.floor(thumbnails, self.classes[some])

    def search(self, *, exhaustive: bool) -> Evidence:
        """Colours in one geometry, geometries in the colours that fit, colours in the best one."""
        colours, geometries = self._colours, conventions.geometries()
        if exhaustive:
            self._try(colours, geometries, "all combinations")
            return self.finding()
        self._try(colours, [START], "scaling and colour order")
        for _ in range(2):
            rows = sorted(self.finding().rows, key=lambda row: row.loss)
            fits = [(r.convention.scaling, r.convention.color_order) for r in rows if r.fits]
            carried = list(dict.fromkeys(fits))[:CARRIED]
            self._try(carried, geometries, "interpolation and resizing")
            best = self.finding().best.convention
            self._try(colours, [(best.interpolation, best.resize)], "checking again")
        return self.finding()

    def _try(
        self,
        colours: Sequence[tuple[str, str]],
        geometries: Sequence[tuple[str, str]],
        what: str,
    ) -> None:
        self._trials.run([Convention(*c, *g) for c in colours for g in geometries], what)

    def finding(self) -> Evidence:
        """The finding from all trials so far."""
        colours, geometries = self._colours, conventions.geometries()
        outcomes = [
            conventions.outcome(
                Convention(*colour, *geometry, order), self._trials.scores[tried], targets
            )
            for order, targets in self._targets.items()
            for geometry in geometries
            for colour in colours
            if (tried := Convention(*colour, *geometry)) in self._trials.scores
        ]
        return conventions.compare(outcomes, self.classes, self._floor)


def _colours(network: UnscaledNetwork) -> list[tuple[str, str]]:
    """Scalings with colour orders, without those that a quantized input itself excludes."""
    shape = (network.height, network.width, network.channels)
    return [
        colour
        for colour in conventions.colours(network.channels)
        if network.fits(Convention(*colour, *START).card(*shape))
    ]


def scalings(
    *, model: str, wanted: dict[str, Any], card: dict[str, Any], photos: Sequence[str]
) -> list[dict[str, Any]]:
    """What a model answers under each scaling and colour order; runs in the sandbox.

    card: the model's, as JSON: all but its scaling and colour order stays. Returns for each:
    scaling, color_order, and `chosen`: each photo's label by index.
    """
    network = load(Path(model), wanted)
    steps = ModelCard.from_json(card).preprocessing
    samples = [Sample(Path(photo), "") for photo in photos]
    trials = Trials(network, samples, steps)
    if len(trials.samples) != len(photos):
        return []
    tried = [Convention(*colour, steps.interpolation, steps.resize) for colour in _colours(network)]
    trials.run(tried, "scaling and colour order")
    return [
        {
            "scaling": one.scaling,
            "color_order": one.color_order,
            "chosen": conventions.logits(trials.scores[one]).argmax(axis=1).tolist(),
        }
        for one in tried
    ]
