"""Instance normalisation (Ulyanov, Vedaldi & Lempitsky, 2016, arXiv 1607.08022): group normalisation with one channel per group.

Catalogue #49. Compared with autodiff the rule keeps x and two numbers per channel in place of three arrays of the size of x.
"""

from functools import partial

import jax

from backproplab.case import Case, full, normal
from backproplab.layers.normalization.group_norm import group_norm, group_norm_bwd, group_norm_fwd
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("eps", "batch_axes"))
def instance_norm(x, scale, bias, eps=1e-5, batch_axes=1):
    """Each channel of each example shifted to mean 0 and divided by its standard deviation over all positions.

    x (n, ..., c), scale (c,), bias (c,) -> y (n, ..., c), in the dtype of x; then scaled and shifted per channel. eps is
    added to the variance, under the root. batch_axes: how many leading axes count examples; 0 for a single one. Without
    an axis of positions y is the bias. Raises ValueError unless batch_axes < rank.
    """
    return group_norm(x, scale, bias, x.shape[-1], eps, batch_axes)


def instance_norm_fwd(x, scale, bias, eps, batch_axes):
    """Keeps x and scale, which the caller holds anyway, and per channel the mean and inverse standard deviation."""
    return group_norm_fwd(x, scale, bias, x.shape[-1], eps, batch_axes)


def instance_norm_bwd(eps, batch_axes, residuals, dy):
    """The rule of group normalisation where a group is one channel: scale is constant in it and leaves the means,

    dx = scale r (dy - mean(dy) - x_hat mean(dy x_hat))        with means over the positions
    """
    return group_norm_bwd(dy.shape[-1], eps, batch_axes, residuals, dy)


defvjp(instance_norm, instance_norm_fwd, instance_norm_bwd)


def _kept(x, scale, bias, eps=1e-5, batch_axes=1):
    """x and scale, and two numbers in float32 or wider per channel of an example."""
    channels = x[:, 0].size if batch_axes == 1 else x[:, :, 0].size
    return x.nbytes + scale.nbytes + 2 * max(4, x.dtype.itemsize) * channels


CASES = (
    Case(instance_norm, (normal(2, 5, 3), normal(3), normal(3)), residual_bytes=_kept, order=2),
    Case(instance_norm, (normal(2, 3, 4, 3), normal(3), normal(3)), name="images"),
    Case(
        instance_norm, (normal(2, 2, 5, 3), normal(3), normal(3), 0.1, 2), name="two batch axes", residual_bytes=_kept
    ),
    Case(instance_norm, (full(1.0, 2, 3, 4), normal(4), normal(4)), name="constant channels"),
    Case(instance_norm, (normal(2, 5, 3, mean=300.0), normal(3), normal(3)), name="mean far above the spread"),
    Case(instance_norm, (normal(3, 4), normal(4), normal(4)), name="no positions: y is the bias"),
)
