"""Softplus, the smooth rectifier (Dugas et al., 2001). Catalogue #24."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def softplus(x):
    """log(1 + exp(x)), elementwise, without overflow; x (...) -> y (...)."""
    return jnp.logaddexp(widened(x), 0).astype(floating_dtype(x))


def softplus_fwd(x):
    """Keeps x, which the caller holds anyway."""
    return softplus(x), x


def softplus_bwd(x, dy):
    """d/dx log(1 + exp(x)) = exp(x) / (1 + exp(x)) = 1 / (1 + exp(-x)): the sigmoid, which overflows nowhere."""
    return (widened(dy) * jax.nn.sigmoid(widened(x)),)


defvjp(softplus, softplus_fwd, softplus_bwd)

CASES = (
    Case(softplus, (normal(4, 5, scale=2.0),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(softplus, (full(0.0, 3),), name="zero: slope 1/2", expect=(np.full(3, 0.5),)),
    Case(softplus, (np.array([80.0, -80.0, 30.0, -30.0, 1000.0]),), name="tails, where exp(x) overflows"),
)
