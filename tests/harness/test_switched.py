"""What a switch does to the numbers that pass it."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.harness.switched import thinned


def test_thinned_changes_the_slope_alone():
    """Infinities included, which a factor of 0 would make NaN."""
    x = jnp.array([1.0, jnp.inf])
    np.testing.assert_array_equal(thinned(x, 0.0), x)
    np.testing.assert_array_equal(jax.grad(lambda x: thinned(x, 0.5).sum())(x), [0.5, 0.5])
