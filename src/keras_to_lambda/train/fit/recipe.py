"""Recipe: everything that decides a training run, besides the data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_to_lambda.train.data.dataset import SEED

ALL = -1  # every layer is trained


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Ranges of the augmentation; recipe_options.py explains each."""

    flip: str = "horizontal"
    rotation: float = 18.0
    shift: float = 0.05
    shear: float = 0.12
    stretch: float = 0.15
    zoom: tuple[float, float] = (0.6, 1.1)
    brightness: float = 0.17
    contrast: float = 0.4
    saturation: tuple[float, float] = (0.15, 0.62)
    hue: float = 0.3
    cutout: float = 0.5
    mixup: float = 0.5


_NONE = Augmentation("none", 0, 0, 0, 0, (1.0, 1.0), 0, 0, (0.5, 0.5), 0, 0, 0)
AUGMENTATIONS = {
    "none": _NONE,
    "light": Augmentation(
        "horizontal", 8, 0.02, 0.05, 0.05, (0.85, 1.05), 0.05, 0.1, (0.5, 0.5), 0, 0, 0
    ),
    "strong": Augmentation(),
    # A mirrored digit, or one without a part, is another digit or none.
    "digits": dataclasses.replace(_NONE, rotation=10, shift=0.05, stretch=0.05, zoom=(0.9, 1.1)),
}


@dataclass(frozen=True, slots=True)
class Residual:
    """A small residual net from random weights.

    stem: channels of the first convolution, strides: its strides.
    widths, blocks: channels and residual blocks of each stage; each halves the resolution.
    """

    stem: int = 32
    strides: int = 2
    widths: tuple[int, ...] = (32, 64, 128, 176)
    blocks: tuple[int, ...] = (1, 2, 2, 1)


@dataclass(frozen=True, slots=True)
class Perceptron:
    """Fully connected layers on the pixels. widths: of the layers before the labels' layer."""

    widths: tuple[int, ...] = (256, 128)


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network of keras.applications, without its classifier.

    name: its function there, MobileNetV2 or another.
    weights: "imagenet", a file, or None: random ones.
    width: `alpha` of the MobileNets, the channels' factor.
    """

    name: str
    weights: str | None = "imagenet"
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class Phase:
    """One call of `fit`.

    name: for people.
    size: height and width of the network's input, pixels.
    first, last: epochs, counted over the run; the phase trains first + 1 to last.
    mix: share of pictures that are blended with another one (MixUp, CutMix).
    rate: highest learning rate.
    layers: number of the backbone's last layers that are trained; 0: the head alone, ALL: all.
    """

    name: str
    size: int
    first: int
    last: int
    mix: float
    rate: float
    layers: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """All choices of a run; recipe_options.py explains those that have an option.

    scaling: of pixels, by card.PRESETS.
    fine_tune: the number of a trained backbone's last layers; 0: none, ALL: all.
    margin: how much larger than the input the stored training pictures are, of which crops are
        taken: at a close zoom, the pixels are then the picture's, not enlarged ones.
    enlarge: a larger size, to which the weights are then carried over; 0: none.
    views: augmented copies of each picture, of which a frozen network's features are computed.
    warmup_epochs: at most; a tenth of a shorter phase.
    average_decay: of the exponential moving average of the weights, per step; the average is
        evaluated and saved.
    keep: the epoch whose weights a phase ends with: last, or best (validation accuracy).
    stages: of a network from random weights: share of the size, of the epochs, and of mixup.
    """

    network: Residual | Perceptron | Backbone = Residual()
    inner: tuple[int, ...] = ()
    dropout: float = 0.0
    size: int = 160
    channels: int = 3
    scaling: str = "mobilenet_v2"
    margin: float = 1.25
    epochs: int = 220
    fine_tune: int = 0
    fine_tune_epochs: int = 5
    fine_tune_rate: float = 1e-4
    enlarge: int = 0
    views: int = 0
    batch_size: int = 64
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    weight_decay: float = 0.05
    warmup_epochs: float = 5
    label_smoothing: float = 0.1
    balance: float = 0.5
    average_decay: float = 0.99
    keep: str = "last"
    patience: int = 0
    # Small pictures first: most is learnt there, in a third of the time (progressive resizing, as
    # in EfficientNetV2, https://arxiv.org/abs/2104.00298). The last stage has fewer blends.
    stages: tuple[tuple[float, float, float], ...] = (
        (0.6, 0.42, 1.0), (0.8, 0.38, 1.0), (1.0, 0.20, 0.4),
    )  # fmt: skip
    augmentation: Augmentation = Augmentation()
    seed: int = SEED

    @property
    def pretrained(self) -> bool:
        """Whether the network starts from trained weights."""
        return getattr(self.network, "weights", None) is not None

    @property
    def served_size(self) -> int:
        """Height and width of the saved model's input, pixels."""
        return self.enlarge or self.size

    def stored_size(self, size: int) -> int:
        """Height and width of the training pictures for a network's input, pixels."""
        return round(size * min(self.margin, max(1.0, 1 / self.augmentation.zoom[0])))

    def phases(self) -> tuple[Phase, ...]:
        """The calls of `fit`, in order."""
        if not self.pretrained:
            return self._progressive()
        tuned, later = self.fine_tune, self.fine_tune_epochs
        rate = self.fine_tune_rate if tuned else self.learning_rate
        phases: list[Phase] = []
        first = 0
        for name, size, epochs, highest, layers in (
            ("head", self.size, self.epochs, self.learning_rate, 0),
            ("fine-tuning", self.size, later * bool(tuned), rate, tuned),
            ("larger", self.enlarge, later * bool(self.enlarge), rate, tuned),
        ):
            last, mix = first + epochs, self.augmentation.mixup
            if epochs:
                phases.append(Phase(name, size, first, last, mix, highest, layers))
            first = last
        return tuple(phases)

    def _progressive(self) -> tuple[Phase, ...]:
        phases: list[Phase] = []
        done, first = 0.0, 0
        for share_of_size, share_of_epochs, share_of_mixup in self.stages:
            done += share_of_epochs
            last = round(done * self.epochs)
            # Networks halve the resolution five times: multiples of 32 waste no border.
            size = max(32, round(share_of_size * self.size / 32) * 32)
            size = self.size if share_of_size == 1 else min(size, self.size)
            if last > first:
                mix = round(share_of_mixup * self.augmentation.mixup, 4)
                rate = self.learning_rate
                phases.append(Phase(f"{size} px", size, first, last, mix, rate, ALL))
            first = last
        return tuple(phases)

    def to_json(self) -> dict[str, Any]:
        """For a record: file names without their folders, which are of one machine."""
        record = dataclasses.asdict(self)
        record["network"]["kind"] = type(self.network).__name__.lower()
        if record["network"].get("weights"):
            record["network"]["weights"] = Path(record["network"]["weights"]).name
        return record


ONE_SIZE = ((1.0, 1.0, 1.0),)
PHOTOS = Recipe()
DIGITS = Recipe(
    network=Residual(stem=16, strides=1, widths=(16, 32, 64), blocks=(1, 1, 1)),
    size=28,
    channels=1,
    margin=1.0,
    epochs=40,
    weight_decay=0.02,
    label_smoothing=0.05,
    balance=0.0,
    stages=ONE_SIZE,
    augmentation=AUGMENTATIONS["digits"],
)
# Colour pictures of 32 x 32, CIFAR's.
SMALL = Recipe(
    network=Residual(stem=32, strides=1, widths=(32, 64, 128), blocks=(1, 1, 1)),
    size=32,
    margin=1.0,
    epochs=40,
    balance=0.0,
    stages=((1.0, 0.8, 1.0), (1.0, 0.2, 0.4)),
    augmentation=dataclasses.replace(AUGMENTATIONS["light"], cutout=0.5, mixup=0.5),
)
TRANSFER = Recipe(
    network=Backbone("MobileNetV2"),
    inner=(100,),
    dropout=0.2,
    size=224,
    margin=1.0,
    epochs=20,
    views=4,
    learning_rate=1e-3,
    weight_decay=0.0,
    warmup_epochs=1,
    average_decay=0.98,
    keep="best",
    augmentation=AUGMENTATIONS["light"],
)
