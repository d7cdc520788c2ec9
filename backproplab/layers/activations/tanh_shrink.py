"""Tanh shrinkage, x - tanh(x): flat near 0, the identity moved by 1 far out. Catalogue #34.

Autodiff's slope 1 - (1 - tanh^2 x) is 0 in float32 for |x| below 2e-4; this rule's is exact.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.layers.activations.tanh import tanh
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def tanh_shrink(x):
    """x - tanh(x), elementwise; x (...) -> y (...)."""
    wide = widened(x)
    return (wide - tanh(wide)).astype(floating_dtype(x))


def tanh_shrink_fwd(x):
    """Keeps x, which the caller holds anyway."""
    return tanh_shrink(x), x


def tanh_shrink_bwd(x, dy):
    """d/dx (x - tanh x) = 1 - sech^2 x = tanh^2 x, a square: nothing cancels, also where the slope is tiny."""
    return (widened(dy) * jnp.square(tanh(widened(x))),)


defvjp(tanh_shrink, tanh_shrink_fwd, tanh_shrink_bwd)

CASES = (
    Case(tanh_shrink, (normal(4, 5),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(tanh_shrink, (full(0.0, 3),), name="zero: slope 0", expect=(np.zeros(3),)),
    Case(tanh_shrink, (np.array([1e-4, -1e-6, 1e-2]),), name="near zero"),
    Case(tanh_shrink, (np.array([-12.0, 30.0, -1000.0, 1e30]),), name="tails: slope 1"),
)
