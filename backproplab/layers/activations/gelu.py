"""The Gaussian error linear unit, x Phi(x) (Hendrycks & Gimpel, 2016, arXiv 1606.08415). Catalogue #28."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, normal
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp


@jax.custom_vjp
def gelu(x):
    """x times the probability that a standard normal number is below x; x (...) -> y (...).

    `jax.nn.gelu(x, approximate=False)`; for the form with tanh see `gelu_tanh`.
    """
    wide = widened(x)
    # not -inf, whose product with 0 is NaN
    return (jnp.maximum(wide, jnp.finfo(wide.dtype).min) * _probability(wide)).astype(floating_dtype(x))


def _probability(x):
    """Phi(x). From erfc: 1 + erf(x / sqrt 2) would cancel for negative x."""
    return jax.scipy.special.erfc(-x * math.sqrt(0.5)) / 2


def gelu_fwd(x):
    """Keeps x, which the caller holds anyway; autodiff keeps three arrays of its size."""
    return gelu(x), x


def gelu_bwd(x, dy):
    """d/dx x Phi(x) = Phi(x) + x phi(x), where phi(x) = exp(-x^2 / 2) / sqrt(2 pi) is the derivative of Phi.

    For x << 0 the second term dominates the first by x^2, so nothing cancels but at the minimum, x = -0.752. Three things
    keep the left tail exact:

    - x^2 must not round: it would cost exp(-x^2 / 2) a relative error of x^2 units in the last place. So with h the
      multiple of 1/16 below x, x^2 = h^2 + (x - h) (x + h), where h^2 is exact and the rest is small.
    - exp(-h^2 / 2) is applied as its root twice, since it underflows before x phi(x) does.
    - Where Phi is about to underflow, in the last unit before phi does, it is its asymptotic series
      Phi(x) = phi(x) / |x| (1 - 1/x^2 + 3/x^4 - 15/x^6 + 105/x^8 ...), which five terms give to 2e-16 of the slope in
      float64 and to 1e-9 in float32. There the slope is phi(x) (x + series / |x|).
    """
    x = jnp.clip(widened(x), -40, 40)  # the slope is 0 or 1 there; at an infinity the formula would be NaN
    edge = 1 - math.sqrt(-2 * math.log(jnp.finfo(x.dtype).tiny))
    far = jnp.minimum(x, edge)
    r = 1 / (far * far)
    series = 1 - r * (1 - 3 * r * (1 - 5 * r * (1 - 7 * r)))
    h = jnp.floor(x * 16) / 16
    root = jnp.exp(-h * h / 4)
    rest = jnp.exp((h - x) * (h + x) / 2) / math.sqrt(2 * math.pi)
    probability = jnp.where(x < edge, 0, _probability(x))
    flank = jnp.where(x < edge, far - series / far, x)
    return (widened(dy) * (probability + root * flank * rest * root),)


defvjp(gelu, gelu_fwd, gelu_bwd)

CASES = (
    Case(gelu, (normal(4, 5),), residual_bytes=lambda x: x.nbytes, order=2),
    Case(gelu, (full(0.0, 3),), name="zero: slope 1/2", expect=(np.full(3, 0.5),)),
    Case(gelu, (np.array([-5.0, 5.0, -10.0, 100.0]),), name="tails"),
    Case(gelu, (np.array([-12.5, -36.75, -37.25]),), name="where phi is about to underflow"),
)
