"""The divide gate, x / y. Lecture L13, catalogue #5."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, away_from_zero, full, normal
from backproplab.layers.gates.add import sum_to
from backproplab.precision import widened
from backproplab.rule import defvjp


@jax.custom_vjp
def divide(x, y):
    """x / y, elementwise. x and y are floating, of any shapes that broadcast against each other."""
    return jnp.divide(x, y)


def divide_fwd(x, y):
    """Keeps x and y, which the caller holds anyway."""
    x, y = jnp.asarray(x), jnp.asarray(y)
    return x / y, (x, y)


def divide_bwd(residuals, dz):
    """z = x / y is linear in x with slope 1/y. For y use z y = x: dz/dy y + z = 0, so dz/dy = -z/y.

        dx = dz / y        dy = -(dz / y) (x / y)

    Written so, y^2 is never formed: it would leave the range of float32 for |y| < 1e-19 although dy need not. Both are
    summed over repeated axes. Where y = 0 a cotangent of 0 gets 0, not 0/0: the branch of a `where` that was not chosen
    must not poison the one that was.
    """
    x, y = residuals
    x, y, dz = widened(x), widened(y), widened(dz)
    y = jnp.where((dz == 0) & (y == 0), 1, y)
    dx = dz / y
    dy = -dx * (x / y)
    return sum_to(residuals[0].shape, dx), sum_to(residuals[1].shape, dy)


defvjp(divide, divide_fwd, divide_bwd)


def _kept(x, y):
    return x.nbytes + y.nbytes


CASES = (
    Case(divide, (normal(4, 5), away_from_zero(4, 5, gap=0.5)), residual_bytes=_kept, order=2),
    Case(divide, (normal(3, 1, 5), away_from_zero(4, 1, gap=0.5)), name="both repeated", residual_bytes=_kept),
    Case(divide, (normal(2, 3), away_from_zero(gap=0.5)), name="a scalar below", residual_bytes=_kept),
    Case(divide, (full(0.0, 3), full(2.0, 3)), name="zero above", expect=(np.full(3, 0.5), np.zeros(3))),
    Case(divide, (full(1e-15, 3), full(1e-15, 3)), name="both small", domain={0: "fixed", 1: "fixed"}),
)
