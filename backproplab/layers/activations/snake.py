"""Snake, the identity with a ripple: a unit that can learn what is periodic (Ziyin, Hartwig & Ueda, 2020, arXiv
2006.08195). Catalogue #36.

Autodiff of x + sin^2(alpha x) / alpha is NaN at alpha = 0, where the function is the identity; this rule's slopes are
their limits.
"""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal, uniform
from backproplab.layers.gates.add import sum_to
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def snake(x, alpha=1.0):
    """x + sin^2(alpha x) / alpha, elementwise, in the dtype of x; x at alpha = 0.

    x (...); alpha, the frequency of the ripple, of a shape that broadcasts to that of x, such as () or (features,).
    """
    wide = widened(x)
    u = widened(alpha) * wide
    return (wide + wide * jnp.sin(u) * _ratio(u)).astype(floating_dtype(x))


def _ratio(u):
    """sin(u) / u, and 1 at 0."""
    return jnp.where(u == 0, 1, jnp.sin(u) / jnp.where(u == 0, 1, u))


def snake_fwd(x, alpha):
    """Keeps x and alpha, which the caller holds anyway."""
    return snake(x, alpha), (x, jnp.asarray(alpha))


def snake_bwd(residuals, dy):
    """With u = alpha x and y = x + sin^2(u) / alpha:

        dy/dx     = 1 + 2 sin u cos u = (sin u + cos u)^2
        dy/dalpha = 2 x sin u cos u / alpha - sin^2 u / alpha^2 = x^2 S (2 cos u - S)        with S = sin(u) / u

    As a square the slope keeps its digits where it touches 0 and is never negative: snake never falls. The second line
    needs no division by alpha; at u = 0, S = 1 and it is x^2. dalpha is summed over everything that shares one alpha.
    """
    x, alpha = residuals
    x, dy = widened(x), widened(dy)
    u = alpha.astype(x.dtype) * x
    s = _ratio(u)
    dalpha = sum_to(alpha.shape, dy * (x * x * s * (2 * jnp.cos(u) - s)))
    return dy * jnp.square(jnp.sin(u) + jnp.cos(u)), dalpha


defvjp(snake, snake_fwd, snake_bwd)


def _kept(x, alpha):
    return x.nbytes + alpha.nbytes


CASES = (
    Case(snake, (normal(4, 5), uniform(0.5, 2.0)), residual_bytes=_kept, order=2),
    Case(snake, (normal(2, 3, 4), normal(4)), name="an alpha per feature", residual_bytes=_kept),
    Case(
        snake,
        (np.array([0.0, 1.0, -2.0]), np.asarray(0.0)),
        name="alpha 0: the identity",
        expect=(np.ones(3), np.asarray(5.0)),
    ),
    Case(snake, (full(0.0, 3), np.asarray(1.5)), name="zero: slope 1", expect=(np.ones(3), np.zeros(()))),
    Case(snake, (normal(5), np.asarray(1e-4)), name="small alpha"),
    # -pi/4 and 3 pi/4, in float64 as near as it has them
    Case(snake, (np.array([-0.785, 2.357, -0.786]), np.asarray(1.0)), name="where it is nearly flat"),
)
