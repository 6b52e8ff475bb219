"""Trials: what a network answers to the samples under each convention, and which are tried."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_to_lambda.cli import progress
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.common.samples import Sample, spread
from keras_to_lambda.convert.detection import evidence
from keras_to_lambda.convert.detection.evidence import (
    Bools,
    Doubles,
    Evidence,
    Floats,
    Ints,
    Outcome,
)
from keras_to_lambda.convert.detection.unscaled_network import UnscaledNetwork, load
from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.image.decode import decode
from keras_to_lambda.runtime.image.preprocess import resize, scale
from keras_to_lambda.runtime.model_file.card import CHOICES, PRESETS, ModelCard, Preprocessing

MAX_PIXELS = 100_000_000  # of one photo: what a large camera takes, not a decompression bomb
MEMORY_BYTES = 1 << 29  # of decoded photos that are kept; beyond, they are decoded again
FLOOR_PHOTOS = 300  # what `evidence.least_accuracy` looks at, to keep its time short
THUMBNAIL = 8  # its side in pixels
CARRIED = 4  # scalings with colour orders that the geometries are tried with, at most

# A preset for each scaling of keras.applications (runtime/model_file/card.py), and what it does.
SCALINGS: Mapping[str, str] = {
    "rescale": "1/255",
    "mobilenet_v2": "-1..1",
    "resnet50": "caffe: BGR, minus the means",
    "densenet121": "torch: mean and std",
    "raw": "0..255",
}
# In each row `k2l convert`'s default comes first: it represents all that tie exactly.
INTERPOLATIONS = ("pillow:nearest", "pillow:bilinear", "pillow:bicubic", "tf:bilinear")
GEOMETRIES = [
    {"interpolation": interpolation, "resize": way}
    for way in CHOICES["resize"]
    for interpolation in INTERPOLATIONS
]
UPRIGHT = Preprocessing(exif="apply")
START = {"interpolation": "pillow:bilinear", "resize": "stretch"}  # for the first try of colours


def described(steps: Preprocessing, height: int, width: int, channels: int) -> ModelCard:
    """What `runtime.image.preprocess` needs to make a tensor."""
    labels = ("unknown", "other")
    return ModelCard("unknown", labels, height, width, channels, preprocessing=steps)


class Trials:
    """What the model answers to the photos under each convention that was tried so far.

    steps: the policies on orientation, transparency and drawings.
    """

    def __init__(
        self,
        network: UnscaledNetwork,
        samples: Sequence[Sample],
        steps: Preprocessing = UPRIGHT,
    ) -> None:
        self.network, self.steps = network, steps
        self.scores: dict[Preprocessing, Floats] = {}
        self._decoded: dict[Path, Image.Image] = {}
        self._free = MEMORY_BYTES
        found = progress.progress(samples, "reading photos")
        self.samples = [sample for sample in found if self._image(sample.path) is not None]

    def _image(self, path: Path) -> Image.Image | None:
        if path in self._decoded:
            return self._decoded[path]
        try:
            image = decode(path.read_bytes(), self.steps, self.network.channels, MAX_PIXELS)
        except (ClassifierError, OSError):
            return None
        self._free -= image.width * image.height * self.network.channels
        if self._free > 0:
            self._decoded[path] = image
        return image

    def read(self, sample: Sample) -> Image.Image:
        """A photo that could be read before."""
        image = self._image(sample.path)
        if image is None:
            raise ConvertError(f"{sample.path} could be read a moment ago, and cannot now")
        return image

    def colours(self) -> list[dict[str, str]]:
        """Scalings with colour orders, without those that the network's input excludes.

        A network without exactly three channels has one order, and a quantized input one scaling.
        """
        net, three = self.network, self.network.channels == 3
        found = [
            {"scaling": scaling, "color_order": order}
            for scaling in SCALINGS
            for order in (CHOICES["color_order"] if three else ("rgb",))
            if three or PRESETS[scaling] not in ("caffe", "torch")
        ]
        shape = (net.height, net.width, net.channels)
        return [x for x in found if net.fits(described(Preprocessing(**x), *shape))]

    def run(
        self, colours: Iterable[dict[str, str]], geometries: Iterable[dict[str, str]], what: str
    ) -> None:
        """Run the model under each convention that it was not yet run under."""
        pairs = itertools.product(colours, geometries)
        wanted = dict.fromkeys(replace(self.steps, **colour, **shape) for colour, shape in pairs)
        new = [steps for steps in wanted if steps not in self.scores]
        if not new:
            return
        progress.step(f"trying {len(new)} ways: {what}")
        net = self.network
        plan = [described(steps, net.height, net.width, net.channels) for steps in new]
        answers = [self._answers(s, plan) for s in progress.progress(self.samples, what)]
        for steps, column in zip(new, zip(*answers, strict=True), strict=True):
            self.scores[steps] = np.stack(column)

    def _answers(self, sample: Sample, plan: Sequence[ModelCard]) -> list[Floats]:
        """One photo under all conventions: resized once a geometry, run once a distinct tensor."""
        image, resized, tensors, keys = self.read(sample), {}, {}, []
        for card in plan:
            geometry = (card.preprocessing.interpolation, card.preprocessing.resize)
            if geometry not in resized:
                resized[geometry] = resize(image, card)
            tensor = scale(resized[geometry], card)
            keys.append(tensor.tobytes())
            tensors[keys[-1]] = tensor
        scores = dict(zip(tensors, self.network.scores(np.stack([*tensors.values()])), strict=True))
        return [scores[key] for key in keys]


def search(trials: Trials, places: dict[str, dict[str, int]]) -> Evidence:
    """Colours in one geometry, geometries in the colours that fit, colours in the best one.

    places: for each order of the labels, the output of each folder.
    """
    colours = trials.colours()
    if not colours:
        raise ConvertError(
            "no known scaling fits the scale and zero point of the model's input, which state how "
            "pixels are scaled: leave --preprocess out of `k2l convert`"
        )
    targets = {
        order: np.array([place[s.folder] for s in trials.samples], np.int64)
        for order, place in places.items()
    }
    # Any numbering of the classes will do where they only need to differ.
    classes: Ints = next(iter(targets.values()))
    some = spread(list(range(len(trials.samples))), FLOOR_PHOTOS)
    small = described(Preprocessing(**START), THUMBNAIL, THUMBNAIL, trials.network.channels)
    thumbnails = np.stack([resize(trials.read(trials.samples[index]), small) for index in some])
    floor = evidence.least_accuracy(thumbnails, classes[some])

    def found() -> Evidence:
        outcomes = [
            Outcome.of(steps, order, trials.scores[steps], own)
            for order, own in targets.items()
            for shape in GEOMETRIES
            for colour in colours
            if (steps := replace(trials.steps, **colour, **shape)) in trials.scores
        ]
        return evidence.compare(outcomes, classes, floor)

    trials.run(colours, [START], "scaling and colour order")
    for _ in range(2):
        rows = found().rows
        fits = {(r.scaling, r.color_order): r for r in rows if r.fits}
        carried = [{"scaling": x, "color_order": order} for x, order in fits][:CARRIED]
        trials.run(carried, GEOMETRIES, "interpolation and resizing")
        best = found().rows[0]
        shape = {"interpolation": best.interpolation, "resize": best.resize}
        trials.run(colours, [shape], "checking again")
    return found()


def scalings(
    *,
    model: str,
    wanted: dict[str, Any],
    card: dict[str, Any],
    photos: Sequence[str],
    targets: Sequence[int],
) -> list[dict[str, Any]]:
    """What a model answers to photos under each scaling and colour order, all else by a card.

    Runs in the sandbox. targets: each photo's label by index.

    Returns:
        An entry for each, in their order; none, where a photo cannot be read here, or no scaling
        fits the input: scaling, color_order; `chosen`: each photo's label by index; `own`: it is
        the card's; `same`: so are its scores; `loss`: the mean, at the temperature of training;
        `fitted`: at the one that suits it best; `p` and `fitted_p`: the chance that the own one
        has so much more loss, corrected for their number, `p` on the photos that not both have
        right, as being surer of what is right shows nothing; `worse`: that this one has.
    """
    network = load(Path(model), wanted)
    steps = ModelCard.from_json(card).preprocessing
    trials = Trials(network, [Sample(Path(photo), "") for photo in photos], steps)
    colours = trials.colours()
    if len(trials.samples) != len(photos) or not colours:
        return []
    shape = {"interpolation": steps.interpolation, "resize": steps.resize}
    trials.run(colours, [shape], "scaling and colour order")
    truth, scores = np.array(targets, np.int64), list(trials.scores.values())
    found = [Outcome.of(way, "given", x, truth) for way, x in trials.scores.items()]
    kinds = [(PRESETS[x["scaling"]], x["color_order"]) for x in colours]
    card_kind = (PRESETS.get(str(steps.scaling)), steps.color_order)
    own = kinds.index(card_kind) if card_kind in kinds else None
    weights, ours = evidence.class_weights(truth), found[own or 0]

    def luck(loss: Doubles, less: Doubles, counted: Bools | bool = True) -> float:
        own_loss, its_loss = (np.where(counted, each, 0.0) for each in (loss, less))
        return min(1.0, len(colours) * evidence.luck(own_loss, its_loss, truth))

    return [
        {
            **colour,
            "chosen": evidence.logits(scores[index]).argmax(axis=1).tolist(),
            "own": index == own,
            "same": own is not None and np.allclose(scores[index], scores[own], 1e-3, 1e-3),
            "loss": float(weights @ this.trained),
            "fitted": float(weights @ this.loss),
            "p": luck(ours.trained, this.trained, ~(ours.right & this.right)),
            "fitted_p": luck(ours.loss, this.loss),
            "worse": luck(this.trained, ours.trained),
        }
        for index, (colour, this) in enumerate(zip(colours, found, strict=True))
    ]
