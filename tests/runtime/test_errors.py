"""The tree of errors: by meaning, with the status as an attribute of each class."""

from __future__ import annotations

import pytest

from keras_to_lambda.runtime.common import errors


@pytest.mark.parametrize(
    ("kind", "others"),
    [
        (errors.TooManyImages, errors.ImageTooLarge),
        (errors.ModelNotFound, errors.RouteNotFound),
    ],
)
def test_an_error_is_not_caught_as_one_of_another_meaning(kind, others):
    assert not issubclass(kind, others)


def test_every_error_has_the_status_and_code_that_the_tree_shows():
    shown = [f"{line} " for line in (errors.__doc__ or "").splitlines()]
    for kind in errors.every():
        [line] = [line for line in shown if f" {kind.__name__} " in line]
        assert f" {kind.status}  {kind.code} " in line
