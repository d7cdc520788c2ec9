"""A difference: equal infinities are none, NaN always is, and the bound is for the rest."""

import numpy as np
import pytest

from backproplab.harness.compare import Difference, everywhere, largest

BOUND = np.full(3, 0.5)


@pytest.mark.parametrize(
    ("got", "exact", "wrong", "undefined"),
    [
        ([1.0, 2.0, 3.0], [1.25, 2.0, 4.0], [0, 0, 1], [0, 0, 0]),
        ([np.inf, 2.0, 3.0], [np.inf, 2.0, 3.0], [0, 0, 0], [0, 0, 0]),
        ([np.inf, np.nan, 3.0], [1.0, 2.0, 4.0], [1, 1, 1], [0, 0, 0]),
        ([1.0, 2.0, 3.0], [np.nan, -np.inf, 3.0], [0, 1, 0], [1, 1, 0]),
    ],
    ids=["numbers", "equal infinities", "no number", "none to compare with"],
)
def test_what_is_wrong(got, exact, wrong, undefined):
    """And about what the oracle says nothing, entry by entry."""
    d = Difference(np.array(got), np.array(exact), BOUND)
    assert d.wrong.tolist() == [bool(w) for w in wrong]
    assert d.undefined.tolist() == [bool(u) for u in undefined]


def test_the_worst():
    """In units of the bound; what is no number is worse than any; among none there is none."""
    worst = lambda got, exact, bound: Difference(np.array(got), np.array(exact), np.array(bound)).worst
    assert worst([1.0, 2.0, 3.0], [1.5, 2.5, 3.1], [1.0, 0.1, 1.0]) == (1,)
    assert worst([1.0, 2.0, np.nan], [1.5, 9e9, 3.1], [1.0, 0.0, 1.0]) == (2,)
    assert worst([1.0, 1e-300], [1.0, 0.0], [0.0, 0.0]) == (1,)
    assert worst([], [], []) == ()


@pytest.mark.parametrize("got", [[1.0, 2.5, 3.0], [1.0, 2.0, np.inf], [np.nan, 2.0, 3.0], [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("bound", [0.0, 0.25, 1.0])
def test_one_bound_for_all(got, bound):
    """Judges as the same number at every entry does."""
    got, exact = np.array(got), np.array([1.0, 2.0, 3.0])
    each, one = Difference(got, exact, np.full(3, bound)), Difference(got, exact, everywhere(bound, exact))
    assert one.any_wrong == each.wrong.any() == each.any_wrong
    assert one.any_undefined == each.undefined.any()
    assert one.resolves == each.resolves
    if each.any_wrong:
        assert one.worst == each.worst


def test_another_bound_leaves_the_rest():
    """The error is that of the numbers."""
    d = Difference(np.array([1.0, np.nan]), np.array([2.0, 1.0]), np.zeros(2), floor=8.0)
    assert d.scale == 8 and d.error[0] == 1
    wider = d.with_bound(np.full(2, 2.0))
    assert wider.wrong.tolist() == [False, True] and wider.scale == 8 and wider.resolves == 0.25


@pytest.mark.parametrize(
    ("numbers", "most"),
    [([1.0, -3.0], 3), ([np.inf, -2.0, np.nan], 2), ([], 0), ([3 - 4j], 5), (np.array([-128, 5], np.int8), 128), ([True, False], 1)],
)  # fmt: skip
def test_the_largest(numbers, most):
    """Of the finite ones, whatever their type."""
    assert largest([np.asarray(numbers), np.zeros(2)]) == most
