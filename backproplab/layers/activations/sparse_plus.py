"""The sparse twin of softplus: 0, a parabola, the identity (Blondel, Martins & Niculae, 2020, arXiv 1901.02324, section
6.2)."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, uniform
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def sparse_plus(x):
    """0 for x <= -1, (x + 1)^2 / 4 between, x for x >= 1; elementwise, x (...) -> y (...)."""
    wide = widened(x)  # x + 1 would round in bfloat16
    inside = jnp.abs(wide) < 1
    parabola = jnp.square(jnp.where(inside, wide, 0) + 1) / 4
    return jnp.where(inside, parabola, jnp.maximum(wide, 0)).astype(floating_dtype(x))


def sparse_plus_fwd(x):
    """Keeps x, which the caller holds anyway."""
    return sparse_plus(x), x


def sparse_plus_bwd(x, dy):
    """Slopes 0, (x + 1) / 2 and 1, which meet at -1 and 1: there is no kink. So the slope is (x + 1) / 2 cut to [0, 1],
    the sparse twin of the sigmoid."""
    x, dy = widened(x), widened(dy)
    return (jnp.where(x <= -1, 0, jnp.where(x >= 1, dy, dy * ((x + 1) / 2))),)


defvjp(sparse_plus, sparse_plus_fwd, sparse_plus_bwd)

CASES = (
    Case(sparse_plus, (uniform(-2.0, 2.0, 4, 5),), residual_bytes=lambda x: x.nbytes),
    Case(sparse_plus, (uniform(-1.0, 1.0, 4, 5),), name="the parabola", order=2, domain={0: (-1.0, 1.0)}),
    Case(sparse_plus, (np.array([-1.0, 1.0]),), name="at -1 and 1", expect=(np.array([0.0, 1.0]),)),
    Case(
        sparse_plus,
        (np.array([-3.0, 0.0, 0.5, 1e30]),),
        name="below, inside, above",
        expect=(np.array([0.0, 0.5, 0.75, 1.0]),),
    ),
)
