"""Bounds that are measured: wide enough for right rules, narrow enough for wrong ones, and said to be estimates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import at, by_hand

from backproplab.harness.measured import measured

X = np.array([0.5, 1.25, 2.0])
sine = lambda factor: by_hand(jnp.sin, lambda x, dy: (factor * jnp.cos(x[0]) * dy,))


def bounds(p, seed=0):
    c = p.cotangents("random", 0)
    return measured(p, c, p.formulas(c), seed), p.formulas(c)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_right_and_wrong(dtype):
    """A right rule is within, one that is off by a thousand roundings is not."""
    unit = {"float64": 2.0**-53, "float32": 2.0**-24}[dtype]
    right, _ = bounds(at(sine(1.0), X, dtype=dtype))
    assert not any(d.wrong.any() for d in right)
    wrong, _ = bounds(at(sine(1 + 1000 * unit), X, dtype=dtype))
    assert wrong[1].wrong.any()
    assert not wrong[0].wrong.any()


def test_only_the_bound_changes():
    """The numbers compared are those given."""
    found, given = bounds(at(sine(1.0), X))
    for ours, theirs in zip(found, given):
        np.testing.assert_array_equal(ours.got, theirs.got)
        np.testing.assert_array_equal(ours.exact, theirs.exact)
        assert (ours.bound > 0).all()


def test_conditioning_is_seen():
    """A function that magnifies its input's rounding gets a bound that much wider."""
    flat, steep = (bounds(at(lambda x, k=k: jnp.sin(k * x), X))[0][1] for k in (1.0, 1e6))
    assert steep.bound.max() / steep.scale > 1e4 * flat.bound.max() / flat.scale


def test_the_same_seed():
    """Verdicts repeat, so the draws do."""
    p = at(sine(1.0), X)
    assert all((a.bound == b.bound).all() for a, b in zip(bounds(p)[0], bounds(p)[0]))


def test_integers_are_not_moved():
    """Neither indices nor keys, nor masks."""
    pick = lambda x, i, m, key: x[i] * m * jax.random.bernoulli(key, 0.5, (2,))
    p = at(pick, X, np.array([0, 2], np.int32), np.array([True, False]), jax.random.key(0))
    assert not any(d.wrong.any() for d in bounds(p)[0])
