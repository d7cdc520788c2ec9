"""Softsign, a sigmoid whose tails are algebraic (Bergstra et al., 2009; Turian et al., 2009). Catalogue #32."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, away_from_zero, full
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def soft_sign(x):
    """x / (1 + |x|), elementwise; x (...) -> y (...), between -1 and 1, which are its limits at the infinities."""
    wide = widened(x)
    wide = jnp.clip(wide, jnp.finfo(wide.dtype).min, jnp.finfo(wide.dtype).max)  # not inf / inf, which is NaN
    return (wide / (1 + jnp.abs(wide))).astype(floating_dtype(x))


def soft_sign_fwd(x):
    """Keeps x, which the caller holds anyway."""
    return soft_sign(x), x


def soft_sign_bwd(x, dy):
    """For x > 0, d/dx x / (1 + x) = (1 + x - x) / (1 + x)^2. y is odd, so its slope is even:

        dy/dx = 1 / (1 + |x|)^2

    Autodiff takes the difference 1 / (1 + |x|) - |x| / (1 + |x|)^2, which loses digits in proportion to |x|. The slope is
    1 at x = 0, from both sides; the second derivative jumps there.
    """
    return (widened(dy) * jnp.square(1 / (1 + jnp.abs(widened(x)))),)


defvjp(soft_sign, soft_sign_fwd, soft_sign_bwd)

CASES = (
    Case(soft_sign, (away_from_zero(4, 5, scale=2.0),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(soft_sign, (full(0.0, 3),), name="zero: slope 1", expect=(np.ones(3),)),
    Case(soft_sign, (np.array([-100.0, 100.0, -1e4, 1e4]),), name="tails"),
)
