"""The length of vectors, the 2-norm. Catalogue #84.

Autodiff of `jnp.linalg.norm` keeps the same and is as fast. What this page adds: the gradient of a zero vector is 0, where
that has NaN, and no square overflows or vanishes. `unit_vector` serves the other pages that divide by a length.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.reductions.var import spread
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@partial(jax.custom_vjp, nondiff_argnames=("axis", "keepdims"))
def norm(x, axis=None, keepdims=False):
    """The square root of the sum of squares over `axis`: an integer, a tuple of integers, or None for all axes.

    x (..., d) -> y (...), in the dtype of x. `jnp.linalg.norm` without its `ord`, which for matrices is the Frobenius
    norm. keepdims: leave the reduced axes with size 1. Of an empty vector it is 0.
    """
    _, y = unit_vector(x, axis)
    return (y if keepdims else jnp.squeeze(y, axis)).astype(floating_dtype(x))


def unit_vector(x, axis):
    """x over its length, and the length with its axes kept, in float32 or wider; a zero vector is returned as it is.

    The vector is first divided by its largest entry, so that the squares neither overflow nor vanish; by what exactly does
    not matter to the result, so no gradient goes through it. Divisors near the ends of the range are left out, since XLA
    may multiply by their reciprocals.
    """
    x = widened(x)
    low = float(jnp.finfo(x.dtype).tiny) ** 0.75
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis, keepdims=True, initial=0))
    largest = jnp.clip(largest, low, 1 / low)
    x = x / largest
    square = jnp.sum(x * x, axis, keepdims=True)
    length = jnp.sqrt(jnp.where(square == 0, 1, square))  # selected first: the slope of the root at 0 is infinite
    return x / length, jnp.where(square == 0, 0, largest * length)


def norm_fwd(x, axis, keepdims):
    """Keeps x alone, which the caller holds anyway."""
    return norm(x, axis, keepdims), x


def norm_bwd(axis, keepdims, x, dy):
    """y^2 = sum_i x_i^2, so 2 y dy/dx_i = 2 x_i and the gradient is the unit vector in the direction of x:

        dy / dx_i = x_i / y

    At x = 0 the norm has a kink, and the subgradients are all vectors no longer than 1. Declared is 0.
    """
    unit, _ = unit_vector(x, axis)
    return (spread(dy, axis, keepdims) * unit,)


defvjp(norm, norm_fwd, norm_bwd)


def _kept(x, axis=None, keepdims=False):
    return x.nbytes


CASES = (
    Case(norm, (normal(4, 5), -1), residual_bytes=_kept, order=2),
    Case(norm, (normal(3, 4),), name="all axes", residual_bytes=_kept),
    Case(norm, (normal(3, 4, 2), (0, 2)), name="two axes", residual_bytes=_kept),
    Case(norm, (normal(3, 4, 2), 1, True), name="axes kept", residual_bytes=_kept),
    Case(norm, (normal(5, 1), -1), name="one entry: absolute value"),
    Case(
        norm,
        (np.array([[0.0], [2.0], [-3.0]]), -1),
        name="one entry, 0 too: its gradient 0",
        kink=True,
        expect=(np.array([[0.0], [1.0], [-1.0]]),),
    ),
    Case(norm, (full(0.0, 2, 3), -1), name="zero: gradient 0", kink=True, expect=(np.zeros((2, 3)),)),
    Case(norm, (np.array([[3e30, 4e30], [3e-30, -4e-30], [0.0, 1.0]]), -1), name="squares beyond the range"),
    Case(norm, (full(1.0, 1000),), name="a thousand ones"),
)
