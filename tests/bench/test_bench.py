"""What rules cost: one function in full, and the promises that all pages keep at sizes where costs show."""

import functools
import itertools
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from backproplab import layers
from backproplab.bench import bench, geometric_mean
from backproplab.bench.bench import is_greedy, ways
from backproplab.bench.cost import lowered
from backproplab.bench.size import at_size
from backproplab.case import function_name
from backproplab.harness.jitted import quick_options
from backproplab.harness.promises import kept_bytes
from backproplab.harness.strip import strip
from backproplab.harness.view import view
from backproplab.layers import activations, gates

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


@functools.cache
def kept(case):
    """Bytes kept by the rule, by autodiff of the plain function, and in the arguments, at a size where costs show."""
    args = at_size(case, NUMBERS)
    seen = view(case, args)
    plain = strip(seen.call(case.reference or case.fn))
    held = sum(np.asarray(x).nbytes for x in (*seen.diff, *seen.rest) if not is_key(x))
    return kept_bytes(seen.call(case.fn), seen.diff, seen.rest), kept_bytes(plain, seen.diff, seen.rest), held


def is_key(x):
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__.split(".")[-1])
def test_temporary_bytes(room):
    """No rule's program needs clearly more than the leanest other way, but those that docs/costs.md names with a reason."""
    text = (Path(__file__).parents[2] / "docs" / "costs.md").read_text()
    section = text[text.index("## Where another way needs fewer temporary bytes") :]
    named = set(re.findall(r"`([\w.]+)`", section))
    greedy = set()
    for page in pages(room):
        seen, calls, cotangents = ways(page[0], NUMBERS)
        needed = {name: temporary_bytes(call, seen, cotangents) for name, call in calls.items()}
        if is_greedy(needed.pop("hand"), min(needed.values())):
            greedy.add(function_name(page[0].fn))
    assert greedy <= named


def temporary_bytes(call, seen, cotangents):
    """They do not depend on how long the compiler then polishes the code."""
    return lowered(call, seen.diff, seen.rest, cotangents).compile(quick_options()).memory_analysis().temp_size_in_bytes


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__.split(".")[-1])
def test_no_rule_keeps_more_than_autodiff(room):
    """Nor than its arguments, which the caller holds anyway. `staged` keeps the cache of each gate, to be looked at."""
    firsts = [page[0] for page in pages(room) if not page[0].by_design and page[0].fn is not gates.staged]
    found = {function_name(case.fn): kept(case) for case in firsts}
    assert {name: sizes for name, sizes in found.items() if sizes[0] > max(sizes[1:])} == {}


@pytest.mark.slow
def test_rules_keep_less_than_autodiff():
    """The geometric mean over all pages of which both keep something."""
    found = [kept(page[0]) for room in ROOMS for page in pages(room)]
    assert geometric_mean([hand / plain for hand, plain, _ in found if hand and plain]) < 1 / 3.5
