"""Vectors divided by their length: directions, as cosine similarities and contrastive losses want them. Catalogue #52.

Autodiff of x / norm(x) has NaN at a zero vector; with a small number added to the length it has that number's reciprocal.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.reductions.norm import unit_vector
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis",))
def l2_normalize(x, axis=-1):
    """x over its length along `axis`: an integer, a tuple of integers, or None for all axes.

    x (..., d) -> y (..., d), in the dtype of x. There is no eps: any vector but zero has length 1 afterwards, however
    short it was; a zero vector stays zero.
    """
    return direction(x, axis).astype(x.dtype)


def direction(x, axis):
    """The same in float32 or wider."""
    unit, length = unit_vector(x, axis)
    return jnp.where(length == 0, 0, unit)


def l2_normalize_fwd(x, axis):
    """Keeps x alone, which the caller holds anyway."""
    return l2_normalize(x, axis), x


def l2_normalize_bwd(axis, x, dy):
    """With n = |x| and y = x / n, where dn/dx_j = x_j / n = y_j:

        dy_i / dx_j = delta_ij / n - x_i y_j / n^2 = (delta_ij - y_i y_j) / n
        dx = (dy - y sum_j y_j dy_j) / n

    which is the part of dy across x: along x the direction does not change. At zero the direction jumps, and there is
    no derivative; declared is 0, so that an empty row stays out of what the others learn.
    """
    y, length = unit_vector(x, axis)
    dy = widened(dy)
    across = dy - y * jnp.sum(y * dy, axis, keepdims=True)
    return (jnp.where(length == 0, 0, across / jnp.where(length == 0, 1, length)),)


defvjp(l2_normalize, l2_normalize_fwd, l2_normalize_bwd)


def _kept(x, axis=-1):
    return x.nbytes


def _zero(x):
    """What l2_normalize is declared to be at zero."""
    return 0 * x


CASES = (
    Case(l2_normalize, (normal(4, 5),), residual_bytes=_kept, order=2),
    Case(l2_normalize, (normal(3, 4, 2), 1), name="middle axis", residual_bytes=_kept),
    Case(l2_normalize, (normal(3, 4, 2), (0, -1)), name="two axes"),
    Case(l2_normalize, (normal(3, 4), None), name="all axes"),
    Case(l2_normalize, (normal(4, 1),), name="one entry: its sign"),
    Case(l2_normalize, (np.array([[3e30, 4e30, -1e30], [3e-30, -4e-30, 1e-30]]),), name="squares beyond the range"),
    Case(
        l2_normalize,
        (full(0.0, 2, 3),),
        name="zero: gradient 0",
        by_design=True,
        reference=_zero,
        expect=(np.zeros((2, 3)),),
    ),
)
