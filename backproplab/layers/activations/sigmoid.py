"""The logistic function. Lecture L3 and L4, catalogue #22.

Autodiff's slope y (1 - y) is 0 in float32 from x = 17 on; this rule's is right until it underflows at |x| = 87.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def sigmoid(x):
    """1 / (1 + exp(-x)), elementwise; x (...) -> y (...), between 0 and 1."""
    return jax.nn.sigmoid(jnp.asarray(x, floating_dtype(x)))


def sigmoid_fwd(x):
    """Keeps x, which the caller holds anyway. y has forgotten the slope where it has rounded to 1."""
    return jax.nn.sigmoid(x), x


def sigmoid_bwd(x, dy):
    """s(x) = 1 / (1 + exp(-x)) has s'(x) = exp(-x) / (1 + exp(-x))^2 = s(x) s(-x) = y (1 - y). It is even in x, so with
    e = exp(-|x|), at most 1 and never overflowing,

        s'(x) = e / (1 + e)^2

    Only positive numbers are added: full relative accuracy in both tails. At most 1/4, reached at x = 0.
    """
    e = jnp.exp(-jnp.abs(widened(x)))
    return (widened(dy) * e / jnp.square(1 + e),)


defvjp(sigmoid, sigmoid_fwd, sigmoid_bwd)

CASES = (
    Case(sigmoid, (normal(4, 5, scale=2.0),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(sigmoid, (full(0.0, 3),), name="zero: slope 1/4", expect=(np.full(3, 0.25),)),
    Case(sigmoid, (np.array([30.0, -30.0, 17.0, 60.0, -60.0]),), name="tails"),
    Case(
        sigmoid,
        (np.array([np.inf, -np.inf]),),
        name="infinite: slope 0",
        dtypes=("float32",),
        argnums=(0,),
        by_design=True,
        expect=(np.zeros(2),),
    ),
)
