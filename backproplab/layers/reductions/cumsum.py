"""Running sums. Catalogue #87. Autodiff is as lean and as fast; the rule adds sums in float32 for narrower numbers."""

from functools import partial

import jax
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "reverse"))
def cumsum(operand, axis=0, reverse=False):
    """y_i = x_0 + x_1 + ... + x_i along `axis`, as `jax.lax.cumsum`; with reverse, from the other end.

    operand x (...) -> y (...), in the dtype of x.
    """
    return _running_sum(operand, axis, reverse).astype(operand.dtype)


def _running_sum(x, axis, reverse):
    return jax.lax.cumsum(widened(x), axis % x.ndim, reverse)


def cumsum_fwd(operand, axis, reverse):
    """Keeps nothing: the map is linear."""
    return cumsum(operand, axis, reverse), None


def cumsum_bwd(axis, reverse, _, dy):
    """x_i is a term of y_i and of all later ones, so its gradient is the sum of theirs, a running sum from the end:

    dx_i = dy_i + dy_{i+1} + ... + dy_{n-1}
    """
    return (_running_sum(dy, axis, not reverse),)


defvjp(cumsum, cumsum_fwd, cumsum_bwd)

CASES = (
    Case(cumsum, (normal(5, 3),), residual_bytes=0, order=2),
    Case(cumsum, (normal(2, 5, 3), 1), name="middle axis", residual_bytes=0),
    Case(cumsum, (normal(3, 5), -1, True), name="reverse", residual_bytes=0),
    # in bfloat16 a running sum of ones stops at 256
    Case(cumsum, (full(1.0, 400),), name="400 ones", expect=(np.arange(400.0, 0, -1),)),
    Case(cumsum, (normal(0, 3),), name="no entries", expect=(np.zeros((0, 3)),)),
)
