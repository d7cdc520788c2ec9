"""The scaled exponential linear unit (Klambauer et al., 2017, arXiv 1706.02515): keeps mean 0 and variance 1. Catalogue #26."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, away_from_zero, full
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp

ALPHA = 1.6732632423543772
SCALE = 1.0507009873554805


@jax.custom_vjp
def selu(x):
    """SCALE x where x > 0, else SCALE ALPHA (exp(x) - 1); x (...) -> y (...)."""
    wide = widened(x)
    below = ALPHA * jnp.expm1(jnp.where(x > 0, 0, wide))
    return (SCALE * jnp.where(x > 0, wide, below)).astype(floating_dtype(x))


def selu_fwd(x):
    """Keeps x, which the caller holds anyway."""
    return selu(x), x


def selu_bwd(x, dy):
    """SCALE times the slope of `elu` with ALPHA: SCALE on the right, SCALE ALPHA exp(x) on the left, from x and not from
    y, for the tail, and applied as its root twice, since exp(x) underflows before the slope does. The kink x = 0 takes
    the left slope, as `jax.nn.selu` does.
    """
    x, dy = widened(x), widened(dy)
    root = jnp.exp(jnp.minimum(x, 0) / 2)
    return (jnp.where(x > 0, dy * SCALE, dy * (SCALE * ALPHA) * root * root),)


defvjp(selu, selu_fwd, selu_bwd)

CASES = (
    Case(selu, (away_from_zero(4, 5),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(selu, (full(0.0, 3),), name="zero: the left slope", kink=True, expect=(np.full(3, SCALE * ALPHA),)),
    Case(selu, (np.array([-40.0, -80.0, 1000.0]),), name="tails"),
)
