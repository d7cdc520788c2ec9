"""The function of a point along a line: its bound holds on both sides, whichever is looked at first."""

from dataclasses import replace

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


def kinked(x, w):
    """Comparisons of several kinds, a sort among them."""
    h = jnp.maximum(x @ w, 0.1)
    return jnp.sum(jnp.sort(h, -1) * jnp.where(h > 1.0, h, jnp.abs(x[:, :2])))


def test_together_as_in_turn():
    """What is compiled for several steps at once has the values of each, and its comparisons tell the same branches apart."""
    generator = np.random.default_rng(0)
    x, w, dx, dw = (generator.normal(size=shape) for shape in 2 * ((5, 3), (3, 2)))
    p = at(kinked, x, w)
    one = [np.array(1.0)]
    lines = [along(q, one)([dx, dw]) for q in (p, replace(p, often=True, kept={}))]
    steps = [-0.5, 0.0, 0.5, -0.25, 0.25, 0.125, 3.0, -3.0]
    for t in steps:
        turned, together = (line(t) for line in lines)
        assert abs(turned.value - together.value) <= turned.error + together.error < 1e-11
    same = [[line(s).branch == line(t).branch for s in steps for t in steps] for line in lines]
    assert same[0] == same[1] and 0 < sum(same[0]) < len(steps) ** 2
