"""A sigmoid of straight lines, relu6(x + 3) / 6 (Howard et al., 2019, arXiv 1905.02244). Catalogue #31."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, uniform
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def hard_sigmoid(x):
    """min(max(x + 3, 0), 6) / 6, elementwise; x (...) -> y (...), between 0 and 1."""
    wide = widened(x)  # x + 3 would round in bfloat16
    return (jnp.minimum(jnp.maximum(wide + 3, 0), 6) / 6).astype(floating_dtype(x))


def hard_sigmoid_fwd(x):
    """Keeps one byte per entry: does it pass?"""
    return hard_sigmoid(x), (x > -3) & (x < 3)


def hard_sigmoid_bwd(passes, dy):
    """Slope 1/6 between -3 and 3, else 0; at both kinks 0, as `relu6` has it."""
    return (jnp.where(passes, dy / 6, 0),)


defvjp(hard_sigmoid, hard_sigmoid_fwd, hard_sigmoid_bwd)

CASES = (
    Case(hard_sigmoid, (uniform(-5.0, 5.0, 4, 5),), residual_bytes=lambda x: x.size),
    Case(hard_sigmoid, (np.array([-3.0, 3.0]),), name="at -3 and 3: slope 0", kink=True, expect=(np.zeros(2),)),
    Case(
        hard_sigmoid,
        (np.array([-4.0, 0.5, 4.0, 1e30]),),
        name="below, inside, above",
        expect=(np.array([0.0, 1 / 6, 0, 0]),),
    ),
)
