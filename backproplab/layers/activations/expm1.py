"""exp(x) - 1, exact for small x. Catalogue #37.

Autodiff's slope y + 1 is 0 from x = -17 on in float32 and from -37 on in float64; this rule's is exp(x) until it underflows.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def expm1(x):
    """exp(x) - 1, elementwise; x (...) -> y (...)."""
    return jnp.expm1(widened(x)).astype(floating_dtype(x))


def expm1_fwd(x):
    """Keeps x: y has forgotten the slope where it has rounded to -1."""
    return expm1(x), x


def expm1_bwd(x, dy):
    """d/dx (exp(x) - 1) = exp(x), from x and not as y + 1, which cancels for x << 0. It is applied as its root twice, since
    it underflows, and overflows, before dy exp(x) does."""
    root = jnp.exp(widened(x) / 2)
    return (widened(dy) * root * root,)


defvjp(expm1, expm1_fwd, expm1_bwd)

CASES = (
    Case(expm1, (normal(4, 5),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(expm1, (full(0.0, 3),), name="zero: slope 1", expect=(np.ones(3),)),
    Case(expm1, (np.array([-40.0, -80.0, 40.0]),), name="tails"),
)
