"""Group normalisation (Wu & He, 2018, arXiv 1803.08494).

Catalogue #49. Compared with autodiff the rule keeps x and two numbers per group in place of three arrays of the size of x.
One group is layer normalisation over features and positions together; one channel per group is the page `instance_norm`.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

from backproplab.case import Case, full, normal
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("num_groups", "eps", "batch_axes"))
def group_norm(x, scale, bias, num_groups=32, eps=1e-5, batch_axes=1):
    """Each example's groups of channels shifted to mean 0 and divided by their standard deviation over all positions.

    x (n, ..., c), scale (c,), bias (c,) -> y (n, ..., c), in the dtype of x; then scaled and shifted per channel. Between
    the examples and the channels there may be any number of axes of positions, or none. eps is added to the variance,
    under the root. batch_axes: how many leading axes count examples; 0 for a single one. Raises ValueError unless
    num_groups divides the channels and batch_axes < rank.
    """
    x_hat, _, _ = _normalise(x, num_groups, eps, batch_axes)
    return (x_hat.reshape(x.shape) * scale + bias).astype(x.dtype)


def _grouped(x, num_groups, batch_axes):
    """x as (examples, positions, groups, channels of a group)."""
    if not 0 <= batch_axes < x.ndim or x.shape[-1] % num_groups:
        raise ValueError(f"no {num_groups} groups of channels after {batch_axes} batch axes in shape {x.shape}")
    examples, positions = math.prod(x.shape[:batch_axes]), math.prod(x.shape[batch_axes:-1])
    return x.reshape(examples, positions, num_groups, x.shape[-1] // num_groups)


def _normalise(x, num_groups, eps, batch_axes):
    """The normalised groups, their means and inverse standard deviations, in float32 or wider."""
    x = _grouped(widened(x), num_groups, batch_axes)
    mean = x.mean((1, 3), keepdims=True)
    centred = x - mean  # two passes: E[x^2] - E[x]^2 loses all digits when the mean is large
    inverse_std = jax.lax.rsqrt(jnp.mean(centred * centred, (1, 3), keepdims=True) + eps)
    return centred * inverse_std, mean, inverse_std


def group_norm_fwd(x, scale, bias, num_groups, eps, batch_axes):
    """Keeps x and scale, which the caller holds anyway, and per group the mean and inverse standard deviation."""
    x_hat, mean, inverse_std = _normalise(x, num_groups, eps, batch_axes)
    return (x_hat.reshape(x.shape) * scale + bias).astype(x.dtype), (x, scale, mean, inverse_std)


def group_norm_bwd(num_groups, eps, batch_axes, residuals, dy):
    """With r = (variance + eps)^(-1/2), x_hat = (x - mean) r and y = x_hat scale + bias. y is linear in scale and bias,
    which belong to channels, not to groups, and are shared by examples and positions:

        dbias = sum_{n, positions} dy        dscale = sum_{n, positions} dy x_hat

    A group is a row of layer normalisation that happens to be spread over positions. Its N numbers all move the mean, by
    1/N, and r, by -r^2 x_hat / N; so with g = dy scale, the cotangent of x_hat, and both means over the group,

        dx = r (g - mean(g) - x_hat mean(g x_hat))

    scale differs between the channels of a group, hence it must be in g before the means are taken.
    """
    x, scale, mean, inverse_std = residuals
    dy = dy.astype(mean.dtype)
    g = _grouped(dy * scale, num_groups, batch_axes)
    x_hat = (_grouped(x, num_groups, batch_axes).astype(mean.dtype) - mean) * inverse_std
    dx = inverse_std * (g - g.mean((1, 3), keepdims=True) - x_hat * jnp.mean(g * x_hat, (1, 3), keepdims=True))
    shared = tuple(range(x.ndim - 1))
    return dx.reshape(x.shape), jnp.sum(dy * x_hat.reshape(x.shape), shared), jnp.sum(dy, shared)


defvjp(group_norm, group_norm_fwd, group_norm_bwd)


def _kept(x, scale, bias, num_groups, eps=1e-5, batch_axes=1):
    """x and scale, and two numbers in float32 or wider per group."""
    groups = math.prod(x.shape[:batch_axes]) * num_groups
    return x.nbytes + scale.nbytes + 2 * max(4, x.dtype.itemsize) * groups


def _parameters(channels):
    return normal(channels), normal(channels)


CASES = (
    Case(group_norm, (normal(2, 3, 5, 6), *_parameters(6), 3), residual_bytes=_kept, order=2),
    # Liger #1375: beyond three axes its backward pass read out of bounds
    Case(group_norm, (normal(2, 2, 3, 2, 4), *_parameters(4), 2), name="volumes: rank 5", residual_bytes=_kept),
    Case(group_norm, (normal(3, 8), *_parameters(8), 2), name="no positions: rows in groups", residual_bytes=_kept),
    Case(group_norm, (normal(3, 4, 6), *_parameters(6), 1), name="one group", residual_bytes=_kept),
    Case(group_norm, (normal(2, 2, 5, 4), *_parameters(4), 2, 0.1, 2), name="two batch axes", residual_bytes=_kept),
    Case(group_norm, (normal(3, 5, 4), *_parameters(4), 2, 1e-5, 0), name="no batch axis", residual_bytes=_kept),
    Case(group_norm, (full(1.0, 2, 3, 4), *_parameters(4), 2), name="constant groups"),
    Case(group_norm, (normal(2, 4, 6, mean=300.0), *_parameters(6), 3), name="mean far above the spread"),
    # y is the bias whatever x
    Case(group_norm, (normal(3, 4), *_parameters(4), 4), name="groups of one number: dx and dscale are 0"),
)
