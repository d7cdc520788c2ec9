"""What XLA makes of a sum of something and of what was scattered: the bound holds for that order too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backproplab.harness.error_rules import executed
from backproplab.harness.rounding import bounded

random = np.random.default_rng(0)
PLACES = np.repeat(np.arange(5), 6)
SMALL, LARGE = np.float32(1e-3 * random.normal(size=(30, 4))), np.float32(random.normal(size=(5, 4)))


def once(u, b):
    return jnp.zeros((5, 4), u.dtype).at[PLACES].add(u) + b


def one_after_the_other(u, b):
    y = jnp.zeros((5, 4), u.dtype)
    for part in jnp.split(u, 6):
        y = y.at[jnp.arange(5)].add(part)
    return b + y


@pytest.mark.parametrize("f", [once, one_after_the_other])
def test_the_bound_holds_compiled(f):
    """Small terms are rounded beside a large one as often as they meet; in the written order that would be once."""
    closed = jax.make_jaxpr(f)(SMALL, LARGE)
    exact = [np.asarray(x, np.float64) for x in (SMALL, LARGE)]
    with jax.enable_x64(True):
        found = bounded(closed, set())(exact, executed())
    error = np.abs(np.asarray(jax.jit(f)(SMALL, LARGE), np.float64) - found.values[0])
    half_a_unit = 2.0**-24 * np.abs(found.values[0])
    assert np.all(error <= found.errors[0])
    assert np.any(error > 1.1 * half_a_unit)  # XLA does so, or this rule were in vain
    assert np.all(found.errors[0] <= 8 * half_a_unit + 1e-8)


def test_other_sums_are_as_they_were():
    """Half a unit in the last place."""
    closed = jax.make_jaxpr(lambda u, b: u[:5] + b)(SMALL, LARGE)
    with jax.enable_x64(True):
        found = bounded(closed, set())([SMALL.astype(float), LARGE.astype(float)], executed())
    assert np.all(found.errors[0] <= 1.01 * 2.0**-24 * np.abs(found.values[0]))
