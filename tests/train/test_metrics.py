"""The figures of an evaluation, against scikit-learn, scipy and numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn import metrics as oracle

from keras_to_lambda.train.assess import metrics
from keras_to_lambda.train.assess.metrics import Answers


def answers(scores, targets, output="logits", labels=None):
    scores = np.array(scores, np.float32)
    names = labels or tuple(f"label {index}" for index in range(scores.shape[1]))
    return Answers.of(tuple(names), scores, output, np.array(targets, np.int32))


def some(seed, pictures=300, labels=6, absent=(), never=()):
    """Answers at random, better than chance: of some labels no picture, some are never said."""
    random = np.random.default_rng(seed)
    kept = [index for index in range(labels) if index not in absent]
    targets = random.choice(kept, pictures)
    scores = random.normal(0, 1, (pictures, labels))
    scores[np.arange(pictures), targets] += 1.2
    scores[:, list(never)] -= 20
    return answers(scores, targets)


CASES = {
    "plain": {"seed": 1},
    "a label without pictures": {"seed": 2, "absent": (3,)},
    "a label never said": {"seed": 3, "never": (0,)},
    "both": {"seed": 4, "absent": (5,), "never": (5, 1)},
    "two labels": {"seed": 5, "labels": 2},
    "a hundred labels": {"seed": 6, "labels": 100, "pictures": 700},
}


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    return some(**request.param)


def test_precision_recall_and_f1_are_scikit_learns(case):
    labels = range(len(case.labels))
    precision, recall, f1, support = oracle.precision_recall_fscore_support(
        case.targets, case.predicted, labels=labels, zero_division=np.nan
    )
    found = metrics.figures(case)
    for index, row in enumerate(found.classes):
        assert row.pictures == support[index]
        assert row.predicted == np.sum(case.predicted == index)
        assert row.precision.value == (
            None if np.isnan(precision[index]) else pytest.approx(precision[index])
        )
        assert row.recall.value == (
            None if np.isnan(recall[index]) else pytest.approx(recall[index])
        )
        if row.pictures or row.predicted:
            assert row.f1.value == pytest.approx(f1[index])
            assert row.f1.low <= row.f1.value <= row.f1.high
        else:
            assert row.f1.value is None


def test_averages_are_scikit_learns_over_labels_with_pictures(case):
    shown = np.unique(case.targets)
    found = metrics.figures(case).averages
    for kind in ("macro", "weighted"):
        wanted = oracle.precision_recall_fscore_support(
            case.targets, case.predicted, labels=shown, average=kind, zero_division=0
        )[:3]
        names = [f"{kind}_{name}" for name in ("precision", "recall", "f1")]
        assert [found[name].value for name in names] == pytest.approx(wanted)
    kappa = oracle.cohen_kappa_score(case.targets, case.predicted)
    assert found["kappa"].value == pytest.approx(kappa)
    assert all(value.low <= value.value <= value.high for value in found.values())


def test_the_balanced_accuracy_is_the_macro_recall():
    case = some(8)
    wanted = oracle.balanced_accuracy_score(case.targets, case.predicted)
    assert metrics.figures(case).averages["macro_recall"].value == pytest.approx(wanted)


def test_accuracy_top_k_log_loss_and_brier_score_are_scikit_learns(case):
    labels = range(len(case.labels))
    found = metrics.figures(case, top_k=3)
    shares = softmax(case.scores.astype(np.float64), axis=1)
    assert found.accuracy.value == oracle.accuracy_score(case.targets, case.predicted)
    assert found.log_loss == pytest.approx(oracle.log_loss(case.targets, shares, labels=labels))
    once = np.eye(len(case.labels))[case.targets]
    assert found.brier == pytest.approx(np.mean(np.sum((shares - once) ** 2, axis=1)))
    k, top = found.top
    assert k == min(3, len(case.labels) - 1)
    wanted = (
        oracle.accuracy_score(case.targets, case.predicted)
        if len(case.labels) == 2
        else oracle.top_k_accuracy_score(case.targets, case.scores, k=k, labels=labels)
    )
    assert top.value == pytest.approx(wanted)


def test_areas_are_scikit_learns():
    case = some(9, labels=4)
    shares = softmax(case.scores.astype(np.float64), axis=1)
    once = np.eye(4)[case.targets]
    found = metrics.figures(case)
    for index, row in enumerate(found.classes):
        assert row.auc == pytest.approx(oracle.roc_auc_score(once[:, index], shares[:, index]))
        assert row.ap == pytest.approx(
            oracle.average_precision_score(once[:, index], shares[:, index])
        )
    curves = found.curves
    for kind, auc, ap in (
        ("macro", curves.macro_auc, curves.macro_ap),
        ("micro", curves.micro_roc.area, curves.micro_recall.area),
    ):
        assert auc == pytest.approx(oracle.roc_auc_score(once, shares, average=kind))
        assert ap == pytest.approx(oracle.average_precision_score(once, shares, average=kind))


def test_a_label_without_pictures_has_no_curve():
    found = metrics.figures(some(10, absent=(2,)))
    assert "label 2" not in found.curves.roc
    assert "label 2" not in found.curves.recall
    assert (found.classes[2].auc, found.classes[2].ap) == (None, None)
    assert found.curves.macro_auc == pytest.approx(
        np.mean([row.auc for row in found.classes if row.auc is not None])
    )


def test_pictures_of_a_single_label_have_no_area_but_all_else():
    found = metrics.figures(answers([[2, 1, 0], [1, 2, 0], [3, 1, 0]], [0, 0, 0]))
    assert found.curves.roc == {}
    assert found.curves.macro_auc is None
    assert found.accuracy.value == pytest.approx(2 / 3)
    assert found.averages["macro_recall"].value == pytest.approx(2 / 3)
    assert found.classes[1].recall.value is None
    assert found.classes[1].precision.value == 0


def test_a_curve_is_thinned_to_what_a_plot_shows_without_losing_its_course():
    case = some(11, pictures=5000, labels=3)
    curve = metrics.curves(case).micro_roc
    assert len(curve.x) <= metrics.CURVE_POINTS
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(curve.area, abs=2e-3)


@pytest.mark.parametrize(("right", "total"), [(0, 5), (3, 7), (9, 9), (327, 372)])
def test_a_shares_interval_is_wilsons(right, total):
    found = metrics.Estimate.share(right, total)
    wanted = binomtest(right, total).proportion_ci(method="wilson")
    assert found == pytest.approx((right / total, wanted.low, wanted.high), abs=1e-6)
    assert metrics.Estimate.share(0, 0) == (None, None, None)


def test_bootstrap_intervals_are_those_of_drawing_the_pictures_themselves():
    case = some(12, pictures=200, labels=4)
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(1000):
        rows = random.integers(0, len(case), len(case))
        drawn.append(
            oracle.f1_score(case.targets[rows], case.predicted[rows], average=None, labels=range(4))
        )
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    found = metrics.figures(case)
    assert [row.f1.low for row in found.classes] == pytest.approx(low, abs=0.02)
    assert [row.f1.high for row in found.classes] == pytest.approx(high, abs=0.02)
    low, high = np.percentile(np.mean(drawn, axis=1), (2.5, 97.5))
    assert found.averages["macro_f1"][1:] == pytest.approx((low, high), abs=0.01)


def test_the_seed_decides_the_bootstrap():
    case = some(13)
    again = metrics.figures(case, seed=1).averages["macro_f1"]
    assert metrics.figures(case, seed=1).averages["macro_f1"] == again
    other = metrics.figures(case, seed=2).averages["macro_f1"]
    assert other.value == again.value
    assert other != again


def test_draws_add_up_to_the_pictures():
    case = some(14, absent=(1,))
    draws = metrics.resampled(case.evaluation.confusion, seed=1, draws=50)
    assert draws.actual.shape == (50, 6)
    assert draws.actual.sum(axis=1).tolist() == [300] * 50
    assert draws.predicted.sum(axis=1).tolist() == [300] * 50
    assert draws.actual[:, 1].max() == 0
    assert (draws.right <= np.minimum(draws.actual, draws.predicted)).all()
    share = np.trace(case.evaluation.confusion) / 300
    assert draws.right.sum(axis=1).mean() / 300 == pytest.approx(share, abs=0.02)


def test_of_labels_with_the_same_score_the_first_is_the_answer():
    case = answers([[1, 1, 0], [0, 1, 1], [1, 1, 1]], [1, 1, 2])
    assert case.predicted.tolist() == [0, 1, 0]
    assert metrics.ranks(case).tolist() == [1, 0, 2]
    assert metrics.figures(case, top_k=2).top == (2, metrics.Estimate.share(2, 3))


def test_probabilities_are_taken_as_they_are_and_made_to_add_up():
    case = answers([[0.5, 0.25, 0.25], [0.0, 0.5, 0.52]], [0, 2], "probabilities")
    assert case.probabilities[0].tolist() == pytest.approx([0.5, 0.25, 0.25])
    assert case.probabilities[1].tolist() == pytest.approx([0, 0.5 / 1.02, 0.52 / 1.02], abs=1e-7)
    assert metrics.figures(case).log_loss == pytest.approx(
        -(np.log(0.5) + np.log(0.52 / 1.02)) / 2, abs=1e-6
    )


def test_a_probability_of_zero_for_the_true_label_costs_much_but_not_everything():
    case = answers([[1.0, 0.0]], [1], "probabilities")
    wanted = oracle.log_loss([1], [[1.0, 0.0]], labels=[0, 1])
    assert metrics.figures(case).log_loss == pytest.approx(wanted, rel=1e-3)


def test_calibration_is_what_one_computes_by_hand():
    # Confidences 0.9, 0.9 and 0.7, of which the second is wrong: bins 13 and 10, counted from 0.
    case = answers([[0.9, 0.1], [0.1, 0.9], [0.7, 0.3]], [0, 0, 0], "probabilities")
    found = metrics.calibration(case)
    filled = {index: row for index, row in enumerate(found.bins) if row.pictures}
    assert {index: row.pictures for index, row in filled.items()} == {10: 1, 13: 2}
    assert filled[13].confidence == pytest.approx(0.9)
    assert filled[13].accuracy == metrics.Estimate.share(1, 2)
    assert (filled[13].low, filled[13].high) == pytest.approx((13 / 15, 14 / 15))
    assert found.ece == pytest.approx(2 / 3 * 0.4 + 1 / 3 * 0.3)


@pytest.mark.parametrize("wrong_by", [0.4, 1.0, 3.0])
def test_the_best_temperature_undoes_what_made_answers_too_sure(wrong_by):
    random = np.random.default_rng(15)
    logits = random.normal(0, 2, (20_000, 4))
    shares = softmax(logits, axis=1)
    targets = (shares.cumsum(axis=1) < random.random((20_000, 1))).sum(axis=1)
    found = metrics.calibration(answers(logits * wrong_by, targets))
    assert found.temperature == pytest.approx(wrong_by, rel=0.03)
    assert found.ece_then < 0.02
    assert found.log_loss_then == pytest.approx(oracle.log_loss(targets, shares), abs=1e-3)


def test_where_all_is_right_no_temperature_is_best():
    found = metrics.calibration(answers([[3, 0], [0, 3]], [0, 1]))
    assert (found.temperature, found.log_loss_then, found.ece_then) == (None, None, None)


def test_the_worst_labels_are_those_with_pictures_and_the_lowest_f1():
    case = answers(
        [[2, 0, 0, 0], [2, 0, 0, 0], [0, 2, 0, 0], [2, 0, 0, 0], [0, 0, 0, 2]], [0, 0, 1, 1, 2]
    )
    assert [row.label for row in metrics.figures(case).worst()] == ["label 2", "label 1", "label 0"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mcnemars_p_is_scipys_and_counts_add_up(seed):
    first = some(seed, pictures=120)
    second = some(seed, pictures=120)
    random = np.random.default_rng(seed)
    noisy = second.scores + random.normal(0, 1.0, second.scores.shape)
    second = answers(noisy, second.targets)
    found = metrics.compare(first, second)
    right = [first.predicted == first.targets, second.predicted == first.targets]
    only = [int((a & ~b).sum()) for a, b in (right, right[::-1])]
    assert (found.first, found.second) == tuple(only)
    assert found.both + found.first + found.second + found.neither == 120
    assert found.p == pytest.approx(binomtest(only[0], sum(only), 0.5).pvalue)
    assert found.significant == (found.p < 0.05)
    assert found.difference.value == pytest.approx(right[0].mean() - right[1].mean())
    assert found.difference.low <= found.difference.value <= found.difference.high
    wanted = oracle.confusion_matrix(first.targets, first.predicted, labels=range(6))
    wanted -= oracle.confusion_matrix(first.targets, second.predicted, labels=range(6))
    assert found.change.tolist() == wanted.tolist()


def test_a_model_does_not_differ_from_itself():
    case = some(16)
    found = metrics.compare(case, case)
    assert (found.first, found.second, found.p) == (0, 0, 1.0)
    assert found.difference == (0.0, 0.0, 0.0)
    assert not found.change.any()
    assert len(found.order) == 0


def test_models_with_other_orders_of_labels_are_compared_by_name():
    # The second knows "d" as well, and has its labels in another order.
    first = answers([[3, 0, 0], [3, 0, 0], [0, 0, 3]], [0, 1, 2], labels=("a", "b", "c"))
    second = answers(
        [[0, 0, 0, 3], [0, 0, 3, 0], [0, 9, 0, 0]], [3, 2, 0], labels=("c", "d", "b", "a")
    )
    found = metrics.compare(first, second)
    assert found.labels == ("a", "b", "c", "d")
    assert (found.both, found.first, found.second, found.neither) == (1, 1, 1, 0)
    assert found.change.tolist() == [[0, 0, 0, 0], [1, -1, 0, 0], [0, 0, 1, -1], [0, 0, 0, 0]]
    # The second is surer of its mistake on the last picture.
    assert found.order.tolist() == [2, 1]
