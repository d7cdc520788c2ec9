"""The numbers that a program compares with are found where its author wrote them, through calls and casts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backproplab.harness.thresholds import thresholds, whole_thresholds

X = np.array([0.5, -1.25, 2.0])

FOUND = {
    "compared": (lambda x: jnp.where(x > 2.5, x, 0.0), [2.5]),
    "cut off, in a call": (lambda x: jnp.clip(x, -3.0, 6.0), [3.0, 6.0]),
    "shifted": (lambda x: jax.nn.relu(x - 1.5), [1.5]),
    "cast": (lambda x: jnp.maximum(x, jnp.asarray(np.float32(0.75)).astype(x.dtype)), [0.75]),
    "factors and exponents": (lambda x: 4.5 * x**3.5, []),
    "an epsilon and an infinity": (lambda x: jnp.sqrt(jnp.maximum(x, 1e-12)) + jnp.where(x > 1e30, 0.0, x), []),
    "whole numbers": (lambda x: x * (jnp.arange(3) > 1), []),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_is_found(name):
    """Sizes alone: the sign is that of the entry that is put there."""
    f, numbers = FOUND[name]
    assert thresholds([jax.make_jaxpr(f)(X)]) == numbers


def test_each_once_and_only_a_few():
    """Every one costs a look at another point."""
    steps = jax.make_jaxpr(lambda x: [x > k for k in (2.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)])(X)
    assert thresholds([steps, steps]) == [2.0, 3.0, 4.0, 5.0, 6.0]


PLACES = np.array([3, 1, 0], np.int32)
TABLE = np.ones((5, 2))

WHOLE = {
    "an id that is left out": (lambda x, i: jnp.where((i != -100)[:, None], x[i], 0), [-100]),
    "padding below 0": (lambda x, i: jnp.where((i >= 0)[:, None], x[jnp.clip(i, 0)], 0), [-1, 0]),
    "padding below 0, cut off before": (lambda x, i: x[jnp.clip(i, 0)] * (jnp.maximum(i, 0) > 2)[:, None], [3, 2]),
    "the first of no row": (lambda x, i: jnp.where((i < 5)[:, None], x[i], 0), [4, 5]),
    "one of its own": (lambda x, i: x[i] * jnp.where(i == 2, 3.0, 1.0)[:, None], [2]),
    "an index": (lambda x, i: x[i], []),
    "an index of JAX's own functions": (lambda x, i: jnp.take(x, i, 0) + jnp.zeros((3, 2)).at[i].add(1.0), []),
    "a label": (lambda x, i: jax.nn.one_hot(i, 5) @ x, []),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_with_a_meaning(name):
    """Those that the author compares with, on the side where something else begins; not how JAX counts from an end."""
    f, numbers = WHOLE[name]
    assert whole_thresholds(jax.make_jaxpr(f)(TABLE, PLACES), 1) == numbers
