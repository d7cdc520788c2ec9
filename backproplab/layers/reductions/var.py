"""The variance. Catalogue #84. Autodiff keeps the centred entries, an array of the size of x; the rule x itself."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "keepdims", "correction"))
def var(x, axis=None, keepdims=False, correction=0):
    """The sum of squared deviations from the mean over N - correction, with N the number of entries.

    x (..., d) -> y (...), in the dtype of x. As in `jnp.var`: axis is an integer, a tuple of integers, or None for all
    axes; correction=1 is the estimate without bias, and NaN where N - correction is not positive.
    """
    c = centred(x, axis)
    y = jnp.sum(c * c, axis, keepdims=keepdims) / divisor(c, axis, correction)
    return y.astype(floating_dtype(x))


def centred(x, axis):
    """x minus its mean, in float32 or wider. Two passes: E[x^2] - E[x]^2 loses all digits when the mean is large.

    And then centred again: the mean is rounded, by a part of itself that may be much of a small deviation.
    """
    x = widened(x)
    c = x - jnp.mean(x, axis, keepdims=True)
    return c - jnp.mean(c, axis, keepdims=True)


def divisor(x, axis, correction):
    """N - correction for a reduction of x over `axis`, NaN unless it is positive."""
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    difference = math.prod(x.shape[i] for i in axes) - correction
    return difference if difference > 0 else math.nan


def spread(dy, axis, keepdims):
    """The cotangent of a reduction with its axes back in place, of size 1, in float32 or wider."""
    dy = widened(dy)
    return dy if keepdims or axis is None else jnp.expand_dims(dy, axis)


def var_fwd(x, axis, keepdims, correction):
    """Keeps x alone, which the caller holds anyway: the mean follows."""
    return var(x, axis, keepdims, correction), x


def var_bwd(axis, keepdims, correction, x, dy):
    """With M = N - correction, c_i = x_i - mean and y = sum_i c_i^2 / M. Each x_i moves its own c_i by 1 and, through the
    mean, all of them by -1/N; but sum_i c_i = 0, so the second way adds up to nothing:

        dy / dx_i = 2 c_i / M
    """
    c = centred(x, axis)
    return (2 * spread(dy, axis, keepdims) / divisor(c, axis, correction) * c,)


defvjp(var, var_fwd, var_bwd)


def _kept(x, axis=None, keepdims=False, correction=0):
    return x.nbytes


CASES = (
    Case(var, (normal(4, 5), -1), residual_bytes=_kept, order=2),
    Case(var, (normal(3, 4),), name="all axes", residual_bytes=_kept),
    Case(var, (normal(3, 4, 2), (0, -1), True), name="two axes, kept", residual_bytes=_kept),
    Case(var, (normal(3, 4, 2), 1, False, 1), name="without bias"),
    Case(var, (full(0.3, 2, 4), 1), name="constant: 0, and no slope", expect=(np.zeros((2, 4)),)),
    Case(var, (normal(4, 1), -1), name="one entry: 0"),
    Case(var, (normal(3, 6, mean=300.0), -1), name="mean far above the spread"),
)
