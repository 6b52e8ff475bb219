"""Recipe: the hyper-parameters of a training run.

PHOTOS made the clothing model, DIGITS that of the digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


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


# Small crops first: a 96-pixel epoch costs a third of a 160-pixel one, and most of what there is to
# learn is learnt there (progressive resizing, as in EfficientNetV2, https://arxiv.org/abs/2104.00298).
# The last stage sees the served resolution, and fewer blends: pictures as they are served.
# Share of the final size, share of the epochs, share of blended crops.
STAGES = ((0.6, 0.42, 0.5), (0.8, 0.38, 0.5), (1.0, 0.20, 0.2))


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far training crops may be from the pictures they are of.

    zoom: share of the picture's side that is seen; above 1, its border is mirrored.
    stretch: of the aspect ratio, either way, as a natural logarithm.
    rotation: radians, either way.
    shear: either way. shift: beyond what the zoom leaves, of the picture's side.
    mirror: whether half of the crops are mirrored.
    colour: whether hue, saturation, contrast and brightness change; for three channels.
    erased: share of crops with a grey box.
    """

    zoom: tuple[float, float] = (0.6, 1.1)
    stretch: float = 0.15  # clothes are photographed tall and wide
    rotation: float = math.radians(18)
    shear: float = 0.12
    shift: float = 0.05
    mirror: bool = True
    colour: bool = True
    erased: float = 0.5


@dataclass(frozen=True, slots=True)
class Network:
    """The residual net's size.

    channels: of the input. stem: channels of the first convolution, strides: its.
    widths, blocks: channels and residual blocks of each stage; each halves the resolution.
    """

    channels: int = 3
    stem: int = 32
    strides: int = 2
    widths: tuple[int, ...] = (32, 64, 128, 176)
    blocks: tuple[int, ...] = (1, 2, 2, 1)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run is made with; together with the data and the seed it is all there is to it.

    size: height and width of the model's input, pixels; a multiple of 32.
    epochs: passes over the training photos, over all stages.
    batch_size: crops a step.
    learning_rate: the peak, of AdamW; linear warm-up, then cosine to zero.
    weight_decay: AdamW's, on kernels only.
    warmup_epochs: at most; a tenth of a shorter run.
    label_smoothing: probability spread evenly over all labels.
    balance: classes weigh (photos of the class) ** -balance: 0 as they are, 1 all the same.
    average_decay: of the exponential moving average of the weights, a step; the average is what is
        evaluated and saved.
    schedule: share of the final size, share of the epochs, share of blended crops; of each stage.
    network, augmentation: as their classes say.
    seed: of the initial weights, the order of the photos, the augmentation, and the split if the
        data comes without one.
    """

    size: int = 160
    epochs: int = 220
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_epochs: int = 5
    label_smoothing: float = 0.1
    balance: float = 0.5
    average_decay: float = 0.998
    seed: int = 1
    schedule: tuple[tuple[float, float, float], ...] = STAGES
    network: Network = Network()
    augmentation: Augmentation = Augmentation()

    def stages(self) -> tuple[Stage, ...]:
        """The stages, in order; their epochs add up to `epochs`, the last is at `size`."""
        stages: list[Stage] = []
        done = 0.0
        for share_of_size, share_of_epochs, mix in self.schedule:
            start = round(done * self.epochs)
            done += share_of_epochs
            epochs = round(done * self.epochs) - start
            # The network halves the resolution five times: multiples of 32 waste no border.
            size = max(32, round(share_of_size * self.size / 32) * 32)
            if epochs:
                stages.append(Stage(min(size, self.size), epochs, mix))
        return tuple(stages)


PHOTOS = Recipe()
# A digit that is mirrored, lies on its side or lacks a part is no digit, or another one.
DIGITS = Recipe(
    size=28,
    epochs=40,
    weight_decay=0.02,
    label_smoothing=0.05,
    balance=0.0,
    schedule=((1.0, 1.0, 0.0),),
    network=Network(channels=1, stem=16, strides=1, widths=(16, 32, 64), blocks=(1, 1, 1)),
    augmentation=Augmentation(
        zoom=(0.85, 1.15),
        stretch=0.12,
        rotation=math.radians(14),
        shear=0.2,
        mirror=False,
        colour=False,
        erased=0.0,
    ),
)
