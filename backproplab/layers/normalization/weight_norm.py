"""Weight normalisation: a weight's length and its direction as parameters apart (Salimans & Kingma, 2016, arXiv 1602.07868).

Catalogue #50.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.normalization.l2_normalize import direction, l2_normalize_bwd
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def weight_norm(v, scale):
    """The weights of each output unit: scale times the direction of v, with the length taken over all axes but the last.

    v (..., m), scale (m,) -> w (..., m), in the dtype of v: the units are the last axis, as in the kernels of dense layers
    and convolutions. A unit with v = 0 has w = 0.
    """
    return (scale * direction(v, _inputs(v))).astype(v.dtype)


def _inputs(v):
    """The axes that one unit reads from."""
    return tuple(range(v.ndim - 1))


def weight_norm_fwd(v, scale):
    """Keeps its arguments, which the caller holds anyway; the lengths follow."""
    return (scale * direction(v, _inputs(v))).astype(v.dtype), (v, scale)


def weight_norm_bwd(residuals, dw):
    """In one unit w = s u with the direction u = v / |v|. So ds = sum_i dw_i u_i, and u has the cotangent s dw. The rule
    of the direction takes the part across v and divides by the length:

        dv = s (dw - u sum_i u_i dw_i) / |v|

    dv is orthogonal to v: a step along it never shortens v, only lengthens it, which damps the steps that follow. Where
    v = 0 the direction has the declared gradient 0, and so have both v and s.
    """
    v, scale = residuals
    v, dw = widened(v), widened(dw)
    (dv,) = l2_normalize_bwd(_inputs(v), v, scale * dw)
    return dv, jnp.sum(dw * direction(v, _inputs(v)), _inputs(v))


defvjp(weight_norm, weight_norm_fwd, weight_norm_bwd)


def _kept(v, scale):
    return v.nbytes + scale.nbytes


def _zero(v, scale):
    """What weight_norm is declared to be at v = 0."""
    return 0 * v * scale


CASES = (
    Case(weight_norm, (normal(5, 4), normal(4)), residual_bytes=_kept, order=2),
    Case(weight_norm, (normal(3, 2, 2, 4), normal(4)), name="a convolution's kernel", residual_bytes=_kept),
    Case(weight_norm, (normal(1, 4), normal(4)), name="one input: dv is 0"),
    Case(
        weight_norm,
        (np.array([[1.5, 0.0, -2.0]]), np.array([2.0, 3.0, 0.5])),
        name="one input, 0 too: its gradient 0",
        by_design=True,
        expect=(np.zeros((1, 3)), np.array([1.0, 0.0, -1.0])),
    ),
    Case(weight_norm, (normal(5, 3), full(0.0, 3)), name="scale 0: dv is 0, dscale is not"),
    Case(weight_norm, (normal(5, 3, scale=1e-3), normal(3)), name="short v"),
    Case(
        weight_norm,
        (full(0.0, 3, 2), normal(2)),
        name="v = 0: gradient 0",
        by_design=True,
        reference=_zero,
        expect=(np.zeros((3, 2)), np.zeros(2)),
    ),
)
