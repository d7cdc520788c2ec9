"""How large whole numbers may be is read off the program that takes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from backproplab.harness.room import room

X = np.linspace(0.1, 1, 12).reshape(3, 4)
K = np.array([1, 2, 0], np.int32)

ROOMS = {
    "a row of a table": (lambda x, k: x[k], 2),
    "a label": (lambda x, k: jnp.take_along_axis(x, k[:, None], 1), 3),
    "a label, by comparison": (lambda x, k: x * jax.nn.one_hot(k, 4), 3),
    "a length": (lambda x, k: jnp.where(jnp.arange(4) < k[:, None], x, 0), 4),
    "where it is added up": (lambda x, k: jnp.zeros(5).at[k].add(x[:, 0]), 4),
    "a count": (lambda x, k: x * k[:, None] + jax.lax.lgamma(k + 1.0)[:, None], np.inf),
    "a count that has terms": (lambda x, k: jnp.where(jnp.arange(9) < k[:, None], x[:, :1], 0).sum(1) * (k == 0), 9),
    "a place that is clipped": (lambda x, k: x[jnp.clip(k, 0, 2)], np.inf),
    "a place that is kept from below": (lambda x, k: x[jnp.maximum(k, 0)], 2),
    "steps": (lambda x, k: jax.lax.fori_loop(0, k[0], lambda i, x: x * x, x), None),
    "a place on its way": (lambda x, k: x[k * 2 % 3], None),
    "another argument's": (lambda x, k: jnp.where(k > x[:, 0], 1.0, x[:, 1]), None),
}


@pytest.mark.parametrize("name", ROOMS)
def test_room(name):
    """Up to the last place of an axis, up to its length, without end, or nobody knows."""
    function, most = ROOMS[name]
    with jax.enable_x64(True):
        assert room(jax.make_jaxpr(function)(X, K), 1) == most
