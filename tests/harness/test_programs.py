"""Programs that are evaluated or compiled in a hurry yield what JAX yields."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backproplab.harness import programs
from backproplab.harness.error_rules import executed, lifted
from backproplab.harness.programs import evaluated
from backproplab.harness.rounding import bounded

X = np.random.default_rng(0).normal(size=(3, 4))


def looped(x):
    """A loop and a branch, which are interpreted in another way."""
    carry, ys = jax.lax.scan(lambda c, row: (c + jnp.sin(row), c * row), jnp.ones(4), x)
    return jax.lax.cond(carry.sum() > 0, lambda: ys * carry, lambda: ys - carry)


def nested(x):
    """Calls in calls, and a captured array."""
    inner = jax.jit(lambda y: jnp.exp(y) @ jnp.asarray(X.T))
    return jax.checkpoint(lambda y: jax.nn.softmax(inner(y)))(x)


@pytest.mark.parametrize(
    "f", [looped, nested, lambda x: jnp.sort(x.astype(jnp.float32), -1)], ids=["loop", "calls", "sort"]
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


def test_a_long_loop_is_compiled(monkeypatch):
    """Its steps count: interpreted in numpy they would take seconds, again and again. A short one is not worth it."""
    ran = []
    compiled = programs.jitted

    def counting(fn, entries, device):
        run = compiled(fn, entries, device)
        return lambda *args: ran.append(1) or run(*args)

    monkeypatch.setattr(programs, "jitted", counting)
    for length, expected in ((10, 0), (20_000, 1)):
        ran.clear()
        with jax.enable_x64(True):
            closed = jax.make_jaxpr(lambda x: jax.lax.fori_loop(0, length, lambda i, x: jnp.sin(x) * 1.1, x))(X)
        values, _ = programs.analysis(closed, set())([X], lifted())
        assert len(ran) == expected
        assert np.isfinite(values[0]).all()
