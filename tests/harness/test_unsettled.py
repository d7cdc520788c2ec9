"""Points at which the function is not what it is elsewhere, so that its rule is not to blame."""

import jax
import jax.numpy as jnp
import numpy as np
from by_hand import at, by_hand

from backproplab import verify
from backproplab.harness.unsettled import undefined, unsettled

B = np.array([1.0, -2.0])
SOLVE = by_hand(lambda a, b: jnp.linalg.solve(a, b), lambda args, dy: args)


def root(x):
    """The square root by a fixed number of Newton's steps, which are enough for numbers near 1."""
    return jax.lax.scan(lambda y, _: ((y + x / y) / 2, None), jnp.ones_like(x), None, length=8)[0]


def decay(x):
    """A walk of eight steps, which is nowhere at rest."""
    return jax.lax.fori_loop(0, 8, lambda i, y: y - 0.1 * y * y, x)


def test_a_singular_system():
    """LU divides by what rounding has left of a pivot: the solution is another one at every nudge."""
    singular = np.array([[0.1, 0.3], [0.1 * 0.7, 0.3 * 0.7]])
    assert undefined(at(SOLVE, singular, B), 0)
    assert not undefined(at(SOLVE, singular + np.eye(2), B), 0)


def test_a_jump_is_defined():
    """On either side there is one value."""
    assert not undefined(at(by_hand(jnp.floor, lambda x, dy: (0 * dy,)), np.array([1.0, 2.0, 3.0])), 0)


def test_an_iteration_that_has_not_come_to_rest():
    """The rule is that of what it tends to: right where it is there. A wrong one is wrong there too."""
    envelope = by_hand(root, lambda args, dy: (dy / (2 * root(args[0])),))
    near, far = at(envelope, np.array([0.5, 2.0])), at(envelope, np.array([500.0, 2e6]))
    assert unsettled(near, far)
    assert not unsettled(near, near) and not unsettled(far, near)
    assert verify(envelope, np.array([0.5, 2.0])).status == "pass"
    wrong = by_hand(root, lambda args, dy: (dy / (2 * args[0]),))
    assert verify(wrong, np.array([0.5, 2.0])).status == "fail"


def test_a_walk_is_no_iteration():
    """What is on its way at the example is so by intent, and its rule is asked everywhere."""
    walk = by_hand(decay, lambda args, dy: (dy,))
    assert not unsettled(at(walk, np.array([0.5])), at(walk, np.array([5.0])))
