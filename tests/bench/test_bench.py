"""What rules cost: one function in full, and the promises that all pages keep at sizes where costs show."""

import itertools

import pytest

from backproplab import layers
from backproplab.bench import bench, geometric_mean
from backproplab.bench.size import at_size
from backproplab.case import function_name
from backproplab.harness.promises import kept_bytes
from backproplab.harness.strip import strip
from backproplab.harness.view import view
from backproplab.layers import activations

NUMBERS = 2**16


ROOMS = [room for room in vars(layers).values() if hasattr(room, "CASES")]


def pages(room):
    return [list(group) for _, group in itertools.groupby(room.CASES, lambda case: case.fn)]


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


def kept(case):
    """Bytes kept by the rule and by autodiff of the plain function, at a size where costs show."""
    seen = view(case, at_size(case, NUMBERS))
    plain = strip(seen.call(case.reference or case.fn))
    return kept_bytes(seen.call(case.fn), seen.diff, seen.rest), kept_bytes(plain, seen.diff, seen.rest)


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__.split(".")[-1])
def test_no_rule_keeps_more_than_autodiff(room):
    """What crosses from the forward to the backward pass, where autodiff has the gradient that is meant."""
    firsts = [page[0] for page in pages(room) if not page[0].by_design]
    found = {function_name(case.fn): kept(case) for case in firsts}
    assert {name: pair for name, pair in found.items() if pair[0] > pair[1]} == {}


def test_rules_keep_less_than_autodiff():
    """Over all pages that keep anything, the geometric mean: what docs/costs.md says."""
    found = [kept(page[0]) for room in ROOMS for page in pages(room)]
    assert geometric_mean([hand / plain for hand, plain in found if hand and plain]) < 0.5
