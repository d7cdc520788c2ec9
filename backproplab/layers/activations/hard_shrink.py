"""Hard shrinkage: small entries become 0, large ones stay (Donoho & Johnstone, 1994). Catalogue #34."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, away_from_zero
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("threshold",))
def hard_shrink(x, threshold=0.5):
    """x where |x| > threshold, else 0; x (...) -> y (...). Names and default as in Keras. NaN stays NaN."""
    return jnp.where(_is_cut(x, threshold), 0, x)


def _is_cut(x, threshold):
    """Compared in float32 or wider: bfloat16 has no 0.3. NaN is not cut; with threshold 0, the identity, nothing is."""
    return (jnp.abs(widened(x)) <= threshold) & (threshold != 0)


def hard_shrink_fwd(x, threshold):
    """Keeps one byte per entry: does it pass?"""
    return hard_shrink(x, threshold), jnp.logical_not(_is_cut(x, threshold))


def hard_shrink_bwd(threshold, passes, dy):
    """Slope 1 where x passes, 0 where it is cut. At the thresholds y jumps and has no slope: 0 is taken, which is that of
    the side the value belongs to. The jump itself leaves no trace in the gradient, so nothing moves x across it.
    """
    return (jnp.where(passes, dy, 0),)


defvjp(hard_shrink, hard_shrink_fwd, hard_shrink_bwd)


def _kept(x, threshold=0.5):
    return x.size


CASES = (
    Case(hard_shrink, (away_from_zero(4, 5),), residual_bytes=_kept),
    Case(hard_shrink, (away_from_zero(3, 4), 1.25), name="another threshold", residual_bytes=_kept),
    Case(hard_shrink, (np.array([-0.5, 0.5]),), name="at the jumps: slope 0", expect=(np.zeros(2),)),
    Case(
        hard_shrink,
        (np.array([-2.0, -0.25, 0.0, 0.25, 1e30]),),
        name="below, cut, above",
        expect=(np.array([1.0, 0, 0, 0, 1]),),
    ),
    Case(
        hard_shrink,
        (np.array([-2.0, 0.0, 3.0]), 0.0),
        name="threshold 0: the identity",
        reference=lambda x, threshold: 1 * x,
        expect=(np.ones(3),),
    ),
)
