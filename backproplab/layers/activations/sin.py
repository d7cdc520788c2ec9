"""The sine as an activation, of networks that represent signals (Sitzmann et al., 2020, arXiv 2006.09661). Catalogue #36.

Autodiff is as good: it keeps cos(x), an array of the same size; this rule keeps x, which the caller may hold anyway.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def sin(x):
    """sin(x), elementwise; x (...) in radians -> y (...)."""
    return jnp.sin(widened(x)).astype(floating_dtype(x))


def sin_fwd(x):
    """Keeps x. y alone would not do: cos x = +-sqrt(1 - y^2) has lost its sign."""
    return sin(x), x


def sin_bwd(x, dy):
    """sin'(x) = cos(x)."""
    return (widened(dy) * jnp.cos(widened(x)),)


defvjp(sin, sin_fwd, sin_bwd)

CASES = (
    Case(sin, (normal(4, 5, scale=2.0),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(sin, (full(0.0, 3),), name="zero: slope 1", expect=(np.ones(3),)),
    Case(sin, (np.array([30.0, -100.0, 1000.0]),), name="many turns"),
)
