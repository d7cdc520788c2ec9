"""The cardinal sine, sin(pi x) / (pi x): the ideal low-pass filter (Whittaker, 1915; Shannon, 1949). Catalogue #37.

Autodiff's slope in float32 has no right digit at x = 1e-4, where it is the difference of two numbers near 1 divided by x;
and far out pi x has lost its digits. This rule's is exact in both places.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from backproplab.case import Case, full, uniform
from backproplab.precision import floating_dtype, widened
from backproplab.rule import defvjp

# of x^(2 k): as many terms as float64 needs up to |x| = 1/2
_SERIES = [(-1) ** k * math.pi ** (2 * k) / math.factorial(2 * k + 1) for k in range(13)]
_DERIVATIVE = [2 * k * coefficient for k, coefficient in enumerate(_SERIES)][1:]  # of x^(2 k - 1), from k = 1 on


@jax.custom_vjp
def sinc(x):
    """sin(pi x) / (pi x), elementwise, and 1 at x = 0; x (...) -> y (...). As `jnp.sinc`; NaN at the infinities."""
    return _sinc(widened(x))[0].astype(floating_dtype(x))


def _sinc(x):
    """sinc(x) and cos(pi x). With n the nearest whole number, both functions of pi x are (-1)^n those of pi (x - n), an
    angle that is exact but for one rounding, whatever x."""
    n = jnp.round(x)
    sign = jnp.where(jnp.floor(0.5 * n) == 0.5 * n, 1, -1)
    angle = math.pi * (x - n)
    return jnp.where(x == 0, 1, sign * jnp.sin(angle) / jnp.where(x == 0, 1, math.pi * x)), sign * jnp.cos(angle)


def sinc_fwd(x):
    """Keeps x, which the caller holds anyway."""
    return sinc(x), x


def sinc_bwd(x, dy):
    """By the quotient rule the slope is (cos(pi x) - sinc(x)) / x. Near 0 that is a small difference of numbers near 1, so
    up to |x| = 1/2, where the cosine is 0 and nothing cancels any more, the series of sinc is differentiated term by term:

        sinc(x) = sum_k (-1)^k (pi x)^(2 k) / (2 k + 1)!
        sinc'(x) = sum_{k >= 1} (-1)^k 2 k pi^(2 k) x^(2 k - 1) / (2 k + 1)! = -pi^2 x / 3 + ...
    """
    x = widened(x)
    near = jnp.abs(x) < 0.5
    small = jnp.where(near, x, 0)
    value, cosine = _sinc(x)
    slope = jnp.where(near, _polynomial(_DERIVATIVE, small) * small, (cosine - value) / jnp.where(near, 1, x))
    return (widened(dy) * slope,)


def _polynomial(coefficients, x):
    """sum_k coefficients_k x^(2 k), by Horner's rule."""
    total = jnp.zeros_like(x)
    for coefficient in reversed(coefficients):
        total = total * (x * x) + coefficient
    return total


defvjp(sinc, sinc_fwd, sinc_bwd)


def _by_series(x):
    """The same function, so written near 0 that autodiff of it is exact there."""
    wide = widened(x)
    near = jnp.abs(wide) < 0.5
    far = _sinc(jnp.where(near, 1, wide))[0]
    return jnp.where(near, _polynomial(_SERIES, jnp.where(near, wide, 0)), far).astype(floating_dtype(x))


CASES = (
    Case(sinc, (uniform(-1.3, 1.3, 4, 5),), residual_bytes=lambda x: x.nbytes, order=2, reference=_by_series),
    Case(sinc, (full(0.0, 3),), name="zero: slope 0", expect=(np.zeros(3),)),
    Case(sinc, (np.array([1e-4, -1e-3, 1e-2, -0.1, 0.45]),), name="near zero", reference=_by_series),
    Case(
        sinc,
        (np.array([1.0, -2.0, 3.0, 64.0]),),
        name="whole numbers: 1 / x and its negative",
        expect=(np.array([-1.0, -0.5, -1 / 3, 1 / 64]),),
    ),
    Case(sinc, (np.array([100.25, -77.5, 1000.125]),), name="far out", dtypes=("float64", "float32")),
)
