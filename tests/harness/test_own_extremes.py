"""A number beside the largest of several, of which it is one: in doubt only where another comes near."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backproplab.harness.error_rules import executed
from backproplab.harness.rounding import bounded

W = np.float32(np.random.default_rng(0).normal(size=(4, 3)))
X = np.float32(np.random.default_rng(1).normal(size=(2, 4)))


def bound(f, *inputs):
    """On the rounding of the gradient of the sum of f with respect to its first argument, in float32, and its largest entry."""
    closed = jax.make_jaxpr(jax.grad(lambda *args: jnp.sum(f(*args))))(*inputs)
    with jax.enable_x64(True):
        found = bounded(closed, set())([np.asarray(x, np.float64) for x in inputs], executed())
    return np.asarray(found.errors[0]), np.max(np.abs(found.values[0]))


def largest_alone(x):
    return jnp.where(x >= jnp.max(x, -1, keepdims=True), x, 0)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: jnp.maximum(x @ W, 0),
        lambda x: jnp.minimum(0.5, x @ W),
        lambda x: jnp.minimum(x @ W, jnp.sin(x @ W)),
        lambda x: jnp.max(x @ W, -1),
        lambda x: jnp.min(x @ W, 0, keepdims=True),
        lambda x: largest_alone(x @ W),
        lambda x: jnp.maximum(jnp.max(x @ W), -1e30),
    ],
)
def test_no_doubt(f):
    """Numbers that are themselves rounded, and far apart: which one wins is certain, and so is the derivative."""
    error, largest = bound(f, X)
    assert np.max(error) < 1e-5 * largest


@pytest.mark.parametrize("f", [jnp.maximum, lambda a, b: jnp.max(jnp.stack([a, b]), 0)], ids=["two", "several"])
def test_a_near_tie(f):
    """Two numbers that rounding could put in another order: the bound is as large as what hangs on it."""
    near = lambda x: f(x @ W, jnp.float32(1 + 1e-7) * (x @ W))
    error, largest = bound(near, X)
    assert np.all(error > 0.1 * largest)


def test_an_exact_tie_is_none():
    """Of inputs, which nothing has rounded."""
    error, _ = bound(lambda x: jnp.max(x, -1), np.float32([[1.0, 1.0, 0.0]]))
    assert np.max(error) < 1e-6


def test_the_largest_of_the_rows_beside_the_columns():
    """`x <= x.max(1)` for a square matrix sets the largest of a row beside a column: 3 beside another row's 3.0000002."""
    square = np.float32([[0, 3, 1], [0, 1, 3 * (1 + 1e-7)], [0.5, 0.25, 0]])
    below = lambda y, largest: jnp.where(y <= largest, y, 0)
    compared = lambda keepdims: lambda x: (lambda y: below(y, jnp.max(y, 1, keepdims=keepdims)))(x @ square)
    x = np.eye(3, dtype=np.float32)
    assert np.max(bound(compared(False), x)[0]) > 0.1
    assert np.max(bound(compared(True), x)[0]) < 1e-5


def test_another_maximum():
    """Compared with the largest of other numbers the values decide."""
    other = lambda x: jnp.where(x @ W == jnp.max((x + 0) @ W, -1, keepdims=True), 2 * (x @ W), 0)
    error, _ = bound(other, X)
    assert np.max(error) > 0.1
