"""The reciprocal gate, 1/x: the last gate of the lecture's sigmoid circuit. Lecture L13, catalogue #5."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, away_from_zero
from backproplab.rule import defvjp


@jax.custom_vjp
def reciprocal(x):
    """1 / x, elementwise; infinite, with the sign of the zero, at 0."""
    return jnp.reciprocal(x)


def reciprocal_fwd(x):
    """Keeps y = 1/x: the slope is a polynomial in it, so going back divides nothing."""
    y = jnp.reciprocal(x)
    return y, y


def reciprocal_bwd(y, dy):
    """From x y = 1 comes y + x dy/dx = 0, so dy/dx = -y / x = -y^2. Multiplied into dy one factor at a time, since y^2
    leaves the range of float32 long before most products dy y^2 do.

    At the pole x = 0 the slope is -infinity. A cotangent of 0 gets 0 there, not the NaN of 0 times infinity: the branch
    of a `where` that was not chosen must not poison the one that was.
    """
    unused = (dy == 0) & jnp.isinf(y)
    return (jnp.where(unused, 0, -(dy * y) * y),)


defvjp(reciprocal, reciprocal_fwd, reciprocal_bwd)

CASES = (
    Case(reciprocal, (away_from_zero(4, 5, gap=0.5),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(
        reciprocal, (np.array([1.0, -2.0, 4.0]),), name="exact powers of 2", expect=(np.array([-1.0, -0.25, -0.0625]),)
    ),
    Case(reciprocal, (np.array([1e-15, -1e-15, 1e15, -1e15]),), name="far from 1", domain={0: "fixed"}),
)
