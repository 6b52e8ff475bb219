"""Counts, and the interval around them."""

from __future__ import annotations

import numpy as np
import pytest

from keras_to_lambda.cli.evaluation import Evaluation, wilson


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_the_published_one(right, total, low, high):
    assert wilson(right, total) == pytest.approx((low, high), abs=5e-5)


@pytest.fixture
def evaluation():
    scores = np.float32([[2, 1, 0], [0, 3, 1], [5, 0, 0], [0, 1, 2], [1, 0, 2], [0, 4, 1]])
    return Evaluation.of(("a", "b", "c"), scores, np.int32([0, 0, 0, 2, 2, 1]))


def test_rows_are_the_truth_and_columns_the_prediction(evaluation):
    assert evaluation.confusion.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 2]]
    assert evaluation.photos == 6
    assert evaluation.accuracy == pytest.approx(5 / 6)
    assert evaluation.interval == pytest.approx((0.4365, 0.9699), abs=5e-5)


def test_the_commonest_confusions_are_named(evaluation):
    assert evaluation.worst() == [("a", "b", 1, 3)]
