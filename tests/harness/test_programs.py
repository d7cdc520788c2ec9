"""When a program is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backproplab.harness import programs
from backproplab.harness.error_rules import lifted

X = np.random.default_rng(0).normal(size=(3, 4))


def test_a_long_loop_is_compiled(monkeypatch):
    """Its steps count: interpreted in numpy they would take seconds, again and again. A short one is not worth it."""
    ran = []
    compiled = programs.jitted

    def counting(fn, entries, device, often):
        run = compiled(fn, entries, device, often)
        return lambda *args: ran.append(1) or run(*args)

    monkeypatch.setattr(programs, "jitted", counting)
    for length, expected in ((10, 0), (20_000, 1)):
        ran.clear()
        with jax.enable_x64(True):
            closed = jax.make_jaxpr(lambda x: jax.lax.fori_loop(0, length, lambda i, x: jnp.sin(x) * 1.1, x))(X)
        values, _ = programs.analysis(closed, set())([X], lifted())
        assert len(ran) == expected
        assert np.isfinite(values[0]).all()


@pytest.mark.parametrize("compiled", [False, True])
def test_numbers_of_fewer_digits_run_in_float64(monkeypatch, compiled):
    """Real and complex ones are widened, whole ones stay, compiled or not."""
    monkeypatch.setattr(programs, "_BARE", 0 if compiled else 10**9)
    with jax.enable_x64(True):
        jaxpr = jax.make_jaxpr(lambda x, z, i: x[i] * z)(X[0], X[0] + 1j * X[1], np.array([2, 0], np.int32)[:1])
    x, z = X[0].astype(np.float32), (X[0] + 1j * X[1]).astype(np.complex64)
    (got,) = programs.values_in_float64(jaxpr)([x, z, np.array([2], np.int32)])
    assert got.dtype == np.complex128
    np.testing.assert_allclose(
        got, np.float64(x[2]) * z.astype(np.complex128), rtol=4 * np.finfo(float).eps
    )  # a product, whose parts may be contracted
