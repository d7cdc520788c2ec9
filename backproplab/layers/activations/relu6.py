"""The rectifier that is cut at 6 (Krizhevsky, 2010). Catalogue #31."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, uniform
from backproplab.rule import defvjp


@jax.custom_vjp
def relu6(x):
    """min(max(x, 0), 6), elementwise; x (...) -> y (...)."""
    return jnp.minimum(jnp.maximum(x, 0), 6)


def relu6_fwd(x):
    """Keeps one byte per entry: does it pass?"""
    return relu6(x), (x > 0) & (x < 6)


def relu6_bwd(passes, dy):
    """Slope 1 between 0 and 6, else 0; at both kinks 0, as `relu` has it (autodiff of min and max would take 1/2)."""
    return (jnp.where(passes, dy, 0),)


defvjp(relu6, relu6_fwd, relu6_bwd)

CASES = (
    Case(relu6, (uniform(-3.0, 9.0, 4, 5),), residual_bytes=lambda x: x.size),
    Case(relu6, (np.array([0.0, 6.0]),), name="at 0 and 6: slope 0", kink=True, expect=(np.zeros(2),)),
    Case(relu6, (np.array([-1.0, 3.0, 7.0, 1e30]),), name="below, inside, above", expect=(np.array([0.0, 1, 0, 0]),)),
    Case(relu6, (full(6.5, 3),), name="all cut"),
)
