"""Layer normalisation (Ba, Kiros & Hinton, 2016, arXiv 1607.06450).

Catalogue #45. Compared with autodiff the rule keeps x and two numbers per row in place of three arrays of the size of x.
"""

from functools import partial

import jax
import jax.numpy as jnp

from backproplab.case import Case, full, normal
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("eps",))
def layer_norm(x, scale, bias, eps=1e-5):
    """Each row shifted to mean 0 and divided by its standard deviation, then scaled and shifted per feature.

    x (..., d), scale (d,), bias (d,) -> y (..., d), in the dtype of x. eps is added to the variance, under the root.
    """
    x_hat, _, _ = _normalise(x, eps)
    return (x_hat * scale + bias).astype(x.dtype)


def _normalise(x, eps):
    """The normalised rows, their means and inverse standard deviations, in float32 or wider."""
    x = widened(x)
    mean = x.mean(-1, keepdims=True)
    centred = x - mean  # two passes: E[x^2] - E[x]^2 loses all digits when the mean is large
    inverse_std = jax.lax.rsqrt(jnp.mean(centred * centred, -1, keepdims=True) + eps)
    return centred * inverse_std, mean, inverse_std


def layer_norm_fwd(x, scale, bias, eps):
    """Keeps x, which the caller holds anyway, and per row the mean and inverse standard deviation: x_hat follows."""
    x_hat, mean, inverse_std = _normalise(x, eps)
    return (x_hat * scale + bias).astype(x.dtype), (x, scale, mean, inverse_std)


def layer_norm_bwd(eps, residuals, dy):
    """With r = (var + eps)^(-1/2), x_hat = (x - mean) r and y = x_hat scale + bias:

    dscale and dbias are plain: y is linear in both, and rows add up.

        dbias = sum_rows dy        dscale = sum_rows dy x_hat

    For x write g = dy scale, the cotangent of x_hat. In one row of d entries,
    d mean / d x_j = 1/d and d r / d x_j = -r^3 (x_j - mean) / d = -r^2 x_hat_j / d, so

        d x_hat_i / d x_j = r (delta_ij - 1/d) + (x_i - mean) (-r^2 x_hat_j / d) = r (delta_ij - 1/d - x_hat_i x_hat_j / d)

    and contracting with g over i gives

        dx = r (g - mean(g) - x_hat mean(g x_hat))

    With d = 1 this is exactly 0 and so is dscale, as it must be: x_hat is 0 whatever x.
    """
    x, scale, mean, inverse_std = residuals
    x_hat = (x.astype(mean.dtype) - mean) * inverse_std
    dy = dy.astype(mean.dtype)
    g = dy * scale
    dx = inverse_std * (g - g.mean(-1, keepdims=True) - x_hat * jnp.mean(g * x_hat, -1, keepdims=True))
    rows = tuple(range(x.ndim - 1))
    return dx, jnp.sum(dy * x_hat, rows), jnp.sum(dy, rows)


defvjp(layer_norm, layer_norm_fwd, layer_norm_bwd)


def _kept(x, scale, bias, eps=1e-5):
    """x and scale, and two numbers in float32 or wider per row."""
    wide = max(4, x.dtype.itemsize)
    return x.nbytes + scale.nbytes + 2 * wide * (x.size // x.shape[-1])


CASES = (
    Case(layer_norm, (normal(4, 8), normal(8), normal(8)), residual_bytes=_kept, order=2),
    Case(layer_norm, (normal(2, 3, 5), normal(5), normal(5)), name="two batch axes", residual_bytes=_kept),
    Case(layer_norm, (normal(7), normal(7), normal(7)), name="no batch axis", residual_bytes=_kept),
    # x_hat and the first term of dx are exact zeros; what is left is eps alone under the root
    Case(layer_norm, (full(1.0, 2, 4), normal(4), normal(4)), name="constant rows"),
    Case(layer_norm, (normal(5, 1), normal(1), normal(1)), name="one feature: dx and dscale are 0"),
    Case(layer_norm, (normal(3, 6, mean=300.0), normal(6), normal(6)), name="mean far above the spread"),
    Case(layer_norm, (normal(3, 6), normal(6), normal(6), 0.1), name="eps not the default"),
    Case(layer_norm, (normal(64, 129), normal(129), normal(129)), name="odd width", residual_bytes=_kept),
)
