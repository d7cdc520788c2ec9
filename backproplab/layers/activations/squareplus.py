"""Squareplus, a smooth rectifier without exponentials (Barron, 2021, arXiv 2112.11687). Catalogue #32.

Autodiff of the textbook form loses digits on the left: its slope at x = -100 is off by 1e-4 in float32.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal, uniform
from backproplab.layers.gates.add import sum_to
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def squareplus(x, b=4.0):
    """(x + sqrt(x^2 + b)) / 2, elementwise, in the dtype of x; x (...) -> y (...).

    b > 0, of a shape that broadcasts to that of x, is the smoothness: for b -> 0 this is relu. Names and default as in
    `jax.nn.squareplus`.
    """
    return _value_and_root(x, b)[0].astype(floating_dtype(x))


def _value_and_root(x, b):
    """y, and r = sqrt(x^2 + b), which is |x| where the square would overflow; in float32 or wider.

    x + r cancels on the left: there it is multiplied by (r - x) / (r - x), and its numerator r^2 - x^2 is b.
    """
    x, b = widened(x), widened(b)
    far = jnp.abs(x) > math.sqrt(jnp.finfo(x.dtype).max) / 2
    r = jnp.where(far, jnp.abs(x), jnp.sqrt(jnp.square(jnp.where(far, 0, x)) + b))
    left = x < 0
    return jnp.where(left, b / (2 * (r - jnp.where(left, x, 0))), (x + r) / 2), r


def squareplus_fwd(x, b):
    """Keeps x and b, which the caller holds anyway."""
    return squareplus(x, b), (x, jnp.asarray(b))


def squareplus_bwd(residuals, dy):
    """With r = sqrt(x^2 + b), dr/dx = x / r and dr/db = 1 / (2 r), so

        dy/dx = (1 + x / r) / 2 = (x + r) / (2 r) = y / r        dy/db = 1 / (4 r)

    y is free of cancellation, and so are both slopes. db is summed over everything that shares one b.
    """
    x, b = residuals
    dy = widened(dy)
    wide = widened(x)
    largest = jnp.finfo(wide.dtype).max / 4
    y, r = _value_and_root(jnp.clip(wide, -largest, largest), b)  # at an infinity y / r would be NaN
    return dy * (y / r), sum_to(b.shape, dy / (4 * r))


defvjp(squareplus, squareplus_fwd, squareplus_bwd)


def _kept(x, b=4.0):
    return x.nbytes + np.asarray(b, x.dtype).nbytes


_positive = {1: (0.0, np.inf)}
CASES = (
    Case(squareplus, (normal(4, 5), uniform(0.5, 3.0)), residual_bytes=_kept, order=2, domain=_positive),
    Case(squareplus, (normal(2, 3, 4), uniform(0.5, 3.0, 4)), name="a b per feature", residual_bytes=_kept),
    Case(squareplus, (full(0.0, 3),), name="zero: slope 1/2", expect=(np.full(3, 0.5),)),
    Case(squareplus, (np.array([-100.0, 100.0, -1e4, 1e4]), np.asarray(4.0)), name="tails", domain=_positive),
    Case(squareplus, (np.array([-np.inf, 1.5]),), name="-inf: 0", expect=(np.array([0.0, 0.8]),)),
)
