"""The rectified linear unit (Nair & Hinton, 2010). Lecture L10, catalogue #20.

The rule keeps one byte per entry where autodiff keeps that and the result of the comparison besides.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, away_from_zero, full
from backproplab.rule import defvjp


@jax.custom_vjp
def relu(x):
    """max(x, 0), elementwise; x (...) -> y (...). NaN stays NaN."""
    return jnp.maximum(x, 0)


def relu_fwd(x):
    """Keeps one byte per entry: was it positive? A bit would do, but packing takes a reshape."""
    return jnp.maximum(x, 0), x > 0


def relu_bwd(positive, dy):
    """y = x where x > 0, slope 1; y = 0 where x < 0, slope 0. At the kink x = 0 every slope from 0 to 1 is a subgradient
    and this rule takes 0, as `jax.nn.relu` does (autodiff of the maximum would take 1/2). Selected, not multiplied: an
    infinite cotangent of a unit that is off gives 0.
    """
    return (jnp.where(positive, dy, 0),)


defvjp(relu, relu_fwd, relu_bwd)

CASES = (
    Case(relu, (away_from_zero(4, 5),), residual_bytes=lambda x: x.size),
    Case(relu, (full(0.0, 3),), name="zero: slope 0", kink=True, expect=(np.zeros(3),)),
    Case(
        relu,
        (np.array([-0.0, 1.0, -1.0, 1e-30, -1e-30]),),
        name="on, off and -0",
        kink=True,
        expect=(np.array([0.0, 1, 0, 1, 0]),),
    ),
    Case(relu, (np.array([1e30, -1e30, np.inf, -np.inf]),), name="extremes", expect=(np.array([1.0, 0, 1, 0]),)),
    Case(relu, (away_from_zero(1),), name="one entry"),
    Case(relu, (away_from_zero(0, 3),), name="empty"),
)
