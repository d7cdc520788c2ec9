"""The leaky rectified linear unit (Maas, Hannun & Ng, 2013). Catalogue #21."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, away_from_zero, full
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("negative_slope",))
def leaky_relu(x, negative_slope=0.01):
    """x where x >= 0, else negative_slope x; x (...) -> y (...). Argument names as in `jax.nn.leaky_relu`."""
    return jnp.where(x >= 0, x, _times(negative_slope, x))


def _times(negative_slope, x):
    """In float32 or wider: bfloat16 has no 0.01."""
    return (negative_slope * widened(x)).astype(floating_dtype(x))


def leaky_relu_fwd(x, negative_slope):
    """Keeps one byte per entry: its side. The sign of y would not do, since the slope may be negative."""
    return leaky_relu(x, negative_slope), x >= 0


def leaky_relu_bwd(negative_slope, right, dy):
    """Slope 1 on the right, negative_slope on the left; at the kink x = 0 the right one, 1, as `jax.nn.leaky_relu`."""
    return (jnp.where(right, dy, _times(negative_slope, dy)),)


defvjp(leaky_relu, leaky_relu_fwd, leaky_relu_bwd)


def _kept(x, negative_slope=0.01):
    return x.size


CASES = (
    Case(leaky_relu, (away_from_zero(4, 5),), residual_bytes=_kept),
    Case(leaky_relu, (away_from_zero(3, 4), 0.3), name="slope 0.3", residual_bytes=_kept),
    Case(leaky_relu, (away_from_zero(6), -0.5), name="negative slope: an absolute value of sorts"),
    Case(leaky_relu, (full(0.0, 3),), name="zero: slope 1", expect=(np.ones(3),)),
    Case(leaky_relu, (np.array([-2.0, 2.0]), 0.25), name="both sides", expect=(np.array([0.25, 1.0]),)),
)
