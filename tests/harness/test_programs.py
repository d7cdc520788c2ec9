"""When a program is compiled."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.harness import programs
from backproplab.harness.error_rules import lifted

X = np.random.default_rng(0).normal(size=(3, 4))


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
