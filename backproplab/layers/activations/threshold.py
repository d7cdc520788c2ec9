"""The threshold unit that lets pass: x above a threshold, a constant below (Konda et al., 2014, arXiv 1402.3337).
Catalogue #34."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, normal
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("threshold", "default_value"))
def threshold(x, threshold, default_value):
    """x where x > threshold, else default_value; x (...) -> y (...). Argument names as in Keras. NaN stays NaN."""
    return jnp.where(widened(x) <= threshold, default_value, x)  # bfloat16 has no 0.3


def threshold_fwd(x, limit, default_value):
    """Keeps one byte per entry: does it pass?"""
    return threshold(x, limit, default_value), jnp.logical_not(widened(x) <= limit)


def threshold_bwd(limit, default_value, passes, dy):
    """Slope 1 where x passes, 0 where the constant stands. At the threshold, which is a jump unless both numbers are the
    same, the slope 0 of the constant is taken."""
    return (jnp.where(passes, dy, 0),)


defvjp(threshold, threshold_fwd, threshold_bwd)


def _kept(x, threshold, default_value):
    return x.size


CASES = (
    Case(threshold, (normal(4, 5), 0.25, -1.0), residual_bytes=_kept),
    Case(threshold, (np.array([1.0, -3.0]), 1.0, 0.0), name="at the jump: slope 0", expect=(np.zeros(2),)),
    Case(threshold, (np.array([2.0]), 2.0, 2.0), name="at a kink: slope 0", kink=True, expect=(np.zeros(1),)),
    Case(
        threshold,
        (np.array([-1.0, 0.75, 1e30, -1e30]), 0.5, 20.0),
        name="below and above",
        expect=(np.array([0.0, 1, 1, 0]),),
    ),
)
