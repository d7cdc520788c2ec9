"""The identity between -1 and 1, constant beyond: a tanh of straight lines (Collobert, 2004). Catalogue #31."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, uniform
from backproplab.rule import defvjp


@jax.custom_vjp
def hard_tanh(x):
    """x cut to [-1, 1], elementwise; x (...) -> y (...). NaN stays NaN."""
    return jnp.where(x > 1, 1, jnp.where(x < -1, -1, x))


def hard_tanh_fwd(x):
    """Keeps one byte per entry: does it pass?"""
    return hard_tanh(x), (x >= -1) & (x <= 1)


def hard_tanh_bwd(passes, dy):
    """Slope 1 inside and 0 outside; at both kinks 1, as `jax.nn.hard_tanh` has it (`jnp.clip` takes 1/2)."""
    return (jnp.where(passes, dy, 0),)


defvjp(hard_tanh, hard_tanh_fwd, hard_tanh_bwd)

CASES = (
    Case(hard_tanh, (uniform(-2.0, 2.0, 4, 5),), residual_bytes=lambda x: x.size),
    Case(hard_tanh, (np.array([-1.0, 1.0]),), name="at -1 and 1: slope 1", expect=(np.ones(2),)),
    Case(
        hard_tanh, (np.array([-2.0, 0.5, 2.0, 1e30]),), name="below, inside, above", expect=(np.array([0.0, 1, 0, 0]),)
    ),
)
