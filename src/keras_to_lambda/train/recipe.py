"""Recipe: all that decides a training run, besides the data.

PHOTOS made the clothing model, DIGITS that of the digits; TRANSFER starts from a trained network.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Small crops first: a 96-pixel epoch costs a third of a 160-pixel one, and most of what there is to
# learn is learnt there (progressive resizing, as in EfficientNetV2, https://arxiv.org/abs/2104.00298).
# The last stage sees the served resolution, and fewer blends: pictures as they are served.
# Share of the final size, share of the epochs, share of blended crops.
STAGES = ((0.6, 0.42, 0.5), (0.8, 0.38, 0.5), (1.0, 0.20, 0.2))
ALL = -1  # every layer is trained


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far training crops may be from the pictures they are of.

    zoom: share of the picture's side that is seen; above 1, its border is mirrored.
    stretch: of the aspect ratio, either way, as a natural logarithm.
    rotation: radians, either way.
    shear: either way. shift: beyond what the zoom leaves, of the picture's side.
    mirror: whether half of the crops are mirrored (a flip, left to right).
    brightness: added, either way, to -1..1. contrast: a factor of 1 less to 1 more than this.
    saturation: a factor, lowest and highest; 0 is grey. hue: standard deviation, radians.
        These two are for three channels.
    erased: share of crops with a grey box (cutout).
    """

    zoom: tuple[float, float] = (0.6, 1.1)
    stretch: float = 0.15  # clothes are photographed tall and wide
    rotation: float = math.radians(18)
    shear: float = 0.12
    shift: float = 0.05
    mirror: bool = True
    brightness: float = 0.35
    contrast: float = 0.4
    saturation: tuple[float, float] = (0.0, 1.6)
    hue: float = 0.5  # a shirt is a shirt in any colour
    erased: float = 0.5


# By the names that the command line and the search know.
AUGMENTATIONS = {
    "none": Augmentation(
        (1.0, 1.0), 0.0, 0.0, 0.0, 0.0, False, 0.0, 0.0, (1.0, 1.0), 0.0, 0.0,
    ),
    "light": Augmentation(
        (0.85, 1.05), 0.05, math.radians(8), 0.05, 0.02, True, 0.1, 0.1, (0.8, 1.2), 0.05, 0.0,
    ),
    "strong": Augmentation(),
    # A digit that is mirrored, lies on its side or lacks a part is no digit, or another one.
    "digits": Augmentation(
        (0.85, 1.15), 0.12, math.radians(14), 0.2, 0.05, False, 0.0, 0.0, (1.0, 1.0), 0.0, 0.0,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Residual:
    """A small residual net from random weights.

    stem: channels of the first convolution, strides: its.
    widths, blocks: channels and residual blocks of each stage; each halves the resolution.
    """

    stem: int = 32
    strides: int = 2
    widths: tuple[int, ...] = (32, 64, 128, 176)
    blocks: tuple[int, ...] = (1, 2, 2, 1)


@dataclass(frozen=True, slots=True)
class Perceptron:
    """Fully connected layers on the pixels. widths: of the layers, the labels' left out."""

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
class Head:
    """What stands between a network's features and the logits.

    inner: widths of fully connected layers with ReLU. dropout: share, before each and the logits.
    pooling: of the feature maps: avg or max.
    """

    inner: tuple[int, ...] = ()
    dropout: float = 0.0
    pooling: str = "avg"


@dataclass(frozen=True, slots=True)
class Stage:
    """Consecutive epochs at one resolution.

    size: height and width of the training crops, pixels.
    epochs: how many.
    mix: the share of crops that are blended with another one (mixup, cutmix).
    """

    size: int
    epochs: int
    mix: float


@dataclass(frozen=True, slots=True)
class Phase:
    """Epochs with one optimizer and one set of trained layers.

    name: for people.
    size: height and width of the network's input, pixels.
    learning_rate: the highest.
    layers: how many of the backbone's last layers are trained; 0: the head alone, ALL: every one.
    stages: of its epochs, in order; the last is at `size`.
    """

    name: str
    size: int
    learning_rate: float
    layers: int
    stages: tuple[Stage, ...]

    @property
    def epochs(self) -> int:
        """Of all its stages."""
        return sum(stage.epochs for stage in self.stages)

    def stage(self, epoch: int) -> Stage:
        """Which one an epoch, counted from 0, belongs to."""
        for stage in self.stages:
            if epoch < stage.epochs:
                return stage
            epoch -= stage.epochs
        raise IndexError(epoch)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run is made with; together with the data and the seed it is all there is to it.

    network: what is trained; head: on top of it.
    size: height and width of the network's input, pixels.
    channels: 3 RGB, 1 grey. scaling: of pixels, by card.PRESETS. resize: to a square, by
        card.CHOICES.
    epochs: passes over the training pictures, over all stages; of a trained backbone: with its
        layers frozen.
    fine_tune_layers: of a trained backbone, how many of its last layers are then trained as well,
        its batch normalizations excepted; 0: none, ALL: every one. fine_tune_epochs: for how
        long, fine_tune_rate: with which learning rate.
    enlarge: a larger size, to which the weights are then carried over; 0: none. enlarge_epochs: of
        training there, as in fine tuning.
    views: augmented crops of each picture, of which a frozen backbone's features are computed once;
        epochs take them in turn.
    batch_size: crops a step.
    optimizer: adam or adamw. learning_rate: the highest. schedule: of it, see `schedule`.
    weight_decay: AdamW's, on kernels only.
    warmup_epochs: at most; a tenth of a shorter phase.
    label_smoothing: probability spread evenly over all labels.
    balance: classes weigh (pictures of the class) ** -balance: 0 as they are, 1 all the same.
    average_decay: of the exponential moving average of the weights, a step; the average is what is
        evaluated and saved. 0: no average.
    keep: which epoch's weights a phase ends with: its last, or the best on validation.
    patience: epochs without a lower validation loss after which a phase ends; 0: it never does.
    precision: float32, mixed_bfloat16 or mixed_float16; the saved model is float32.
    stages: share of the size, share of the epochs, share of blended crops; of a network from
        random weights. mix: share of blended crops otherwise.
    augmentation: as its class says.
    seed: of the initial weights, the order of the pictures, the augmentation, and of what is set
        aside if the data comes without a split.
    """

    network: Residual | Perceptron | Backbone = Residual()
    head: Head = Head()
    size: int = 160
    channels: int = 3
    scaling: str = "mobilenet_v2"
    resize: str = "stretch"
    epochs: int = 220
    fine_tune_layers: int = 0
    fine_tune_epochs: int = 0
    fine_tune_rate: float = 1e-4
    enlarge: int = 0
    enlarge_epochs: int = 0
    views: int = 0
    batch_size: int = 64
    optimizer: str = "adamw"
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    weight_decay: float = 0.05
    warmup_epochs: float = 5
    label_smoothing: float = 0.1
    balance: float = 0.5
    average_decay: float = 0.998
    keep: str = "last"
    patience: int = 0
    precision: str = "float32"
    stages: tuple[tuple[float, float, float], ...] = STAGES
    mix: float = 0.0
    augmentation: Augmentation = Augmentation()
    seed: int = 1

    @property
    def pretrained(self) -> bool:
        """Whether the network starts from trained weights."""
        return isinstance(self.network, Backbone) and self.network.weights is not None

    @property
    def served_size(self) -> int:
        """Height and width of the saved model's input, pixels."""
        return self.enlarge or self.size

    def phases(self) -> tuple[Phase, ...]:
        """What is done, in order."""
        if not self.pretrained:
            return (Phase("training", self.size, self.learning_rate, ALL, self._progressive()),)

        def phase(name: str, size: int, rate: float, layers: int, epochs: int) -> Phase:
            return Phase(name, size, rate, layers, (Stage(size, epochs, self.mix),))

        tuned = self.fine_tune_layers
        phases = [phase("head", self.size, self.learning_rate, 0, self.epochs)]
        if tuned and self.fine_tune_epochs:
            phases.append(
                phase("fine-tuning", self.size, self.fine_tune_rate, tuned, self.fine_tune_epochs)
            )
        if self.enlarge:
            rate = self.fine_tune_rate if tuned else self.learning_rate
            phases.append(phase("larger", self.enlarge, rate, tuned, max(1, self.enlarge_epochs)))
        return tuple(phases)

    def _progressive(self) -> tuple[Stage, ...]:
        stages: list[Stage] = []
        done = 0.0
        for share_of_size, share_of_epochs, mix in self.stages:
            start = round(done * self.epochs)
            done += share_of_epochs
            epochs = round(done * self.epochs) - start
            # Networks halve the resolution five times: multiples of 32 waste no border.
            size = max(32, round(share_of_size * self.size / 32) * 32)
            if epochs:
                size = self.size if share_of_size == 1 else min(size, self.size)
                stages.append(Stage(size, epochs, mix))
        return tuple(stages)

    def to_json(self) -> dict[str, Any]:
        """As a record shows it: file names without their folders, which are of one machine."""
        record = dataclasses.asdict(self)
        record["network"]["kind"] = type(self.network).__name__.lower()
        if record["network"].get("weights"):
            record["network"]["weights"] = Path(record["network"]["weights"]).name
        return record


ONE_SIZE = ((1.0, 1.0, 0.0),)
PHOTOS = Recipe()
DIGITS = Recipe(
    network=Residual(stem=16, strides=1, widths=(16, 32, 64), blocks=(1, 1, 1)),
    size=28,
    channels=1,
    epochs=40,
    weight_decay=0.02,
    label_smoothing=0.05,
    balance=0.0,
    stages=ONE_SIZE,
    augmentation=AUGMENTATIONS["digits"],
)
# Colour pictures of 32 x 32, CIFAR's.
SMALL = dataclasses.replace(
    PHOTOS,
    network=Residual(stem=32, strides=1, widths=(32, 64, 128), blocks=(1, 1, 1)),
    size=32,
    epochs=40,
    balance=0.0,
    stages=((1.0, 0.8, 0.5), (1.0, 0.2, 0.2)),
    augmentation=dataclasses.replace(AUGMENTATIONS["light"], erased=0.5),
)
TRANSFER = Recipe(
    network=Backbone("MobileNetV2"),
    head=Head(inner=(100,), dropout=0.2),
    size=224,
    epochs=20,
    views=4,
    optimizer="adam",
    learning_rate=1e-3,
    weight_decay=0.0,
    warmup_epochs=1,
    average_decay=0.98,
    keep="best",
    augmentation=AUGMENTATIONS["light"],
)
