"""The sigmoid linear unit, x sigmoid(x) (Elfwing, Uchibe & Doya, 2017, arXiv 1702.03118). Catalogue #27."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def silu(x):
    """x / (1 + exp(-x)), elementwise; x (...) -> y (...). Its limits at the infinities: 0 and inf."""
    wide = widened(x)
    # not -inf, whose product with 0 is NaN
    return (jnp.maximum(wide, jnp.finfo(wide.dtype).min) * jax.nn.sigmoid(wide)).astype(floating_dtype(x))


def silu_fwd(x):
    """Keeps x, which the caller holds anyway; autodiff keeps three arrays of its size."""
    return silu(x), x


def silu_bwd(x, dy):
    """With s = s(x) and s'(x) = s(x) s(-x):  d/dx x s = s + x s s(-x) = s (1 + x s(-x)). With e = exp(-|x|), at most 1,
    the two sigmoids are 1 / (1 + e) and e / (1 + e), so the slope is

        x <= 0:  e (1 + e + x) / (1 + e)^2        x > 0:  (1 + e + x e) / (1 + e)^2

    Nothing cancels but at the minimum, x = -1.278. On the left e is applied as its root twice: in float32 it underflows
    at x = -87, but e (1 + x) only at x = -92.
    """
    x = jnp.clip(widened(x), -1e4, 1e4)  # the slope is 0 or 1 there; at an infinity the formula would be NaN
    right = x > 0
    root = jnp.exp(jnp.where(right, -x, x) / 2)
    e = root * root
    slope = jnp.where(right, 1 + e + x * e, root * (1 + e + x) * root) / jnp.square(1 + e)
    return (widened(dy) * slope,)


defvjp(silu, silu_fwd, silu_bwd)

CASES = (
    Case(silu, (normal(4, 5, scale=2.0),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(silu, (full(0.0, 3),), name="zero: slope 1/2", expect=(np.full(3, 0.5),)),
    Case(silu, (np.array([-30.0, 30.0, -80.0, 1000.0]),), name="tails"),
)
