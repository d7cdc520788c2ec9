"""The function of a point along a line: its bound holds on both sides, whichever is looked at first."""

import jax.numpy as jnp
import numpy as np
from by_hand import at

from backproplab.harness.along import along


def cancelling(x):
    """To the left of 0 it loses eight digits."""
    return jnp.where(x < 0, (x + 1e8) - 1e8, x)


def test_each_side_has_its_own_rounding():
    """What is nearer has the bound of the farthest on its side at least; the ways that comparisons go are told apart."""
    p = at(cancelling, np.array([0.0]))
    line = along(p, [np.array([1.0])])([np.array([1.0])])
    right, left, nearer = line(0.3), line(-0.3), line(-0.1)
    assert right.value == 0.3 and right.error < 1e-14
    assert abs(left.value + 0.3) <= left.error and abs(nearer.value + 0.1) <= nearer.error
    assert left.error > 1e-9 and right.branch != left.branch == nearer.branch
