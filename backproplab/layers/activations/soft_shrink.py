"""Soft shrinkage, the proximal map of the absolute value (Donoho, 1995): lasso's step. Catalogue #34."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, away_from_zero
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("threshold",))
def soft_shrink(x, threshold=0.5):
    """x moved towards 0 by threshold, and 0 where it is no farther than that; x (...) -> y (...).

    threshold >= 0. Names and default as in Keras.
    """
    wide = widened(x)
    return (wide - jnp.clip(wide, -threshold, threshold)).astype(floating_dtype(x))


def soft_shrink_fwd(x, threshold):
    """Keeps one byte per entry: is it shrunk and not cut?"""
    cut = (jnp.abs(widened(x)) <= threshold) & (threshold != 0)
    return soft_shrink(x, threshold), jnp.logical_not(cut)


def soft_shrink_bwd(threshold, passes, dy):
    """y = x + threshold, 0 or x - threshold: slopes 1, 0, 1. At both kinks every slope from 0 to 1 is a subgradient; 0 is
    taken, as the value is 0 there (autodiff of the cut takes 1/2). With threshold 0 there are none: the slope is 1."""
    return (jnp.where(passes, dy, 0),)


defvjp(soft_shrink, soft_shrink_fwd, soft_shrink_bwd)


def _kept(x, threshold=0.5):
    return x.size


CASES = (
    Case(soft_shrink, (away_from_zero(4, 5),), residual_bytes=_kept),
    Case(soft_shrink, (away_from_zero(3, 4), 1.25), name="another threshold", residual_bytes=_kept),
    Case(soft_shrink, (np.array([-0.5, 0.5]),), name="at the kinks: slope 0", kink=True, expect=(np.zeros(2),)),
    Case(
        soft_shrink,
        (np.array([-2.0, -0.25, 0.0, 0.25, 1e30]),),
        name="below, cut, above",
        expect=(np.array([1.0, 0, 0, 0, 1]),),
    ),
    Case(
        soft_shrink,
        (np.array([-2.0, 0.0, 3.0]), 0.0),
        name="threshold 0: the identity",
        reference=lambda x, threshold: 1 * x,
        expect=(np.ones(3),),
    ),
)
