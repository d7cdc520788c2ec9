"""Batch normalisation as it runs in training (Ioffe & Szegedy, 2015, arXiv 1502.03167).

Catalogue #47. Compared with autodiff the rule keeps x and the statistics, which are outputs anyway, in place of three
arrays of the size of x. What runs after training is the page `batch_norm_inference`.
"""

from functools import partial

import jax
import jax.numpy as jnp

from backproplab.case import Case, full, normal
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("eps",))
def batch_norm(x, scale, bias, eps=1e-5):
    """Each feature shifted to mean 0 and divided by its standard deviation over the batch, then scaled and shifted.

    x (..., d), scale (d,), bias (d,) -> y (..., d) in the dtype of x, and the mean (d,) and variance (d,) of the batch
    over all axes but the last, in float32 or wider. The variance is the biased one, the sum of squares over N. eps is
    added to it under the root.

    The statistics are outputs with their true gradient. For running averages wrap them in `jax.lax.stop_gradient`
    or return them as auxiliary data. Inside `shard_map` the batch is that of the shard.
    """
    centred, mean, variance = _statistics(x)
    return (centred * jax.lax.rsqrt(variance + eps) * scale + bias).astype(x.dtype), mean, variance


def _statistics(x):
    """x minus its mean, the mean and the variance over all axes but the last, in float32 or wider."""
    x = widened(x)
    batch = tuple(range(x.ndim - 1))
    mean = x.mean(batch)
    centred = x - mean  # two passes: E[x^2] - E[x]^2 loses all digits when the mean is large
    return centred, mean, jnp.mean(centred * centred, batch)


def batch_norm_fwd(x, scale, bias, eps):
    """Keeps x and the statistics, all of which the caller holds anyway: x_hat follows."""
    centred, mean, variance = _statistics(x)
    y = (centred * jax.lax.rsqrt(variance + eps) * scale + bias).astype(x.dtype)
    return (y, mean, variance), (x, scale, mean, variance)


def batch_norm_bwd(eps, residuals, cotangents):
    """One feature at a time, with N numbers x_n, r = (variance + eps)^(-1/2), x_hat = (x - mean) r, y = x_hat scale + bias.

    y is linear in scale and bias:    dbias = sum_n dy_n    dscale = sum_n dy_n x_hat_n

    Three outputs depend on x, so dx has three parts. Through y, with g = dy scale: moving x_m moves the mean by 1/N and
    r by -r^2 x_hat_m / N, hence

        d x_hat_n / d x_m = r (delta_nm - 1/N - x_hat_n x_hat_m / N)
        dx = r (g - mean(g) - x_hat mean(g x_hat))

    Through the mean, each x_n has the share 1/N:

        dx += dmean / N

    Through the variance, sum_n (x_n - mean)^2 / N: the shift of the mean drops out since sum_n (x_n - mean) = 0, so

        dx += dvariance 2 (x - mean) / N

    With N = 1 the first and the last part are exactly 0: y is the bias whatever x.
    """
    x, scale, mean, variance = residuals
    dy, dmean, dvariance = cotangents
    batch, examples = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    inverse_std = jax.lax.rsqrt(variance + eps)
    centred = x.astype(mean.dtype) - mean
    x_hat = centred * inverse_std
    dy = dy.astype(mean.dtype)
    g = dy * scale
    dx = inverse_std * (g - g.mean(batch) - x_hat * jnp.mean(g * x_hat, batch))
    dx += (dmean + 2 * dvariance * centred) / examples
    return dx, jnp.sum(dy * x_hat, batch), jnp.sum(dy, batch)


defvjp(batch_norm, batch_norm_fwd, batch_norm_bwd)


def _kept(x, scale, bias, eps=1e-5):
    """x and scale, and per feature the two statistics in float32 or wider."""
    return x.nbytes + scale.nbytes + 2 * max(4, x.dtype.itemsize) * x.shape[-1]


CASES = (
    Case(batch_norm, (normal(8, 4), normal(4), normal(4)), residual_bytes=_kept, order=2),
    Case(batch_norm, (normal(2, 3, 4, 5), normal(5), normal(5)), name="images: three batch axes", residual_bytes=_kept),
    Case(batch_norm, (normal(1, 4), normal(4), normal(4)), name="one example: y is the bias, only the mean moves"),
    Case(batch_norm, (normal(4), normal(4), normal(4)), name="no batch axis: one example"),
    Case(batch_norm, (full(1.0, 5, 3), normal(3), normal(3)), name="constant features"),
    Case(batch_norm, (normal(6, 1), normal(1), normal(1)), name="one feature"),
    Case(batch_norm, (normal(6, 3, mean=300.0), normal(3), normal(3)), name="mean far above the spread"),
    Case(batch_norm, (normal(6, 3), normal(3), normal(3), 0.1), name="eps not the default"),
    Case(batch_norm, (normal(65, 33), normal(33), normal(33)), name="odd sizes", residual_bytes=_kept),
)
