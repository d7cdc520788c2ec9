"""Programs that numpy runs yield what JAX yields."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backproplab.harness.error_rules import executed
from backproplab.harness.evaluated import evaluated
from backproplab.harness.rounding import bounded

X = np.random.default_rng(0).normal(size=(3, 4))


def looped(x):
    """A loop and a branch."""
    carry, ys = jax.lax.scan(lambda c, row: (c + jnp.sin(row), c * row), jnp.ones(4), x)
    return jax.lax.cond(carry.sum() > 0, lambda: ys * carry, lambda: ys - carry)


def backwards(x):
    """A loop from the last step to the first, in another loop, and one of no steps."""

    def row(c, x):
        return jax.lax.scan(lambda c, entry: (c + entry, jnp.cos(c)), c, x, reverse=True)

    carry, ys = jax.lax.scan(row, 0.5, x, reverse=True)
    _, none = jax.lax.scan(lambda c, entry: (c, entry), carry, x[:0])
    return jnp.concatenate([ys, none]) * carry


def until(x):
    """A loop of unknown length that reads what it does not carry."""
    size = jnp.sum(x * x)
    steps, halved = jax.lax.while_loop(lambda s: s[1].sum() > size / 9, lambda s: (s[0] + 1, s[1] / 2), (0, x * x))
    return halved * steps


def solved(x):
    """A solver with a derivative of its own."""
    a = x @ x.T + jnp.eye(3)
    return jax.lax.custom_linear_solve(lambda v: a @ v, x[:, 0], lambda _, b: jnp.linalg.inv(a) @ b, symmetric=True)


def nested(x):
    """Calls in calls, and a captured array."""
    inner = jax.jit(lambda y: jnp.exp(y) @ jnp.asarray(X.T))
    return jax.checkpoint(lambda y: jax.nn.softmax(inner(y)))(x)


@pytest.mark.parametrize(
    "f",
    [looped, backwards, until, solved, nested, lambda x: jnp.sort(x.astype(jnp.float32), -1)],
    ids=["loop", "backwards", "while", "solver", "calls", "sort"],
)
def test_in_numpy(f):
    """Within the bounds on the rounding of the program in its own dtypes."""
    with jax.enable_x64(True):
        closed = jax.make_jaxpr(f)(X)
        exact = np.asarray(f(X), np.float64)
        _, (error,), _ = bounded(closed, set())([X], executed())
    (got,) = evaluated(closed, [X])
    assert np.all(np.abs(got - exact) <= 2.002 * error)  # both are rounded
    assert np.max(error) < 1e-6 * np.max(np.abs(exact))


def test_casts_between_floats_are_none():
    """A program of bfloat16 is evaluated as a formula: 1 + 2^-20 stays what it is, and whole numbers are cut as ever."""
    closed = jax.make_jaxpr(lambda x: ((x + 1).astype(jnp.bfloat16), (x * 3).astype(jnp.int32)))(np.float32(0))
    widened, whole = evaluated(closed, [np.float64(2.0**-20)])
    assert widened == 1 + 2.0**-20
    assert whole == 0 and np.issubdtype(np.asarray(whole).dtype, np.integer)


def test_a_loop_that_does_not_end_in_float64_is_left_to_jax():
    """It adds a thousandth until float32 no longer notices, which float64 would for ever."""
    with jax.enable_x64(True):
        grows = lambda x: jax.lax.while_loop(lambda y: y + np.float32(1e-3) != y, lambda y: y + np.float32(1e-3), x)
        closed = jax.make_jaxpr(grows)(np.float32(32700))
        (got,) = evaluated(closed, [np.float32(32700)])
    assert got == 2.0**15


def test_keys_that_a_loop_hands_on_and_out():
    """One for every step, as the residuals of random numbers are."""

    def drawn(key, x):
        _, keys = jax.lax.scan(lambda key, _: (jax.random.fold_in(key, 1), key), key, None, length=3)
        return jax.lax.scan(lambda held, key: (held * jax.random.uniform(key), held), x, keys)[1]

    with jax.enable_x64(True):
        inputs = [jax.random.key(3), np.float64(0.5)]
        program = jax.make_jaxpr(drawn)(*inputs)
        right = np.asarray(drawn(*inputs))
        (bare,) = evaluated(program, inputs)
        (value,), (bound,), *_ = bounded(program, set())(inputs, executed(0.0))
    assert 0 < np.max(bound) < 2.0**-48  # some roundings of numbers below 1
    for found in (bare, value):
        assert np.all(np.abs(found - right) <= 2 * np.asarray(bound))  # JAX's own run rounds as much
