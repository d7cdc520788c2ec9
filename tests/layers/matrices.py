"""What the tests of linear algebra share: matrices, and values and gradients of functions of them."""

import jax
import jax.numpy as jnp
import numpy as np
from compiled import compiled

N = 4


def draw(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def matrix(*batch):
    return draw(*batch, N, N) + 3 * np.eye(N)


def _weighed(f):
    """Values of f and gradients of a loss that weighs every output entry differently."""

    def run(*args):
        y, pull_back = jax.vjp(f, *args)
        leaves, tree = jax.tree.flatten(y)
        weights = [jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape) for leaf in leaves]
        return leaves, pull_back(jax.tree.unflatten(tree, weights))

    return run


def gradients(f, *args):
    """The same as arrays, in float64."""
    with jax.enable_x64(True):
        return jax.tree.leaves(compiled(_weighed(f))(*args))


def assert_same(ours, theirs, *args):
    """Values and gradients; 1e-11 is ten thousand roundings, for condition numbers of up to a hundred."""
    with jax.enable_x64(True):
        both = compiled(lambda *args: (_weighed(ours)(*args), _weighed(theirs)(*args)))(*args)
    for one, other in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)
