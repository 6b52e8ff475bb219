"""Recipe: the hyper-parameters of a training run. The defaults are those of the clothing model."""

from __future__ import annotations

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

    def stages(self) -> tuple[Stage, ...]:
        """The stages, in order; their epochs add up to `epochs`, the last is at `size`."""
        stages: list[Stage] = []
        done = 0.0
        for share_of_size, share_of_epochs, mix in STAGES:
            start = round(done * self.epochs)
            done += share_of_epochs
            epochs = round(done * self.epochs) - start
            # The network halves the resolution five times: multiples of 32 waste no border.
            size = max(32, round(share_of_size * self.size / 32) * 32)
            if epochs:
                stages.append(Stage(min(size, self.size), epochs, mix))
        return tuple(stages)
