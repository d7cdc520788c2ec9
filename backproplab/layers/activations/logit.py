"""The log-odds of a probability, the inverse of the sigmoid (Berkson, 1944). Catalogue #37.

The rule of `jax.scipy.special.logit` is as good; this one keeps x alone, and plain autodiff more.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, uniform
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def logit(x):
    """log(x / (1 - x)), elementwise; x (...) between 0 and 1 -> y (...). -inf at 0, +inf at 1, NaN outside."""
    wide = widened(x)
    return jnp.log(wide / (1 - wide)).astype(floating_dtype(x))


def logit_fwd(x):
    """Keeps x, which the caller holds anyway."""
    return logit(x), x


def logit_bwd(x, dy):
    """y = log x - log(1 - x), so dy/dx = 1 / x + 1 / (1 - x) = 1 / (x (1 - x)). 1 - x is exact from x = 1/2 on, so the slope
    is right near 1 too. At 0 and 1 it is +inf, its limit: keep probabilities away from there, or stay with logits."""
    x = widened(x)
    return (widened(dy) / (x * (1 - x)),)


defvjp(logit, logit_fwd, logit_bwd)

_domain = {0: (0.0, 1.0)}
CASES = (
    Case(logit, (uniform(0.05, 0.95, 4, 5),), residual_bytes=lambda x: x.nbytes, order=2, domain=_domain),
    Case(logit, (full(0.5, 3),), name="one half: slope 4", expect=(np.full(3, 4.0),), domain=_domain),
    Case(logit, (np.array([1e-9, 1e-30, 1 - 2.0**-8]),), name="near 0 and 1", domain=_domain),
)
