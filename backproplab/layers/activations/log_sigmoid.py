"""The logarithm of the logistic function: log-probabilities straight from a logit. Catalogue #25."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def log_sigmoid(x):
    """log(1 / (1 + exp(-x))) = -log(1 + exp(-x)), elementwise, without overflow; x (...) -> y (...)."""
    wide = widened(x)
    return -jnp.logaddexp(-wide, 0).astype(floating_dtype(x))


def log_sigmoid_fwd(x):
    """Keeps x, which the caller holds anyway."""
    return log_sigmoid(x), x


def log_sigmoid_bwd(x, dy):
    """d/dx (-log(1 + exp(-x))) = exp(-x) / (1 + exp(-x)) = 1 / (1 + exp(x)) = s(-x), as 1 - s(x) but without cancelling."""
    return (widened(dy) * jax.nn.sigmoid(-widened(x)),)


defvjp(log_sigmoid, log_sigmoid_fwd, log_sigmoid_bwd)

CASES = (
    Case(log_sigmoid, (normal(4, 5, scale=2.0),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(log_sigmoid, (full(0.0, 3),), name="zero: slope 1/2", expect=(np.full(3, 0.5),)),
    Case(log_sigmoid, (np.array([80.0, -80.0, 30.0, -30.0, -1000.0]),), name="tails, where exp(-x) overflows"),
)
