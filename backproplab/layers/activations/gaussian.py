"""The bell curve exp(-x^2) as an activation, the unit of radial basis networks (Broomhead & Lowe, 1988). Catalogue #36."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def gaussian(x):
    """exp(-x^2), elementwise; x (...) -> y (...). Its limits at the infinities are 0."""
    return jnp.exp(-jnp.square(widened(x))).astype(floating_dtype(x))


def gaussian_fwd(x):
    """Keeps x, which the caller holds anyway."""
    return gaussian(x), x


def gaussian_bwd(x, dy):
    """d/dx exp(-x^2) = -2 x exp(-x^2). Two things keep the tails exact, as in `gelu`:

    - x^2 must not round: it would cost the slope a relative error of x^2 units in the last place. So with h the multiple
      of 1/16 below x, x^2 = h^2 + (x - h) (x + h), where h^2 is exact and the rest is small.
    - exp(-h^2) is applied as its root twice, since it underflows before x exp(-x^2) does.
    """
    x = jnp.clip(widened(x), -40, 40)  # the slope is 0 there; at an infinity the formula would be NaN
    h = jnp.floor(x * 16) / 16
    root = jnp.exp(-h * h / 2)
    return (widened(dy) * (root * (-2 * x * jnp.exp((h - x) * (h + x))) * root),)


defvjp(gaussian, gaussian_fwd, gaussian_bwd)

CASES = (
    Case(gaussian, (normal(4, 5),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(gaussian, (full(0.0, 3),), name="zero: slope 0", expect=(np.zeros(3),)),
    Case(gaussian, (np.array([-5.0, 5.0, -9.2, 100.0]),), name="tails"),
)
