"""Binary values with a straight-through gradient that ends where they saturate (Hubara et al., 2016, arXiv 1602.02830).
Catalogue #127."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, uniform
from backproplab.layers.quantization.round_ste import straight_through
from backproplab.rule import defvjp


@jax.custom_vjp
def sign_ste(x):
    """1 where x >= 0, else -1, in the dtype of x: two values, no third one at 0. x (...) -> y (...). NaN gives -1."""
    return _binary(x)


def _binary(x):
    x = jnp.asarray(x)
    return jnp.where(x >= 0, 1, -1).astype(x.dtype)


def sign_ste_fwd(x):
    """Keeps one byte per entry: is it not saturated?"""
    return _binary(x), jnp.abs(x) <= 1


def sign_ste_bwd(passes, dy):
    """The step is flat, so its derivative is 0; declared is that of the line from (-1, -1) to (1, 1) that it stands for:
    1 where |x| <= 1, both ends included, and 0 beyond. Without that end, weights that are already at their sign would
    grow for ever.
    """
    return (jnp.where(passes, dy, 0),)


defvjp(sign_ste, sign_ste_fwd, sign_ste_bwd)


def _declared(x):
    """The value with the gradient of x, cut where |x| > 1."""
    return straight_through(_binary(x), jnp.where(jnp.abs(x) <= 1, x, 0))


CASES = (
    Case(
        sign_ste,
        (uniform(-2.0, 2.0, 4, 5),),
        by_design=True,
        reference=_declared,
        residual_bytes=lambda x: x.size,
    ),
    Case(
        sign_ste,
        (np.array([-1.0, 1.0, 0.0, -0.0]),),
        name="on the ends, and zero: slope 1",
        by_design=True,
        expect=(np.ones(4),),
    ),
    Case(
        sign_ste,
        (np.array([-1.5, 0.25, 1e30]),),
        name="saturated: slope 0",
        by_design=True,
        expect=(np.array([0.0, 1.0, 0.0]),),
    ),
)
