"""Dynamic tanh, in place of a normalisation layer (Zhu et al., 2025, arXiv 2503.10622). Catalogue #53.

No statistics are taken: alpha is learned. Compared with autodiff the rule keeps x in place of four arrays of its size.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.activations.tanh import tanh_bwd
from backproplab.layers.gates.add import sum_to
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def dyt(x, alpha, scale, bias):
    """tanh(alpha x), scaled and shifted per feature.

    x (..., d), alpha () or any shape that broadcasts to (d,), scale (d,), bias (d,) -> y (..., d), in the dtype of x.
    """
    return (jnp.tanh(widened(alpha) * widened(x)) * scale + bias).astype(x.dtype)


def dyt_fwd(x, alpha, scale, bias):
    """Keeps x, alpha and scale, which the caller holds anyway. bias leaves no trace in the gradients."""
    return dyt(x, alpha, scale, bias), (x, alpha, scale)


def dyt_bwd(residuals, dy):
    """With z = alpha x and y = tanh(z) scale + bias. z has the cotangent dz = dy scale tanh'(z), where the page `tanh`
    keeps the slope exact in its tails. From there two products, and sums over what is shared:

        dx = alpha dz    dalpha = sum x dz    dscale = sum_rows dy tanh(z)    dbias = sum_rows dy
    """
    x, alpha, scale = residuals
    wide, dy = widened(x), widened(dy)
    z = widened(alpha) * wide
    (dz,) = tanh_bwd(z, dy * scale)
    rows = tuple(range(x.ndim - 1))
    return alpha * dz, sum_to(alpha.shape, wide * dz), jnp.sum(dy * jnp.tanh(z), rows), jnp.sum(dy, rows)


defvjp(dyt, dyt_fwd, dyt_bwd)


def _kept(x, alpha, scale, bias):
    return x.nbytes + alpha.nbytes + scale.nbytes


CASES = (
    Case(dyt, (normal(4, 5), full(0.5), normal(5), normal(5)), residual_bytes=_kept, order=2),
    Case(dyt, (normal(2, 3, 4), normal(), normal(4), normal(4)), name="two batch axes", residual_bytes=_kept),
    Case(dyt, (normal(3, 4), normal(4), normal(4), normal(4)), name="an alpha per feature", residual_bytes=_kept),
    Case(dyt, (normal(4), normal(1), normal(4), normal(4)), name="no batch axis"),
    Case(
        dyt,
        (np.array([[12.0, -12.0, 30.0, -44.0]]), full(1.0), normal(4), normal(4)),
        name="tails of the hyperbolic tangent",
    ),
    Case(dyt, (normal(3, 4), full(0.0), normal(4), normal(4)), name="alpha 0: dx is 0, dalpha is not"),
)
