"""The exponential gate, e^x. Lecture L13, catalogue #7."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.rule import defvjp


@jax.custom_vjp
def exp(x):
    """e^x, elementwise; infinite from about x = 89 on in float32 (710 in float64)."""
    return jnp.exp(x)


def exp_fwd(x):
    """Keeps y: the exponential is its own slope."""
    y = jnp.exp(x)
    return y, y


def exp_bwd(y, dy):
    """e^x is the function that equals its derivative: dx = dy y, with the relative accuracy of y in both tails.

    Where y has overflowed a cotangent of 0 gets 0, not the NaN of 0 times infinity: the branch of a `where` that was
    not chosen must not poison the one that was.
    """
    unused = (dy == 0) & jnp.isinf(y)
    return (jnp.where(unused, 0, dy * y),)


defvjp(exp, exp_fwd, exp_bwd)

CASES = (
    Case(exp, (normal(4, 5),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(exp, (full(0.0, 3),), name="zero: slope 1", expect=(np.ones(3),)),
    Case(exp, (np.array([80.0, 30.0, -30.0, -80.0]),), name="tails"),
)
