"""The learning rate and the end of a phase, against Keras' own schedules and callbacks."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_to_lambda.train import schedule


@pytest.mark.parametrize(("warmup", "steps"), [(0, 40), (7, 40), (3, 5)])
def test_cosine_is_kerass(warmup, steps):
    theirs = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else 0.01,
        warmup_target=0.01 if warmup else None,
        warmup_steps=warmup,
        decay_steps=steps - warmup,
    )
    for step in range(steps):
        mine = schedule.rate("cosine", 0.01, step, warmup=warmup, steps=steps)
        assert mine == pytest.approx(float(theirs(step)), rel=1e-5, abs=1e-9)


def test_exponential_is_kerass():
    theirs = keras.optimizers.schedules.ExponentialDecay(0.01, 30, 0.01)
    for step in range(30):
        mine = schedule.rate("exponential", 0.01, step, warmup=0, steps=30)
        assert mine == pytest.approx(float(theirs(step)), rel=1e-5)


def test_constant_is_constant_after_the_warm_up():
    rates = [schedule.rate("constant", 0.5, step, warmup=2, steps=9) for step in range(9)]
    assert rates == [0.0, 0.25] + [0.5] * 7


def callback(made, losses, optimizer_rate=1.0):
    """What Keras' callback does to a model, told these losses one by one."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(optimizer_rate), "mse")
    made.set_model(model)
    made.on_train_begin()
    seen = []
    for epoch, loss in enumerate(losses):
        made.on_epoch_end(epoch, {"val_loss": loss})
        seen.append((float(model.optimizer.learning_rate), bool(model.stop_training)))
    return seen


@pytest.mark.parametrize("seed", range(8))
def test_plateaus_are_those_of_reduce_lr_on_plateau(seed):
    losses = losses_of(seed)
    made = keras.callbacks.ReduceLROnPlateau(
        factor=schedule.FACTOR, patience=schedule.WAIT, min_delta=schedule.DELTA
    )
    theirs = callback(made, losses)
    for epoch, (rate, _) in enumerate(theirs):
        mine = schedule.rate("plateau", 1.0, 0, warmup=0, steps=1, losses=losses[: epoch + 1])
        assert mine == pytest.approx(rate, rel=1e-5)
    assert theirs[-1][0] < 1  # it was reduced at least once


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("patience", [1, 2, 4])
def test_a_phase_ends_where_early_stopping_ends_it(seed, patience):
    losses = losses_of(seed)
    theirs = callback(keras.callbacks.EarlyStopping(patience=patience), losses)
    first = next((epoch for epoch, (_, stopped) in enumerate(theirs) if stopped), None)
    mine = [schedule.exhausted(losses[: n + 1], patience) for n in range(len(losses))]
    assert (mine.index(True) if True in mine else None) == first
    assert first is not None


def test_without_patience_a_phase_never_ends_early():
    assert not schedule.exhausted([1.0, 2.0, 3.0], 0)
    assert not schedule.exhausted([], 3)


def losses_of(seed):
    """Falling, then rising, with noise; some twice."""
    rng = np.random.default_rng(seed)
    falling = np.concatenate([np.linspace(1, 0.4, 8), np.linspace(0.4, 0.7, 16)])
    return [round(float(v), 2) for v in falling + rng.normal(0, 0.05, 24)]
