"""What rules cost: one function in full, and the promises that all pages keep at sizes where costs show."""

import itertools

import pytest

from backproplab import layers
from backproplab.bench import bench, geometric_mean
from backproplab.layers import activations

NUMBERS = 2**16


def pages():
    return [list(group) for _, group in itertools.groupby(layers.CASES, lambda case: case.fn)]


def test_one_function():
    """All ways are measured, at the size that was asked for, and the rule is the leanest of silu's."""
    found = bench([case for case in activations.CASES if case.fn is activations.silu], NUMBERS, rounds=2)
    assert (found.function, list(found.costs)) == ("silu", ["hand", "plain", "checkpoint", "library"])
    assert NUMBERS / 4 < found.numbers <= NUMBERS
    assert found.costs["hand"].residual_bytes == 4 * found.numbers == found.leanest("residual_bytes")
    assert set(found.ratios) == {"plain", "checkpoint", "library"}
    assert found.errors[0] < 4e-7
    assert found.to_dict()["costs"]["hand"]["residual_bytes"] == 4 * found.numbers


def test_no_times():
    """They are noise where other work runs; everything else is counted."""
    assert bench([case for case in activations.CASES if case.fn is activations.relu], 1000, rounds=0).ratios is None


def test_geometric_mean():
    """Half and double cancel."""
    assert geometric_mean([0.5, 2.0, 1.0]) == pytest.approx(1)


@pytest.fixture(scope="module")
def measured():
    return [bench(page, NUMBERS, rounds=0) for page in pages()]


@pytest.mark.slow
def test_no_rule_keeps_more_than_autodiff(measured):
    """What crosses from the forward to the backward pass."""
    more = [b.function for b in measured if b.costs["hand"].residual_bytes > b.costs["plain"].residual_bytes]
    assert not more
