"""Root mean square normalisation (Zhang & Sennrich, 2019, arXiv 1910.07467).

Catalogue #46. Compared with autodiff the rule keeps x and one number per row in place of two or three arrays of the size
of x. On TPU this gains nothing: XLA recomputes there what it would otherwise keep.
"""

from functools import partial

import jax
import jax.numpy as jnp

from backproplab.case import Case, full, normal
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("eps",))
def rms_norm(x, scale, eps=1e-6):
    """Each row divided by its root mean square, then scaled per feature.

    x (..., d), scale (d,) -> y (..., d), in the dtype of x. eps is added to the mean square, under the root.
    """
    x_hat, _ = _normalise(x, eps)
    return (x_hat * scale).astype(x.dtype)


def _normalise(x, eps):
    """The normalised rows and their inverse root mean squares, in float32 or wider."""
    x = widened(x)
    inverse_rms = jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + eps)
    return x * inverse_rms, inverse_rms


def rms_norm_fwd(x, scale, eps):
    """Keeps x, which the caller holds anyway, and per row the inverse root mean square: x_hat is their product."""
    x_hat, inverse_rms = _normalise(x, eps)
    return (x_hat * scale).astype(x.dtype), (x, scale, inverse_rms)


def rms_norm_bwd(eps, residuals, dy):
    """With r = (mean(x^2) + eps)^(-1/2), x_hat = x r and y = x_hat scale: y is linear in scale, so over all rows

        dscale = sum_rows dy x_hat

    For x write g = dy scale. In one row of d entries d r / d x_j = -r^3 x_j / d = -r^2 x_hat_j / d, so

        d x_hat_i / d x_j = r delta_ij - x_i r^2 x_hat_j / d = r (delta_ij - x_hat_i x_hat_j / d)
        dx = r (g - x_hat mean(g x_hat))

    It is layer normalisation without the term that keeps the mean at 0. A row of zeros has x_hat = 0 and r = 1/sqrt(eps):
    its gradient is g magnified by that much, as the slope of x / sqrt(eps) demands.
    """
    x, scale, inverse_rms = residuals
    x_hat = x.astype(inverse_rms.dtype) * inverse_rms
    dy = dy.astype(inverse_rms.dtype)
    g = dy * scale
    dx = inverse_rms * (g - x_hat * jnp.mean(g * x_hat, -1, keepdims=True))
    return dx, jnp.sum(dy * x_hat, tuple(range(x.ndim - 1)))


defvjp(rms_norm, rms_norm_fwd, rms_norm_bwd)


def _kept(x, scale, eps=1e-6):
    """x and scale, and one number in float32 or wider per row."""
    return x.nbytes + scale.nbytes + max(4, x.dtype.itemsize) * (x.size // x.shape[-1])


CASES = (
    Case(rms_norm, (normal(4, 8), normal(8)), residual_bytes=_kept, order=2),
    Case(rms_norm, (normal(2, 3, 5), normal(5)), name="two batch axes", residual_bytes=_kept),
    Case(rms_norm, (normal(7), normal(7)), name="no batch axis", residual_bytes=_kept),
    # the denominator is sqrt(eps) alone; eps is large enough for finite differences to stay in its neighbourhood
    Case(rms_norm, (full(0.0, 2, 4), normal(4), 0.01), name="rows of zeros: slope 1/sqrt(eps)"),
    Case(rms_norm, (normal(5, 1), normal(1), 0.1), name="one feature: only eps keeps dx from 0"),
    Case(rms_norm, (normal(3, 6, mean=300.0), normal(6)), name="mean far above the spread"),
    Case(rms_norm, (normal(3, 6), normal(6), 0.1), name="eps not the default"),
    Case(rms_norm, (normal(64, 129), normal(129)), name="odd width", residual_bytes=_kept),
)
