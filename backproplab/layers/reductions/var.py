"""The variance. Catalogue #84. Autodiff keeps the centred entries, an array of the size of x; the rule x itself."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, booleans, full, normal
from backproplab.layers.reductions.max import reduced_axes, selected
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "keepdims", "correction"))
def var(x, axis=None, keepdims=False, correction=0, where=None):
    """The sum of squared deviations from the mean over N - correction, with N the number of entries.

    x (..., d) -> y (...), in the dtype of x. As in `jnp.var`: axis is an integer, a tuple of integers, or None for all
    axes; correction=1 is the estimate without bias, and NaN where N - correction is not positive. Where the booleans
    `where`, of a shape that broadcasts to that of x, are False, entries count as absent, whatever they hold. Raises
    ValueError where it would enlarge x.
    """
    c = centred(x, axis, where)
    y = jnp.sum(c * c, axis, keepdims=True) / divisor(c, axis, correction, where)
    return (y if keepdims else jnp.squeeze(y, axis)).astype(floating_dtype(x))


def centred(x, axis, where):
    """x minus its mean, in float32 or wider, 0 at absent entries. Two passes: E[x^2] - E[x]^2 loses all digits when the
    mean is large.

    And then centred again: the mean is rounded, by a part of itself that may be much of a small deviation.
    """
    x = widened(x)
    c = x - jnp.mean(x, axis, keepdims=True, where=where)
    return selected(c - jnp.mean(c, axis, keepdims=True, where=where), where, 0)


def divisor(x, axis, correction, where):
    """N - correction for a reduction of x over `axis`, with its axes in place if N depends on `where`; NaN unless it is
    positive.
    """
    if where is None:
        difference = math.prod(x.shape[i] for i in reduced_axes(x.ndim, axis)) - correction
        return difference if difference > 0 else math.nan
    difference = jnp.sum(jnp.broadcast_to(where, x.shape), axis, x.dtype, keepdims=True) - correction
    return jnp.where(difference > 0, difference, jnp.nan)


def spread(dy, axis, keepdims):
    """The cotangent of a reduction with its axes back in place, of size 1, in float32 or wider."""
    dy = widened(dy)
    return dy if keepdims or axis is None else jnp.expand_dims(dy, axis)


def var_fwd(x, axis, keepdims, correction, where):
    """Keeps x and where, which the caller holds anyway: the mean follows."""
    return var(x, axis, keepdims, correction, where), (x, where)


def var_bwd(axis, keepdims, correction, residuals, dy):
    """With M = N - correction, c_i = x_i - mean and y = sum_i c_i^2 / M. Each x_i moves its own c_i by 1 and, through the
    mean, all of them by -1/N; but sum_i c_i = 0, so the second way adds up to nothing:

        dy / dx_i = 2 c_i / M

    Absent entries have c_i = 0, and are selected to have no gradient where M is NaN.
    """
    x, where = residuals
    c = centred(x, axis, where)
    return selected(2 * spread(dy, axis, keepdims) / divisor(c, axis, correction, where) * c, where, 0), None


defvjp(var, var_fwd, var_bwd)


def _kept(x, axis=None, keepdims=False, correction=0, where=None):
    return x.nbytes + (0 if where is None else where.nbytes)


_INF = float("inf")


CASES = (
    Case(var, (normal(4, 5), -1), residual_bytes=_kept, order=2),
    Case(var, (normal(3, 4),), name="all axes", residual_bytes=_kept),
    Case(var, (normal(3, 4, 2), (0, -1), True), name="two axes, kept", residual_bytes=_kept),
    Case(var, (normal(3, 4, 2), 1, False, 1), name="without bias"),
    Case(var, (full(0.3, 2, 4), 1), name="constant: 0, and no slope", expect=(np.zeros((2, 4)),)),
    Case(var, (normal(4, 1), -1), name="one entry: 0"),
    Case(var, (normal(3, 6, mean=300.0), -1), name="mean far above the spread"),
    Case(var, (normal(4, 6), -1, False, 1, booleans(4, 6)), name="where", residual_bytes=_kept, order=2),
    Case(var, (normal(3, 2, 4), (0, 2), True, 0, np.array([[[True]], [[False]], [[True]]])), name="where, repeated"),
    Case(
        var,
        (np.array([[-1.0, _INF, 1.0], [5.0, np.nan, 1.0]]), 1, False, 1, np.array([True, False, True])),
        name="where: infinities and NaN absent",
        expect=(np.array([[-2.0, 0, 2], [4, 0, -4]]),),
    ),
)
