"""The gate of the inverse square root, the heart of every normalisation. Catalogue #7."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, uniform
from backproplab.rule import defvjp


@jax.custom_vjp
def rsqrt(x):
    """1 / sqrt(x), elementwise; infinite at 0, NaN below."""
    return jax.lax.rsqrt(x)


def rsqrt_fwd(x):
    """Keeps y: the slope is a polynomial in it, so going back takes no root and divides nothing."""
    y = jax.lax.rsqrt(x)
    return y, y


def rsqrt_bwd(y, dy):
    """y = x^(-1/2), so dy/dx = -1/2 x^(-3/2) = -y^3 / 2. Multiplied into dy one factor at a time, since y^3 leaves the
    range of float32 before most products dy y^3 do.

    The slope at 0 is -infinity. A cotangent of 0 gets 0 there, not the NaN of 0 times infinity, as in `sqrt`.
    """
    unused = (dy == 0) & jnp.isinf(y)
    return (jnp.where(unused, 0, -0.5 * (dy * y) * y * y),)


defvjp(rsqrt, rsqrt_fwd, rsqrt_bwd)

_positive = {0: (0.0, np.inf)}
CASES = (
    Case(rsqrt, (uniform(0.2, 5, 4, 5),), residual_bytes=lambda x: x.nbytes, order=2, domain=_positive),
    Case(rsqrt, (np.array([1.0, 0.25]),), name="exact slopes", expect=(np.array([-0.5, -4.0]),), domain=_positive),
    Case(rsqrt, (np.array([1e-20, 1e-3, 1e3, 1e20]),), name="tails", domain={0: "fixed"}),
)
