"""The Gaussian error linear unit in the form with tanh that most networks use (arXiv 1606.08415). Catalogue #29.

Autodiff keeps five arrays of the size of x and its slope is 0 in float32 from x = -5 on; this rule keeps x alone.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp

SCALE = math.sqrt(2 / math.pi)
CUBIC = 0.044715
_LINEAR = round(2 * SCALE * 2**12) / 2**12
_CUBED = round(2 * SCALE * CUBIC * 2**16) / 2**16


@jax.custom_vjp
def gelu_tanh(x):
    """x (1 + tanh(u)) / 2 with u = SCALE (x + CUBIC x^3); x (...) -> y (...). `jax.nn.gelu(x, approximate=True)`."""
    wide = widened(x)
    s = jax.nn.sigmoid(2 * SCALE * (wide + CUBIC * wide**3))  # (1 + tanh u) / 2 = sigmoid(2 u), which does not cancel
    # not -inf, whose product with 0 is NaN
    return (jnp.maximum(wide, jnp.finfo(wide.dtype).min) * s).astype(floating_dtype(x))


def gelu_tanh_fwd(x):
    """Keeps x, which the caller holds anyway."""
    return gelu_tanh(x), x


def gelu_tanh_bwd(x, dy):
    """y = x s(z) with z = 2 u = 2 SCALE (x + CUBIC x^3), and s'(z) = s(z) s(-z):

        dy/dx = s(z) + x s(z) s(-z) z' = s(z) (1 + x s(-z) z'),    z' = 2 SCALE (1 + 3 CUBIC x^2)

    With e = exp(-|z|), at most 1, and the slope w = x z' the two sigmoids make it

        x <= 0:  e (1 + e + w) / (1 + e)^2        x > 0:  (1 + e + w e) / (1 + e)^2

    e in front carries the left tail. (sech^2 u = 1 - tanh^2 u, as autodiff has it, loses it.) It is applied as its root
    twice, since it underflows before the slope does.
    """
    x = jnp.clip(widened(x), -32, 32)  # the slope is 0 or 1 there; at an infinity the formula would be NaN
    right = x > 0
    root, rest = _exponential(jnp.where(right, x, -x))
    e = root * rest * root
    w = 2 * SCALE * x * (1 + 3 * CUBIC * x * x)
    slope = jnp.where(right, 1 + e + w * e, root * (1 + e + w) * rest * root) / jnp.square(1 + e)
    return (widened(dy) * slope,)


def _exponential(x):
    """exp(-z) for x >= 0, as `root` and `rest` of root^2 rest.

    z rounded would cost exp(-z) a relative error of z units in the last place: in float32 7e-6 at x = 10. So the large
    part of z is gathered from numbers so short that float32 holds their products and sum exactly. With h the multiple
    of 1/16 below x, n the whole number below h^3, and A + a = 2 SCALE, B + b = 2 SCALE CUBIC, where A and B are short,

        z = 2 SCALE x + 2 SCALE CUBIC x^3 = (A h + B n) + (a h + B (h^3 - n) + b h^3 + z(x) - z(h))

    and z(x) - z(h) = 2 SCALE (x - h) (1 + CUBIC (x^2 + x h + h^2)).
    """
    h = jnp.floor(x * 16) / 16
    cube = h * h * h
    n = jnp.floor(cube)
    moved = 2 * SCALE * (x - h) * (1 + CUBIC * (x * x + x * h + h * h))
    small = (2 * SCALE - _LINEAR) * h + _CUBED * (cube - n) + (2 * SCALE * CUBIC - _CUBED) * cube + moved
    return jnp.exp(-(_LINEAR * h + _CUBED * n) / 2), jnp.exp(-small)


defvjp(gelu_tanh, gelu_tanh_fwd, gelu_tanh_bwd)

CASES = (
    Case(gelu_tanh, (normal(4, 5),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(gelu_tanh, (full(0.0, 3),), name="zero: slope 1/2", expect=(np.full(3, 0.5),)),
    Case(gelu_tanh, (np.array([-5.0, 5.0, -7.0, 100.0]),), name="tails"),
)
