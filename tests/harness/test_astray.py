"""Indices that leave their arrays at a point of the harness's own making say nothing of a rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import at, by_hand

from backproplab import verify
from backproplab.harness.astray import astray

X = np.array([0.5, -1.25, 2.0])

READ = {
    "gathered": lambda x, i: x[i],
    "one entry": lambda x, i: x[i[0]],
    "added to": lambda x, i: x.at[i].add(1.0),
    "set in a window": lambda x, i: jax.lax.dynamic_update_slice(x, x[:2] * 2, (i[0],)),
    "in a call": lambda x, i: jax.jit(lambda x: jnp.take(x, i))(x),
}


@pytest.mark.parametrize("name", READ)
def test_what_leaves_its_array(name):
    """Beyond its end, or counted from it: at the example, its author has meant that."""
    p, inside, beyond, from_the_end = (at(READ[name], X, np.array([i, 0])) for i in (0, 1, 3, -1))
    assert not astray(p, inside)
    assert astray(p, beyond) and astray(p, from_the_end)
    assert not astray(beyond, beyond)


def test_places_between_bins():
    """Between two bins of five the slope is right; of one bin there is nothing between, and nobody asks."""

    def loss(x, t):
        low = jnp.clip(jnp.floor(t), 0, x.size - 2).astype(jnp.int32)
        share = t - low
        return (1 - share) * x[low] + share * x[low + 1]

    def rule(args, dy):
        x, t = args
        k, low = jnp.arange(x.size), jnp.clip(jnp.floor(t), 0, x.size - 2)
        dx = dy * ((1 - (t - low)) * (k == low) + (t - low) * (k == low + 1))
        at = low.astype(jnp.int32)
        return dx, dy * (x[at + 1] - x[at])

    verdict = verify(by_hand(loss, rule), np.random.default_rng(0).normal(size=5), np.array(2.25))
    assert verdict.status == "pass", str(verdict)
