"""Rounding at random, up as often as the fraction says, so that the mean stays (Gupta et al., 2015, arXiv 1502.02551).
Catalogue #127."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal, prng_key
from backproplab.layers.quantization.round_ste import straight_through
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def stochastic_round(x, key):
    """One of the two whole numbers next to x: the upper with the probability of x's fraction. Whole numbers stay.

    x (...), key a JAX PRNG key -> y (...), in the dtype of x, with mean x. Its gradient is dy, by declaration. The same
    key rounds alike, whatever the dtype.
    """
    return _rounded(x, key)


def _rounded(x, key):
    x = jnp.asarray(x)
    wide = widened(x)
    lower = jnp.floor(wide)
    draw = jax.random.uniform(key, x.shape, jnp.float32)  # in [0, 1): a fraction of 0 is never rounded up
    return jnp.where(draw < wide - lower, lower + 1, lower).astype(x.dtype)


def stochastic_round_fwd(x, key):
    """Keeps nothing."""
    return _rounded(x, key), ()


def stochastic_round_bwd(residuals, dy):
    """One draw is a staircase of slope 0, but its mean over the draws is x, of slope 1. The gradient of the mean is declared
    for the draw: straight-through, as in `round_ste`, and here it is even unbiased."""
    return dy, None


defvjp(stochastic_round, stochastic_round_fwd, stochastic_round_bwd)


def _declared(x, key):
    return straight_through(_rounded(x, key), x)


CASES = (
    Case(
        stochastic_round,
        (normal(4, 5, scale=3.0), prng_key()),
        by_design=True,
        reference=_declared,
        residual_bytes=0,
    ),
    Case(
        stochastic_round,
        (np.array([0.5, -0.25, 2.0, 1e30]), prng_key()),
        name="fractions and whole numbers",
        by_design=True,
        expect=(np.ones(4),),
    ),
)
