"""The square root gate. Lecture L13, catalogue #7."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, uniform
from backproplab.rule import defvjp


@jax.custom_vjp
def sqrt(x):
    """The square root of x, elementwise; NaN below 0."""
    return jnp.sqrt(x)


def sqrt_fwd(x):
    """Keeps y, of which the slope is a simple function."""
    y = jnp.sqrt(x)
    return y, y


def sqrt_bwd(y, dy):
    """From y^2 = x comes 2 y dy/dx = 1, so dy/dx = 1 / (2 y).

    Convention at 0: the slope is +infinity, as in JAX, so a gradient that arrives there becomes infinite and is seen. A
    cotangent of exactly 0 gets 0, where 0/0 would be NaN: that makes `where(x > 0, sqrt(x), 0)` safe at x = 0, and a
    loss that does not use the root indifferent to it. Both conditions are asked, not dy = 0 alone: a second derivative
    needs d dx / d dy = 1 / (2 y) also where dy happens to be 0.
    """
    unused = (dy == 0) & (y == 0)
    return (jnp.where(unused, 0, dy / (2 * y)),)


defvjp(sqrt, sqrt_fwd, sqrt_bwd)

_positive = {0: (0.0, np.inf)}
CASES = (
    Case(sqrt, (uniform(0.2, 5, 4, 5),), residual_bytes=lambda x: x.nbytes, order=2, domain=_positive),
    Case(
        sqrt, (np.array([1.0, 4.0, 0.25]),), name="exact slopes", expect=(np.array([0.5, 0.25, 1.0]),), domain=_positive
    ),
    Case(sqrt, (np.array([1e-30, 1e-3, 1e3, 1e30]),), name="tails", domain={0: "fixed"}),
)
