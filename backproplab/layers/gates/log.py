"""The logarithm gate. Lecture L13, catalogue #7."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, uniform
from backproplab.rule import defvjp


@jax.custom_vjp
def log(x):
    """The natural logarithm of x, elementwise; -infinity at 0, NaN below."""
    return jnp.log(x)


def log_fwd(x):
    """Keeps x, which the caller holds anyway."""
    return jnp.log(x), jnp.asarray(x)


def log_bwd(x, dy):
    """x = e^y is its own slope in y, so dx/dy = x and dy/dx = 1/x.

    The slope at 0 is infinite. A cotangent of 0 gets 0 there, not 0/0: the branch of a `where` that was not chosen must
    not poison the one that was. Below 0, where the value is NaN, the formula is left to stand.
    """
    unused = (dy == 0) & (x == 0)
    return (jnp.where(unused, 0, dy / x),)


defvjp(log, log_fwd, log_bwd)

_positive = {0: (0.0, np.inf)}
CASES = (
    Case(log, (uniform(0.2, 5, 4, 5),), residual_bytes=lambda x: x.nbytes, order=2, domain=_positive),
    Case(
        log, (np.array([1.0, 2.0, 0.25]),), name="exact slopes", expect=(np.array([1.0, 0.5, 4.0]),), domain=_positive
    ),
    Case(log, (np.array([1e-30, 1e-3, 1e3, 1e30]),), name="tails", domain={0: "fixed"}),
)
