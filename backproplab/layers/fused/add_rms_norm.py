"""The sum of a residual stream and what a layer adds to it, and its root mean square norm, which the next layer reads.

Catalogue #55; a pre-norm block does both each time. The rule keeps the sum, which is a result, and one number per row; so
do `add` and `rms_norm` one after the other. What the two results send back is added once, in float32.
"""

from functools import partial

import jax

from backproplab.case import Case, full, normal
from backproplab.layers.normalization.rms_norm import rms_norm, rms_norm_bwd, rms_norm_fwd
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("eps",))
def add_rms_norm(x, residual, scale, eps=1e-6):
    """x (..., d), residual (..., d), scale (d,) -> rms_norm(x + residual, scale) and x + residual, in the dtype of x."""
    total = _total(x, residual)
    return rms_norm(total, scale, eps), total


def _total(x, residual):
    """Rounded once; the norm is of what is handed on."""
    if x.shape != residual.shape:
        raise ValueError(f"add_rms_norm: x and residual must have one shape, not {x.shape} and {residual.shape}")
    return (widened(x) + widened(residual)).astype(x.dtype)


def add_rms_norm_fwd(x, residual, scale, eps):
    """Keeps the sum, a result, the scale, and the inverse root mean square of each row."""
    total = _total(x, residual)
    y, kept = rms_norm_fwd(total, scale, eps)
    return (y, total), kept


def add_rms_norm_bwd(eps, residuals, cotangents):
    """The sum s goes two ways, to the norm and on as the stream; what comes back on both adds up:

        ds = dtotal + (what the rule of rms_norm makes of dy)

    and an addition hands it to both of its arguments alike: dx = dresidual = ds.
    """
    dy, dtotal = cotangents
    ds, dscale = rms_norm_bwd(eps, residuals, dy)
    ds = ds + widened(dtotal)
    return ds, ds, dscale


defvjp(add_rms_norm, add_rms_norm_fwd, add_rms_norm_bwd)


def _kept(x, residual, scale, eps=1e-6):
    """The sum and the scale, and one number in float32 or wider per row."""
    return x.nbytes + scale.nbytes + max(4, x.dtype.itemsize) * (x.size // x.shape[-1])


CASES = (
    Case(add_rms_norm, (normal(4, 8), normal(4, 8), normal(8)), residual_bytes=_kept, order=2),
    Case(add_rms_norm, (normal(2, 3, 5), normal(2, 3, 5), normal(5), 0.1), name="two batch axes, eps not the default"),
    Case(add_rms_norm, (full(1.0, 2, 4), full(-1.0, 2, 4), normal(4), 0.01), name="a sum of zeros: slope 1/sqrt(eps)"),
)
