"""A loop of the user's that ends at the user's numbers need not end at others: the harness must, and does not ask there."""

import jax
import jax.numpy as jnp
import numpy as np
from by_hand import at

from backproplab import verify
from backproplab.harness.endless import ends

X = np.array([0.5, 0.3], np.float32)


def root_of(a):
    """z = a z + 1 by iteration, which ends where all |a| < 1."""
    goes_on = lambda state: jnp.any(jnp.abs(state[0] - state[1]) > 1e-7)
    return jax.lax.while_loop(goes_on, lambda state: (a * state[0] + 1, state[0]), (1 + 0 * a, 0 * a))[0]


def rule(factor):
    f = jax.custom_vjp(root_of)
    f.defvjp(lambda a: (z := root_of(a), (a, z)), lambda kept, dz: (factor * dz * kept[1] / (1 - kept[0]),))
    return f


def test_it_is_told_without_waiting():
    """Where the loop changes its sign for ever, where it overflows at last, and where it ends."""
    p = at(rule(1.0), X)
    assert ends(p, 0)
    assert not ends(p.moved([np.array([0.5, -1.0])]), 0)
    assert ends(p.moved([np.array([0.5, 2.0])]), 0)
    assert ends(at(lambda x: x * x, X), 0)


def test_a_verdict_comes():
    """Right or wrong, of a function that would run for ever at ten times its arguments."""
    assert verify(rule(1.0), X).status == "pass"
    assert verify(rule(1.01), X).status == "fail"
