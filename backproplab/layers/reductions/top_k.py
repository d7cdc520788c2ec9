"""The k largest entries. Catalogue #89. Autodiff too keeps the k indices alone: the rule is on a par."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, distinct, full
from backproplab.layers.gates.add import Shape
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("k", "axis"))
def top_k(operand, k, axis=-1):
    """The k largest entries along `axis`, largest first, and their indices, as `jax.lax.top_k`.

    operand x (..., d) -> values (..., k) in the dtype of x, indices (..., k) int32. Among equal entries the first comes
    first. Raises ValueError unless 0 <= k <= d.
    """
    return tuple(jax.lax.top_k(operand, k, axis=axis))


def top_k_fwd(operand, k, axis):
    """Keeps the indices, which are a result anyway."""
    values, indices = jax.lax.top_k(operand, k, axis=axis)
    return (values, indices), (Shape(operand.shape), indices)


def top_k_bwd(k, axis, residuals, cotangents):
    """values_i = x at place indices_i. These places are all different, so each gets its dvalues_i, and those that are not
    among the k get nothing. The indices are integers and have no gradient.

    On the kink, where the k-th largest entry equals the next, either of the two may be in. Declared is the first in x.
    """
    shape, indices = residuals
    dvalues, _ = cotangents
    zeros = jnp.zeros(shape, dvalues.dtype)
    return (jnp.put_along_axis(zeros, indices, dvalues, axis, inplace=False),)


defvjp(top_k, top_k_fwd, top_k_bwd)


def _kept(operand, k, axis=-1):
    """Four bytes per result."""
    return 4 * k * operand.size // operand.shape[axis]


CASES = (
    Case(top_k, (distinct(4, 6), 2), residual_bytes=_kept),
    Case(top_k, (distinct(5, 3), 2, 0), name="another axis", residual_bytes=_kept),
    Case(top_k, (distinct(3, 4), 4), name="all of them", expect=(np.ones((3, 4)),)),
    Case(top_k, (distinct(3, 4), 1), name="the largest"),
    Case(top_k, (full(1.0, 1, 4), 2), name="ties: the first", kink=True, expect=(np.array([[1.0, 1, 0, 0]]),)),
)
