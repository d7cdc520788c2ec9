"""The standard deviation. Catalogue #84.

Autodiff of `jnp.std` has NaN where all entries are equal; declared here is 0. Autodiff keeps the centred entries, an array
of the size of x; the rule x itself.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.reductions.norm import unit_vector
from backproplab.layers.reductions.var import centred, divisor, spread
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "keepdims", "correction"))
def std(x, axis=None, keepdims=False, correction=0):
    """The square root of the sum of squared deviations from the mean over N - correction, with N the number of entries.

    x (..., d) -> y (...), in the dtype of x. As in `jnp.std`: axis is an integer, a tuple of integers, or None for all
    axes; NaN where N - correction is not positive. Where all entries are equal it is exactly 0.
    """
    _, length = unit_vector(_centred(x, axis), axis)
    y = length / math.sqrt(divisor(widened(x), axis, correction))
    return (y if keepdims else jnp.squeeze(y, axis)).astype(floating_dtype(x))


def _centred(x, axis):
    """x minus its mean, in float32 or wider; exactly 0 where all entries are equal, though their mean may be rounded."""
    x = widened(x)
    constant = jnp.max(x, axis, keepdims=True, initial=-jnp.inf) == jnp.min(x, axis, keepdims=True, initial=jnp.inf)
    return jnp.where(constant, 0, centred(x, axis))


def std_fwd(x, axis, keepdims, correction):
    """Keeps x alone, which the caller holds anyway: the mean and the deviation follow."""
    return std(x, axis, keepdims, correction), x


def std_bwd(axis, keepdims, correction, x, dy):
    """y is the length of the vector c of centred entries, over sqrt(M) with M = N - correction. The gradient of a length
    is the unit vector, and centring it again (a move of all x_i together changes nothing) is no work, since c sums to 0:

        dy / dx_i = (x_i - mean) / (|c| sqrt(M)) = (x_i - mean) / (M y)

    Where all entries are equal there is a kink, as that of a length at 0, and any vector that sums to 0 and is no longer
    than 1 / sqrt(M) is a subgradient. Declared is 0.
    """
    unit, _ = unit_vector(_centred(x, axis), axis)
    return (spread(dy, axis, keepdims) / math.sqrt(divisor(unit, axis, correction)) * unit,)


defvjp(std, std_fwd, std_bwd)


def _kept(x, axis=None, keepdims=False, correction=0):
    return x.nbytes


CASES = (
    Case(std, (normal(4, 5), -1), residual_bytes=_kept, order=2),
    Case(std, (normal(3, 4),), name="all axes", residual_bytes=_kept),
    Case(std, (normal(3, 4, 2), (0, -1), True), name="two axes, kept", residual_bytes=_kept),
    Case(std, (normal(3, 4, 2), 1, False, 1), name="without bias"),
    # the mean of three numbers 0.1 is not 0.1 in floating point
    Case(std, (full(0.1, 2, 3), 1), name="constant: gradient 0", kink=True, expect=(np.zeros((2, 3)),)),
    Case(std, (normal(4, 1), -1), name="one entry: 0", kink=True),
    Case(std, (normal(3, 6, mean=300.0), -1), name="mean far above the spread"),
    Case(std, (normal(3, 4, scale=1e-25), -1), name="squares beyond the range", dtypes=("float64", "float32")),
)
