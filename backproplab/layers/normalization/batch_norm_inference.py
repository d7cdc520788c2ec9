"""Batch normalisation with given statistics, as it runs after training (Ioffe & Szegedy, 2015, arXiv 1502.03167).

Catalogue #48. An affine map per feature. The rule needs two sums over the batch for all four parameter gradients, where
autodiff forms one for each.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal, uniform
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("eps",))
def batch_norm_inference(x, scale, bias, mean, variance, eps=1e-5):
    """x shifted by a given mean and divided by a given standard deviation per feature, then scaled and shifted.

    x (..., d), scale, bias, mean, variance (d,) -> y (..., d), in the dtype of x. variance >= 0; eps is added to it under
    the root. All five have gradients; wrap the statistics in `jax.lax.stop_gradient` where they are constants.
    """
    return (_normalise(x, mean, variance, eps)[0] * scale + bias).astype(x.dtype)


def _normalise(x, mean, variance, eps):
    """The normalised features and their inverse standard deviations, in float32 or wider."""
    inverse_std = jax.lax.rsqrt(widened(variance) + eps)
    return (widened(x) - mean) * inverse_std, inverse_std


def batch_norm_inference_fwd(x, scale, bias, mean, variance, eps):
    """Keeps what the caller holds anyway: x, scale and the statistics."""
    y = (_normalise(x, mean, variance, eps)[0] * scale + bias).astype(x.dtype)
    return y, (x, scale, mean, variance)


def batch_norm_inference_bwd(eps, residuals, dy):
    """With r = (variance + eps)^(-1/2), x_hat = (x - mean) r and y = x_hat scale + bias, features apart:

        dbias = sum_n dy_n        dscale = sum_n dy_n x_hat_n        dx = dy scale r

    The mean enters as -x does, and d x_hat / d variance = (x - mean) (-r^3 / 2) = -x_hat r^2 / 2. Both sums over the
    batch are there already:

        dmean = -scale r sum_n dy_n = -scale r dbias
        dvariance = -1/2 scale r^2 sum_n dy_n x_hat_n = -1/2 scale r^2 dscale
    """
    x, scale, mean, variance = residuals
    x_hat, inverse_std = _normalise(x, mean, variance, eps)
    dy = dy.astype(inverse_std.dtype)
    batch = tuple(range(x.ndim - 1))
    dbias = jnp.sum(dy, batch)
    dscale = jnp.sum(dy * x_hat, batch)
    slope = scale * inverse_std
    return dy * slope, dscale, dbias, -slope * dbias, -0.5 * slope * inverse_std * dscale


defvjp(batch_norm_inference, batch_norm_inference_fwd, batch_norm_inference_bwd)

_PARAMETERS = (normal(4), normal(4), normal(4), uniform(0.5, 2.0, 4))
_POSITIVE = {4: (0.0, np.inf)}


def _kept(x, scale, bias, mean, variance, eps=1e-5):
    """x, scale and the statistics."""
    return x.nbytes + scale.nbytes + mean.nbytes + variance.nbytes


CASES = (
    Case(batch_norm_inference, (normal(6, 4), *_PARAMETERS), residual_bytes=_kept, domain=_POSITIVE, order=2),
    Case(batch_norm_inference, (normal(2, 3, 5, 4), *_PARAMETERS), name="three batch axes", domain=_POSITIVE),
    Case(batch_norm_inference, (normal(4), *_PARAMETERS), name="no batch axis", domain=_POSITIVE),
    Case(batch_norm_inference, (normal(6, 4), *_PARAMETERS, 0.1), name="eps not the default", domain=_POSITIVE),
    # only eps is left under the root
    Case(
        batch_norm_inference,
        (normal(3, 4), normal(4), normal(4), normal(4), full(0.0, 4), 0.01),
        name="variance 0",
        domain={4: (-0.01, np.inf)},
    ),
)
