"""python -m convert.detect: with which preprocessing was this model trained?"""

from __future__ import annotations

import os

# Before TensorFlow is imported: its start-up notes are not the user's concern.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import contextlib
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from PIL import Image

from classifier import card as cards
from classifier.card import PRESETS, ModelCard, Preprocessing
from classifier.decode import decode
from classifier.errors import ClassifierError, SetupError
from classifier.preprocess import prepare, resize, scale
from convert import conventions, labels, photos
from convert.conventions import Convention, Factor, Finding, Floats, Ints
from convert.errors import ConvertError

NAMED, OPEN, BAD_INPUT = 0, 1, 2
MAX_PIXELS = 100_000_000  # of one photo: what a large camera takes, not a decompression bomb
MEMORY_BYTES = 1 << 29  # of decoded photos that are kept; beyond, they are decoded again
FLOOR_PHOTOS = 300  # what `conventions.floor` looks at, to keep its time short
SHOWN = 10  # rows of the table
START = ("pillow:bilinear", "stretch")  # the geometry in which the colours are tried first
CARRIED = 4  # scalings with colour orders that the geometries are tried with, at most
EPILOG = """\
examples:
  python -m convert.detect cats.h5 --samples photos
      photos/ has a folder for each class, and the model's outputs are in their alphabetical order,
      as keras.utils.image_dataset_from_directory makes them
  python -m convert.detect net.keras --samples photos --labels labels.txt
      the order of the outputs is the file's, or alphabetical: both are tried; the folders may be
      some of the labels
  python -m convert.detect someone.tflite --samples photos --labels l.txt --max-samples 1000 --json
      more photos tell more apart; the finding as JSON

What was found is printed as options for `python -m convert`. Photos that the model was trained on
tell the most, others less, so that more of them are needed: --max-samples.

exit status:
  0  found: scaling and colour order at least
  1  the evidence does not suffice; what would help is printed
  2  the model, the labels, the samples or an option is wrong
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m convert.detect",
        description="Find out with which preprocessing an image classifier was trained: try what "
        "people use on photos whose class is known, and say which fits, or that the photos do not "
        "tell.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "model", type=Path, metavar="MODEL", help=".keras, .h5, a SavedModel folder, or a .tflite"
    )
    p.add_argument(
        "--samples",
        type=Path,
        required=True,
        metavar="DIR",
        help="photos in folders named after their class",
    )
    p.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="a label a line, in the output's order (default: the folders, alphabetically)",
    )
    p.add_argument("--size", metavar="HxW", help="input size, where the model leaves it open")
    p.add_argument(
        "--max-samples",
        type=int,
        default=200,
        metavar="N",
        help="photos looked at, evenly from all classes (default: 200)",
    )
    p.add_argument(
        "--exhaustive",
        action="store_true",
        help="try all combinations, not only those of the colours that fit (slow)",
    )
    p.add_argument("--json", action="store_true", help="print the finding as JSON")
    p.add_argument("--quiet", action="store_true", help="say nothing of steps and progress")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is explained in its help."""
    args = parser().parse_args(argv)
    try:
        return _detect(args)
    except (ConvertError, SetupError) as error:
        print(f"detect: {error}", file=sys.stderr)
        return BAD_INPUT


@dataclass(frozen=True)
class Network:
    """The model under investigation: a function, and the shape of its input.

    scores: float32 (batch, height, width, channels) -> float32 (batch, classes), whatever the model
        ends in: logits, probabilities, or one sigmoid.
    """

    scores: Callable[[Floats], Floats]
    height: int
    width: int
    channels: int
    classes: int


def load(path: Path, size: tuple[int, int] | None = None) -> Network:
    """Load a model of any kind that `python -m convert` reads, or a `.tflite`.

    Raises:
        ConvertError: it cannot be loaded, or is not an image classifier of one input and output.
    """
    if not path.exists():
        raise ConvertError(f"there is no model at {path}")
    return _tflite(path, size) if path.suffix.lower() == ".tflite" else _keras(path, size)


def _keras(path: Path, size: tuple[int, int] | None) -> Network:
    import tensorflow as tf

    from convert import keras_model

    model = keras_model.load(path, keras_model.Wanted(size=size))
    shape = (model.height, model.width, model.channels)
    spec = tf.TensorSpec((None, *shape), tf.float32)
    try:
        graph = tf.function(lambda images: tf.cast(model.call(images), tf.float32))
        function = graph.get_concrete_function(spec)
        function(tf.zeros((2, *shape)))
    except (TypeError, ValueError, tf.errors.OpError):  # a SavedModel of a fixed batch
        single = model.concrete()

        def scores(batch: Floats) -> Floats:
            return np.stack([keras_model.predict(single, tensor) for tensor in batch])
    else:

        def scores(batch: Floats) -> Floats:
            return np.asarray(function(tf.constant(batch)))

    return Network(scores, *shape, model.classes)


def _tflite(path: Path, size: tuple[int, int] | None) -> Network:
    from classifier.model import Interpreter, _dequantize, _only, _quantize

    try:
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        source = _only(interpreter.get_input_details(), "input", path)
        signature = [int(n) for n in source.get("shape_signature", source["shape"])]
        if len(signature) == 4 and -1 in signature[1:3]:
            if size is None:
                raise ConvertError(f"{path} leaves its input size open: give --size HEIGHTxWIDTH")
            interpreter.resize_tensor_input(source["index"], (1, *size, signature[3]))
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ConvertError(f"the interpreter cannot load {path}: {error}") from error
    source = _only(interpreter.get_input_details(), "input", path)
    output = _only(interpreter.get_output_details(), "output", path)
    shape, outputs = ([int(n) for n in detail["shape"]] for detail in (source, output))
    if len(shape) != 4 or len(outputs) != 2 or shape[0] != 1 or shape[3] not in (1, 3, 4):
        raise ConvertError(
            f"{path} maps {tuple(shape)} to {tuple(outputs)}; an image classifier maps (1, height, "
            "width, 1, 3 or 4 channels) to (1, classes)"
        )
    if size and tuple(shape[1:3]) != size:
        raise ConvertError(
            f"{path} takes {shape[1]} x {shape[2]} pixels, not {size[0]} x {size[1]}"
        )

    def scores(batch: Floats) -> Floats:
        answers = []
        for tensor in batch:
            interpreter.set_tensor(source["index"], _quantize(tensor, source))
            interpreter.invoke()
            answers.append(_dequantize(interpreter.get_tensor(output["index"])[0], output))
        return np.stack(answers).astype(np.float32)

    return Network(scores, *shape[1:], outputs[1])


@dataclass(frozen=True, slots=True)
class Sample:
    """One photo and the folder that it is in."""

    path: Path
    folder: str


def find(folder: Path, most: int) -> list[Sample]:
    """Photos below class folders: if there are more than `most`, as many of each class as can be.

    Raises:
        ConvertError: fewer than two classes have photos.
    """
    if not folder.is_dir():
        raise ConvertError(f"there is no folder of samples at {folder}")
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = {
        name: sorted(
            p
            for p in (folder / name).rglob("*")
            if p.suffix.lower() in photos.SUFFIXES and p.is_file()
        )
        for name in names
    }
    found = {name: paths for name, paths in found.items() if paths}
    if len(found) < 2:
        raise ConvertError(
            f"{folder} has {len(found)} folders with photos; at least two are needed, each named "
            "after its class"
        )
    # Too many classes for a photo of each: evenly spread ones.
    kept = _spread(list(found), most)
    shares = _shares([len(found[name]) for name in kept], most)
    return [
        Sample(path, name)
        for name, share in zip(kept, shares, strict=True)
        for path in _spread(found[name], share)
    ]


def _spread(items: list[Any], most: int) -> list[Any]:
    if len(items) <= most:
        return items
    return [items[index * len(items) // most] for index in range(most)]


def _shares(counts: Sequence[int], most: int) -> list[int]:
    """How many to take of each class: the same of all, and what small ones leave to the others."""
    shares, left = [0] * len(counts), most
    open_classes = sorted(range(len(counts)), key=lambda index: counts[index])
    for position, index in enumerate(open_classes):
        shares[index] = min(counts[index], left // (len(counts) - position))
        left -= shares[index]
    return shares


def orders(
    folders: Sequence[str], samples_dir: Path, classes: int, given: Path | None
) -> dict[str, dict[str, int]]:
    """For each label order that is possible: the output of each folder.

    Args:
        folders: the names of all class folders.
        samples_dir: where they are, for messages.
        classes: outputs of the model; one output (a sigmoid) is two classes.
        given: the labels' file.

    Raises:
        ConvertError: folders and outputs do not match.
    """
    classes = max(classes, 2)
    if given is None:
        if len(folders) != classes:
            raise ConvertError(
                f"the model has {classes} outputs, {samples_dir} has {len(folders)} class folders: "
                "say with --labels which output is which"
            )
        return {"alphabetical": {name: index for index, name in enumerate(sorted(folders))}}
    names = labels.read(given)
    if len(names) != classes:
        raise ConvertError(
            f"{given} has {len(names)} labels, the model has {classes} outputs: give one label for "
            "each output, in the output's order"
        )
    known: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        known.setdefault(_plain(name), []).append(index)
    strangers = [folder for folder in folders if len(known.get(_plain(folder), ())) != 1]
    if strangers:
        raise ConvertError(
            f"folders of {samples_dir} that are none, or several, of the labels in {given}: "
            + ", ".join(strangers[:8])
            + (f" and {len(strangers) - 8} more" if len(strangers) > 8 else "")
        )
    place = {folder: known[_plain(folder)][0] for folder in folders}
    # Keras sorts the folders' names as they are spelled; those without a folder, the file spells.
    spelled = {place[folder]: folder for folder in folders}
    ranked = sorted(range(classes), key=lambda index: spelled.get(index, names[index]))
    alphabetical = {folder: ranked.index(index) for folder, index in place.items()}
    return {"given": place} | ({"alphabetical": alphabetical} if alphabetical != place else {})


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


class Trials:
    """What the model answers to the photos under each convention that was tried so far."""

    def __init__(
        self,
        network: Network,
        samples: Sequence[Sample],
        progress: Callable[[Iterable[Any], str], Iterable[Any]],
    ) -> None:
        self.network = network
        self._progress = progress
        self._decoded: dict[Path, Image.Image] = {}
        self._free = MEMORY_BYTES
        self.scores: dict[Convention, Floats] = {}
        self.samples = [
            s for s in progress(samples, "reading photos") if self._decode(s.path) is not None
        ]

    def _decode(self, path: Path) -> Image.Image | None:
        if path in self._decoded:
            return self._decoded[path]
        try:
            image = decode(path.read_bytes(), Preprocessing(), self.network.channels, MAX_PIXELS)
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
        network = self.network
        shape = (network.height, network.width, network.channels)
        plan = [(one, one.card(*shape)) for one in new]
        answers = [self._answers(s.path, plan) for s in self._progress(self.samples, what)]
        for one, column in zip(new, zip(*answers, strict=True), strict=True):
            self.scores[one] = np.stack(column)

    def _answers(self, path: Path, plan: Sequence[tuple[Convention, ModelCard]]) -> list[Floats]:
        """One photo under all conventions: resized once a geometry, run once a distinct tensor."""
        image = self._image(path)
        resized: dict[tuple[str, str], Floats] = {}
        tensors: list[Floats] = []
        seen: dict[bytes, int] = {}
        places = []
        for one, card in plan:
            geometry = (one.interpolation, one.resize)
            if geometry not in resized:
                resized[geometry] = resize(image, card)
            tensor = scale(resized[geometry], card)
            key = tensor.tobytes()
            if key not in seen:
                seen[key] = len(tensors)
                tensors.append(tensor)
            places.append(seen[key])
        scores = self.network.scores(np.stack(tensors))
        return [scores[place] for place in places]


class Detective:
    """The search: which conventions are tried, and what they say."""

    def __init__(self, trials: Trials, places: dict[str, dict[str, int]]) -> None:
        self._trials = trials
        self._channels = trials.network.channels
        self._targets = {
            order: np.array([place[s.folder] for s in trials.samples], np.int64)
            for order, place in places.items()
        }
        # Any numbering of the classes will do where they only need to be told apart.
        self.classes: Ints = next(iter(self._targets.values()))
        some = _spread(list(range(len(trials.samples))), FLOOR_PHOTOS)
        thumbnails = trials.thumbnails([trials.samples[index] for index in some])
        self._floor = conventions.floor(thumbnails, self.classes[some])

    def search(self, *, exhaustive: bool) -> Finding:
        """Colours in one geometry, geometries in the colours that fit, colours in the best one."""
        colours, geometries = conventions.colours(self._channels), conventions.geometries()
        if exhaustive:
            self._try(colours, geometries, "all combinations")
            return self.finding()
        self._try(colours, [START], "scaling and colour order")
        for _ in range(2):
            self._try(self._carried(), geometries, "interpolation and resizing")
            best = self.finding().best.convention
            self._try(colours, [(best.interpolation, best.resize)], "checking again")
        return self.finding()

    def _try(
        self,
        colours: Iterable[tuple[str, str]],
        geometries: Iterable[tuple[str, str]],
        what: str,
    ) -> None:
        geometries = list(geometries)
        self._trials.run([Convention(*c, *g) for c in colours for g in geometries], what)

    def _carried(self) -> list[tuple[str, str]]:
        rows = sorted(self.finding().rows, key=lambda row: row.loss)
        pairs = [(r.convention.scaling, r.convention.color_order) for r in rows if r.fits]
        return list(dict.fromkeys(pairs))[:CARRIED]

    def finding(self) -> Finding:
        """What all that was tried says."""
        colours, geometries = conventions.colours(self._channels), conventions.geometries()
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

    def shuffled(self) -> float:
        """The best accuracy if each folder could choose its output, though no two the same one.

        High where the finding is low, the model knows these classes and the labels are in another
        order.
        """
        best = 0.0
        folders = np.unique(self.classes)
        weights = conventions.class_weights(self.classes)
        for scores in self._trials.scores.values():
            chosen = conventions.logits(scores).argmax(axis=1)
            modes = [int(np.bincount(chosen[self.classes == f]).argmax()) for f in folders]
            if len(set(modes)) == len(modes):
                wanted = np.array(modes)[np.searchsorted(folders, self.classes)]
                best = max(best, float(weights @ (chosen == wanted)))
        return best


def _detect(args: argparse.Namespace) -> int:
    size = _size(args.size)
    if args.max_samples < 2:
        raise ConvertError("--max-samples must be 2 or more")
    samples = find(args.samples, args.max_samples)
    if not args.quiet:
        print(f"detect: loading {args.model.name} ...", file=sys.stderr, flush=True)
    with _hushed():
        network = load(args.model, size)
    folders = sorted(
        p.name for p in args.samples.iterdir() if p.is_dir() and not p.name.startswith(".")
    )
    places = orders(folders, args.samples, network.classes, args.labels)

    def progress(items: Iterable[Any], what: str) -> Iterable[Any]:
        from tqdm import tqdm

        off = args.quiet or not sys.stderr.isatty()
        return tqdm(items, desc=what, unit="photo", leave=False, disable=off)

    trials = Trials(network, samples, progress)
    if len({s.folder for s in trials.samples}) < 2:
        raise ConvertError(f"fewer than two folders of {args.samples} have photos that can be read")
    detective = Detective(trials, places)
    finding = detective.search(exhaustive=args.exhaustive)
    report = Report(
        finding=finding,
        model=args.model,
        photos=len(trials.samples),
        unread=len(samples) - len(trials.samples),
        classes=len({s.folder for s in trials.samples}),
        shuffled=0.0 if finding.convincing else detective.shuffled(),
        labels=args.labels,
        card=_card(args.model),
    )
    if args.json:
        print(json.dumps(report.to_json(), indent=1))
    else:
        print(report.text())
    return NAMED if finding.named else OPEN


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep the libraries' C++ chatter off the terminal; shown after all if something breaks."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log:
        saved = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield
        except (ConvertError, SetupError):
            raise
        except BaseException:
            log.seek(0)
            os.write(saved, log.read()[-4000:])
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _card(path: Path) -> ModelCard | None:
    """The card in a `.tflite`, or beside a model, if it has one: compared, and never used."""
    try:
        if path.suffix.lower() == ".tflite":
            return cards.load(path)
        aside = cards.beside(path)
        return cards.load_json(aside) if aside.exists() else None
    except SetupError:
        return None


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, x, width = text.lower().partition("x")
    if not (x and height.isdecimal() and width.isdecimal()):
        raise ConvertError(f"--size {text!r} is not HEIGHTxWIDTH, like 224x224")
    return int(height), int(width)


# The names of the factors in the report, and of their options of `python -m convert`.
TITLES = {
    "scaling": ("scaling", "--preprocess"),
    "color_order": ("colour order", "--color-order"),
    "interpolation": ("interpolation", "--interpolation"),
    "resize": ("resize", "--resize"),
    "labels": ("label order", "--labels"),
}


@dataclass(frozen=True)
class Report:
    """The finding for a person, or for a program.

    photos: how many were looked at. unread: how many could not be. classes: how many they show.
    shuffled: see `Detective.shuffled`. labels: the file. card: the model's own, if it has one.
    """

    finding: Finding
    model: Path
    photos: int
    unread: int
    classes: int
    shuffled: float
    labels: Path | None
    card: ModelCard | None

    def text(self) -> str:
        """Table, verdicts, options."""
        finding = self.finding
        head = f"{self.model.name}: {self.photos} photos of {self.classes} classes, "
        head += f"{len(finding.rows)} conventions tried"
        if self.unread:
            head += f"; {self.unread} photos could not be read"
        parts = [head, _table(finding)]
        if not finding.convincing:
            return "\n\n".join([*parts, "NOT FOUND. " + self.reason()])
        parts.append("\n".join(_verdict(factor) for factor in finding.factors if factor.tried))
        if self.card:
            parts.append(_compared(self.card, finding))
        if finding.named:
            parts.append(self._paste())
        else:
            parts.append("NOT FOUND. " + self.reason())
        return "\n\n".join(parts)

    def reason(self) -> str:
        """Why nothing is named, and what would help; empty if something is."""
        finding = self.finding
        if finding.named:
            return ""
        if finding.convincing:
            names = [
                TITLES[name][0]
                for name in ("scaling", "color_order")
                if finding.factor(name).found is None and len(finding.factor(name).tried) > 1
            ]
            return (
                f"The photos do not separate the {' and the '.join(names)}: what is listed above "
                f"fits equally. {self.photos} were looked at; more may tell (--max-samples), those "
                "that the model was trained on most of all. If the network normalizes its input "
                "by itself, no photos can."
            )
        # With very few photos, some random network has them all right: not the photos' fault.
        needed = _needed(finding, math.sqrt(1 / self.classes))
        if needed <= self.photos and finding.floor > 0.99:
            return (
                "These photos cannot show whether the model was trained: weights that nobody "
                "trained tell the classes apart as well, by brightness or colour alone. Use photos "
                "of classes that look less different, or of more classes."
            )
        if needed <= self.photos:
            needed = _needed(finding, finding.floor)
        if needed > self.photos:
            return (
                f"{self.photos} photos are not enough: even a model that is always right could "
                f"not be told from luck. {needed} or more are needed, evenly from "
                f"{'both' if self.classes == 2 else f'all {self.classes}'} classes."
            )
        best = finding.best
        text = (
            f"No convention makes the model convincingly better than an untrained one. The best "
            f"gets {best.accuracy:.1%} right, which is at least {finding.bound:.1%} after "
            f"correction for {len(finding.rows)} tries; it has to be more than {finding.floor:.1%}."
        )
        if self.shuffled > max(finding.floor, 1.2 * best.accuracy):
            return (
                f"{text} But if every folder could choose its output, {self.shuffled:.1%} would be "
                "right: the outputs seem to be in another order than "
                f"{'this file says' if self.labels else 'the folders'}; give the order of training "
                "with --labels."
            )
        return (
            f"{text} If it was trained: on these classes, in this order (--labels)? With a "
            "preprocessing that is not among the ones tried? More photos help if it is only weak."
        )

    def options(self) -> list[str]:
        """For `python -m convert`; empty if nothing is named."""
        if not self.finding.named:
            return []
        best, result = self.finding.best.convention, []
        for name, (_, option) in TITLES.items():
            if name != "labels":
                value = getattr(best, name)
                result += [option, value]
        return result

    def _paste(self) -> str:
        options = " ".join(self.options())
        lines = ["FOUND. Options for `python -m convert`:", f"  {options}"]
        for factor in self.finding.factors:
            if factor.name != "labels" and len(factor.fitting) > 1:
                title, option = TITLES[factor.name]
                lines.append(
                    f"  the {title} is open: {option} may as well be "
                    + " or ".join(factor.fitting[1:])
                )
        order = self.finding.best.convention.labels
        if order == "given":
            lines.append(f"  --labels {self.labels}")
        elif self.labels:
            lines.append(
                f"  --labels: not as {self.labels.name} orders them, but sorted alphabetically"
            )
        else:
            lines.append("  --labels: a file with the folders' names, sorted alphabetically")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        finding = self.finding
        return {
            "model": str(self.model),
            "named": finding.named,
            "reason": self.reason(),
            "photos": self.photos,
            "photos_unread": self.unread,
            "classes": self.classes,
            "accuracy_at_least": finding.bound,
            "accuracy_floor": finding.floor,
            "factors": {
                factor.name: {
                    "found": factor.found if finding.convincing else None,
                    "p": factor.p,
                    "tried": factor.tried,
                    "fitting": factor.fitting if finding.convincing else factor.tried,
                }
                for factor in finding.factors
            },
            "options": self.options(),
            "conventions": [
                {
                    **asdict(row.convention),
                    "accuracy": row.accuracy,
                    "interval_95": [row.low, row.high],
                    "loss": row.loss,
                    "p": row.p,
                    "p_mcnemar": row.mcnemar,
                }
                for row in finding.rows
            ],
        }


def _needed(finding: Finding, floor: float) -> int:
    """How many photos a faultless model needs to get beyond a floor."""
    # Wilson's lower bound of n right out of n is n / (n + z * z).
    z = NormalDist().inv_cdf(1 - conventions.ALPHA / len(finding.rows) / 2)
    return math.floor(z * z * floor / (1 - floor)) + 1


def _table(finding: Finding) -> str:
    several = len(finding.factor("labels").tried) > 1
    head = ["accuracy", "95 % interval", "McNemar", "loss", "p"]
    head += ["scaling", "order", "interpolation", "resize", *(["labels"] if several else [])]
    rows = [head]
    for row in finding.rows[:SHOWN]:
        one = row.convention
        rows.append(
            [
                f"{row.accuracy:.1%}",
                f"{row.low:.1%} .. {row.high:.1%}",
                "" if row is finding.best else _p(row.mcnemar),
                f"{row.loss:.3f}",
                "best" if row is finding.best else "fits" if row.fits else _p(row.p),
                one.scaling,
                one.color_order,
                one.interpolation,
                one.resize,
                *([one.labels] if several else []),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if column < 5 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    if len(finding.rows) > SHOWN:
        lines.append(f"  and {len(finding.rows) - SHOWN} more")
    return "\n".join(lines)


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 0.001 else "< 0.001"


def _verdict(factor: Factor) -> str:
    title = f"{TITLES[factor.name][0]}:".ljust(15)
    shown = [_shown(factor.name, value) for value in factor.fitting]
    if len(factor.tried) == 1:
        return f"{title} {shown[0]} (nothing else was tried)"
    if factor.found is None:
        return f"{title} not separated: {', '.join(shown)} fit equally"
    rival = factor.rival
    evidence = ""
    if rival is not None:
        value = _shown(factor.name, getattr(rival.convention, factor.name))
        p = "p < 0.001" if factor.p < 0.001 else f"p at most {_p(factor.p)}"
        evidence = f" (best rival {value}: {rival.accuracy:.1%}; {p})"
    return f"{title} {shown[0]}{evidence}"


def _shown(name: str, value: str) -> str:
    return f"{value} [{conventions.SCALINGS[value]}]" if name == "scaling" else value


def _compared(card: ModelCard, finding: Finding) -> str:
    """Whether the model's own card agrees; it was not looked at before."""
    apart = []
    for factor in finding.factors:
        if factor.name == "labels" or len(factor.tried) == 1:
            continue
        says = getattr(card.preprocessing, factor.name)
        if factor.name == "scaling":
            said = PRESETS.get(says) if isinstance(says, str) else None
            agrees = said in {PRESETS[value] for value in factor.fitting}
        else:
            agrees = says in factor.fitting
        if not agrees:
            apart.append(f"{TITLES[factor.name][0]} {says}")
    if apart:
        return f"The model's card says otherwise: {', '.join(apart)}."
    return "The model's card agrees."


if __name__ == "__main__":
    sys.exit(main())
