"""Numpy arrays of 64 bits that a function holds: in float32 they are of 32, whatever was asked in float64 before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backproplab import verify
from backproplab.harness.constants import keep_constants_apart

X = np.array([0.5, -1.25, 2.0, 0.75], np.float32)
WEIGHTS = np.linspace(0.5, 1.5, 4)
TABLE = np.array([2, 0, 1, 1])


def with_rule(f, factor=1.0):
    @jax.custom_vjp
    def g(x):
        return f(x)

    g.defvjp(lambda x: (f(x), x), lambda x, c: (factor * jax.vjp(f, x)[1](c)[0],))
    return g


HOLDING = {
    "a factor": lambda x: jnp.sin(x) * WEIGHTS,
    "a condition and a value": lambda x: jnp.where(WEIGHTS > 0.8, jnp.sin(x), WEIGHTS),
    "indices": lambda x: jnp.sin(x)[TABLE],
    "indices handed on": lambda x: jnp.take(jnp.sin(x), TABLE),
    "inside jit": jax.jit(lambda x: jnp.sin(x) * WEIGHTS),
    "a filter": lambda x: jnp.convolve(jnp.sin(x), WEIGHTS),
}


@pytest.mark.parametrize("name", HOLDING)
def test_a_function_may_hold_numpy_arrays(name):
    """A right rule passes, a wrong one fails for what it is and not because JAX mixed up two widths."""
    right, wrong = verify(with_rule(HOLDING[name]), X), verify(with_rule(HOLDING[name], 1.01), X)
    assert right.status == "pass", right
    assert wrong.status == "fail" and "1.01" in str(wrong), wrong


@pytest.mark.parametrize("table", [WEIGHTS, TABLE], ids=["weights", "indices"])
def test_the_width_is_that_of_the_mode(table):
    """In either order, and while a program of the other mode holds the array."""
    keep_constants_apart()
    f = lambda x: x * table
    with jax.enable_x64(True):
        wide = jax.make_jaxpr(f)(X)
    with jax.enable_x64(False):
        narrow = jax.make_jaxpr(f)(X)
        jax.jit(f)(X)
    with jax.enable_x64(True):
        again = jax.make_jaxpr(f)(X)
    widths = [jaxpr.consts[0].dtype.itemsize for jaxpr in (wide, narrow, again)]
    assert widths == [8, 4, 8]
