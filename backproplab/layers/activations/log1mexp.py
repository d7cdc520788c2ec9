"""log(1 - exp(-x)): the logarithm of the probability that something of log-probability -x does not happen (Maechler, 2012).
Catalogue #37."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, uniform
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def log1mexp(x):
    """log(1 - exp(-x)), elementwise; x (...) >= 0 -> y (...), negative. -inf at 0, NaN below. As `jax.nn.log1mexp`."""
    wide = widened(x)
    near = wide < math.log(2)  # there 1 - exp(-x) would cancel; beyond, it is near 1 and its logarithm is small
    below = jnp.log(-jnp.expm1(-jnp.where(near, wide, 1)))
    above = jnp.log1p(-jnp.exp(-jnp.where(near, 1, wide)))
    return jnp.where(near, below, above).astype(floating_dtype(x))


def log1mexp_fwd(x):
    """Keeps x, which the caller holds anyway."""
    return log1mexp(x), x


def log1mexp_bwd(x, dy):
    """d/dx log(1 - exp(-x)) = exp(-x) / (1 - exp(-x)), which is 1 / (exp(x) - 1) but does not overflow on the way. The
    denominator is -expm1(-x), exact near 0, where the slope is 1 / x. exp(-x) is applied as its root twice, since it
    underflows before dy exp(-x) does. At x = 0 the slope is +inf, at +inf it is 0.
    """
    x = widened(x)
    root = jnp.exp(-x / 2)
    return (widened(dy) * root / -jnp.expm1(-x) * root,)


defvjp(log1mexp, log1mexp_fwd, log1mexp_bwd)

_domain = {0: (0.0, np.inf)}
CASES = (
    Case(log1mexp, (uniform(0.1, 3.0, 4, 5),), residual_bytes=lambda x: x.nbytes, order=2, domain=_domain),
    Case(log1mexp, (full(math.log(2), 2),), name="log 2: slope 1", domain=_domain),
    Case(log1mexp, (np.array([1e-6, 1e-12, 30.0, 80.0]),), name="tails", domain=_domain),
)
