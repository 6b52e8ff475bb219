"""The figures of an evaluation, their intervals, the comparison of two models, and calibration."""

from __future__ import annotations

import numpy as np
import pytest

from keras_to_lambda.train.assess import calibration, metrics
from keras_to_lambda.train.assess.metrics import Predictions


def answers(scores, targets, output="logits", labels=None):
    scores = np.array(scores, np.float32)
    names = labels or tuple(f"label {index}" for index in range(scores.shape[1]))
    return Predictions.of(tuple(names), scores, output, np.array(targets, np.int32))


def some(seed, pictures=300, labels=6, scale=1.0):
    """Answers at random, better than chance."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, labels, pictures)
    scores = random.normal(0, 1, (pictures, labels))
    scores[np.arange(pictures), targets] += 1.2
    return answers(scale * scores, targets)


# Three labels; the third is never shown, the second once taken for it.
SMALL = answers([[4, 1, 0], [3, 2, 0], [0, 5, 1], [0, 1, 2], [3, 1, 0]], [0, 0, 1, 1, 1])


def test_figures_are_those_worked_out_by_hand():
    found = metrics.figures(SMALL)
    assert found["confusion"] == [[2, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert (found["pictures"], found["right"], found["accuracy"]["value"]) == (5, 3, 0.6)
    assert (found["k"], found["top_k"]["value"]) == (2, 1.0)
    rows = [(r["label"], r["pictures"], r["predicted"], r["precision"]["value"],
             r["recall"]["value"], r["f1"]) for r in found["classes"]]  # fmt: skip
    assert rows == [
        ("label 0", 2, 3, pytest.approx(2 / 3), 1.0, pytest.approx(0.8)),
        ("label 1", 3, 1, 1.0, pytest.approx(1 / 3), pytest.approx(0.5)),
        ("label 2", 0, 1, 0.0, None, pytest.approx(0.0)),
    ]
    # Macro over the labels with pictures; weighted by them.
    assert found["averages"]["macro_recall"] == pytest.approx((1 + 1 / 3) / 2)
    assert found["averages"]["macro_f1"] == pytest.approx(0.65)
    assert found["averages"]["weighted_f1"] == pytest.approx((2 * 0.8 + 3 * 0.5) / 5)
    assert [row["label"] for row in metrics.weakest(found)] == ["label 1", "label 0"]
    assert set(found["auc"]) == set(found["ap"]) == {"label 0", "label 1", ""}
    assert found["auc"]["label 0"] == pytest.approx(5 / 6)  # one of six pairs is in the wrong order


def test_probabilities_are_taken_as_they_are_and_zero_is_only_unlikely():
    own = answers([[0.75, 0.25], [1.0, 0.0]], [0, 1], "probabilities")
    np.testing.assert_allclose(own.probabilities[0], [0.75, 0.25], rtol=1e-6)
    found = metrics.figures(own)
    assert found["log_loss"] == pytest.approx(-np.log([0.75, 1e-7]).mean(), rel=1e-4)
    # The calibration error: the mean distance of confidence and accuracy.
    assert [(row["pictures"], row["value"]) for row in found["bins"]] == [(1, 1.0), (1, 0.0)]
    assert found["ece"] == pytest.approx((0.25 + 1.0) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("first", "second", "significant"), [(5, 0, False), (6, 0, True), (15, 5, True), (14, 6, False)]
)
def test_the_interval_of_a_difference_excludes_zero_exactly_where_the_test_finds_one(
    first, second, significant
):
    total = 100
    right, wrong = [1.0, 0.0], [0.0, 1.0]
    one = [right] * (total - second) + [wrong] * second
    two = [wrong] * first + [right] * (total - first)
    found = metrics.compare(answers(one, [0] * total), answers(two, [0] * total))
    assert (found["first"], found["second"], found["neither"]) == (first, second, 0)
    assert found["difference"]["value"] == pytest.approx((first - second) / total)
    assert found["significant"] is significant
    assert (found["difference"]["low"] > 0) is significant


@pytest.mark.parametrize("factor", [0.4, 3.0])
def test_the_temperature_undoes_what_made_answers_too_sure(factor):
    random = np.random.default_rng(5)
    logits = random.normal(0, 2, (20_000, 4))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = (random.random((20_000, 1)) > shares.cumsum(axis=1)).sum(axis=1)
    own = answers(factor * logits, targets)
    assert calibration.best_temperature(own) == pytest.approx(factor, rel=0.03)


def test_the_calibration_counts_every_picture_by_confidence_and_by_class():
    first = some(1, 2000, scale=3.0)
    found = calibration.fit(first, "held-out", energies=True)
    bins = found["bins"]
    assert (bins[0]["low"], bins[-1]["high"]) == (0.0, 1.0)
    assert [row["high"] for row in bins[:-1]] == [row["low"] for row in bins[1:]]
    assert all(row["pictures"] >= calibration.PER_BIN for row in bins)
    assert sum(row["pictures"] for row in bins) == found["pictures"] == 2000
    assert sum(row["right"] for row in bins) == first.right.sum()
    classes = found["classes"]
    assert sum(row["predicted"] for row in classes.values()) == 2000
    assert sum(row["right"] for row in classes.values()) == first.right.sum()
    assert found["energy"][0] < found["energy"][1]
    assert "energy" not in calibration.fit(first, "held-out", energies=False)
