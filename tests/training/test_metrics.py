"""The measures, against scikit-learn's."""

import math

import numpy as np
import pytest

from backproplab.training.metrics import accuracy, exact_match, r_squared


def test_measures_are_scikit_learns():
    """The same numbers as the library everybody compares with, up to a rounding in float64."""
    measures = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    labels, guesses = generator.integers(0, 3, (2, 50))
    target, predicted = generator.normal(size=(2, 50))
    many, guessed = generator.integers(0, 2, (2, 50, 3))
    assert accuracy(guesses, labels) == pytest.approx(measures.accuracy_score(labels, guesses), rel=1e-15)
    assert exact_match(guessed, many) == pytest.approx(measures.accuracy_score(many, guessed), rel=1e-15)
    assert r_squared(predicted, target) == pytest.approx(measures.r2_score(target, predicted), rel=1e-13)


def test_r_squared_at_its_landmarks():
    """1 for a perfect prediction, 0 for the mean, no number for a target that does not vary."""
    target = np.array([1.0, 2.0, 6.0])
    assert r_squared(target, target) == 1
    assert r_squared(np.full(3, 3.0), target) == 0
    assert math.isnan(r_squared(target, np.ones(3)))


@pytest.mark.parametrize("measure", [accuracy, exact_match, r_squared])
def test_a_column_is_not_compared_with_a_row(measure):
    """Broadcasting (rows, 1) against (rows,) would compare everything with everything."""
    with pytest.raises(ValueError, match="do not fit"):
        measure(np.zeros((5, 1)), np.zeros(5))
