"""Mish, x tanh(softplus(x)) (Misra, 2019, arXiv 1908.08681). Catalogue #30."""

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def mish(x):
    """x tanh(log(1 + exp(x))), elementwise; x (...) -> y (...). Its limits at the infinities: 0 and inf."""
    wide = widened(x)
    # not -inf, whose product with 0 is NaN
    return (jnp.maximum(wide, jnp.finfo(wide.dtype).min) * jnp.tanh(jnp.logaddexp(wide, 0))).astype(floating_dtype(x))


def mish_fwd(x):
    """Keeps x, which the caller holds anyway; autodiff keeps five arrays of its size."""
    return mish(x), x


def mish_bwd(x, dy):
    """With E = exp(x), tanh(log(1 + E)) = ((1 + E)^2 - 1) / ((1 + E)^2 + 1) = E (E + 2) / q with q = E^2 + 2 E + 2.
    Its derivative by x is, by the quotient rule, 4 E (1 + E) / q^2, so

        dy/dx = E (E + 2) / q + x 4 E (1 + E) / q^2

    Multiplied through by powers of exp(-x) the same holds for large x without overflow. With e = exp(-|x|):

        x <= 0:  q = e^2 + 2 e + 2,    tanh = e (e + 2) / q,     slope = 4 e (1 + e) / q^2
        x >  0:  q = 1 + 2 e + 2 e^2,  tanh = (1 + 2 e) / q,     slope = 4 e^2 (1 + e) / q^2

    All terms are positive, and nothing cancels but at the minimum, x = -1.192. On the left e stands before everything,
    and is applied as its root twice: in float32 it underflows at x = -87, but e (1 + x) only at x = -92.
    """
    x = jnp.clip(widened(x), -1e4, 1e4)  # the slope is 0 or 1 there; at an infinity the formula would be NaN
    right = x > 0
    root = jnp.exp(jnp.where(right, -x, x) / 2)
    e = root * root
    q = jnp.where(right, 1 + 2 * e + 2 * e * e, e * e + 2 * e + 2)
    on_the_right = (1 + 2 * e) / q + x * 4 * e * e * (1 + e) / (q * q)
    on_the_left = root * ((e + 2) / q + x * 4 * (1 + e) / (q * q)) * root
    return (widened(dy) * jnp.where(right, on_the_right, on_the_left),)


defvjp(mish, mish_fwd, mish_bwd)

CASES = (
    Case(mish, (normal(4, 5, scale=2.0),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(mish, (full(0.0, 3),), name="zero: slope 3/5", expect=(np.full(3, 0.6),)),
    Case(mish, (np.array([-30.0, 30.0, -80.0, 1000.0]),), name="tails"),
)
