"""log(1 + x), exact for small x. Catalogue #37.

Autodiff is as good: it keeps 1 + x, an array of the same size; this rule keeps x, which the caller may hold anyway.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, uniform
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def log1p(x):
    """log(1 + x), elementwise; x (...) > -1 -> y (...). -inf at -1, NaN below."""
    return jnp.log1p(widened(x)).astype(floating_dtype(x))


def log1p_fwd(x):
    """Keeps x, which the caller holds anyway."""
    return log1p(x), x


def log1p_bwd(x, dy):
    """d/dx log(1 + x) = 1 / (1 + x). The sum is exact near -1, where the slope is large: numbers of opposite signs within
    a factor of two have a difference without rounding."""
    return (widened(dy) / (1 + widened(x)),)


defvjp(log1p, log1p_fwd, log1p_bwd)

_domain = {0: (-1.0, np.inf)}
CASES = (
    Case(log1p, (uniform(-0.9, 3.0, 4, 5),), residual_bytes=lambda x: x.nbytes, order=2, domain=_domain),
    Case(log1p, (full(0.0, 3),), name="zero: slope 1", expect=(np.ones(3),)),
    Case(log1p, (np.array([1e-9, -1e-9, -0.99, 1e9]),), name="tiny, near -1, large", domain=_domain),
)
