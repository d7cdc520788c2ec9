"""The hyperbolic tangent, the classic activation of multi-layer networks. Lecture L4, catalogue #23."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def tanh(x):
    """x (...) -> y (...), elementwise."""
    return jnp.tanh(x)


def tanh_fwd(x):
    """Keeps x: y alone has lost the tail, since tanh x rounds to 1 in float32 from about x = 9 on."""
    return jnp.tanh(x), x


def tanh_bwd(x, dy):
    """tanh'(x) = 1 - tanh^2 x = sech^2 x. As 1 - y^2 it is a difference of nearly equal numbers in the tails, so write
    it with e = exp(-|x|), which is at most 1 and never overflows:

        sech x = 2 / (exp(x) + exp(-x)) = 2 e / (1 + e^2)

    Every operation is on positive numbers: full relative accuracy as long as the slope is a normal number (|x| < 44 in
    float32), since it is squared last.
    """
    e = jnp.exp(-jnp.abs(widened(x)))
    return (widened(dy) * jnp.square(2 * e / (1 + e * e)),)


defvjp(tanh, tanh_fwd, tanh_bwd)

CASES = (
    Case(tanh, (normal(4, 5, scale=2.0),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(tanh, (full(0.0, 3),), name="zero: slope 1", expect=(np.ones(3),)),
    Case(tanh, (np.array([12.0, -12.0, 30.0, -44.0]),), name="tails"),
)
